//! Services and upstreams: what they connect to, how, and under which TLS identity.
//!
//! Invariant: compiling never changes a cluster that is in use; it only fills a fresh one whose
//! targets are all addresses, so that a snapshot works as soon as it is live. What else a cluster
//! holds, its feeder in `control` decides.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Hashing, Service, TargetSpec, Upstream};
use super::{entities, health};
use crate::config::consul_name;
use crate::config::model::{self, ConsulDiscovery, Model};
use crate::tls::client::{Alpn, Verify};
use crate::tls::{CaCert, Certificate, ClientTls, TlsClients, TlsIdentity, TlsSetupError};
use crate::upstream::{
    Algorithm, Capacity, Cluster, ClusterKey, EndpointSpec, Outliers, Policy, Resolution, Retry,
};
use crate::util::background::give_way;
use crate::util::keep::Keeps;

/// Intermediate certificates that a verified chain may have where the service says nothing
/// (Kong's default).
const VERIFY_DEPTH: u32 = 1;

/// TLS towards upstreams: configurations, and the number under which pooled connections know
/// each identity. One for the whole process: a number is never given to another identity.
#[derive(Debug)]
pub struct UpstreamTls {
    clients: TlsClients,
    numbers: Mutex<HashMap<TlsIdentity, u32>>,
}

impl UpstreamTls {
    /// Without any identity.
    pub fn new() -> Result<Self, TlsSetupError> {
        Ok(Self {
            clients: TlsClients::new()?,
            numbers: Mutex::default(),
        })
    }

    pub(super) fn get(&self, identity: TlsIdentity) -> (ClientTls, u32) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = numbers.len() as u32;
        let number = *numbers.entry(identity.clone()).or_insert(next);
        (self.clients.get(identity), number)
    }
}

impl TargetSpec {
    /// The address, if the host is one.
    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// The endpoint of this target at that address.
    pub fn endpoint(&self, ip: IpAddr) -> EndpointSpec {
        EndpointSpec {
            address: SocketAddr::new(ip, self.port),
            host: self.host.clone(),
            target: self.target.clone(),
            weight: self.weight,
        }
    }
}

/// The endpoints of targets that all are addresses; `None` when one is a name.
pub fn fixed_endpoints(targets: &[TargetSpec]) -> Option<Vec<EndpointSpec>> {
    let endpoint = |target: &TargetSpec| Some(target.endpoint(target.address()?.ip()));
    targets.iter().map(endpoint).collect()
}

/// What services compile from.
pub(super) struct Sources<'a> {
    pub(super) model: &'a Model,
    pub(super) certificates: &'a [Certificate],
    pub(super) authorities: &'a [CaCert],
    pub(super) tls: &'a UpstreamTls,
    pub(super) keeps: &'a Keeps,
}

/// Everything between routes and addresses.
#[derive(Default)]
pub(super) struct Wiring {
    pub(super) services: Vec<Service>,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) clusters: Vec<Arc<Cluster>>,
    /// How each cluster is used.
    pub(super) policies: Vec<Arc<Policy>>,
    /// The targets of each cluster.
    pub(super) targets: Vec<Vec<TargetSpec>>,
    by_key: HashMap<ClusterKey, usize>,
    /// Upstreams by name.
    by_name: HashMap<String, usize>,
}

impl Wiring {
    /// Compiles all upstreams and services of a model.
    pub(super) fn new(sources: &Sources<'_>) -> Self {
        let mut wiring = Wiring::default();
        for (ix, upstream) in sources.model.upstreams.iter().enumerate() {
            wiring.by_name.insert(upstream.name.clone(), ix);
            let upstream = wiring.upstream(sources, upstream);
            wiring.upstreams.push(upstream);
        }
        for service in &sources.model.services {
            let service = wiring.service(sources, service);
            wiring.services.push(service);
        }
        wiring
    }

    fn upstream(&mut self, sources: &Sources<'_>, upstream: &model::Upstream) -> Upstream {
        let model = sources.model;
        let targets = upstream
            .targets
            .iter()
            .filter_map(|ix| model.targets.get(*ix));
        let specs = match &upstream.discovery {
            Some(discovery) => vec![discovered(discovery)],
            None => named(targets.clone(), upstream.use_srv_name),
        };
        let key = ClusterKey::Upstream(upstream.name.clone());
        Upstream {
            entity: entities::upstream(model, upstream),
            host_header: upstream.host_header.clone(),
            cluster: self.cluster(sources.keeps, key, specs, policy(sources, upstream)),
            hashing: (upstream.algorithm == model::Algorithm::ConsistentHashing).then(|| Hashing {
                on: upstream.hash_on.clone(),
                fallback: upstream.hash_fallback.clone(),
            }),
            targets: targets
                .map(|target| entities::target(model, target))
                .collect(),
        }
    }

    fn service(&mut self, sources: &Sources<'_>, service: &model::Service) -> Service {
        give_way();
        let upstreams = &sources.model.upstreams;
        let upstream = self.by_name.get(&service.host).copied();
        let cluster = upstream.and_then(|ix| self.upstreams.get(ix));
        let cluster = match cluster.map(|upstream| upstream.cluster) {
            Some(cluster) => cluster,
            None => self.host(sources.keeps, service),
        };
        let http2 = service.http2 || service.protocol.is_grpc();
        Service {
            entity: entities::service(sources.model, service),
            tls: service.protocol.is_tls().then(|| {
                let upstream = upstream.and_then(|ix| upstreams.get(ix));
                sources.tls.get(identity(sources, service, upstream, http2))
            }),
            http2,
            grpc: service.protocol.is_grpc(),
            host: service.host.clone(),
            port: service.port,
            path: service.path.clone().unwrap_or_else(|| "/".to_owned()),
            retry: retry(service),
            connect_timeout: service.connect_timeout,
            write_timeout: service.write_timeout,
            read_timeout: service.read_timeout,
            cluster,
            upstream,
        }
    }

