//! Sliding windows against a naive count, and what they tell of the time to wait.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Counts in a map from (period, window) and never forgets; whole numbers only.
#[derive(Default)]
struct Oracle(HashMap<(u8, Period, u64), u64>);

impl Oracle {
    /// Usage of a period in milliseconds times requests, so that nothing is rounded.
    fn scaled(&self, key: u8, period: Period, ms: u64) -> u128 {
        let length = length(period);
        let of = |window| u128::from(self.0.get(&(key, period, window)).copied().unwrap_or(0));
        let last = (ms / length).checked_sub(1).map_or(0, of);
        of(ms / length) * u128::from(length) + last * u128::from(length - ms % length)
    }

    fn fits(&self, key: u8, ms: u64, (period, limit): (Period, u64)) -> bool {
        let length = u128::from(length(period));
        self.scaled(key, period, ms) + length <= u128::from(limit) * length
    }

    fn take(&mut self, key: u8, ms: u64, limits: &[(Period, u64)]) -> bool {
        let allowed = limits.iter().all(|limit| self.fits(key, ms, *limit));
        for (period, _) in limits.iter().filter(|_| allowed) {
            let window = ms / length(*period);
            *self.0.entry((key, *period, window)).or_default() += 1;
        }
        allowed
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_slide_as_the_oracle_says(
        chosen in proptest::collection::btree_map(0usize..MOST, 1u64..12, 1..4),
        start in 1_600_000_000_000u64..1_900_000_000_000,
        steps in proptest::collection::vec((0u8..4, prop_oneof![
            3 => Just(0u64), 4 => 0u64..900, 3 => 0u64..70_000, 1 => 0u64..7_200_000,
            1 => 0u64..3_000_000_000
        ]), 1..150),
    ) {
        let limits: Vec<(Period, u64)> =
            chosen.into_iter().map(|(at, limit)| (Period::ALL[at], limit)).collect();
        let periods: Vec<Period> = limits.iter().map(|(period, _)| *period).collect();
        let numbers: Vec<u64> = limits.iter().map(|(_, limit)| *limit).collect();
        let windows = Sliding::new(&periods, 1024);
        let mut oracle = Oracle::default();
        let mut ms = start;
        for (key, step) in steps {
            ms += step;
            let taken = windows.take(windows.key(key), at(ms), &numbers);
            prop_assert_eq!(taken.allowed, oracle.take(key, ms, &limits));
            for (ix, (period, limit)) in limits.iter().enumerate() {
                let length = u128::from(length(*period));
                let used = oracle.scaled(key, *period, ms).div_ceil(length);
                let left = u128::from(*limit).saturating_sub(used);
                prop_assert_eq!(u128::from(taken.remaining[ix]), left);
            }
        }
    }

    #[test]
    fn the_time_to_wait_is_exact(
        this in 0u64..40, last in 0u64..40, limit in 1u64..20, elapsed in 0u64..60_000,
    ) {
        let length = 60_000;
        let used = Used { this, last };
        let wait = wait(used, limit, elapsed, length);
        let fits = |later: u64| {
            let later = elapsed + later;
            let used = match later / length {
                0 => used,
                1 => Used { this: 0, last: this },
                _ => Used::default(),
            };
            usage(used, later % length, length) < limit
        };
        prop_assert!(fits(wait), "{}", wait);
        prop_assert!(wait == 0 || !fits(wait - 1), "{}", wait);
    }
}

/// The begin of a minute.
const MINUTE: u64 = 1_709_244_840_000;

#[test]
fn half_a_minute_later_half_of_the_last_one_counts() {
    let windows = Sliding::new(&[Period::Minute], 16);
    let key = windows.key("k");
    for left in (0..10).rev() {
        let taken = windows.take(key, at(MINUTE + 5_000), &[10]);
        assert_eq!((taken.allowed, taken.remaining[0]), (true, left));
    }
    let refused = windows.take(key, at(MINUTE + 5_000), &[10]);
    // 55 s of this window, and a tenth of the next.
    assert_eq!((refused.allowed, refused.reset[0]), (false, 61));
    let later = MINUTE + 90_000;
    for left in (0..5).rev() {
        let taken = windows.take(key, at(later), &[10]);
        assert_eq!((taken.allowed, taken.remaining[0]), (true, left));
    }
    let refused = windows.take(key, at(later), &[10]);
    assert_eq!((refused.allowed, refused.reset[0]), (false, 6));
    assert!(!windows.take(key, at(later + 5_999), &[10]).allowed);
    assert!(windows.take(key, at(later + 6_000), &[10]).allowed);
    // Two minutes of silence leave nothing.
    assert_eq!(
        windows.take(key, at(later + 120_000), &[10]).remaining[0],
        9
    );
}

#[test]
fn of_several_exhausted_periods_the_longest_wait_is_told() {
    let windows = Sliding::new(&[Period::Second, Period::Minute], 16);
    let key = windows.key("k");
    assert!(windows.take(key, at(MINUTE), &[1, 1]).allowed);
    let refused = windows.take(key, at(MINUTE), &[1, 1]);
    assert_eq!(refused.reset[..2], [120, 120]);
}

#[test]
fn a_thread_that_comes_late_counts_where_the_others_are() {
    let windows = Sliding::new(&[Period::Second], 16);
    let key = windows.key("k");
    assert!(windows.take(key, at(MINUTE + 1_000), &[2]).allowed);
    assert!(windows.take(key, at(MINUTE + 999), &[2]).allowed);
    assert!(!windows.take(key, at(MINUTE + 1_000), &[2]).allowed);
    // A clock that was set back begins anew.
    assert!(windows.take(key, at(MINUTE - 100_000), &[1]).allowed);
}

#[test]
fn only_counters_of_two_windows_ago_give_way() {
    let windows = Sliding::new(&[Period::Second], 64);
    for key in 0..2_000 {
        windows.take(windows.key(key), at(MINUTE), &[1]);
    }
    let full = windows.keys();
    assert!(full <= 64);
    // The last window still counts.
    windows.take(windows.key("late"), at(MINUTE + 1_500), &[5]);
    assert_eq!(windows.tally().crowded, 2_000 - full as u64 + 1);
    let fine = windows.take(windows.key("later"), at(MINUTE + 2_000), &[5]);
    assert_eq!(
        (fine.remaining[0], windows.tally().crowded),
        (4, 2_001 - full as u64)
    );
}

#[test]
fn what_others_counted_is_taken_over() {
    let windows = Sliding::new(&[Period::Minute], 16);
    let key = windows.key("k");
    windows.take(key, at(MINUTE), &[10]);
    let used = Used { this: 4, last: 6 };
    windows.raise(key, at(MINUTE + 30_000), &[used], Some(true));
    // 4 + 3, and this one.
    assert_eq!(
        windows.take(key, at(MINUTE + 30_000), &[10]).remaining[0],
        2
    );
    windows.raise(key, at(MINUTE + 30_000), &[Used::default()], None);
    assert_eq!(
        windows.take(key, at(MINUTE + 30_000), &[10]).remaining[0],
        1
    );
    assert_eq!(windows.tally().allowed, 4);
}
