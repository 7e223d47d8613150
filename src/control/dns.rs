//! Names into addresses: one task per distinct name in use, which feeds every cluster that has it
//! among its targets.
//!
//! Invariants: a name that does not resolve delays no other; the last good addresses are kept
//! while refreshing fails; addresses of the file are never asked for. A cluster's list changes
//! only when its addresses do.

pub mod system;

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::snapshot::{Snapshot, TargetSpec, fixed_endpoints};
use crate::upstream::{Cluster, EndpointSpec, Resolution};
use crate::util::clock;

/// Whom names are asked of.
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a name. Dropping the future gives up.
    fn lookup<'a>(&'a self, name: &'a str) -> Answering<'a>;
}

/// An answer on its way.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, LookupError>> + Send + 'a>>;

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// At least one.
    pub addresses: Vec<IpAddr>,
    /// How long they are good for.
    pub ttl: Duration,
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

/// An answer is good for this long at least, whatever its TTL.
const FLOOR: Duration = Duration::from_secs(1);
/// And for this long at most: an address that moves early is found.
const CEILING: Duration = Duration::from_secs(300);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A name that is gone keeps its addresses this long (Kong's `dns_stale_ttl`).
const STALE: Duration = Duration::from_secs(3600);

/// Targets that are somewhere else than they say, by `host:port` as the file has it.
pub type Elsewhere = HashMap<String, SocketAddr>;

/// Feeds the clusters of the live snapshot.
pub struct Dns {
    lookup: Arc<dyn Lookup>,
    elsewhere: Elsewhere,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Task>,
    /// Those of the live snapshot.
    feeds: Vec<Arc<Feed>>,
}

struct Task {
    name: Arc<Name>,
    task: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    /// Nobody to feed yet; tasks run on `runtime`.
    pub fn new(lookup: Arc<dyn Lookup>, runtime: Handle) -> Arc<Self> {
        Self::with(lookup, runtime, Elsewhere::new())
    }

    /// The same, with targets that are found elsewhere than by their names: how the
    /// demonstration puts the services of its file into its own process.
    pub fn with(lookup: Arc<dyn Lookup>, runtime: Handle, elsewhere: Elsewhere) -> Arc<Self> {
        Arc::new(Self {
            lookup,
            elsewhere,
            runtime,
            state: Mutex::default(),
        })
    }

    /// Feeds the clusters of this snapshot from now on, and those of an earlier one no more. Names
    /// that stay keep their addresses.
    pub fn follow(&self, snapshot: &Snapshot) {
        let mut state = lock(&self.state);
        let mut feeds = Vec::new();
        let mut names = HashMap::new();
        for (cluster, targets) in snapshot.clusters.iter().zip(&snapshot.targets) {
            match fixed_endpoints(targets).filter(|_| self.elsewhere.is_empty()) {
                Some(fixed) => set(cluster, &fixed),
                None => feeds.push(self.feed(cluster, targets, &mut state, &mut names)),
            }
        }
        // Names that nobody has any more end here.
        state.names = names;
        state.feeds = feeds;
        for feed in &state.feeds {
            feed.update();
        }
    }

    fn feed(
        &self,
        cluster: &Arc<Cluster>,
        targets: &[TargetSpec],
        old: &mut State,
        names: &mut HashMap<String, Task>,
    ) -> Arc<Feed> {
        let sources = targets.iter().map(|target| {
            let moved = self.elsewhere.get(&target.target).copied();
            let source = match moved.or_else(|| target.address()) {
                Some(address) => Source::Fixed(address),
                None => Source::Named(self.name(&target.host, old, names)),
            };
            (target.clone(), source)
        });
        let feed = Arc::new(Feed {
            cluster: Arc::downgrade(cluster),
            targets: sources.collect(),
            applying: Mutex::default(),
        });
        for (_, source) in &feed.targets {
            if let Source::Named(name) = source {
                lock(&name.feeds).push(Arc::downgrade(&feed));
            }
        }
        feed
    }

    fn name(&self, host: &str, old: &mut State, names: &mut HashMap<String, Task>) -> Arc<Name> {
        let host = host.to_ascii_lowercase();
        if let Some(task) = names.get(&host) {
            return task.name.clone();
        }
        let task = old.names.remove(&host).unwrap_or_else(|| self.start(&host));
        // The feeds of the snapshot before are over.
        lock(&task.name.feeds).clear();
        let name = task.name.clone();
        names.insert(host, task);
        name
    }

    fn start(&self, host: &str) -> Task {
        let name = Arc::new(Name {
            host: host.to_owned(),
            known: Mutex::default(),
            feeds: Mutex::default(),
        });
        let refresh = name.clone().refresh(self.lookup.clone());
        Task {
            name,
            task: self.runtime.spawn(refresh).abort_handle(),
        }
    }
}

/// One name, whoever uses it.
struct Name {
    host: String,
    known: Mutex<Known>,
    feeds: Mutex<Vec<Weak<Feed>>>,
}

/// What is known of a name.
#[derive(Clone, Default)]
struct Known {
    /// The last good answer, in order, and when it came.
    good: Option<(Vec<IpAddr>, Instant)>,
    /// What went wrong last; nothing after a good answer.
    trouble: Option<LookupError>,
}

impl Name {
    /// Asks again and again, until the task is ended.
    async fn refresh(self: Arc<Self>, lookup: Arc<dyn Lookup>) {
        let mut retry = RETRY.0;
        loop {
            let asked = timeout(PATIENCE, lookup.lookup(&self.host)).await;
            let late = || LookupError::Failed(format!("no answer within {PATIENCE:?}"));
            let pause = match asked.unwrap_or_else(|_| Err(late())) {
                Ok(answer) => {
                    retry = RETRY.0;
                    self.note(Ok(answer.addresses));
                    answer.ttl.clamp(FLOOR, CEILING)
                }
                Err(error) => {
                    self.note(Err(error));
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    fn note(&self, answer: Result<Vec<IpAddr>, LookupError>) {
        let mut known = lock(&self.known);
        let before = known.trouble.take();
        match answer {
            Ok(mut addresses) => {
                // Servers turn the order with every answer; that is no change.
                addresses.sort_unstable();
                addresses.dedup();
                if before.is_some() {
                    info!(name = self.host, "name resolves again");
                }
                known.good = Some((addresses, clock::now()));
            }
            Err(error) => {
                if before.as_ref() != Some(&error) {
                    warn!(name = self.host, "name does not resolve: {error}");
                }
                let stale = |(_, at): &mut (Vec<IpAddr>, Instant)| at.elapsed() > STALE;
                if error == LookupError::NotFound {
                    known.good.take_if(stale);
                }
                known.trouble = Some(error);
            }
        }
        drop(known);
        let feeds = lock(&self.feeds).clone();
        for feed in feeds.iter().filter_map(Weak::upgrade) {
            feed.update();
        }
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
}

impl Feed {
    /// Brings the cluster up to date with what is known of its names.
    fn update(&self) {
        let _applying = lock(&self.applying);
        let Some(cluster) = self.cluster.upgrade() else {
            return;
        };
        let mut endpoints: Vec<EndpointSpec> = Vec::new();
        let (mut pending, mut failed) = (false, false);
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
                    let known = lock(&name.known).clone();
                    pending |= known.good.is_none() && known.trouble.is_none();
                    failed |= matches!(known.trouble, Some(LookupError::Failed(_)));
                    let (addresses, _) = known.good.unwrap_or((Vec::new(), clock::now()));
                    endpoints.extend(addresses.iter().map(|ip| target.endpoint(*ip)));
                }
            }
        }
        match (endpoints.is_empty(), pending, failed) {
            (false, ..) => set(&cluster, &endpoints),
            (true, true, _) => {}
            (true, false, true) => unresolved(&cluster, Resolution::Failed),
            (true, false, false) => unresolved(&cluster, Resolution::NotFound),
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
