//! What a scrape tells of upstreams and their targets.
//!
//! Invariant: asked for at scrape time, out of what is counted anyway.

use std::sync::Arc;

use super::probes::Probes;
use crate::snapshot::cell::SnapshotCell;
use crate::telemetry::{Exposition, Metrics};
use crate::upstream::outlier::Reason;
use crate::upstream::{Cluster, Endpoint, Limit, Load, Policy, UpstreamErrorKind};
use crate::util::clock;

/// Adds the series of the live snapshot's upstreams to every scrape.
pub fn register(metrics: &Metrics, cell: SnapshotCell, probes: Arc<Probes>) {
    metrics.register(Box::new(move |out| {
        for (result, count) in probes.counts().all() {
            out.counter(
                "sluicegate_upstream_probes_total",
                "Active health checks, by how they ended.",
                &[("result", result)],
                count as f64,
            );
        }
        let Some(snapshot) = cell.load() else { return };
        for (cluster, policy) in snapshot.clusters.iter().zip(&snapshot.policies) {
            expose(cluster, policy, out);
        }
    }));
}

fn expose(cluster: &Cluster, policy: &Policy, out: &mut Exposition) {
    let name = cluster.key().name();
    let set = cluster.endpoints();
    let standing = policy.standing(&set);
    out.gauge(
        "sluicegate_upstream_healthy",
        "Whether requests may be sent to the upstream.",
        &[("upstream", &name)],
        f64::from(standing.is_usable),
    );
    if policy.checks.panic_threshold > 0.0 {
        out.gauge(
            "sluicegate_upstream_panic",
            "Whether so few targets are well that all get requests.",
            &[("upstream", &name)],
            f64::from(standing.panics),
        );
    }
    for (to, count) in ["healthy", "unhealthy"].into_iter().zip(cluster.turned()) {
        out.counter(
            "sluicegate_upstream_target_transitions_total",
            "How often targets of the upstream turned healthy or unhealthy.",
            &[("upstream", &name), ("to", to)],
            count as f64,
        );
    }
    if policy.outliers.is_some() {
        for why in Reason::ALL {
            out.counter(
                "sluicegate_upstream_ejections_total",
                "How often targets of the upstream were taken out as outliers.",
                &[("upstream", &name), ("reason", why.label())],
                cluster.ejections(why) as f64,
            );
        }
    }
    if policy.capacity.is_some() {
        expose_load(cluster.load(), &name, out);
    }
    let now = clock::now();
    for endpoint in &set.endpoints {
        let address = endpoint.address.to_string();
        let labels = [
            ("upstream", name.as_str()),
            ("target", &endpoint.target),
            ("address", &address),
        ];
        out.gauge(
            "sluicegate_upstream_target_healthy",
            "Whether the target may get requests.",
            &labels,
            f64::from(!policy.shuts(endpoint)),
        );
        out.gauge(
            "sluicegate_upstream_target_in_flight",
            "Requests that the target is working on.",
            &labels,
            f64::from(endpoint.in_flight()),
        );
        out.counter(
            "sluicegate_upstream_target_requests_total",
            "Attempts at the target.",
            &labels,
            endpoint.requests() as f64,
        );
        out.counter(
            "sluicegate_upstream_target_failures_total",
            "Attempts that brought no response head.",
            &labels,
            endpoint.failures() as f64,
        );
        expose_kinds(endpoint, &labels, out);
        if let Some(latency) = endpoint.latency(now) {
            out.gauge(
                "sluicegate_upstream_target_latency_seconds",
                "How long the target takes to answer, where the balancer asks for that.",
                &labels,
                f64::from(latency),
            );
        }
    }
}

/// Ways in which nothing has failed yet are left out: there may be many targets.
fn expose_kinds(endpoint: &Endpoint, labels: &[(&str, &str); 3], out: &mut Exposition) {
    let [upstream, target, address] = *labels;
    for kind in UpstreamErrorKind::ALL {
        let count = endpoint.failed_by(kind);
        if count > 0 {
            out.counter(
                "sluicegate_upstream_target_failures_by_kind_total",
                "Attempts that brought no response head, by what went wrong.",
                &[upstream, target, address, ("kind", kind.label())],
                f64::from(count),
            );
        }
    }
}

fn expose_load(load: &Load, name: &str, out: &mut Exposition) {
    for limit in Limit::ALL {
        let labels = [("upstream", name), ("limit", limit.label())];
        out.gauge(
            "sluicegate_upstream_limit_in_use",
            "What is under way of what the upstream's limit allows.",
            &labels,
            f64::from(load.taken(limit)),
        );
        out.counter(
            "sluicegate_upstream_limit_hits_total",
            "How often the upstream's limit was hit: a request refused, not tried again, or made to wait.",
            &labels,
            load.refused(limit) as f64,
        );
    }
}
