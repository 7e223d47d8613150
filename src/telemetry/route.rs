//! What is counted of the requests of one route: the families `sluicegate_http_*`.

use std::collections::BTreeMap;

use super::exposition::{Buckets, Exposition};
use super::shard::{
    Code, GATEWAY_BOUNDS, HistogramSum, PerWorker, REQUEST_BOUNDS, RouteShard, Sample,
};

/// The counters of one route (and service), a shard per worker.
#[derive(Debug)]
pub struct RouteMetrics {
    shards: PerWorker<RouteShard>,
}

/// Sums over the shards.
#[derive(Default)]
struct Sums {
    requests: BTreeMap<(&'static str, Code, &'static str), u64>,
    total: HistogramSum,
    upstream: HistogramSum,
    gateway: HistogramSum,
    bytes_in: u64,
    bytes_out: u64,
}

impl RouteMetrics {
    /// Nothing counted yet.
    pub fn new(workers: usize) -> RouteMetrics {
        RouteMetrics {
            shards: PerWorker::new(workers),
        }
    }

    /// Adds one finished request; called by worker `worker` alone, on its own thread.
    pub fn observe(&self, worker: usize, sample: &Sample<'_>) {
        if let Some(shard) = self.shards.of(worker) {
            shard.observe(sample);
        }
    }

    /// How many requests were counted.
    pub fn count(&self) -> u64 {
        let mut count = 0;
        for shard in self.shards.iter() {
            shard.requests(&mut |_, _, _, n| count += n);
        }
        count
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for shard in self.shards.iter() {
            shard.requests(&mut |method, code, source, n| {
                *sums.requests.entry((method, code, source)).or_default() += n;
            });
            sums.total.add(&shard.total);
            sums.upstream.add(&shard.upstream);
            sums.gateway.add(&shard.gateway);
            sums.bytes_in += shard.bytes_in.get();
            sums.bytes_out += shard.bytes_out.get();
        }
        sums
    }

    /// Adds the series; none for a route without a request.
    pub(super) fn expose(&self, service: &str, route: &str, out: &mut Exposition) {
        let sums = self.sums();
        if sums.requests.is_empty() {
            return;
        }
        for ((method, code, source), count) in &sums.requests {
            out.counter(
                "sluicegate_http_requests_total",
                "Finished requests; source is who answered: upstream, plugin or gateway.",
                &[
                    ("service", service),
                    ("route", route),
                    ("method", method),
                    ("code", &code.to_string()),
                    ("source", source),
                ],
                *count as f64,
            );
        }
        let labels = [("service", service), ("route", route)];
        sums.expose_durations(&labels, out);
        sums.expose_bytes(&labels, out);
    }
}

impl Sums {
    fn expose_durations(&self, labels: &[(&str, &str)], out: &mut Exposition) {
        let histograms = [
            (
                "sluicegate_http_request_duration_seconds",
                "From the head of the request to the end of the answer.",
                &self.total,
                &REQUEST_BOUNDS,
            ),
            (
                "sluicegate_http_upstream_duration_seconds",
                "Waiting for the head of the upstream's answer.",
                &self.upstream,
                &REQUEST_BOUNDS,
            ),
            (
                "sluicegate_http_gateway_duration_seconds",
                "The gateway's own share of the time.",
                &self.gateway,
                &GATEWAY_BOUNDS,
            ),
        ];
        for (name, help, sum, bounds) in histograms {
            if sum.count() > 0 {
                out.histogram(name, help, labels, Buckets::of_durations(sum, bounds));
            }
        }
    }

    fn expose_bytes(&self, labels: &[(&str, &str)], out: &mut Exposition) {
        out.counter(
            "sluicegate_http_request_bytes_total",
            "Bytes received from clients, heads and bodies.",
            labels,
            self.bytes_in as f64,
        );
        out.counter(
            "sluicegate_http_response_bytes_total",
            "Bytes sent to clients, heads and bodies.",
            labels,
            self.bytes_out as f64,
        );
    }
}
