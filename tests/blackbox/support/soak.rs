//! What the tests of endurance have in common.

use std::fmt;
use std::time::Duration;

/// Whether they run in full length, for figures.
pub fn is_full() -> bool {
    std::env::var("SLUICEGATE_SOAK").is_ok_and(|value| value == "full")
}

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Quantiles(Vec<Duration>);

impl Quantiles {
    /// One more.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Those of another.
    pub fn add(&mut self, other: &Quantiles) {
        self.0.extend(&other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// So many of a thousand took no longer.
    pub fn at(&self, permille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(last * permille / 1000)
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, nearly, all] = [500, 990, 999, 1000].map(|permille| self.at(permille));
        write!(
            f,
            "p50 {half:?}, p99 {most:?}, p99.9 {nearly:?}, longest {all:?}"
        )
    }
}
