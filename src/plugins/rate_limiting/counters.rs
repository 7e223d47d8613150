//! The counters of one instance, and what is told of them in metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{Local, Period, Shape};
use crate::telemetry::{Exposition, Metrics};

/// Local counters. With a shared store they follow what it says, and go on from there when it is
/// away.
pub(super) struct Counters {
    pub(super) local: Local,
    /// The instance.
    id: String,
    fallbacks: AtomicU64,
    kept_back: AtomicU64,
}

/// Most clients that an instance counts at once.
const MOST_KEYS: usize = 1 << 20;

impl Counters {
    pub(super) fn new(id: &str, shape: Shape, periods: &[Period]) -> Counters {
        Counters {
            local: Local::new(shape, periods, MOST_KEYS),
            id: id.to_owned(),
            fallbacks: AtomicU64::new(0),
            kept_back: AtomicU64::new(0),
        }
    }

    /// Shows them in metrics from now on.
    pub(super) fn show(self: &Arc<Self>, metrics: &Metrics) {
        metrics.register_weak(Arc::downgrade(self), Counters::expose);
    }

    /// A request that the shared store could not decide.
    pub(super) fn fell_back(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// A request that counts here alone, for want of room to note it for the shared store.
    pub(super) fn kept_back(&self) {
        self.kept_back.fetch_add(1, Ordering::Relaxed);
    }

    fn expose(&self, out: &mut Exposition) {
        let (tally, plugin) = (self.local.tally(), ("plugin", self.id.as_str()));
        for (outcome, count) in [("allowed", tally.allowed), ("refused", tally.refused)] {
            out.counter(
                "sluicegate_ratelimit_requests_total",
                "Requests that rate-limiting has decided on, by plugin instance and outcome.",
                &[plugin, ("outcome", outcome)],
                count as f64,
            );
        }
        out.counter(
            "sluicegate_ratelimit_crowded_total",
            "Requests that found the table of counters full and were counted together.",
            &[plugin],
            tally.crowded as f64,
        );
        out.counter(
            "sluicegate_ratelimit_fallbacks_total",
            "Requests that Redis could not decide on, by plugin instance.",
            &[plugin],
            self.fallbacks.load(Ordering::Relaxed) as f64,
        );
        out.counter(
            "sluicegate_ratelimit_kept_back_total",
            "Requests that were not told to Redis, for want of room to note them.",
            &[plugin],
            self.kept_back.load(Ordering::Relaxed) as f64,
        );
        out.gauge(
            "sluicegate_ratelimit_keys",
            "Clients that have counters in this process, by plugin instance.",
            &[plugin],
            self.local.keys() as f64,
        );
        out.gauge(
            "sluicegate_ratelimit_bytes",
            "Memory that the counters in this process have reserved, by plugin instance.",
            &[plugin],
            self.local.bytes() as f64,
        );
    }
}
