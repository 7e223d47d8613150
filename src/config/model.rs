//! What a file says, after every check of single entities and of references.
//!
//! Invariant: references are indexes into the lists of the same [`Model`] and always valid; lists
//! keep the order of the file (services' nested children before the flat lists of their kind).

mod upstream;

use std::time::Duration;

use serde_json::Value as Json;
use uuid::Uuid;

use super::known::Parsed;
use super::node::Pos;
pub use upstream::*;

/// The whole file.
#[derive(Debug, Default)]
pub struct Model {
    /// `_transform`: with `false` the passwords of basic-auth are stored hashes already.
    pub transform: bool,
    /// Services.
    pub services: Vec<Service>,
    /// Routes: those nested in services first, service by service.
    pub routes: Vec<Route>,
    /// Upstreams.
    pub upstreams: Vec<Upstream>,
    /// Targets of all upstreams.
    pub targets: Vec<Target>,
    /// Consumers.
    pub consumers: Vec<Consumer>,
    /// Plugin instances, disabled ones too.
    pub plugins: Vec<Plugin>,
    /// Certificates.
    pub certificates: Vec<Certificate>,
    /// Server names.
    pub snis: Vec<Sni>,
    /// Trusted authorities.
    pub ca_certificates: Vec<CaCertificate>,
    /// Credentials of all tables.
    pub credentials: Vec<Credential>,
    /// The `gateway:` section; the flags and the environment may win over it.
    pub settings: super::settings::Layer,
    /// Names of the environment variables that values of the file came from.
    pub environment: Vec<String>,
}

/// What every entity has.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Given, or derived so that it is the same after a reload.
    pub id: Uuid,
    /// What it says as a number, secrets included and references left out: see `Fields::digest`.
    pub digest: u64,
    /// `tags`.
    pub tags: Vec<String>,
    /// `created_at` in seconds, if written: routes that tie are ordered by it.
    pub created_at: Option<f64>,
    /// Where it begins.
    pub at: Pos,
    /// Its path in the file: `services[0].routes[1]`.
    pub path: String,
    /// The fields that are written, and where their values are.
    pub written: Vec<(&'static str, Pos)>,
}

impl Meta {
    /// Where a field's value is written, else where the entity begins.
    #[must_use]
    pub fn at_field(&self, name: &str) -> Pos {
        self.written
            .iter()
            .find(|(field, _)| *field == name)
            .map_or(self.at, |(_, at)| *at)
    }

    /// Path of a field in the file.
    #[must_use]
    pub fn field_path(&self, name: &str) -> String {
        super::schema::key_path(&self.path, name)
    }
}

/// What a service or route speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// `http`
    Http,
    /// `https`
    Https,
    /// `grpc`: gRPC over clear text.
    Grpc,
    /// `grpcs`: gRPC over TLS.
    Grpcs,
    /// `tcp`
    Tcp,
    /// `tls`: a terminated TLS stream.
    Tls,
    /// `tls_passthrough`
    TlsPassthrough,
    /// `udp`
    Udp,
}

impl Protocol {
    /// All of them, with their words in the file.
    pub const ALL: [(&'static str, Self); 8] = [
        ("grpc", Self::Grpc),
        ("grpcs", Self::Grpcs),
        ("http", Self::Http),
        ("https", Self::Https),
        ("tcp", Self::Tcp),
        ("tls", Self::Tls),
        ("tls_passthrough", Self::TlsPassthrough),
        ("udp", Self::Udp),
    ];

    /// Reads the word of the file.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, protocol)| *protocol)
    }

    /// The word of the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, protocol)| *protocol == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether it is a stream without requests.
    #[must_use]
    pub const fn is_stream(self) -> bool {
        matches!(
            self,
            Self::Tcp | Self::Tls | Self::TlsPassthrough | Self::Udp
        )
    }

    /// Whether the connection is encrypted.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(
            self,
            Self::Https | Self::Grpcs | Self::Tls | Self::TlsPassthrough
        )
    }

    /// Whether it is gRPC.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }
}

/// An upstream application.
#[derive(Clone, Debug)]
pub struct Service {
    /// What every entity has.
    pub meta: Meta,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What to speak with it.
    pub protocol: Protocol,
    /// Host name, address, or name of an upstream; an IPv6 address may stand in brackets.
    pub host: String,
    /// Port; without meaning when `host` names an upstream.
    pub port: u16,
    /// Base path, beginning with `/`.
    pub path: Option<String>,
    /// Further attempts after the first.
    pub retries: u32,
    /// Ours: what is tried again; `None` is every failure without an answer.
    pub retry_on: Option<Vec<String>>,
    /// Ours: methods that may be sent twice; `None` are the idempotent ones.
    pub retry_methods: Option<Vec<String>>,
    /// Ours: bound for all attempts together, until the response head.
    pub deadline: Option<Duration>,
    /// Bound for one connection attempt.
    pub connect_timeout: Duration,
    /// Bound between two writes.
    pub write_timeout: Duration,
    /// Bound between two reads.
    pub read_timeout: Duration,
    /// `false`: its routes are left out.
    pub enabled: bool,
    /// What to authenticate with, an index of `certificates`.
    pub client_certificate: Option<usize>,
    /// Whether to verify its certificate; `None` is the process default, off.
    pub tls_verify: Option<bool>,
    /// How long a chain may be.
    pub tls_verify_depth: Option<u32>,
    /// Whom to trust, indexes of `ca_certificates`; `None` is the system's list.
    pub trusted: Option<Vec<usize>>,
    /// Ours: speak HTTP/2 with an `http` or `https` service.
    pub http2: bool,
}

