//! How often Consul is asked: a bound for the good times, pauses for the bad ones.
//!
//! Invariants: asking never ends. One change is asked after at once; a flood of changes at a bounded
//! rate. Pauses are drawn anew each time, so that many clients do not come back together.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// Calls that may follow each other without a pause.
const BURST: u32 = 8;
/// One more may follow after each of these.
const REFILL: Duration = Duration::from_millis(500);

/// A bucket of calls.
#[derive(Debug)]
pub struct Pace {
    /// When the bucket was, or will be, empty but for what came since.
    from: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            from: Instant::now() - REFILL * BURST,
        }
    }
}

impl Pace {
    /// Waits until another call may be made.
    pub async fn turn(&mut self) {
        let now = Instant::now();
        let full = now - REFILL * BURST;
        self.from = self.from.max(full) + REFILL;
        if self.from > now {
            sleep_until(self.from).await;
        }
    }
}

/// First and longest pause after a failure that may pass by itself.
const PASSING: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// After one that somebody has to mend.
const LASTING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));

/// Pauses after failures, doubling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to pause now.
    pub fn pause(&mut self, is_lasting: bool) -> Duration {
        let (first, most) = if is_lasting { LASTING } else { PASSING };
        let bound = (first * 2u32.pow(self.failures.min(10))).min(most);
        self.failures += 1;
        // Full jitter, but never at once.
        (first / 5).max(by_chance(bound))
    }
}

/// A duration below `bound`.
pub fn by_chance(bound: Duration) -> Duration {
    let chance = Uuid::new_v4().as_u128() as u32;
    bound.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_free_and_a_flood_is_bounded() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        for _ in 0..BURST {
            pace.turn().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            pace.turn().await;
        }
        assert!(begin.elapsed().abs_diff(REFILL * 10) < Duration::from_millis(5));
        tokio::time::advance(REFILL * 100).await;
        let begin = Instant::now();
        for _ in 0..BURST {
            pace.turn().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        for nth in 0..40u32 {
            let pause = backoff.pause(false);
            let bound = (PASSING.0 * 2u32.pow(nth.min(10))).min(PASSING.1);
            assert!(pause <= bound && pause >= PASSING.0 / 5, "{nth}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause(false) <= PASSING.0);
        let mut backoff = Backoff::default();
        assert!(backoff.pause(true) >= LASTING.0 / 5);
    }
}
