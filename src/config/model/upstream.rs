//! Upstreams in the model.

use std::fmt;
use std::time::Duration;

use super::Meta;

/// `algorithm` of an upstream, after Kong's rules on how `hash_on` changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// `round-robin`
    #[default]
    RoundRobin,
    /// `consistent-hashing`
    ConsistentHashing,
    /// `least-connections`
    LeastConnections,
    /// `latency`
    Latency,
}

/// What a consistent hash is taken of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashInput {
    /// Nothing.
    #[default]
    None,
    /// The consumer's id, else the credential's.
    Consumer,
    /// The client's address.
    Ip,
    /// A header's values.
    Header(String),
    /// A cookie, made when the client has none.
    Cookie {
        /// Its name.
        name: String,
        /// Its path.
        path: String,
    },
    /// The normalised path.
    Path,
    /// A query argument.
    QueryArg(String),
    /// A group of the route's regular expression, by name or number.
    UriCapture(String),
}

/// A group of targets behind one name.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// What every entity has.
    pub meta: Meta,
    /// Its name: what a service's `host` says.
    pub name: String,
    /// How a target is chosen.
    pub algorithm: Algorithm,
    /// What is hashed.
    pub hash_on: HashInput,
    /// What is hashed when the first gives nothing.
    pub hash_fallback: HashInput,
    /// Size of the hash ring.
    pub slots: u32,
    /// Ours: how long a new or recovered target takes to get its whole share.
    pub slow_start: Duration,
    /// Host header to send, with an optional port.
    pub host_header: Option<String>,
    /// What to authenticate with when the service says nothing, an index of `certificates`.
    pub client_certificate: Option<usize>,
    /// Send the target name of an SRV record as Host.
    pub use_srv_name: bool,
    /// Health checks.
    pub healthchecks: Healthchecks,
    /// Ours: how much may be under way at once.
    pub limits: Option<UpstreamLimits>,
    /// Ours: take targets out that do worse than the others.
    pub outliers: Option<OutlierDetection>,
    /// Where targets are found instead of in `targets`.
    pub discovery: Option<ConsulDiscovery>,
    /// Its targets, indexes of `targets`.
    pub targets: Vec<usize>,
}

/// `outlier_detection` of an upstream (ours).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutlierDetection {
    /// Failures in a row until a target is out; 0 is off.
    pub consecutive_failures: u32,
    /// How many times the median time of all a target may take.
    pub latency_factor: Option<f64>,
    /// Time between two looks.
    pub interval: Duration,
    /// Length of the first ejection.
    pub ejection_time: Duration,
    /// Length of the longest.
    pub max_ejection_time: Duration,
    /// Most targets that are out, in percent.
    pub max_ejection_percent: f64,
}

/// `limits` of an upstream (ours).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpstreamLimits {
    /// Connections, busy and idle.
    pub max_connections: Option<u32>,
    /// Requests.
    pub max_requests: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending: u32,
    /// Requests that are tried again, in percent of all.
    pub retry_budget: Option<f64>,
}

/// `discovery.consul` of an upstream (ours), or what a host of the form `name.service.consul` says.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ConsulDiscovery {
    /// Service name.
    pub service: String,
    /// Tags that an instance must all have.
    pub tags: Vec<String>,
    /// Datacenter, if not the agent's.
    pub datacenter: Option<String>,
    /// Filter expression.
    pub filter: Option<String>,
    /// Leave out instances with a warning.
    pub passing_only: bool,
    /// Namespace.
    pub namespace: Option<String>,
    /// Admin partition.
    pub partition: Option<String>,
    /// Cluster peer; only hosts can name one.
    pub peer: Option<String>,
    /// ACL token, if not the process's.
    pub token: Option<String>,
}

/// Leaves the token out.
impl fmt::Debug for ConsulDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulDiscovery")
            .field("service", &self.service)
            .field("tags", &self.tags)
            .field("datacenter", &self.datacenter)
            .finish_non_exhaustive()
    }
}

/// What a probe or the traffic is judged as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckType {
    /// `http`
    #[default]
    Http,
    /// `https`
    Https,
    /// `tcp`
    Tcp,
    /// `grpc`
    Grpc,
    /// `grpcs`
    Grpcs,
}

/// `healthchecks` of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Healthchecks {
    /// The upstream is usable while the available weight, in percent, is greater than this.
    pub threshold: f64,
    /// Ours: with less available weight than this, in percent, health is not looked at.
    pub panic_threshold: f64,
    /// Probes.
    pub active: ActiveChecks,
    /// Judging the traffic.
    pub passive: PassiveChecks,
}

/// `healthchecks.active`.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveChecks {
    /// What a probe speaks.
    pub kind: CheckType,
    /// Bound for a probe.
    pub timeout: Duration,
    /// Probes at the same time.
    pub concurrency: u32,
    /// Path of the probe.
    pub http_path: String,
    /// SNI of the probe.
    pub https_sni: Option<String>,
    /// Whether the probe verifies the certificate.
    pub https_verify_certificate: bool,
    /// Headers of the probe.
    pub headers: Vec<(String, Vec<String>)>,
    /// Time between probes of healthy targets; zero is off.
    pub healthy_interval: Duration,
    /// Time between probes of unhealthy targets; zero is off.
    pub unhealthy_interval: Duration,
    /// When to count what.
    pub thresholds: Thresholds,
}

/// `healthchecks.passive`.
#[derive(Clone, Debug, PartialEq)]
pub struct PassiveChecks {
    /// What the traffic is judged as.
    pub kind: CheckType,
    /// Ours: how long a target that only passive checks found unhealthy waits for its trial.
    pub probation: Duration,
    /// When to count what.
    pub thresholds: Thresholds,
}

/// Statuses and counters that move a target between healthy and unhealthy; zero switches a
/// counter off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Statuses that count as success.
    pub healthy_statuses: Vec<u16>,
    /// Successes until healthy.
    pub successes: u32,
    /// Statuses that count as failure.
    pub unhealthy_statuses: Vec<u16>,
    /// Connection failures until unhealthy.
    pub tcp_failures: u32,
    /// Time-outs until unhealthy.
    pub timeouts: u32,
    /// Failure statuses until unhealthy.
    pub http_failures: u32,
}

impl Default for Healthchecks {
    fn default() -> Self {
        Self {
            threshold: 0.0,
            panic_threshold: 0.0,
            active: ActiveChecks::default(),
            passive: PassiveChecks::default(),
        }
    }
}

impl Default for ActiveChecks {
    fn default() -> Self {
        Self {
            kind: CheckType::Http,
            timeout: Duration::from_secs(1),
            concurrency: 10,
            http_path: "/".to_owned(),
            https_sni: None,
            https_verify_certificate: true,
            headers: Vec::new(),
            healthy_interval: Duration::ZERO,
            unhealthy_interval: Duration::ZERO,
            thresholds: Thresholds::default(),
        }
    }
}

impl Default for PassiveChecks {
    fn default() -> Self {
        Self {
            kind: CheckType::Http,
            probation: Duration::from_secs(30),
            thresholds: Thresholds::default(),
        }
    }
}

impl ActiveChecks {
    /// Whether any target is probed.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.healthy_interval.is_zero() || !self.unhealthy_interval.is_zero()
    }
}

impl PassiveChecks {
    /// Whether traffic can make a target unhealthy.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let counts = &self.thresholds;
        counts.tcp_failures + counts.timeouts + counts.http_failures > 0
    }
}
