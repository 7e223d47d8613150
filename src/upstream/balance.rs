//! Which endpoint gets the next request: one balancer per worker and cluster.
//!
//! An algorithm is a file beside this one. They share a view of the endpoints, which says whom a
//! pick may take: not those without a weight or in bad health, and those that have failed this
//! request only when nobody else is left. Nothing here is locked and, but for a list that has
//! changed, nothing allocated.

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
use super::capacity::{Capacity, Limit, Permit};
use super::cluster::{Cluster, Endpoint, EndpointSet, Witness};
use super::error::UpstreamErrorKind;
use super::health::Event;
use super::policy::{Algorithm, Policy};
use crate::util::clock;

/// One worker's view of one cluster.
#[derive(Debug)]
pub struct Balancer {
    held: Rc<Held>,
    choice: Choice,
    start: u32,
    shut: Shut,
}

/// Whose health keeps requests away, as this worker last saw it.
#[derive(Debug, Default)]
struct Shut {
    /// [`Cluster::turns`] when it was looked at.
    turns: u64,
    /// By position; empty when nobody's does.
    all: Vec<bool>,
    /// Positions of those that a trial request may bring back.
    sick: Vec<usize>,
    /// Nobody may be sent anything.
    unusable: bool,
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
    /// It is unhealthy, and this request shows whether it still is.
    trial: bool,
}

impl Deref for Picked {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.held.set.endpoints[self.ix]
    }
}

impl Picked {
    /// What limits its cluster, where anything does.
    pub fn capacity(&self) -> Option<(&Arc<Cluster>, &Capacity)> {
        Some((&self.held.cluster, self.held.policy.capacity.as_ref()?))
    }

    /// A response head came that says it all.
    pub fn answered(&self, status: u16, began: Instant, now: Instant) {
        self.timed(began, now);
        self.judge(Ok(status), now);
        let checks = &self.held.policy.checks;
        let event = match (&checks.passive, self.trial) {
            // What neither list has is an answer at least.
            (_, true) => checks.judge(&checks.trial, status).or(Some(Event::Success)),
            (Some(counts), false) => checks.judge(counts, status),
            (None, false) => None,
        };
        self.report(event, now);
    }

    /// A response head came whose end says how it went (gRPC's status in trailers): see
    /// [`Picked::ended`]. A trial has shown enough: a stream may take hours.
    pub fn began_answer(&self, began: Instant, now: Instant) {
        self.timed(began, now);
        self.report(self.trial.then_some(Event::Success), now);
    }

    /// An answer that had begun has ended with what a status means, or broke off.
    pub fn ended(&self, outcome: Result<u16, UpstreamErrorKind>, now: Instant) {
        self.judge(outcome, now);
        let checks = &self.held.policy.checks;
        let Some(counts) = &checks.passive else {
            return;
        };
        let event = match outcome {
            Ok(status) => checks.judge(counts, status),
            Err(_) => Some(Event::TcpFailure),
        };
        if let Some(event) = event {
            let seen = (Witness::Traffic, event);
            self.held.cluster.report(self, seen, checks, now);
        }
    }

    /// The attempt brought no response head.
    pub fn failed(&self, kind: UpstreamErrorKind, began: Instant, now: Instant) {
        self.note_failure(kind);
        self.judge(Err(kind), now);
        // Refusing is quick: it must not look like a fast answer.
        self.measure(began, now.max(began + PENALTY));
        self.report(
            Some(match kind {
                UpstreamErrorKind::Malformed => Event::HttpFailure,
                kind if kind.is_timeout() => Event::Timeout,
                _ => Event::TcpFailure,
            }),
            now,
        );
    }

    /// Nobody waited for the response head any longer.
    pub fn abandoned(&self, began: Instant, now: Instant) {
        let waited = now.saturating_duration_since(began).as_secs_f32();
        // It would have taken longer; how much, nobody knows.
        if self.latency(now).is_none_or(|usual| waited > usual) {
            self.measure(began, now);
        }
    }

    /// The attempt does not count.
    pub fn forgotten(&self, now: Instant) {
        if self.trial {
            self.give_trial_back(now);
        }
    }

    fn judge(&self, outcome: Result<u16, UpstreamErrorKind>, now: Instant) {
        if let Some(outliers) = &self.held.policy.outliers {
            self.held.cluster.judge(outliers, self, outcome, now);
        }
    }

    fn timed(&self, began: Instant, now: Instant) {
        self.measure(began, now);
        if let Some(outliers) = &self.held.policy.outliers {
            let took = now.saturating_duration_since(began);
            self.held.cluster.note_time(outliers, self, took);
        }
    }

    fn measure(&self, began: Instant, now: Instant) {
        if self.held.policy.algorithm == Algorithm::Latency {
            self.note_latency(began, now);
        }
    }

