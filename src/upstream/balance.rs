//! Which endpoint gets the next request: one balancer per worker and cluster.
//!
//! An algorithm is a file beside this one. They share a view of the endpoints, which says whom a
//! pick may take: not those without a weight, and those that have failed this request only when
//! nobody else is left. Nothing here is locked and, but for a list that has changed, nothing
//! allocated.

mod hashing;
mod latency;
mod least_connections;
mod round_robin;
mod view;

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::hashing::Hashing;
use self::latency::Latency;
use self::least_connections::LeastConnections;
use self::round_robin::RoundRobin;
use self::view::View;
use super::cluster::{Cluster, Endpoint, EndpointSet};
use super::policy::{Algorithm, Policy};
use crate::util::clock;

/// One worker's view of one cluster.
#[derive(Debug)]
pub struct Balancer {
    held: Rc<Held>,
    choice: Choice,
    start: u32,
}

/// What an algorithm remembers from pick to pick.
#[derive(Debug)]
enum Choice {
    RoundRobin(RoundRobin),
    LeastConnections(LeastConnections),
    Latency(Latency),
    Hashing(Hashing),
}

/// This worker's hold on a list, and on what goes with it.
#[derive(Debug)]
struct Held {
    cluster: Arc<Cluster>,
    policy: Arc<Policy>,
    set: Arc<EndpointSet>,
}

/// An endpoint that was picked. Holds on to the list that it stands in through a count of this
/// worker's own: a count shared with other workers would be fought over at every request.
#[derive(Clone, Debug)]
pub struct Picked {
    held: Rc<Held>,
    ix: usize,
}

impl Deref for Picked {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.held.set.endpoints[self.ix]
    }
}

impl Picked {
    /// A response head came, so long after the attempt began.
    pub fn answered(&self, began: Instant, now: Instant) {
        self.measure(began, now);
    }

    /// The attempt brought no response head.
    pub fn failed(&self, began: Instant, now: Instant) {
        // Refusing is quick: it must not look like a fast answer.
        self.measure(began, now.max(began + PENALTY));
    }

    /// Nobody waited for the response head any longer.
    pub fn abandoned(&self, began: Instant, now: Instant) {
        let waited = now.saturating_duration_since(began).as_secs_f32();
        // It would have taken longer; how much, nobody knows.
        if self.latency(now).is_none_or(|usual| waited > usual) {
            self.measure(began, now);
        }
    }

    fn measure(&self, began: Instant, now: Instant) {
        if self.held.policy.algorithm == Algorithm::Latency {
            self.note_latency(began, now);
        }
    }
}

/// A failure counts as an answer that took at least this long.
const PENALTY: Duration = Duration::from_secs(1);

impl Choice {
    fn new(policy: &Policy, start: u32) -> Choice {
        let first = start as usize;
        match policy.algorithm {
            Algorithm::RoundRobin => Choice::RoundRobin(RoundRobin::default()),
            Algorithm::LeastConnections => Choice::LeastConnections(LeastConnections::new(first)),
            Algorithm::Latency => Choice::Latency(Latency::new(first)),
            Algorithm::ConsistentHashing => Choice::Hashing(Hashing::new(policy.slots)),
        }
    }

    /// The list is another one.
    fn rebuild(&mut self, view: &View<'_>, start: u32) {
        match self {
            Choice::RoundRobin(turns) => turns.rebuild(view, start),
            Choice::Hashing(ring) => ring.rebuild(view, start),
            // They remember nothing of the list.
            Choice::LeastConnections(_) | Choice::Latency(_) => {}
        }
    }

    fn pick(&mut self, view: &View<'_>, key: Option<u64>) -> Option<usize> {
        match self {
            Choice::RoundRobin(turns) => turns.pick(view),
            Choice::LeastConnections(least) => least.pick(view),
            Choice::Latency(fastest) => fastest.pick(view),
            Choice::Hashing(ring) => ring.pick(view, key),
        }
    }
}

impl Balancer {
    /// A balancer of that cluster; `start` says how many picks later than another worker's its
    /// order begins.
    pub fn new(cluster: Arc<Cluster>, policy: Arc<Policy>, start: u32) -> Balancer {
        let choice = Choice::new(&policy, start);
        let set = cluster.endpoints();
        let held = Rc::new(Held {
            cluster,
            policy,
            set,
        });
        let mut balancer = Balancer {
            held,
            choice,
            start,
        };
        balancer.rebuild();
        balancer
    }

    /// The cluster it balances over.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.held.cluster
    }

    /// The endpoints as this worker sees them now.
    pub fn endpoints(&mut self) -> &Arc<EndpointSet> {
        if let Some(newer) = self.held.cluster.newer(&self.held.set) {
            self.held = Rc::new(Held {
                cluster: self.held.cluster.clone(),
                policy: self.held.policy.clone(),
                set: newer,
            });
            self.rebuild();
        }
        &self.held.set
    }

    /// The next endpoint, one that `avoid` does not name if there is one; `None` when no
    /// endpoint has a weight. `key` is what the request is hashed by, where it is.
    pub fn pick(
        &mut self,
        key: Option<u64>,
        now: Instant,
        avoid: impl Fn(&Endpoint) -> bool,
    ) -> Option<Picked> {
        self.endpoints();
        let mut view = self.held.view(now);
        view.avoid = Some(&avoid);
        let ix = self.choice.pick(&view, key).or_else(|| {
            view.avoid = None;
            self.choice.pick(&view, key)
        })?;
        Some(Picked {
            held: self.held.clone(),
            ix,
        })
    }

    fn rebuild(&mut self) {
        let view = self.held.view(clock::now());
        self.choice.rebuild(&view, self.start);
    }
}

impl Held {
    fn view(&self, now: Instant) -> View<'_> {
        View {
            endpoints: &self.set.endpoints,
            avoid: None,
            slow_start: self.policy.slow_start,
            now,
        }
    }
}

#[cfg(test)]
mod tests;
