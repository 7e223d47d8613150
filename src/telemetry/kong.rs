//! Kong's metric families, beside ours: what the prometheus plugin counts, and what Kong tells of
//! its node.
//!
//! Each thread counts into series of its own, found in a map of that thread: no lock, no shared
//! counter. A series is entered into the one list, which a scrape sums over, when its labels are
//! first seen.
//!
//! Invariant: no more than [`MOST`] series are ever made. What finds no room is not counted, and
//! that is: `kong_nginx_metric_errors_total`.

mod series;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::series::{Counts, KONG_BOUNDS, Latencies, MillisSum, UPSTREAM_BOUNDS};
use super::exposition::Exposition;
use super::totals::Totals;
use crate::util::ids::node_id;

/// Most series of one process, over all threads.
pub const MOST: usize = 65_536;

/// What one finished request adds.
#[derive(Clone, Copy, Debug)]
pub struct KongSample<'a> {
    /// The service's name, else its host; empty without a service.
    pub service: &'a str,
    /// The route's name, else its id.
    pub route: &'a str,
    /// The consumer's name; empty where it is unknown or not asked for.
    pub consumer: &'a str,
    /// Status sent, if statuses are counted.
    pub status: Option<u16>,
    /// The upstream answered.
    pub from_service: bool,
    /// Bytes received and sent, if bandwidth is counted.
    pub bytes: Option<(u64, u64)>,
    /// Times, if they are counted.
    pub latencies: Option<KongLatencies>,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct KongLatencies {
    /// In the gateway.
    pub kong: u64,
    /// Waiting for the upstream; `None` when none answered.
    pub upstream: Option<u64>,
    /// All of it.
    pub request: u64,
}

/// Everything under Kong's names.
pub struct KongMetrics {
    /// Tells the threads' maps whose series they hold.
    id: u64,
    list: Mutex<List>,
    made: AtomicUsize,
    lost: AtomicU64,
    instances: AtomicUsize,
    health: AtomicUsize,
}

#[derive(Default)]
struct List {
    counts: Vec<(Labels, Arc<Counts>)>,
    latencies: Vec<(Labels, Arc<Latencies>)>,
}

/// Service, route, consumer.
type Labels = (String, String, String);

/// What one thread counts into.
#[derive(Default)]
struct Mine {
    of: u64,
    services: HashMap<String, HashMap<String, Route>>,
}

#[derive(Default)]
struct Route {
    /// `None` where there was no room.
    latencies: Option<Option<Arc<Latencies>>>,
    consumers: HashMap<String, Option<Arc<Counts>>>,
}

thread_local! {
    static MINE: RefCell<Mine> = RefCell::default();
}

impl Default for KongMetrics {
    fn default() -> KongMetrics {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        KongMetrics {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            list: Mutex::default(),
            made: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            instances: AtomicUsize::new(0),
            health: AtomicUsize::new(0),
        }
    }
}

/// A plugin instance that is alive: while there is one, Kong's families are exposed.
pub struct KongUse {
    metrics: Arc<KongMetrics>,
    health: bool,
}

impl Drop for KongUse {
    fn drop(&mut self) {
        self.metrics.instances.fetch_sub(1, Ordering::Relaxed);
        let health = usize::from(self.health);
        self.metrics.health.fetch_sub(health, Ordering::Relaxed);
    }
}

impl KongUse {
    /// Adds one finished request.
    pub fn observe(&self, sample: &KongSample<'_>) {
        self.metrics.observe(sample);
    }
}

impl KongMetrics {
    /// Begins to use them; `health` says that the health of targets is asked for.
    pub fn begin(self: &Arc<Self>, health: bool) -> KongUse {
        self.instances.fetch_add(1, Ordering::Relaxed);
        self.health
            .fetch_add(usize::from(health), Ordering::Relaxed);
        KongUse {
            metrics: self.clone(),
            health,
        }
    }

    /// Whether some instance asks for the health of targets.
    pub fn wants_health(&self) -> bool {
        self.health.load(Ordering::Relaxed) > 0
    }

    fn observe(&self, sample: &KongSample<'_>) {
        MINE.with_borrow_mut(|mine| {
            if mine.of != self.id {
                *mine = Mine {
                    of: self.id,
                    ..Mine::default()
                };
            }
            let Some(route) = mine.route(sample.service, sample.route) else {
                return;
            };
            if let Some(latencies) = &sample.latencies {
                let own = route
                    .latencies
                    .get_or_insert_with(|| self.latencies(sample));
                match own {
                    Some(own) => own.observe(latencies),
                    None => self.lose(),
                }
            }
            if sample.status.is_some() || sample.bytes.is_some() {
                match route.counts(sample.consumer, || self.counts(sample)) {
                    Some(own) => own.observe(sample),
                    None => self.lose(),
                }
            }
        });
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        self.made.fetch_add(1, Ordering::Relaxed) < MOST
    }

