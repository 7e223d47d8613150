//! Buckets against a naive count of tokens, under threads, and after a clock that was set back.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

/// Some moment.
const NOW: Duration = Duration::from_secs(1_709_244_850);

fn ms(after: u64) -> Duration {
    NOW + Duration::from_millis(after)
}

/// A bucket as one would draw it: tokens that trickle in. In token × interval, so nothing is
/// rounded.
struct Oracle {
    level: u64,
    at: Duration,
}

impl Oracle {
    fn take(&mut self, now: Duration, rate: Rate) -> (bool, u64) {
        let refilled = (now - self.at).as_nanos() as u64;
        self.level = (self.level + refilled).min(rate.whole());
        self.at = now;
        let allowed = self.level >= rate.interval;
        if allowed {
            self.level -= rate.interval;
        }
        (allowed, self.level / rate.interval)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn tokens_are_those_of_the_oracle(
        limit in 1u64..50,
        period in 0usize..4,
        steps in proptest::collection::vec(prop_oneof![
            4 => Just(0u64), 4 => 0u64..900, 2 => 0u64..40_000, 1 => 0u64..9_000_000
        ], 1..150),
    ) {
        let period = Period::ALL[period];
        let rate = Rate::new(limit, period);
        let buckets = Buckets::new(period, 16);
        let mut oracle = Oracle { level: rate.whole(), at: NOW };
        let mut now = NOW;
        for step in steps {
            now += Duration::from_millis(step);
            let taken = buckets.take(buckets.key("k"), now, limit);
            let (allowed, left) = oracle.take(now, rate);
            prop_assert_eq!((taken.allowed, taken.remaining[0]), (allowed, left));
            let missing = rate.interval.saturating_sub(oracle.level);
            prop_assert_eq!(taken.reset[0], missing.div_ceil(1_000_000_000).max(1));
        }
    }
}

#[test]
fn a_full_bucket_empties_at_once_and_fills_evenly() {
    let buckets = Buckets::new(Period::Minute, 16);
    let key = buckets.key("k");
    for left in (0..6).rev() {
        let taken = buckets.take(key, NOW, 6);
        assert_eq!((taken.allowed, taken.remaining[0]), (true, left));
    }
    let refused = buckets.take(key, ms(1), 6);
    assert_eq!((refused.allowed, refused.remaining[0]), (false, 0));
    assert_eq!(refused.reset[0], 10);
    assert!(!buckets.take(key, ms(9_999), 6).allowed);
    assert!(buckets.take(key, ms(10_000), 6).allowed);
    assert!(!buckets.take(key, ms(10_000), 6).allowed);
    // Never more than the whole, however long nobody came.
    assert_eq!(buckets.take(key, ms(900_000), 6).remaining[0], 5);
}

#[test]
fn a_hundred_tokens_are_a_hundred_under_threads() {
    let buckets = Buckets::new(Period::Hour, 16);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let taken = buckets.take(buckets.key("k"), NOW, 100);
                    passed.fetch_add(u64::from(taken.allowed), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::Relaxed), 100);
    let tally = buckets.tally();
    assert_eq!((tally.allowed, tally.refused), (100, 1_500));
}

#[test]
fn a_clock_that_was_set_back_empties_a_bucket_at_most() {
    let buckets = Buckets::new(Period::Minute, 16);
    let key = buckets.key("k");
    buckets.take(key, NOW, 6);
    let back = NOW - Duration::from_secs(86_400);
    let refused = buckets.take(key, back, 6);
    assert_eq!((refused.allowed, refused.reset[0]), (false, 10));
    assert!(buckets.take(key, back + Duration::from_secs(10), 6).allowed);
}

#[test]
fn a_limit_that_changes_keeps_what_is_missing() {
    let buckets = Buckets::new(Period::Minute, 16);
    let key = buckets.key("k");
    for _ in 0..3 {
        buckets.take(key, NOW, 6);
    }
    // Half of the bucket is gone; so it is of a larger one.
    assert_eq!(buckets.take(key, NOW, 60).remaining[0], 29);
}

#[test]
fn what_others_took_is_taken_over() {
    let buckets = Buckets::new(Period::Minute, 16);
    let key = buckets.key("k");
    let full_at = (NOW + Duration::from_secs(40)).as_nanos() as u64;
    buckets.raise(key, NOW, full_at, None);
    assert_eq!(buckets.take(key, NOW, 6).remaining[0], 1);
    buckets.raise(key, NOW, 0, None);
    assert_eq!(buckets.take(key, NOW, 6).remaining[0], 0);
}

#[test]
fn rates_keep_within_what_can_be_counted() {
    assert_eq!(Rate::new(1, Period::Year).interval, 31_536_000_000_000_000);
    assert_eq!(Rate::new(u64::MAX, Period::Second).interval, 1_000);
    assert_eq!(Rate::new(u64::MAX, Period::Year).burst, u32::MAX);
    assert_eq!(Rate::new(0, Period::Second).burst, 1);
}

#[test]
fn full_buckets_give_way_and_others_never() {
    let buckets = Buckets::new(Period::Minute, 64);
    for key in 0..2_000 {
        assert!(buckets.keys() <= 64);
        buckets.take(buckets.key(key), NOW, 1);
    }
    let crowded = buckets.tally().crowded;
    assert!(crowded >= 1_900, "{crowded}");
    let later = ms(60_000);
    assert!(buckets.take(buckets.key("later"), later, 1).allowed);
    assert_eq!(buckets.tally().crowded, crowded);
}
