//! The live state of one upstream: its endpoints, swapped as one value.
//!
//! Endpoints come from outside (targets of the file, DNS, discovery) and change without a reload;
//! the data plane only reads. One fact, one pointer: list and version change together.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::capacity::Load;
use super::error::UpstreamErrorKind;
use super::health::{Checks, Counts, Event, Health, HealthCell, Moment};
use super::latency::Latency;
use super::outlier::{ConductCell, Reason};
use crate::util::clock;

/// What makes a cluster the same one over a reload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClusterKey {
    /// An upstream entity, by name.
    Upstream(String),
    /// A service that names its host itself.
    Host {
        /// Address or DNS name.
        host: String,
        /// Port.
        port: u16,
    },
}

impl ClusterKey {
    /// The name for metrics and logs.
    pub fn name(&self) -> String {
        match self {
            ClusterKey::Upstream(name) => name.clone(),
            ClusterKey::Host { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            ClusterKey::Host { host, port } => format!("{host}:{port}"),
        }
    }
}

/// One address that requests may go to.
#[derive(Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// The target's host as written: what `Host` and SNI say where nothing else does.
    pub host: String,
    /// The target as written, `host:port`: what admin views and metrics say.
    pub target: String,
    /// Host and port as `Host` names them, IPv6 in brackets; and where the port begins.
    authority: (String, usize),
    weight: AtomicU32,
    in_flight: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    /// In the order of [`UpstreamErrorKind::ALL`].
    kinds: [AtomicU32; 8],
    latency: Latency,
    health: HealthCell,
    conduct: ConductCell,
    /// What its times count from.
    born: Instant,
}

impl Endpoint {
    /// A new endpoint without history.
    pub fn new(address: SocketAddr, host: String, target: String, weight: u32) -> Endpoint {
        let mut authority = bracketed(&host);
        let port_at = authority.len();
        authority.push_str(&format!(":{}", address.port()));
        Endpoint {
            address,
            host,
            target,
            authority: (authority, port_at),
            weight: weight.into(),
            in_flight: 0.into(),
            requests: 0.into(),
            failures: 0.into(),
            kinds: Default::default(),
            latency: Latency::default(),
            health: HealthCell::default(),
            conduct: ConductCell::default(),
            born: clock::now(),
        }
    }

    /// Host and port as `Host` names them, without the port where it is the scheme's `usual` one.
    pub fn authority(&self, usual: u16) -> &str {
        let (text, port_at) = &self.authority;
        if self.address.port() == usual {
            &text[..*port_at]
        } else {
            text
        }
    }

    /// Its share of the traffic relative to the others; 0: none.
    pub fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Requests that it is working on.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Attempts so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Attempts so far that brought no response head.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often attempts failed in that way; it begins anew after four billion.
    pub fn failed_by(&self, kind: UpstreamErrorKind) -> u32 {
        self.kinds[kind as usize].load(Ordering::Relaxed)
    }

    /// Notes in what way an attempt failed.
    pub fn note_failure(&self, kind: UpstreamErrorKind) {
        self.kinds[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How long it takes to answer, in seconds; `None` where nobody has measured that.
    pub fn latency(&self, now: Instant) -> Option<f32> {
        self.latency.at(self.age(now))
    }

    /// Notes how long an answer took.
    pub fn note_latency(&self, began: Instant, now: Instant) {
        let took = now.saturating_duration_since(began);
        self.latency.note(self.age(now), took);
    }

    pub(super) fn conduct(&self) -> &ConductCell {
        &self.conduct
    }

    /// Whether it is fit for requests, and what is known of that.
    pub fn health(&self) -> Health {
        self.health.get()
    }

    /// What part of its weight counts, in thousandths: it grows from a tenth to the whole in
    /// `slow_start`, counted from its first day or from its recovery.
    pub fn share(&self, now: Instant, slow_start: Duration) -> u64 {
        let since = self.health().since().unwrap_or_default();
        let (up, whole) = (since.ago(self.moment(now)), slow_start.as_millis().max(1));
        (up.as_millis().min(whole) * 1000 / whole).max(100) as u64
    }

    /// A moment on its own clock.
    pub fn moment(&self, now: Instant) -> Moment {
        Moment::after(self.age(now))
    }

    /// Claims the trial request that is due; of several who try, one gets it.
    pub(super) fn claim_trial(&self, probation: Duration, now: Instant) -> bool {
        let now = self.moment(now);
        let claim = |health: Health| {
            let due = health.is_due(now);
            due.then(|| health.begin_trial(probation, now))
        };
        self.health.change(claim).is_some()
    }

    /// The trial request was never sent.
    pub(super) fn give_trial_back(&self, now: Instant) {
        let now = self.moment(now);
        self.health.change(|health| Some(health.undo_trial(now)));
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.born)
    }

    /// An attempt begins.
    pub fn begin(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// An attempt is over.
    pub fn end(&self, failed: bool) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A host as it stands before a port: IPv6 in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// What is known of a name's resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolution {
    /// Nobody has answered yet.
    #[default]
    Pending,
    /// The list is what there is; an empty one is the truth.
    Known,
    /// The name does not exist, or has no addresses.
    NotFound,
    /// Resolving failed and no earlier answer is left.
    Failed,
}

/// All endpoints of a cluster at one moment.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// Grows by one with each change.
    pub version: u64,
    /// Every endpoint, in a stable order; those of weight 0 too.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// What is known of the list.
    pub resolution: Resolution,
}

/// An endpoint as a source of endpoints describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Where to connect.
    pub address: SocketAddr,
    /// The target's host as written.
    pub host: String,
    /// The target as written, `host:port`.
    pub target: String,
    /// Its weight, 0-65535.
    pub weight: u32,
}