    fn report(&self, event: Option<Event>, now: Instant) {
        let Held {
            cluster, policy, ..
        } = &*self.held;
        let witness = match self.trial {
            true => Witness::Trial,
            false => Witness::Traffic,
        };
        if let Some(event) = event {
            cluster.report(self, (witness, event), &policy.checks, now);
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
            shut: Shut::default(),
        };
        balancer.rebuild();
        balancer
    }

    /// The cluster it balances over.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.held.cluster
    }

    /// What limits the cluster, where anything does.
    pub fn capacity(&self) -> Option<(&Arc<Cluster>, &Capacity)> {
        Some((&self.held.cluster, self.held.policy.capacity.as_ref()?))
    }

    /// A permit for a request among those that the cluster may have.
    pub fn admit(&self) -> Result<Option<Permit>, Limit> {
        let admitted = self.capacity().map(|(cluster, of)| cluster.admit(of));
        Ok(admitted.transpose()?.flatten())
    }

    /// A permit for a request that is tried again.
    pub fn retry(&self) -> Result<Option<Permit>, Limit> {
        let taken = self.capacity().map(|(cluster, of)| cluster.retry(of));
        Ok(taken.transpose()?.flatten())
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
    /// endpoint may be used. `key` is what the request is hashed by, where it is.
    pub fn pick(
        &mut self,
        key: Option<u64>,
        now: Instant,
        avoid: impl Fn(&Endpoint) -> bool,
    ) -> Option<Picked> {
        self.endpoints();
        if self.shut.turns != self.held.cluster.turns() {
            self.shut.look(&self.held);
        }
        if !self.shut.sick.is_empty()
            && let Some(ix) = self.trial(key, now, &avoid)
        {
            return Some(self.picked(ix, true));
        }
        if self.shut.unusable {
            return None;
        }
        let mut view = self.held.view(&self.shut, now);
        view.avoid = Some(&avoid);
        let ix = self.choice.pick(&view, key).or_else(|| {
            view.avoid = None;
            self.choice.pick(&view, key)
        })?;
        Some(self.picked(ix, false))
    }

    fn picked(&self, ix: usize, trial: bool) -> Picked {
        Picked {
            held: self.held.clone(),
            ix,
            trial,
        }
    }

    /// An unhealthy endpoint whose trial request this one shall be. Where requests are hashed it
    /// waits for one of its own, as long as the others are fit to serve.
    fn trial(
        &mut self,
        key: Option<u64>,
        now: Instant,
        avoid: &impl Fn(&Endpoint) -> bool,
    ) -> Option<usize> {
        let checks = &self.held.policy.checks;
        if checks.are_healing() || !checks.is_on() {
            return None;
        }
        let nobody = Shut::default();
        let view = self.held.view(&nobody, now);
        for &ix in &self.shut.sick {
            let endpoint = &self.held.set.endpoints[ix];
            let due = endpoint.weight() > 0 && endpoint.health().is_due(endpoint.moment(now));
            if !due || avoid(endpoint) {
                continue;
            }
            let own = match (&mut self.choice, key) {
                (Choice::Hashing(ring), Some(key)) => {
                    self.shut.unusable || ring.owns(&view, key, ix)
                }
                _ => true,
            };
            if own && endpoint.claim_trial(checks.probation, now) {
                return Some(ix);
            }
        }
        None
    }

    fn rebuild(&mut self) {
        self.shut.look(&self.held);
        let view = self.held.view(&self.shut, clock::now());
        self.choice.rebuild(&view, self.start);
    }
}

impl Shut {
    /// Sees who is healthy now.
    fn look(&mut self, held: &Held) {
        self.turns = held.cluster.turns();
        self.all.clear();
        let standing = held.policy.standing(&held.set);
        // In a panic only what an operator has taken out stays out.
        let shut = held.set.endpoints.iter().map(|of| match standing.panics {
            true => of.health().is_held(),
            false => held.policy.shuts(of),
        });
        self.all.extend(shut);
        let positions = held.set.endpoints.iter().enumerate();
        let sick = positions.filter(|(_, of)| {
            let health = of.health();
            !health.is_healthy() && !health.is_held() && held.policy.shuts(of)
        });
        self.sick.clear();
        self.sick.extend(sick.map(|(ix, _)| ix));
        if !self.all.contains(&true) {
            self.all.clear();
        }
        self.unusable = !standing.is_usable;
    }
}

impl Held {
    fn view<'a>(&'a self, shut: &'a Shut, now: Instant) -> View<'a> {
        View {
            endpoints: &self.set.endpoints,
            shut: &shut.all,
            avoid: None,
            slow_start: self.policy.slow_start,
            now,
        }
    }
}

#[cfg(test)]
mod tests;
