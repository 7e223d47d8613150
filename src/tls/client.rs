//! TLS towards upstreams: one configuration, and one store of sessions, per identity.
//!
//! Invariant: a session is resumed only by a connection of the same identity, so a service that
//! verifies never rides on a handshake of one that does not. Equal identities share one
//! [`ClientTls`] for as long as anybody holds it.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption, WantsClientCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ConfigBuilder, SignatureScheme, WantsVerifier};
use rustls_pki_types::ServerName;
use thiserror::Error;

use crate::tls::cert::{CaSet, Certificate};
use crate::tls::roots::default_store;
use crate::tls::verify::{AcceptAny, Verified};
use crate::tls::{TlsSetupError, provider};
use crate::util::keep::Keep;

/// Sessions kept per identity: one server name has a few.
const SESSIONS: usize = 1024;

/// Everything that makes one TLS connection to an upstream unlike another, but for the name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsIdentity {
    /// How the upstream's certificate is looked at.
    pub verify: Verify,
    /// The certificate shown when the upstream asks: the service's, else the upstream entity's.
    pub client_cert: Option<Certificate>,
    /// What is to be spoken.
    pub alpn: Alpn,
}

/// `tls_verify`, `tls_verify_depth` and `ca_certificates` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Any certificate will do (Kong's default).
    Off,
    /// Chain, time and name must be right.
    On {
        /// The service's authorities; `None` is the process's default store.
        cas: Option<CaSet>,
        /// The most intermediate certificates, those between the upstream's certificate and the
        /// anchor (OpenSSL's counting; Kong's default is 1).
        depth: u8,
    },
}

/// The one protocol that is offered: the choice is the service's, not the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
    /// Nothing: what is spoken has no name there.
    None,
}

/// Makes and remembers the configurations towards upstreams.
pub struct TlsClients {
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    living: Keep<TlsIdentity, Living>,
}

impl TlsClients {
    /// An empty memory.
    pub fn new() -> Result<Self, TlsSetupError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()?;
        Ok(Self {
            builder,
            living: Keep::default(),
        })
    }

    /// The configuration of that identity: the living one, else a new one. For the compiler of
    /// snapshots; takes a lock, and reads the system's bundle the first time it is needed.
    pub fn get(&self, identity: TlsIdentity) -> ClientTls {
        let make = || Living {
            config: Arc::new(self.config(&identity)),
        };
        ClientTls(self.living.adopt(identity.clone(), make))
    }

    fn config(&self, identity: &TlsIdentity) -> ClientConfig {
        let builder = self.verifying(&identity.verify);
        let mut config = match &identity.client_cert {
            Some(cert) => builder.with_client_cert_resolver(Arc::new(Shown(cert.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = match identity.alpn {
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::Http2 => vec![b"h2".to_vec()],
            Alpn::None => Vec::new(),
        };
        config
    }

    fn verifying(&self, verify: &Verify) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let builder = self.builder.clone().dangerous();
        match verify {
            Verify::Off => builder.with_custom_certificate_verifier(Arc::new(AcceptAny)),
            Verify::On { cas, depth } => {
                builder.with_custom_certificate_verifier(Arc::new(Verified {
                    roots: match cas {
                        Some(cas) => Arc::new(cas.store()),
                        None => default_store(),
                    },
                    named: cas.clone(),
                    depth: usize::from(*depth),
                }))
            }
        }
    }
}

impl fmt::Debug for TlsClients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClients").finish_non_exhaustive()
    }
}

struct Living {
    config: Arc<ClientConfig>,
}

/// The configuration of one identity. Equal means the same one, so that it can be part of a key
/// of pooled connections without comparing certificates.
#[derive(Clone)]
pub struct ClientTls(Arc<Living>);

impl ClientTls {
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0.config)
    }

    /// The same for an HTTP client that brings its own connections; what it is made of is between
    /// that client and its TLS library.
    pub fn for_http_client(&self) -> impl Any + use<> {
        ClientConfig::clone(&self.0.config)
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientTls {}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({:p})", Arc::as_ptr(&self.0))
    }
}

/// Shows one certificate to whoever asks.
#[derive(Debug)]
struct Shown(Certificate);

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.choose(schemes))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A host that cannot be the name of a TLS peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is not a valid TLS server name")]
pub struct PeerNameError(String);

/// The name that an upstream is called by in SNI and that its certificate must carry.
///
/// An address is not sent as SNI (RFC 6066 section 3); a certificate must then carry it as such.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerName(pub(super) ServerName<'static>);

impl PeerName {
    /// The name in the value of a Host header: without port, brackets and final dot.
    pub fn of_host(host: &str) -> Result<Self, PeerNameError> {
        let bare = bare(host);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Self(ServerName::IpAddress(address.into())));
        }
        let lower = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        match ServerName::try_from(lower) {
            Ok(name) => Ok(Self(name)),
            Err(_) => Err(PeerNameError(host.to_owned())),
        }
    }

    /// The name as text.
    pub fn text(&self) -> String {
        self.0.to_str().into_owned()
    }
}

/// A host without its port; `[::1]:80`, `[::1]` and `::1` are all `::1`.
fn bare(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host,
        },
    }
}

#[cfg(test)]
mod tests;
