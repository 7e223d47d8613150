//! Windows against a naive count, under threads, and in a table that is too small.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Counts in a map from (key, period, window) and never forgets.
#[derive(Default)]
struct Oracle(HashMap<(u8, Period, u64), u64>);

impl Oracle {
    fn take(&mut self, key: u8, now: u64, limits: &[(Period, u64)]) -> Taken {
        let count = |oracle: &Oracle, period: Period| {
            let used = oracle.0.get(&(key, period, period.start(now)));
            used.copied().unwrap_or_default()
        };
        let fits = |(period, limit): &(Period, u64)| count(self, *period) < *limit;
        let mut taken = Taken {
            allowed: limits.iter().all(fits),
            ..Taken::default()
        };
        for (at, (period, limit)) in limits.iter().enumerate() {
            if taken.allowed {
                *self.0.entry((key, *period, period.start(now))).or_default() += 1;
            }
            taken.remaining[at] = limit.saturating_sub(count(self, *period));
            taken.reset[at] = period.reset(now);
        }
        taken
    }
}

fn limits() -> impl Strategy<Value = Vec<(Period, u64)>> {
    let one = (0usize..MOST, 1u64..6);
    proptest::collection::vec(one, 1..4).prop_map(|chosen| {
        let mut limits: Vec<_> = chosen
            .into_iter()
            .map(|(at, n)| (Period::ALL[at], n))
            .collect();
        limits.sort();
        limits.dedup_by_key(|(period, _)| *period);
        limits
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn windows_count_as_the_oracle_does(
        limits in limits(),
        start in 1_600_000_000u64..1_900_000_000,
        steps in proptest::collection::vec((0u8..6, prop_oneof![
            4 => Just(0u64), 4 => 0u64..3, 2 => 0u64..90, 1 => 0u64..7_200, 1 => 0u64..3_000_000
        ]), 1..200),
    ) {
        let periods: Vec<Period> = limits.iter().map(|(period, _)| *period).collect();
        let numbers: Vec<u64> = limits.iter().map(|(_, limit)| *limit).collect();
        let windows = Windows::new(&periods, 1024);
        let mut oracle = Oracle::default();
        let mut now = start;
        for (key, step) in steps {
            now += step;
            let taken = windows.take(windows.key(key), at(now), &numbers);
            prop_assert_eq!(taken, oracle.take(key, now, &limits));
        }
    }

    #[test]
    fn a_table_that_is_too_small_never_lets_more_through(
        keys in proptest::collection::vec((0u16..600, 0u64..2), 1..400),
    ) {
        let windows = Windows::new(&[Period::Minute], 64);
        let mut passed: HashMap<(u16, u64), u64> = HashMap::new();
        let mut now = 600;
        for (key, step) in keys {
            now += step;
            if windows.take(windows.key(key), at(now), &[2]).allowed {
                *passed.entry((key, now / 60)).or_default() += 1;
            }
        }
        prop_assert!(passed.values().all(|count| *count <= 2));
        prop_assert!(windows.keys() <= 64);
    }
}

#[test]
fn a_hundred_means_a_hundred_under_threads() {
    for round in 0..5 {
        let windows = Windows::new(&[Period::Second, Period::Hour], 1024);
        let passed = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let key = windows.key("key");
                        if windows.take(key, at(7_200 + round), &[100, 150]).allowed {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.load(Ordering::Relaxed), 100);
        let next = windows.take(windows.key("key"), at(7_300), &[100, 150]);
        assert_eq!(next.remaining[..2], [99, 49]);
    }
}

#[test]
fn many_keys_under_threads_keep_their_own_counts() {
    let windows = Windows::new(&[Period::Day], 100_000);
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let (windows, passed) = (&windows, &passed);
            scope.spawn(move || {
                for nth in 0..4_000u32 {
                    let key = windows.key((nth * 7 + thread) % 1_000);
                    passed.fetch_add(
                        u64::from(windows.take(key, at(5), &[3]).allowed),
                        Ordering::Relaxed,
                    );
                }
            });
        }
    });
    assert_eq!(passed.load(Ordering::Relaxed), 3_000);
    assert_eq!(windows.keys(), 1_000);
}

#[test]
fn what_is_refused_is_not_counted() {
    let windows = Windows::new(&[Period::Second, Period::Minute], 16);
    let key = windows.key("k");
    assert!(windows.take(key, at(60), &[1, 2]).allowed);
    for _ in 0..5 {
        assert!(!windows.take(key, at(60), &[1, 2]).allowed);
    }
    let next = windows.take(key, at(61), &[1, 2]);
    assert_eq!((next.allowed, &next.remaining[..2]), (true, &[0, 0][..]));
    let last = windows.take(key, at(62), &[1, 2]);
    assert_eq!((last.allowed, &last.remaining[..2]), (false, &[1, 0][..]));
}

#[test]
fn a_flood_of_keys_resets_no_counter_in_use() {
    let most = 4_096;
    let windows = Windows::new(&[Period::Minute], most);
    let key = windows.key("victim");
    assert!(windows.take(key, at(0), &[1]).allowed);
    let mut passed = 1;
    for flood in 0..20_000u32 {
        passed += usize::from(windows.take(windows.key(flood), at(30), &[1]).allowed);
        assert!(flood % 1000 != 0 || !windows.take(key, at(30), &[1]).allowed);
    }
    assert_eq!(windows.keys(), most);
    // Each key with a place of its own, and one more a shard.
    assert!((most..=most + 64).contains(&passed), "{passed}");
    // Once the minute is over there is room for everybody again.
    for late in 0..1_000u32 {
        assert!(
            windows
                .take(windows.key(("late", late)), at(60), &[1])
                .allowed
        );
    }
}

#[test]
fn keys_that_come_and_go_need_no_more_room() {
    let windows = Windows::new(&[Period::Second], 1 << 20);
    for now in 0..100u64 {
        for key in 0..200u64 {
            assert!(windows.take(windows.key((now, key)), at(now), &[1]).allowed);
        }
    }
    assert!(windows.keys() < 1_000, "{}", windows.keys());
}

#[test]
fn a_late_thread_counts_in_the_window_that_others_have_entered() {
    let windows = Windows::new(&[Period::Minute], 16);
    let key = windows.key("k");
    assert!(windows.take(key, at(60), &[2]).allowed);
    assert!(windows.take(key, at(59), &[2]).allowed);
    assert!(!windows.take(key, at(60), &[2]).allowed);
    // A clock that was set back by hours begins anew.
    let windows = Windows::new(&[Period::Minute], 16);
    let key = windows.key("k");
    assert!(windows.take(key, at(7_200), &[1]).allowed);
    assert!(windows.take(key, at(60), &[1]).allowed);
}
