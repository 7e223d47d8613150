//! Handles for what is counted rarely enough to share one number between threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A total. Clones are the same counter.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The total.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level. Clones are the same gauge.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, level: f64) {
        self.0.store(level.to_bits(), Ordering::Relaxed);
    }

    /// Raises it; a negative number lowers it.
    pub fn add(&self, by: f64) {
        let raise = |bits| Some((f64::from_bits(bits) + by).to_bits());
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
    }

    /// The level.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}
