//! The families of the process: who counts gets a handle, a scrape gets the text.
//!
//! Requests and connections are counted in shards ([`super::shard`]); what happens rarely is
//! counted by [`Counter`] and [`Gauge`]; what others hold anyway (target health, open breakers) is
//! asked for at scrape time, through sources.
//!
//! Invariant: the lock of a table is held to find a handle or to list, never while counting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use prometheus::proto::{Bucket, Counter as CounterValue, Gauge as GaugeValue};
use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

pub use super::exposition::{Buckets, Exposition};
use super::exposition::{Family, Kind, Labels, Value};
use super::kong::KongMetrics;
use super::process;
pub use super::rare::{Counter, Gauge};
pub use super::reloads::ConfigMetrics;
pub use super::route::RouteMetrics;
use super::shard::WorkerMetrics;
pub use super::totals::Totals;
use crate::util::clock;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = TEXT_FORMAT;

/// Everything that the process counts.
pub struct Metrics {
    started: f64,
    workers: Vec<Arc<WorkerMetrics>>,
    routes: Mutex<BTreeMap<(String, String), Arc<RouteMetrics>>>,
    rare: Mutex<BTreeMap<(&'static str, Labels), Rare>>,
    sources: Mutex<Vec<Source>>,
    config: ConfigMetrics,
    kong: Arc<KongMetrics>,
}

/// Adds series to a scrape; `false` when its owner is gone.
type Source = Arc<dyn Fn(&mut Exposition) -> bool + Send + Sync>;

struct Rare {
    help: &'static str,
    value: RareValue,
}

enum RareValue {
    Counter(Counter),
    Gauge(Gauge),
}

impl Metrics {
    /// Nothing counted yet; `workers` data-plane threads will count.
    pub fn new(workers: usize) -> Arc<Metrics> {
        Arc::new(Metrics {
            started: clock::unix().as_secs_f64(),
            workers: (0..workers.max(1)).map(|_| Arc::default()).collect(),
            routes: Mutex::default(),
            rare: Mutex::default(),
            sources: Mutex::default(),
            config: ConfigMetrics::default(),
            kong: Arc::default(),
        })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// What worker `ix` counts; only that worker may write to it. A number too high gets counters
    /// that nobody will read.
    pub fn worker(&self, ix: usize) -> Arc<WorkerMetrics> {
        self.workers.get(ix).cloned().unwrap_or_default()
    }

    /// What is counted of requests under these labels, found again when a new configuration has
    /// the same names. `service` is the service's name, else its host; `route` the route's name,
    /// else its id; both are empty for requests without a route. When the last holder is gone,
    /// one more scrape shows the series.
    pub fn route(&self, service: &str, route: &str) -> Arc<RouteMetrics> {
        let workers = self.workers();
        let mut routes = lock(&self.routes);
        let held = routes
            .entry((service.into(), route.into()))
            .or_insert_with(|| Arc::new(RouteMetrics::new(workers)));
        Arc::clone(held)
    }

    /// What is counted of configurations.
    pub fn config(&self) -> &ConfigMetrics {
        &self.config
    }

    /// What is counted under Kong's names.
    pub fn kong(&self) -> &Arc<KongMetrics> {
        &self.kong
    }

    /// The counter of that name and those labels; exposed from now on, with 0 too.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
    ) -> Counter {
        let make = || RareValue::Counter(Counter::default());
        self.rare(name, help, labels, make, |value| match value {
            RareValue::Counter(counter) => Some(counter.clone()),
            RareValue::Gauge(_) => None,
        })
        .unwrap_or_default()
    }

    /// The gauge of that name and those labels; exposed from now on, with 0 too.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&str, &str)]) -> Gauge {
        let make = || RareValue::Gauge(Gauge::default());
        self.rare(name, help, labels, make, |value| match value {
            RareValue::Gauge(gauge) => Some(gauge.clone()),
            RareValue::Counter(_) => None,
        })
        .unwrap_or_default()
    }

