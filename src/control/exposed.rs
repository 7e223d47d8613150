//! What a scrape tells of upstreams and their targets.
//!
//! Invariant: asked for at scrape time, out of what is counted anyway.

use std::sync::Arc;

use super::probes::Probes;
use crate::snapshot::cell::SnapshotCell;
use crate::telemetry::{Exposition, Metrics};
use crate::upstream::{Cluster, Policy};

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
    out.gauge(
        "sluicegate_upstream_healthy",
        "Whether requests may be sent to the upstream.",
        &[("upstream", &name)],
        f64::from(policy.standing(&set).is_usable),
    );
    for (to, count) in ["healthy", "unhealthy"].into_iter().zip(cluster.turned()) {
        out.counter(
            "sluicegate_upstream_target_transitions_total",
            "How often targets of the upstream turned healthy or unhealthy.",
            &[("upstream", &name), ("to", to)],
            count as f64,
        );
    }
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
    }
}