/// The live state of one upstream.
#[derive(Debug)]
pub struct Cluster {
    key: ClusterKey,
    set: ArcSwap<EndpointSet>,
    /// Version of that set, for who only asks whether it is a newer one: a plain load, where taking
    /// the set is a locked one.
    version: AtomicU64,
    /// Nobody has answered yet.
    pending: AtomicBool,
    changed: watch::Sender<u64>,
    /// Grows when an endpoint turns healthy or unhealthy.
    turns: AtomicU64,
    /// How often endpoints turned healthy, and unhealthy.
    turned: [AtomicU64; 2],
    load: Load,
    /// How often endpoints were taken out, by reason.
    ejections: [AtomicU64; 2],
}

/// Who has seen something of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A probe.
    Probe,
    /// The traffic.
    Traffic,
    /// The one request that an unhealthy endpoint gets after its probation.
    Trial,
}

impl Witness {
    fn label(self) -> &'static str {
        match self {
            Witness::Probe => "probe",
            Witness::Traffic => "traffic",
            Witness::Trial => "trial request",
        }
    }

    fn counts(self, checks: &Checks) -> Option<&Counts> {
        match self {
            Witness::Probe => checks.active.as_ref(),
            Witness::Traffic => checks.passive.as_ref(),
            Witness::Trial => Some(&checks.trial),
        }
    }
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(key: ClusterKey) -> Cluster {
        Cluster {
            key,
            set: ArcSwap::default(),
            version: 0.into(),
            pending: true.into(),
            changed: watch::channel(0).0,
            turns: 0.into(),
            turned: Default::default(),
            load: Load::default(),
            ejections: Default::default(),
        }
    }

    /// Its identity.
    pub fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// What is under way, as far as that is limited.
    pub fn load(&self) -> &Load {
        &self.load
    }

    /// The endpoints now.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// The endpoints if they are newer than what the caller holds: one comparison.
    pub fn newer(&self, held: &EndpointSet) -> Option<Arc<EndpointSet>> {
        let is_newer = self.version.load(Ordering::Acquire) != held.version;
        is_newer.then(|| self.set.load_full())
    }

    /// Whether nobody has answered yet where this leads.
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Replaces the endpoints. Those whose address and name stay keep their history; only the
    /// source that owns this cluster calls it.
    pub fn set_endpoints(&self, specs: &[EndpointSpec], resolution: Resolution) {
        let old = self.set.load_full();
        let known = old.endpoints.iter().map(|it| (identity(it), it)).collect();
        let endpoints = specs.iter().map(|spec| adopt(&known, spec)).collect();
        let version = old.version + 1;
        self.set.store(Arc::new(EndpointSet {
            version,
            endpoints,
            resolution,
        }));
        self.version.store(version, Ordering::Release);
        let pending = resolution == Resolution::Pending;
        self.pending.store(pending, Ordering::Release);
        self.changed.send_replace(version);
    }

    /// Keeps the endpoints but notes why no newer ones came. A list that was known stays known.
    pub fn set_failure(&self, resolution: Resolution) {
        let old = self.set.load_full();
        if old.endpoints.is_empty() && old.resolution != resolution {
            self.set_endpoints(&[], resolution);
        }
    }

    /// A number that changes when an endpoint turns healthy or unhealthy.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// How often endpoints turned healthy, and unhealthy.
    pub fn turned(&self) -> [u64; 2] {
        [0, 1].map(|to| self.turned[to].load(Ordering::Relaxed))
    }

    /// How often endpoints were taken out as outliers, for that reason.
    pub fn ejections(&self, why: Reason) -> u64 {
        self.ejections[why as usize].load(Ordering::Relaxed)
    }

    pub(super) fn count_ejection(&self, why: Reason) {
        self.ejections[why as usize].fetch_add(1, Ordering::Relaxed);
        self.turn();
    }

    /// Somebody may be used now who might not before, or the other way round.
    pub(super) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Release);
    }

    /// Hears of every change of the list, and of every endpoint that turns.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Something was seen of an endpoint. Costs a look where that changes nothing.
    pub fn report(
        &self,
        endpoint: &Endpoint,
        (witness, event): (Witness, Event),
        checks: &Checks,
        now: Instant,
    ) {
        let Some(counts) = witness.counts(checks) else {
            return;
        };
        let (now, probation) = (endpoint.moment(now), checks.probation);
        let changed = endpoint.health.change(|health| {
            Some(match witness {
                Witness::Trial => health.end_trial(event == Event::Success, probation, now),
                _ => health.report(event, counts, probation, now),
            })
        });
        self.tell(endpoint, changed, witness.label(), event.label());
    }

    /// An operator says how an endpoint is.
    pub fn set_health(&self, endpoint: &Endpoint, healthy: bool, now: Instant) {
        let now = endpoint.moment(now);
        let changed = endpoint
            .health
            .change(|health| Some(health.set(healthy, now)));
        self.tell(endpoint, changed, "operator", "set by hand");
        // One who is unhealthy already is held now, which changes whom others may take.
        self.turns.fetch_add(1, Ordering::Release);
    }

    /// Logs and counts a turn, once.
    fn tell(
        &self,
        endpoint: &Endpoint,
        changed: Option<(Health, Health)>,
        by: &'static str,
        why: &'static str,
    ) {
        let turned = changed.filter(|(before, after)| before.is_healthy() != after.is_healthy());
        let Some((_, after)) = turned else { return };
        let healthy = after.is_healthy();
        self.turned[usize::from(!healthy)].fetch_add(1, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Release);
        self.changed.send_modify(|_| {});
        let (upstream, target, address) = (self.key.name(), &endpoint.target, endpoint.address);
        match healthy {
            true => info!(%upstream, %target, %address, by, why, "target is healthy"),
            false => warn!(%upstream, %target, %address, by, why, "target is unhealthy"),
        }
    }

    /// Waits until the first answer is in, whatever it is. Dropping it changes nothing.
    pub async fn resolved(&self) {
        let mut changed = self.changed.subscribe();
        while self.is_pending() {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// What makes an endpoint the same one in another list: address, host, target.
type Identity<'a> = (SocketAddr, &'a str, &'a str);

fn identity(endpoint: &Endpoint) -> Identity<'_> {
    (endpoint.address, &endpoint.host, &endpoint.target)
}

fn adopt(known: &HashMap<Identity<'_>, &Arc<Endpoint>>, spec: &EndpointSpec) -> Arc<Endpoint> {
    match known.get(&(spec.address, &spec.host, &spec.target)) {
        Some(endpoint) => {
            endpoint.weight.store(spec.weight, Ordering::Relaxed);
            Arc::clone(endpoint)
        }
        None => Arc::new(Endpoint::new(
            spec.address,
            spec.host.clone(),
            spec.target.clone(),
            spec.weight,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(port: u16, weight: u32) -> EndpointSpec {
        EndpointSpec {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            host: "a".into(),
            target: format!("a:{port}"),
            weight,
        }
    }

    #[test]
    fn endpoints_that_stay_keep_their_history() {
        let cluster = Cluster::new(ClusterKey::Upstream("u".into()));
        cluster.set_endpoints(&[spec(1, 10), spec(2, 10)], Resolution::Known);
        let before = cluster.endpoints();
        before.endpoints[1].begin();
        cluster.set_endpoints(&[spec(2, 50), spec(3, 10)], Resolution::Known);
        let after = cluster.newer(&before).unwrap();
        assert_eq!(
            (after.endpoints[0].in_flight(), after.endpoints[0].weight()),
            (1, 50)
        );
        assert!(cluster.newer(&after).is_none());
    }

    #[test]
    fn a_failed_refresh_keeps_the_last_good_answer() {
        let cluster = Cluster::new(ClusterKey::Upstream("u".into()));
        cluster.set_failure(Resolution::Failed);
        assert_eq!(cluster.endpoints().resolution, Resolution::Failed);
        cluster.set_endpoints(&[spec(1, 10)], Resolution::Known);
        cluster.set_failure(Resolution::Failed);
        assert_eq!(cluster.endpoints().resolution, Resolution::Known);
        assert_eq!(cluster.endpoints().endpoints.len(), 1);
    }
}