    /// The cluster of a service that names its host itself.
    fn host(&mut self, keeps: &Keeps, service: &model::Service) -> usize {
        let host = bare(&service.host).to_ascii_lowercase();
        let key = ClusterKey::Host {
            host: host.clone(),
            port: service.port,
        };
        let consul = consul_name::parse(&host).and_then(Result::ok);
        let target = TargetSpec {
            target: key.name(),
            host,
            port: service.port,
            weight: if consul.is_some() { 1 } else { 100 },
            use_srv_name: false,
            consul,
        };
        self.cluster(keeps, key, vec![target], Policy::default())
    }

    fn cluster(
        &mut self,
        keeps: &Keeps,
        key: ClusterKey,
        targets: Vec<TargetSpec>,
        policy: Policy,
    ) -> usize {
        if let Some(known) = self.by_key.get(&key) {
            return *known;
        }
        let cluster = keeps
            .of::<ClusterKey, Cluster>()
            .adopt(key.clone(), || Cluster::new(key.clone()));
        if cluster.endpoints().resolution == Resolution::Pending
            && let Some(fixed) = fixed_endpoints(&targets)
        {
            cluster.set_endpoints(&fixed, Resolution::Known);
        }
        let ix = self.clusters.len();
        self.clusters.push(cluster);
        self.policies.push(Arc::new(policy));
        self.targets.push(targets);
        self.by_key.insert(key, ix);
        ix
    }
}

fn retry(service: &model::Service) -> Retry {
    let (on, methods) = (service.retry_on.as_deref(), &service.retry_methods);
    let mut retry = Retry::new(service.retries, on, methods.clone());
    retry.deadline = service.deadline;
    retry
}

fn policy(sources: &Sources<'_>, upstream: &model::Upstream) -> Policy {
    Policy {
        algorithm: match upstream.algorithm {
            model::Algorithm::RoundRobin => Algorithm::RoundRobin,
            model::Algorithm::LeastConnections => Algorithm::LeastConnections,
            model::Algorithm::Latency => Algorithm::Latency,
            model::Algorithm::ConsistentHashing => Algorithm::ConsistentHashing,
        },
        slots: upstream.slots,
        slow_start: upstream.slow_start,
        checks: health::checks(upstream),
        probing: health::probing(sources, upstream),
        outliers: upstream.outliers.map(|of| Outliers {
            consecutive: of.consecutive_failures,
            latency_factor: of.latency_factor,
            interval: of.interval,
            time: of.ejection_time,
            longest: of.max_ejection_time,
            most: of.max_ejection_percent,
        }),
        capacity: upstream.limits.map(|limits| Capacity {
            connections: limits.max_connections,
            requests: limits.max_requests,
            pending: limits.max_pending,
            retry_percent: limits.retry_budget,
        }),
    }
}

/// Where an upstream finds its targets.
fn discovered(discovery: &ConsulDiscovery) -> TargetSpec {
    TargetSpec {
        host: String::new(),
        port: 0,
        weight: 1,
        target: String::new(),
        use_srv_name: false,
        consul: Some(discovery.clone()),
    }
}

/// The targets of the file. Weights of services in Consul multiply those of their instances; where
/// there are no others, they are made as small as their proportions allow, so that one service
/// alone keeps its own.
fn named<'m>(
    targets: impl Iterator<Item = &'m model::Target>,
    use_srv_name: bool,
) -> Vec<TargetSpec> {
    let target = |it| target(it, use_srv_name);
    let mut specs: Vec<TargetSpec> = targets.map(target).collect();
    if specs.iter().all(|spec| spec.consul.is_some()) {
        let divisor = specs.iter().fold(0, |gcd, spec| gcd_of(gcd, spec.weight));
        for spec in &mut specs {
            spec.weight /= divisor.max(1);
        }
    }
    specs
}

fn gcd_of(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd_of(b, a % b) }
}

fn target(target: &model::Target, use_srv_name: bool) -> TargetSpec {
    TargetSpec {
        host: target.host.clone(),
        port: target.port,
        weight: target.weight,
        target: target.target.clone(),
        use_srv_name,
        consul: consul_name::parse(&target.host).and_then(Result::ok),
    }
}

/// An IPv6 address may stand in brackets.
fn bare(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host)
}

fn identity(
    sources: &Sources<'_>,
    service: &model::Service,
    upstream: Option<&model::Upstream>,
    http2: bool,
) -> TlsIdentity {
    let shown = service
        .client_certificate
        .or_else(|| upstream.and_then(|upstream| upstream.client_certificate));
    let authorities = service.trusted.as_ref().map(|trusted| {
        let known = trusted.iter().filter_map(|ix| sources.authorities.get(*ix));
        known.cloned().collect()
    });
    let depth = service.tls_verify_depth.unwrap_or(VERIFY_DEPTH);
    TlsIdentity {
        verify: match service.tls_verify {
            Some(true) => Verify::On {
                cas: authorities,
                depth: u8::try_from(depth).unwrap_or(u8::MAX),
            },
            _ => Verify::Off,
        },
        client_cert: shown.and_then(|ix| sources.certificates.get(ix)).cloned(),
        alpn: if http2 { Alpn::Http2 } else { Alpn::Http1 },
    }
}
