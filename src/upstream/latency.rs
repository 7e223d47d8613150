//! How long an endpoint takes to answer, as a moving average that all workers share.
//!
//! Invariant: one word, so that a reader never sees a value with another's time. The average jumps
//! up to a slow answer at once and comes down over [`DECAY`]: a peak is noticed by the next
//! request, and forgotten when nothing confirms it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Seconds in which an old value loses most of its weight (Kong's `decay_time`).
const DECAY: f32 = 10.0;

/// Seconds and, in milliseconds on the owner's clock, when they were noted.
#[derive(Debug, Default)]
pub struct Latency(AtomicU64);

impl Latency {
    /// Notes that an answer took so long.
    pub fn note(&self, at: Duration, took: Duration) {
        let (took, at) = (
            took.as_secs_f32().max(f32::MIN_POSITIVE),
            at.as_millis() as u32,
        );
        let next = |word| Some(pack(mean(unpack(word), took, at), at));
        // The closure always gives a value.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The average in seconds, less what it lost since the last answer; `None` before the first.
    pub fn at(&self, now: Duration) -> Option<f32> {
        let (value, since) = unpack(self.0.load(Ordering::Relaxed))?;
        Some(value * left(since, now.as_millis() as u32))
    }
}

fn mean(old: Option<(f32, u32)>, took: f32, at: u32) -> f32 {
    let Some((value, since)) = old else {
        return took;
    };
    let left = left(since, at);
    if took > value * left {
        took
    } else {
        value * left + took * (1.0 - left)
    }
}

/// What is left of a weight of one. Clocks of threads may differ by a moment: never more than one.
fn left(since: u32, now: u32) -> f32 {
    let passed = now.wrapping_sub(since);
    if passed > u32::MAX / 2 {
        return 1.0;
    }
    (-(passed as f32) / (1000.0 * DECAY)).exp()
}

fn pack(value: f32, at: u32) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(at)
}

fn unpack(word: u64) -> Option<(f32, u32)> {
    (word != 0).then(|| (f32::from_bits((word >> 32) as u32), word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let latency = Latency::default();
        assert_eq!(latency.at(ms(5)), None);
        latency.note(ms(0), ms(10));
        latency.note(ms(100), ms(500));
        assert_eq!(latency.at(ms(100)), Some(0.5));
        let later = latency.at(ms(10_100)).unwrap();
        assert!((later - 0.5 / std::f32::consts::E).abs() < 0.001, "{later}");
        assert!(latency.at(ms(200_000)).unwrap() < 0.000_001);
    }

    #[test]
    fn fast_answers_bring_it_down_step_by_step() {
        let latency = Latency::default();
        latency.note(ms(0), ms(1000));
        let mut last = 1.0;
        for at in 1..60 {
            latency.note(ms(at * 1000), ms(10));
            let now = latency.at(ms(at * 1000)).unwrap();
            assert!(now < last, "{now} {last}");
            last = now;
        }
        assert!((last - 0.01).abs() < 0.005, "{last}");
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let latency = Latency::default();
        latency.note(ms(1000), ms(80));
        assert_eq!(latency.at(ms(999)), latency.at(ms(1000)));
    }
}
