//! Names become endpoints: A and AAAA records, refreshed in the background by their TTL.
//!
//! One task per distinct name, shared by every cluster that uses it, and one per cluster that
//! puts the answers of its names together. A name that cannot be resolved keeps its last good
//! answer and delays nobody else. Tasks hold clusters weakly, so they end with the last snapshot
//! that used one.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::snapshot::{Snapshot, TargetSpec};
use crate::upstream::{Cluster, ClusterKey, EndpointSpec, Resolution};

mod system;

pub use system::System;

/// What a resolver answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Addresses of both families, in the resolver's order.
    pub addresses: Vec<IpAddr>,
    /// How long they may be used without asking again.
    pub valid_for: Duration,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name does not exist, or has no address.
    #[error("the name does not exist or has no address")]
    NotFound,
    /// Nobody could be asked, or nobody answered.
    #[error("{0}")]
    Failed(String),
}

/// A look-up under way.
pub type Looking<'a> = Pin<Box<dyn Future<Output = Result<Answer, ResolveError>> + Send + 'a>>;

/// Where names are looked up. Bounded in time by itself.
pub trait Resolve: Send + Sync + 'static {
    /// Looks a name up.
    fn resolve<'a>(&'a self, name: &'a str) -> Looking<'a>;
}

/// Answers are asked for again at the earliest after this, whatever their TTL says.
const SOONEST: Duration = Duration::from_secs(1);
/// And at the latest after this.
const LATEST: Duration = Duration::from_secs(3600);
/// The pause after the first failure; it doubles up to [`RETRY_MOST`].
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest pause between failures.
const RETRY_MOST: Duration = Duration::from_secs(30);

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    addresses: Vec<IpAddr>,
    resolution: Resolution,
}

/// Feeds clusters whose targets are names. Owned by the supervisor.
pub struct Feeder {
    resolver: Arc<dyn Resolve>,
    names: HashMap<String, Weak<watch::Sender<Known>>>,
    fed: HashMap<ClusterKey, Fed>,
}

