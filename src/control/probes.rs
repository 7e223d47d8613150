//! Who probes when: a task for each upstream with active checks, which keeps its plan over
//! reloads.
//!
//! Invariants: at most `concurrency` probes of an upstream, and [`ROOM`] of the process, run at
//! the same time; a plan is jittered, so that neither the targets of one upstream nor the
//! gateways in front of one target fall into step; an endpoint is never probed twice at once.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::snapshot::Snapshot;
use crate::upstream::health::Event;
use crate::upstream::{Cluster, Endpoint, Policy, Witness};
use crate::util::clock;

/// Probes of the whole process at the same time.
const ROOM: usize = 256;

/// Probes the endpoints of the live snapshot.
pub struct Probes {
    runtime: Handle,
    room: Arc<Semaphore>,
    tasks: Mutex<Vec<Task>>,
    counts: Arc<ProbeCounts>,
}

/// How many probes ended how, over all upstreams that ever were.
#[derive(Debug, Default)]
pub struct ProbeCounts([AtomicU64; 5]);

/// Names of the counters.
const RESULTS: [&str; 5] = [
    "success",
    "tcp_failure",
    "timeout",
    "http_failure",
    "ignored",
];

impl ProbeCounts {
    fn count(&self, event: Option<Event>) {
        let label = event.map_or("ignored", Event::label);
        if let Some(ix) = RESULTS.iter().position(|known| *known == label) {
            self.0[ix].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Every result and how often it came.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        RESULTS.into_iter().zip(counts)
    }
}

/// The task of one upstream.
struct Task {
    cluster: Weak<Cluster>,
    policy: watch::Sender<Arc<Policy>>,
    task: AbortHandle,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probes {
    /// Nobody to probe yet; tasks run on `runtime`.
    pub fn new(runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            room: Arc::new(Semaphore::new(ROOM)),
            tasks: Mutex::default(),
            counts: Arc::default(),
        })
    }

    /// How probes ended so far.
    pub fn counts(&self) -> &ProbeCounts {
        &self.counts
    }

    /// Probes the endpoints of this snapshot from now on, and those of an earlier one no more.
    pub fn follow(&self, snapshot: &Snapshot) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old: Vec<Task> = tasks.drain(..).collect();
        for (cluster, policy) in snapshot.clusters.iter().zip(&snapshot.policies) {
            if policy.probing.is_none() {
                continue;
            }
            let ours = |task: &Task| std::ptr::eq(task.cluster.as_ptr(), Arc::as_ptr(cluster));
            tasks.push(match old.iter().position(ours) {
                Some(at) => {
                    let task = old.swap_remove(at);
                    task.policy.send_replace(policy.clone());
                    task
                }
                None => self.start(cluster, policy),
            });
        }
    }

    fn start(&self, cluster: &Arc<Cluster>, policy: &Arc<Policy>) -> Task {
        let (sender, policy) = watch::channel(policy.clone());
        let rounds = Rounds {
            cluster: Arc::downgrade(cluster),
            policy,
            room: self.room.clone(),
            counts: self.counts.clone(),
            plans: HashMap::new(),
            running: JoinSet::new(),
        };
        Task {
            cluster: Arc::downgrade(cluster),
            policy: sender,
            task: self.runtime.spawn(rounds.run()).abort_handle(),
        }
    }
}

/// What an endpoint is known by from round to round.
type Name = (SocketAddr, String);

/// When an endpoint is probed.
struct Plan {
    /// What the next interval is counted from.
    from: Instant,
    /// Which part of the interval is waited for, in thousandths.
    part: u32,
    running: bool,
}

/// One upstream's probes.
struct Rounds {
    cluster: Weak<Cluster>,
    policy: watch::Receiver<Arc<Policy>>,
    room: Arc<Semaphore>,
    counts: Arc<ProbeCounts>,
    plans: HashMap<Name, Plan>,
    running: JoinSet<Name>,
}

impl Rounds {
    /// Goes on until it is aborted or the upstream is gone.
    async fn run(mut self) {
        loop {
            let Some(cluster) = self.cluster.upgrade() else {
                return;
            };
            let mut changed = cluster.watch();
            let policy = self.policy.borrow_and_update().clone();
            let next = self.launch(&cluster, &policy);
            drop(cluster);
            tokio::select! {
                told = self.policy.changed() => if told.is_err() { return },
                // An error: the cluster is gone, which the next turn sees.
                _ = changed.changed() => {}
                Some(done) = self.running.join_next() => {
                    if let Some(plan) = done.ok().and_then(|name| self.plans.get_mut(&name)) {
                        plan.running = false;
                    }
                }
                () = sleep_until(next) => {}
            }
        }
    }

    /// Starts the probes that are due; when the next one is.
    fn launch(&mut self, cluster: &Arc<Cluster>, policy: &Arc<Policy>) -> Instant {
        let now = clock::now();
        let mut next = now + IDLE;
        let Some(probing) = &policy.probing else {
            return next;
        };
        let set = cluster.endpoints();
        let listed = |name: &Name| {
            let mut all = set.endpoints.iter();
            all.any(|endpoint| endpoint.address == name.0 && endpoint.target == name.1)
        };
        self.plans.retain(|name, plan| plan.running || listed(name));
        for endpoint in set.endpoints.iter().filter(|of| of.weight() > 0) {
            let healthy = endpoint.health().is_healthy();
            let Some(interval) = probing.interval(healthy) else {
                continue;
            };
            let name = (endpoint.address, endpoint.target.clone());
            let plan = self.plans.entry(name.clone()).or_insert_with(|| Plan {
                from: now,
                // The first one soon.
                part: jitter(FIRST),
                running: false,
            });
            if plan.running {
                continue;
            }
            let due = plan.from + interval * plan.part / 1000;
            if due > now {
                next = next.min(due);
            } else if self.running.len() < probing.concurrency {
                *plan = Plan {
                    from: now,
                    part: jitter(LATER),
                    running: true,
                };
                let probing = probe(
                    Arc::downgrade(cluster),
                    endpoint.clone(),
                    policy.clone(),
                    self.room.clone(),
                    self.counts.clone(),
                );
                self.running.spawn(async move {
                    probing.await;
                    name
                });
            }
            // Else the end of a running probe makes room.
        }
        next
    }
}

/// How long nothing may be due.
const IDLE: Duration = Duration::from_secs(60);
/// After which part of the interval the first probe comes, and each later one.
const FIRST: (u32, u32) = (0, 200);
const LATER: (u32, u32) = (900, 1100);

/// A number from the range, by chance.
fn jitter((least, most): (u32, u32)) -> u32 {
    let chance = Uuid::new_v4().as_u128() as u32;
    least + chance % (most - least)
}

async fn probe(
    cluster: Weak<Cluster>,
    endpoint: Arc<Endpoint>,
    policy: Arc<Policy>,
    room: Arc<Semaphore>,
    counts: Arc<ProbeCounts>,
) {
    let (Some(probing), Some(active)) = (&policy.probing, &policy.checks.active) else {
        return;
    };
    // It is never closed.
    let _room = room.acquire().await;
    let event = probing.probe(&endpoint, active).await;
    counts.count(event);
    if let (Some(event), Some(cluster)) = (event, cluster.upgrade()) {
        let seen = (Witness::Probe, event);
        cluster.report(&endpoint, seen, &policy.checks, clock::now());
    }
}

#[cfg(test)]
mod tests;
