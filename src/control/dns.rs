//! Targets into addresses: one task per distinct name or service of Consul in use, which feeds every
//! cluster that has it among its targets.
//!
//! Invariants: a name that does not resolve delays no other; the last good addresses are kept
//! while refreshing fails; addresses of the file are never asked for. A cluster's list changes
//! only when its addresses do.

pub(super) mod name;
pub mod system;

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;

use self::name::{Hears, Name, Task};
use super::discovery::{self, Discovery};
use crate::remote::consul::ServiceQuery;
use crate::snapshot::{ConsulDiscovery, Snapshot, TargetSpec, fixed_endpoints};
use crate::upstream::{Cluster, EndpointSpec, Resolution};

/// Whom names are asked of.
pub trait Lookup: Send + Sync + 'static {
    /// Where a name leads. Dropping the future gives up.
    fn lookup<'a>(&'a self, name: &'a str, services: Services) -> Answering<'a>;
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, LookupError>> + Send + 'a>>;

/// Whether a name is asked for services, which come before its own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Services {
    /// Yes; where nobody can say, its addresses do.
    Try,
    /// Yes, it had some: where nobody can say, there is no answer.
    Need,
    /// No: there are none.
    Skip,
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// At least one.
    pub found: Vec<Found>,
    /// How long it is good for.
    pub ttl: Duration,
}

/// An address of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The address.
    pub ip: IpAddr,
    /// The service (an SRV record) that it is of.
    pub service: Option<Service>,
}

/// What an SRV record says (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// The host, in lower case and without the dot at its end.
    pub host: Arc<str>,
    /// The port; 0: not said.
    pub port: u16,
    /// At least 1.
    pub weight: u16,
}

impl Found {
    /// An address of the name itself.
    pub fn address(ip: IpAddr) -> Self {
        Self { ip, service: None }
    }
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// It does not exist, or has no address.
    #[error("no such name")]
    NotFound,
    /// Nobody could say.
    #[error("{0}")]
    Failed(String),
}

/// Targets that are somewhere else than they say, by `host:port` as the file has it.
pub type Elsewhere = HashMap<String, SocketAddr>;

/// Feeds the clusters of the live snapshot.
pub struct Dns {
    lookup: Arc<dyn Lookup>,
    elsewhere: Elsewhere,
    discovery: Option<Arc<Discovery>>,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Task<Name>>,
    services: HashMap<ServiceQuery, Task<discovery::Service>>,
    /// Those of the live snapshot.
    feeds: Vec<Arc<Feed>>,
}

impl Dns {
    /// Nobody to feed yet; tasks run on `runtime`.
    pub fn new(lookup: Arc<dyn Lookup>, runtime: Handle) -> Arc<Self> {
        Self::with(lookup, runtime, Elsewhere::new(), None)
    }

    /// The same, with targets that are found elsewhere than by their names: how the
    /// demonstration puts the services of its file into its own process; and with somebody who
    /// knows services of Consul.
    pub fn with(
        lookup: Arc<dyn Lookup>,
        runtime: Handle,
        elsewhere: Elsewhere,
        discovery: Option<Arc<Discovery>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            lookup,
            elsewhere,
            discovery,
            runtime,
            state: Mutex::default(),
        })
    }

    /// Feeds the clusters of this snapshot from now on, and those of an earlier one no more. Names
    /// and services that stay keep what is known of them.
    pub fn follow(&self, snapshot: &Snapshot) {
        let mut state = lock(&self.state);
        let mut feeds = Vec::new();
        let mut new = State::default();
        for (cluster, targets) in snapshot.clusters.iter().zip(&snapshot.targets) {
            match fixed_endpoints(targets).filter(|_| self.elsewhere.is_empty()) {
                Some(fixed) => set(cluster, &fixed),
                None => feeds.push(self.feed(cluster, targets, &mut state, &mut new)),
            }
        }
        // Names and services that nobody has any more end here.
        new.feeds = feeds;
        *state = new;
        for feed in &state.feeds {
            feed.changed();
        }
    }

    fn feed(
        &self,
        cluster: &Arc<Cluster>,
        targets: &[TargetSpec],
        old: &mut State,
        new: &mut State,
    ) -> Arc<Feed> {
        let sources = targets
            .iter()
            .map(|target| (target.clone(), self.source(target, old, new)));
        let feed = Arc::new(Feed {
            cluster: Arc::downgrade(cluster),
            targets: sources.collect(),
            applying: Mutex::default(),
        });
        let us: Weak<Feed> = Arc::downgrade(&feed);
        for (_, source) in &feed.targets {
            match source {
                Source::Fixed(_) => {}
                Source::Named(name) => name.listeners.add(us.clone()),
                Source::Discovered(service, _) => service.listeners.add(us.clone()),
            }
        }
        feed
    }

    fn source(&self, target: &TargetSpec, old: &mut State, new: &mut State) -> Source {
        let moved = self.elsewhere.get(&target.target).copied();
        if let Some(address) = moved.or_else(|| target.address()) {
            return Source::Fixed(address);
        }
        match (&target.consul, &self.discovery) {
            (Some(of), Some(discovery)) => {
                let query = discovery.query(of);
                let task = new.services.entry(query.clone());
                let task = task.or_insert_with(|| discovery.watch(query, &mut old.services));
                Source::Discovered(task.of.clone(), of.clone())
            }
            _ => Source::Named(self.name(&target.host, old, new)),
        }
    }

    fn name(&self, host: &str, old: &mut State, new: &mut State) -> Arc<Name> {
        let host = host.to_ascii_lowercase();
        let task = new.names.entry(host).or_insert_with_key(|host| {
            let task = old.names.remove(host);
            let start = || Name::start(host, self.lookup.clone(), Services::Try, &self.runtime);
            let task = task.unwrap_or_else(start);
            // The feeds of the snapshot before are over.
            task.of.listeners.clear();
            task
        });
        task.of.clone()
    }
}

