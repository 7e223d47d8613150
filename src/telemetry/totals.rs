//! What all workers together have counted of connections.

use std::sync::Arc;

use super::exposition::Exposition;
use super::shard::{Count, WorkerMetrics};
use crate::util::closed::By;

/// What all workers together have counted; levels and totals as in [`WorkerMetrics`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the sum over the field of that name")]
pub struct Totals {
    pub accepted: u64,
    pub handled: u64,
    pub active: u64,
    pub idle: u64,
    pub requests: u64,
    pub upstream_opened: u64,
    pub upstream_reused: u64,
    pub upstream_closed: [u64; 4],
    pub pool_idle: u64,
    pub tls_ok: u64,
    pub tls_failed: u64,
    /// Total: connections closed at once, for their client's address had enough.
    pub over_address_limit: u64,
}

impl Totals {
    /// Sums over these workers.
    pub(super) fn of(workers: &[Arc<WorkerMetrics>]) -> Totals {
        let sum = |of: fn(&WorkerMetrics) -> &Count| workers.iter().map(|w| of(w).get()).sum();
        Totals {
            accepted: sum(|worker| &worker.accepted),
            handled: sum(|worker| &worker.handled),
            active: sum(|worker| &worker.active),
            idle: sum(|worker| &worker.idle),
            requests: sum(|worker| &worker.requests),
            upstream_opened: sum(|worker| &worker.upstream_opened),
            upstream_reused: sum(|worker| &worker.upstream_reused),
            upstream_closed: By::ALL.map(|by| {
                let closed = workers.iter();
                closed.map(|w| w.upstream_closed[by as usize].get()).sum()
            }),
            pool_idle: sum(|worker| &worker.pool_idle),
            tls_ok: sum(|worker| &worker.tls_ok),
            tls_failed: sum(|worker| &worker.tls_failed),
            over_address_limit: sum(|worker| &worker.over_address_limit),
        }
    }

    /// Adds the families of connections.
    pub(super) fn expose(&self, out: &mut Exposition) {
        const CONNECTIONS: &str = "sluicegate_connections";
        let help = "Client connections by state: active are all that are open, idle those of \
                    them that wait for a request.";
        out.gauge(
            CONNECTIONS,
            help,
            &[("state", "active")],
            self.active as f64,
        );
        out.gauge(CONNECTIONS, help, &[("state", "idle")], self.idle as f64);
        let help = "Upstream connections that wait in a pool.";
        out.gauge(
            "sluicegate_upstream_pool_connections",
            help,
            &[],
            self.pool_idle as f64,
        );
        let totals = [
            (
                "sluicegate_connections_accepted_total",
                "Client connections accepted.",
                self.accepted,
            ),
            (
                "sluicegate_connections_handled_total",
                "Client connections that came to serve.",
                self.handled,
            ),
            (
                "sluicegate_client_requests_total",
                "Requests whose head was read.",
                self.requests,
            ),
            (
                "sluicegate_upstream_connections_opened_total",
                "Upstream connections opened.",
                self.upstream_opened,
            ),
            (
                "sluicegate_upstream_connections_reused_total",
                "Requests sent on an upstream connection that was open already.",
                self.upstream_reused,
            ),
        ];
        for (name, help, total) in totals {
            out.counter(name, help, &[], total as f64);
        }
        for (by, total) in By::ALL.into_iter().zip(self.upstream_closed) {
            out.counter(
                "sluicegate_upstream_connections_closed_total",
                "Upstream connections closed, by whom: the upstream, or the gateway for that reason.",
                &[("by", by.label())],
                total as f64,
            );
        }
        out.counter(
            "sluicegate_connections_refused_total",
            "Client connections closed as soon as they came, by reason.",
            &[("reason", "per_ip")],
            self.over_address_limit as f64,
        );
        const TLS: &str = "sluicegate_tls_handshakes_total";
        let help = "TLS handshakes with clients, by result.";
        out.counter(TLS, help, &[("result", "ok")], self.tls_ok as f64);
        out.counter(TLS, help, &[("result", "failed")], self.tls_failed as f64);
    }
}