/// `path_handling`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathHandling {
    /// Join with one slash.
    #[default]
    V0,
    /// Concatenate (deprecated; honoured by `router_flavor: traditional` alone).
    V1,
}

/// Which requests go to a service.
#[derive(Clone, Debug)]
pub struct Route {
    /// What every entity has.
    pub meta: Meta,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its service, an index of `services`; `None` answers 503 unless a plugin answers.
    pub service: Option<usize>,
    /// What a request may come over.
    pub protocols: Vec<Protocol>,
    /// Methods, upper case; empty for any.
    pub methods: Vec<String>,
    /// Hosts as written: plain or with one `*`, with an optional port; empty for any.
    pub hosts: Vec<String>,
    /// Paths: a prefix, or `~` and a regular expression that compiles; empty for any.
    pub paths: Vec<String>,
    /// Header name as written, and the values of which one must be there.
    pub headers: Vec<(String, Vec<String>)>,
    /// TLS server names; empty for any.
    pub snis: Vec<String>,
    /// Answer to a plain request on a route that wants TLS.
    pub https_redirect_status_code: u16,
    /// Whether the matched prefix is taken off the path.
    pub strip_path: bool,
    /// Whether the client's Host header is kept.
    pub preserve_host: bool,
    /// How paths are joined.
    pub path_handling: PathHandling,
    /// Order among regular expressions, higher first.
    pub regex_priority: i64,
    /// Accepted; bodies always stream.
    pub request_buffering: bool,
    /// Accepted; bodies always stream.
    pub response_buffering: bool,
}

/// One address or name behind an upstream.
#[derive(Clone, Debug)]
pub struct Target {
    /// What every entity has.
    pub meta: Meta,
    /// Its upstream, an index of `upstreams`.
    pub upstream: usize,
    /// As written.
    pub target: String,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 8000 when none is written.
    pub port: u16,
    /// Share of the traffic; zero is out of rotation.
    pub weight: u32,
}

/// Who may be asking.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// What every entity has.
    pub meta: Meta,
    /// Name; at least one of the two is there.
    pub username: Option<String>,
    /// Name in another system.
    pub custom_id: Option<String>,
}

/// One configuration of a plugin at one scope.
#[derive(Debug)]
pub struct Plugin {
    /// What every entity has.
    pub meta: Meta,
    /// Which plugin.
    pub name: String,
    /// What people call this instance.
    pub instance_name: Option<String>,
    /// Scope: a route, an index of `routes`.
    pub route: Option<usize>,
    /// Scope: a service, an index of `services`.
    pub service: Option<usize>,
    /// Scope: a consumer, an index of `consumers`.
    pub consumer: Option<usize>,
    /// Protocols it is meant for; they restrict where it may be attached.
    pub protocols: Vec<Protocol>,
    /// `false`: as if absent.
    pub enabled: bool,
    /// What the plugin made of its `config`.
    pub config: Parsed,
    /// Its `config` with defaults, secrets masked: to be shown.
    pub shown: Json,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What every entity has.
    pub meta: Meta,
    /// Chain in PEM, leaf first.
    pub cert: String,
    /// Private key in PEM.
    pub key: String,
    /// A second chain with a key of another type.
    pub cert_alt: Option<String>,
    /// The second chain's key.
    pub key_alt: Option<String>,
}

/// A server name that a certificate is shown for.
#[derive(Clone, Debug)]
pub struct Sni {
    /// What every entity has.
    pub meta: Meta,
    /// Host name, `*.name`, `name.*` or `*`.
    pub name: String,
    /// Its certificate, an index of `certificates`.
    pub certificate: usize,
}

/// A certificate authority to trust.
#[derive(Clone, Debug)]
pub struct CaCertificate {
    /// What every entity has.
    pub meta: Meta,
    /// One certificate in PEM.
    pub cert: String,
    /// SHA-256 of it in hexadecimal, if written.
    pub cert_digest: Option<String>,
}

/// One row of a table of credentials; what it means, its plugin knows.
#[derive(Debug)]
pub struct Credential {
    /// What every entity has.
    pub meta: Meta,
    /// Which table: `keyauth_credentials`.
    pub table: &'static str,
    /// Whose it is, an index of `consumers`.
    pub consumer: usize,
    /// What the plugin made of the row.
    pub row: Parsed,
}