/// What one cluster is made of.
struct Feed {
    cluster: Weak<Cluster>,
    targets: Vec<(TargetSpec, Source)>,
    /// Held while the cluster is being changed: names answer at the same time.
    applying: Mutex<()>,
}

enum Source {
    Fixed(SocketAddr),
    Named(Arc<Name>),
    Discovered(Arc<discovery::Service>, ConsulDiscovery),
}

impl Hears for Feed {
    /// Brings the cluster up to date with what is known of its names and services.
    fn changed(&self) {
        let _applying = lock(&self.applying);
        let Some(cluster) = self.cluster.upgrade() else {
            return;
        };
        let mut endpoints: Vec<EndpointSpec> = Vec::new();
        let (mut pending, mut failed, mut discovered) = (false, false, false);
        for (target, source) in &self.targets {
            match source {
                Source::Fixed(address) => {
                    let endpoint = target.endpoint(address.ip());
                    endpoints.push(EndpointSpec {
                        address: *address,
                        ..endpoint
                    });
                }
                Source::Named(name) => {
                    let known = name.known();
                    pending |= known.good.is_none() && known.trouble.is_none();
                    failed |= matches!(known.trouble, Some(LookupError::Failed(_)));
                    let first = endpoints.len();
                    let good = known.good.into_iter().flat_map(|(found, _)| found);
                    for found in good {
                        merge(&mut endpoints, first, found.endpoint(target));
                    }
                }
                Source::Discovered(service, of) => {
                    let found = service.found(target, of);
                    pending |= found.pending;
                    failed |= found.failed;
                    discovered |= !found.pending && !found.failed;
                    endpoints.extend(found.endpoints);
                }
            }
        }
        match (endpoints.is_empty(), pending, failed) {
            (false, ..) => set(&cluster, &endpoints),
            (true, true, _) => {}
            (true, false, true) => unresolved(&cluster, Resolution::Failed),
            // That there is nobody is an answer of Consul's.
            (true, false, false) if discovered => set(&cluster, &[]),
            (true, false, false) => unresolved(&cluster, Resolution::NotFound),
        }
    }
}

impl Found {
    /// The endpoint of a target there: a service's port and weight stand above the target's.
    fn endpoint(&self, target: &TargetSpec) -> EndpointSpec {
        let mut endpoint = target.endpoint(self.ip);
        if let Some(service) = &self.service {
            if service.port != 0 {
                endpoint.address.set_port(service.port);
            }
            if target.use_srv_name {
                endpoint.host = service.host.to_string();
            }
            // Who takes a target out of the traffic means all of it.
            endpoint.weight = endpoint.weight.min(1) * u32::from(service.weight);
        }
        endpoint
    }
}

/// Adds an endpoint to those of its target, which begin at `first`: to another's weight where two
/// hosts of one service are the same.
fn merge(endpoints: &mut Vec<EndpointSpec>, first: usize, new: EndpointSpec) {
    let mut same = endpoints.iter_mut().skip(first);
    match same.find(|it| it.address == new.address && it.host == new.host) {
        Some(same) => same.weight = (same.weight + new.weight).min(u16::MAX.into()),
        None => endpoints.push(new),
    }
}

/// Sets endpoints that are not there already.
fn set(cluster: &Cluster, specs: &[EndpointSpec]) {
    let now = cluster.endpoints();
    let same = now.endpoints.len() == specs.len()
        && now.endpoints.iter().zip(specs).all(|(endpoint, spec)| {
            endpoint.address == spec.address
                && endpoint.weight() == spec.weight
                && endpoint.host == spec.host
                && endpoint.target == spec.target
        });
    if !same || now.resolution != Resolution::Known {
        cluster.set_endpoints(specs, Resolution::Known);
    }
}

fn unresolved(cluster: &Cluster, resolution: Resolution) {
    if cluster.endpoints().resolution != resolution {
        cluster.set_endpoints(&[], resolution);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
