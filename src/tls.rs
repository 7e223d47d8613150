//! TLS on both sides and the one stream type (floor 2).
//!
//! Towards clients: [`server`] chooses a certificate by SNI. Towards upstreams: [`client`] keeps one
//! configuration per identity. Both make and use [`Io`], the only stream type of the data plane.
//!
//! Invariant: rustls is named in this module only, always with the one provider below, so nothing
//! depends on what another crate installed for the process.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use thiserror::Error;

pub mod cert;
pub mod client;
pub mod default_cert;
mod der;
pub mod io;
pub mod pem;
mod roots;
pub mod server;
pub mod sni;
mod verify;

pub use cert::{CaCert, CaError, CaSet, CertError, Certificate, KeyPair};
pub use client::{ClientTls, PeerName, TlsClients, TlsIdentity};
pub use default_cert::DefaultCert;
pub use io::{HandshakeError, Io, accept, connect};
pub use pem::PemError;
pub use server::{CertResolver, ServerTls};
pub use sni::{CertTable, SniName};

/// TLS could not be set up at all: what the process was built with does not fit together.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// No usable protocol version, or no randomness for the ticket key.
    #[error("TLS cannot be set up: {0}")]
    Crypto(#[from] rustls::Error),
    /// The certificate authorities for client certificates are not usable.
    #[error("client certificates cannot be verified: {0}")]
    ClientAuth(#[from] rustls::server::VerifierBuilderError),
}

/// Makes the provider the default one of the process, for crates that ask for it (the HTTP client
/// of the control side). To be called first in `main`; a second call changes nothing.
pub fn install_provider() {
    // An error says that there is a default already.
    let _ = provider().as_ref().clone().install_default();
}

/// The cryptography that everything here uses.
fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

#[cfg(test)]
mod testing;
