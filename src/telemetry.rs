//! Metrics, logs and status sources (floor 1).
//!
//! Whoever counts takes a handle here and keeps it; nothing on the data plane looks a label up.
//!
//! Must not know: who counts.

pub mod exposition;
pub mod kong;
pub mod log;
pub mod metrics;
mod process;
mod rare;
mod reloads;
mod route;
pub mod shard;
pub mod status;
mod totals;

pub use exposition::{Buckets, Exposition};
pub use kong::{KongLatencies, KongMetrics, KongSample, KongUse};
pub use metrics::{ConfigMetrics, Counter, Gauge, Metrics, RouteMetrics, Totals};
pub use shard::{PerWorker, Sample, WorkerMetrics};
pub use status::{Check, Checks, Detail, Health, Verdict, Weight};
