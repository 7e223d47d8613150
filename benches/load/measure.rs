//! What one run gave.

use serde::Serialize;

/// One round of one proxy in one case.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    pub case: &'static str,
    pub proxy: &'static str,
    pub round: usize,
    pub requests_per_second: f64,
    pub errors: u64,
    /// Percentiles in microseconds: 50, 99, 99.9.
    pub latency_us: [f64; 3],
    /// Processor time of the proxy, user and system.
    pub cpu_us_per_request: f64,
    pub rss_kib: u64,
    /// Private memory of one idle connection.
    pub idle_bytes: Option<f64>,
}