    fn latencies(&self, sample: &KongSample<'_>) -> Option<Arc<Latencies>> {
        let made: Arc<Latencies> = self.has_room().then(Arc::default)?;
        let labels = (sample.service.into(), sample.route.into(), String::new());
        self.list().latencies.push((labels, made.clone()));
        Some(made)
    }

    fn counts(&self, sample: &KongSample<'_>) -> Option<Arc<Counts>> {
        let made: Arc<Counts> = self.has_room().then(Arc::default)?;
        let consumer = sample.consumer.into();
        let labels = (sample.service.into(), sample.route.into(), consumer);
        self.list().counts.push((labels, made.clone()));
        Some(made)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the families, while some instance of the plugin is alive.
    pub(super) fn expose(&self, totals: &Totals, out: &mut Exposition) {
        if self.instances.load(Ordering::Relaxed) == 0 {
            return;
        }
        expose_node(totals, out);
        out.counter(
            "kong_nginx_metric_errors_total",
            "Requests that were not counted under Kong's names for want of room.",
            &[],
            self.lost.load(Ordering::Relaxed) as f64,
        );
        let (counts, latencies) = {
            let list = self.list();
            (list.counts.clone(), list.latencies.clone())
        };
        for (labels, own) in &counts {
            own.expose(labels, out);
        }
        expose_latencies(&latencies, out);
    }
}

impl Mine {
    /// The map of a route. Looked up before it is entered: names are copied once.
    fn route(&mut self, service: &str, route: &str) -> Option<&mut Route> {
        if !self.services.contains_key(service) {
            self.services.insert(service.into(), HashMap::new());
        }
        let routes = self.services.get_mut(service)?;
        if !routes.contains_key(route) {
            routes.insert(route.into(), Route::default());
        }
        routes.get_mut(route)
    }
}

impl Route {
    fn counts(
        &mut self,
        consumer: &str,
        make: impl FnOnce() -> Option<Arc<Counts>>,
    ) -> Option<&Counts> {
        if !self.consumers.contains_key(consumer) {
            self.consumers.insert(consumer.into(), make());
        }
        self.consumers.get(consumer)?.as_deref()
    }
}

fn expose_latencies(all: &[(Labels, Arc<Latencies>)], out: &mut Exposition) {
    let mut sums: BTreeMap<(&str, &str), [MillisSum; 3]> = BTreeMap::new();
    for ((service, route, _), own) in all {
        let [kong, upstream, request] = sums.entry((service, route)).or_default();
        kong.add(&own.kong);
        upstream.add(&own.upstream);
        request.add(&own.request);
    }
    for ((service, route), [kong, upstream, request]) in sums {
        let labels = [
            ("service", service),
            ("route", route),
            ("workspace", "default"),
        ];
        let families = [
            (
                "kong_kong_latency_ms",
                "Latency added by the gateway and its plugins, in milliseconds.",
                kong.buckets(&KONG_BOUNDS),
            ),
            (
                "kong_upstream_latency_ms",
                "Waiting for the upstream's response, in milliseconds.",
                upstream.buckets(&UPSTREAM_BOUNDS),
            ),
            (
                "kong_request_latency_ms",
                "Whole requests, in milliseconds.",
                request.buckets(&UPSTREAM_BOUNDS),
            ),
        ];
        for (name, help, buckets) in families {
            if buckets.count > 0 {
                out.histogram(name, help, &labels, buckets);
            }
        }
    }
}

fn expose_node(totals: &Totals, out: &mut Exposition) {
    let node = node_id();
    let http = [("node_id", node), ("subsystem", "http")];
    // What reads a request and what waits for an upstream is not told apart.
    let states = [
        ("accepted", totals.accepted),
        ("handled", totals.handled),
        ("total", totals.requests),
        ("active", totals.active),
        ("reading", 0),
        ("writing", totals.active.saturating_sub(totals.idle)),
        ("waiting", totals.idle),
    ];
    for (state, count) in states {
        out.gauge(
            "kong_nginx_connections_total",
            "Client connections by state.",
            &[http[0], http[1], ("state", state)],
            count as f64,
        );
    }
    out.gauge(
        "kong_nginx_requests_total",
        "Requests whose head was read.",
        &http,
        totals.requests as f64,
    );
    out.gauge(
        "kong_datastore_reachable",
        "Whether the store of the configuration is reachable: always 1, it is in memory.",
        &[],
        1.0,
    );
    out.gauge(
        "kong_node_info",
        "The node and its version; always 1.",
        &[("node_id", node), ("version", env!("CARGO_PKG_VERSION"))],
        1.0,
    );
}

#[cfg(test)]
mod tests;
