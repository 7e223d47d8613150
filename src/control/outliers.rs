//! Looks at the upstreams whose outliers are taken out: who may come back, who is too slow.
//!
//! Invariant: one task for all of them, which costs nothing where no upstream asks for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::snapshot::cell::SnapshotCell;
use crate::util::clock;

/// How exactly intervals are kept.
const TICK: Duration = Duration::from_millis(250);

/// Reviews the upstreams of the live snapshot, each in its own interval. Runs until it is dropped.
pub async fn watch(cell: SnapshotCell) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // When each cluster is due, by its address: one that is gone takes its plan along.
    let mut due: HashMap<usize, Instant> = HashMap::new();
    loop {
        ticks.tick().await;
        let Some(snapshot) = cell.load() else {
            continue;
        };
        let now = clock::now();
        let mut next = HashMap::new();
        for (cluster, policy) in snapshot.clusters.iter().zip(&snapshot.policies) {
            let Some(outliers) = &policy.outliers else {
                continue;
            };
            let key = Arc::as_ptr(cluster) as usize;
            let mut at = due.get(&key).copied().unwrap_or(now + outliers.interval);
            if at <= now {
                cluster.review(outliers, now);
                at = now + outliers.interval;
            }
            next.insert(key, at.min(now + outliers.interval));
        }
        due = next;
    }
}