/// A cluster that is being fed.
struct Fed {
    targets: Vec<TargetSpec>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Fed {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Feeder {
    /// A feeder that feeds nothing yet. To be used inside the control runtime.
    pub fn new(resolver: Arc<dyn Resolve>) -> Feeder {
        Feeder {
            resolver,
            names: HashMap::new(),
            fed: HashMap::new(),
        }
    }

    /// Follows a snapshot that went live: clusters that are new or have other targets are fed
    /// anew, those that are gone no more.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let mut fed = HashMap::new();
        for (cluster, targets) in snapshot.clusters.iter().zip(&snapshot.targets) {
            let key = cluster.key().clone();
            let same = self.fed.remove(&key).filter(|old| old.targets == *targets);
            let entry = same.unwrap_or_else(|| self.feed(cluster, targets));
            fed.insert(key, entry);
        }
        self.fed = fed;
        self.names.retain(|_, name| name.strong_count() > 0);
    }

    fn feed(&mut self, cluster: &Arc<Cluster>, targets: &[TargetSpec]) -> Fed {
        let mut names = HashMap::new();
        for target in targets.iter().filter(|target| target.address().is_none()) {
            let name = target.host.to_ascii_lowercase();
            let known = self.name(&name);
            names.insert(name, known);
        }
        let task = if names.is_empty() {
            put_together(cluster, targets, &HashMap::new());
            None
        } else {
            let cluster = Arc::downgrade(cluster);
            Some(tokio::spawn(keep_fed(cluster, targets.to_vec(), names)))
        };
        Fed {
            targets: targets.to_vec(),
            task,
        }
    }

    /// The task of a name, started if nobody has asked for it yet.
    fn name(&mut self, name: &str) -> Arc<watch::Sender<Known>> {
        if let Some(known) = self.names.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let known = Arc::new(watch::Sender::new(Known::default()));
        self.names.insert(name.to_owned(), Arc::downgrade(&known));
        tokio::spawn(keep_resolved(
            self.resolver.clone(),
            name.to_owned(),
            Arc::downgrade(&known),
        ));
        known
    }
}

/// Asks for a name again and again, until nobody uses it.
async fn keep_resolved(
    resolver: Arc<dyn Resolve>,
    name: String,
    known: Weak<watch::Sender<Known>>,
) {
    let mut retry = RETRY_FIRST;
    loop {
        let answer = resolver.resolve(&name).await;
        let Some(known) = known.upgrade() else { return };
        let pause = match answer {
            Ok(answer) => {
                retry = RETRY_FIRST;
                learn(&known, &name, answer.addresses);
                answer.valid_for.clamp(SOONEST, LATEST)
            }
            Err(error) => {
                fail(&known, &name, &error);
                let pause = retry;
                retry = (retry * 2).min(RETRY_MOST);
                pause
            }
        };
        drop(known);
        sleep(pause).await;
    }
}

fn learn(known: &watch::Sender<Known>, name: &str, mut addresses: Vec<IpAddr>) {
    // Resolvers rotate their answers; the order must not look like a change.
    addresses.sort();
    addresses.dedup();
    let fresh = Known {
        addresses,
        resolution: Resolution::Known,
    };
    known.send_if_modified(|now| {
        let changed = *now != fresh;
        if changed {
            info!(name, addresses = ?fresh.addresses, "name resolved");
            *now = fresh;
        }
        changed
    });
}

/// A failure is news only while there is no answer to keep.
fn fail(known: &watch::Sender<Known>, name: &str, error: &ResolveError) {
    let resolution = match error {
        ResolveError::NotFound => Resolution::NotFound,
        ResolveError::Failed(_) => Resolution::Failed,
    };
    known.send_if_modified(|now| {
        if now.resolution == Resolution::Known || now.resolution == resolution {
            return false;
        }
        warn!(name, "cannot resolve: {error}");
        now.resolution = resolution;
        true
    });
}

/// Puts the answers of a cluster's names together whenever one changes.
async fn keep_fed(
    cluster: Weak<Cluster>,
    targets: Vec<TargetSpec>,
    names: HashMap<String, Arc<watch::Sender<Known>>>,
) {
    let mut watches: Vec<_> = names.values().map(|name| name.subscribe()).collect();
    loop {
        for watch in &mut watches {
            watch.mark_unchanged();
        }
        let now = names
            .iter()
            .map(|(name, known)| (name.clone(), known.borrow().clone()));
        let now: HashMap<_, _> = now.collect();
        match cluster.upgrade() {
            Some(cluster) => put_together(&cluster, &targets, &now),
            None => return,
        }
        any_changed(&mut watches).await;
    }
}

/// Waits until one of several watches has something new.
async fn any_changed(watches: &mut [watch::Receiver<Known>]) {
    let mut waiting: Vec<_> = watches
        .iter_mut()
        .map(|watch| Box::pin(watch.changed()))
        .collect();
    std::future::poll_fn(|cx| {
        let ready = waiting
            .iter_mut()
            .any(|watch| watch.as_mut().poll(cx).is_ready());
        if ready {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Every address of a name gets the target's full weight, as in Kong.
fn put_together(cluster: &Cluster, targets: &[TargetSpec], names: &HashMap<String, Known>) {
    let mut specs: Vec<EndpointSpec> = Vec::new();
    let mut worst = Resolution::Known;
    for target in targets {
        if let Some(address) = target.address() {
            specs.push(target.endpoint(address.ip()));
            continue;
        }
        let Some(known) = names.get(&target.host.to_ascii_lowercase()) else {
            continue;
        };
        specs.extend(known.addresses.iter().map(|ip| target.endpoint(*ip)));
        if known.resolution != Resolution::Known {
            worst = known.resolution;
        }
    }
    if specs.is_empty() && worst == Resolution::Pending {
        return;
    }
    let resolution = if specs.is_empty() {
        worst
    } else {
        Resolution::Known
    };
    cluster.set_endpoints(&specs, resolution);
}

#[cfg(test)]
mod tests;