    fn rare<T>(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&str, &str)],
        make: fn() -> RareValue,
        as_kind: fn(&RareValue) -> Option<T>,
    ) -> Option<T> {
        let mut rare = lock(&self.rare);
        let held = rare.entry((name, owned(labels))).or_insert_with(|| Rare {
            help,
            value: make(),
        });
        as_kind(&held.value)
    }

    /// Asks `source` for more series at every scrape, for as long as the process lives.
    pub fn register(&self, source: Box<dyn Fn(&mut Exposition) + Send + Sync>) {
        self.add_source(Arc::new(move |out| {
            source(out);
            true
        }));
    }

    /// Asks `source` for more series at every scrape, for as long as `owner` lives.
    pub fn register_weak<T: Send + Sync + 'static>(
        &self,
        owner: Weak<T>,
        source: impl Fn(&T, &mut Exposition) + Send + Sync + 'static,
    ) {
        self.add_source(Arc::new(move |out| match owner.upgrade() {
            Some(owner) => {
                source(&owner, out);
                true
            }
            None => false,
        }));
    }

    fn add_source(&self, source: Source) {
        lock(&self.sources).push(source);
    }

    /// Sums over all workers.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.workers)
    }

    /// The text of a scrape, in Prometheus' format 0.0.4. Series of routes that are gone leave
    /// with it.
    pub fn render(&self) -> String {
        let mut out = Exposition::default();
        process::expose(&mut out, self.started);
        self.expose_build(&mut out);
        self.config.expose(&mut out);
        let totals = self.totals();
        totals.expose(&mut out);
        self.kong.expose(&totals, &mut out);
        self.expose_workers(&mut out);
        self.expose_rare(&mut out);
        self.expose_routes(&mut out);
        self.expose_sources(&mut out);
        encode(&out)
    }

    fn expose_build(&self, out: &mut Exposition) {
        out.gauge(
            "sluicegate_build_info",
            "The version of the program; always 1.",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        );
        out.gauge(
            "sluicegate_workers",
            "Data-plane threads.",
            &[],
            self.workers() as f64,
        );
    }

    fn expose_workers(&self, out: &mut Exposition) {
        for (ix, worker) in self.workers.iter().enumerate() {
            let labels = [("worker", &*ix.to_string())];
            out.gauge(
                "sluicegate_worker_connections",
                "Open client connections, by worker.",
                &labels,
                worker.active.get() as f64,
            );
            out.counter(
                "sluicegate_worker_requests_total",
                "Requests whose head was read, by worker.",
                &labels,
                worker.requests.get() as f64,
            );
        }
    }

    fn expose_rare(&self, out: &mut Exposition) {
        for ((name, labels), rare) in lock(&self.rare).iter() {
            let labels = borrowed(labels);
            match &rare.value {
                RareValue::Counter(of) => out.counter(name, rare.help, &labels, of.get() as f64),
                RareValue::Gauge(of) => out.gauge(name, rare.help, &labels, of.get()),
            }
        }
    }

    fn expose_routes(&self, out: &mut Exposition) {
        lock(&self.routes).retain(|(service, route), metrics| {
            // Asked first: what its last holder counted is in the series then.
            let held = Arc::get_mut(metrics).is_none();
            metrics.expose(service, route, out);
            held
        });
    }

    /// Sources run without the lock: one may well ask for a counter.
    fn expose_sources(&self, out: &mut Exposition) {
        let sources = lock(&self.sources).clone();
        let gone: Vec<&Source> = sources.iter().filter(|source| !source(out)).collect();
        if !gone.is_empty() {
            lock(&self.sources).retain(|source| !gone.iter().any(|g| Arc::ptr_eq(g, source)));
        }
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned(labels: &[(&str, &str)]) -> Labels {
    let pair = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    labels.iter().map(pair).collect()
}

fn borrowed(labels: &Labels) -> Vec<(&str, &str)> {
    labels
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect()
}

/// A scrape as text.
pub fn encode(out: &Exposition) -> String {
    let families: Vec<MetricFamily> = out
        .families()
        .filter(|(_, family)| !family.series.is_empty())
        .map(|(name, family)| family_proto(name, family))
        .collect();
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
        tracing::error!(%error, "metrics cannot be written");
    }
    text
}

fn family_proto(name: &str, family: &Family) -> MetricFamily {
    let mut proto = MetricFamily::default();
    proto.set_name(name.into());
    proto.set_help(family.help.clone());
    proto.set_field_type(match family.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    let series = family.series.iter();
    proto.set_metric(
        series
            .map(|(labels, value)| metric_proto(family.kind, labels, value))
            .collect(),
    );
    proto
}

fn metric_proto(kind: Kind, labels: &Labels, value: &Value) -> Metric {
    let mut metric = Metric::from_label(labels.iter().map(label_proto).collect());
    match value {
        Value::Number(number) if kind == Kind::Counter => {
            let mut counter = CounterValue::default();
            counter.set_value(*number);
            metric.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = GaugeValue::default();
            gauge.set_value(*number);
            metric.set_gauge(gauge);
        }
        Value::Histogram(buckets) => metric.set_histogram(histogram_proto(buckets)),
    }
    metric
}

fn label_proto((name, value): &(String, String)) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.clone());
    label.set_value(value.clone());
    label
}

fn histogram_proto(buckets: &Buckets) -> Histogram {
    let bucket = |(bound, below): &(f64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(*below);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.cumulative.iter().map(bucket).collect());
    histogram.set_sample_sum(buckets.sum);
    histogram.set_sample_count(buckets.count);
    histogram
}

#[cfg(test)]
mod tests;
