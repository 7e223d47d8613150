//! TLS towards clients: the certificate by SNI, tickets, ALPN.
//!
//! Invariant: the certificate table is asked for at each handshake, so a swapped one works at
//! once. Tickets are bound to the policy on client certificates: a session that was begun under
//! another policy is not resumed, or a client could slip past a new one.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ClientHello, NoClientAuth, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
    StoresServerSessions, WebPkiClientVerifier, danger::ClientCertVerifier,
};
use rustls::sign::CertifiedKey;

use crate::tls::cert::CaSet;
use crate::tls::default_cert::DefaultCert;
use crate::tls::sni::CertTable;
use crate::tls::{TlsSetupError, provider};
use crate::util::keep::Keeps;

/// Sessions of TLS 1.2 clients that know no tickets, per policy.
const SESSIONS: usize = 1024;

/// Whether clients have to show a certificate. Also the key under which tickets are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    Off,
    /// One is asked for; if it comes, one of these must have signed it.
    Optional(CaSet),
    /// One must come, signed by one of these.
    Required(CaSet),
}

impl ClientAuth {
    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsSetupError> {
        let builder = |cas: &CaSet| {
            let roots = Arc::new(cas.store());
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider()))
        };
        Ok(match self {
            Self::Off => Arc::new(NoClientAuth),
            Self::Optional(cas) => builder(cas).allow_unauthenticated().build()?,
            Self::Required(cas) => builder(cas).build()?,
        })
    }
}

/// Chooses the certificate for a client out of the table that is current at that moment.
pub struct CertResolver {
    table: Box<dyn Fn() -> Arc<CertTable> + Send + Sync>,
    default: Arc<DefaultCert>,
}

impl CertResolver {
    /// `table` yields the current table; it is called once per handshake.
    pub fn new(
        table: impl Fn() -> Arc<CertTable> + Send + Sync + 'static,
        default: Arc<DefaultCert>,
    ) -> Self {
        Self {
            table: Box::new(table),
            default,
        }
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        Some(match (self.table)().find(hello.server_name()) {
            Some(certificate) => certificate.choose(schemes),
            None => self.default.current().choose(schemes),
        })
    }
}

impl fmt::Debug for CertResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertResolver")
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

/// What lets clients resume sessions under one policy.
#[derive(Debug)]
struct Resumption {
    ticketer: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// The TLS configuration of a listener: TLS 1.2 and 1.3, no early data. Clones are the same.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    /// Keeps the tickets of this policy alive for the next configuration.
    _resumption: Arc<Resumption>,
}

impl ServerTls {
    /// A configuration with that choice of certificates. `http2` offers `h2` before `http/1.1`.
    /// Ticket keys are taken from `keeps` when another living configuration has this policy.
    pub fn new(
        resolver: CertResolver,
        client_auth: &ClientAuth,
        http2: bool,
        keeps: &Keeps,
    ) -> Result<Self, TlsSetupError> {
        let fresh = Resumption {
            ticketer: Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(SESSIONS),
        };
        let resumption = keeps
            .of::<ClientAuth, Resumption>()
            .adopt(client_auth.clone(), || fresh);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(client_auth.verifier()?)
            .with_cert_resolver(Arc::new(resolver));
        config.ticketer = Arc::clone(&resumption.ticketer);
        config.session_storage = Arc::clone(&resumption.sessions);
        config.max_early_data_size = 0;
        config.alpn_protocols = alpn(http2);
        Ok(Self {
            config: Arc::new(config),
            _resumption: resumption,
        })
    }
}

fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let h2 = http2.then(|| b"h2".to_vec());
    h2.into_iter().chain([b"http/1.1".to_vec()]).collect()
}
