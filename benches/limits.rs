//! The local counters: one key that everybody uses, a million keys, and threads on one key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate::limits::{Local, Period, Shape};

const NOW: Duration = Duration::from_secs(1_709_244_850);
const KEYS: u32 = 1_000_000;

fn shapes() -> [(&'static str, Shape, &'static [Period]); 4] {
    [
        ("fixed", Shape::Fixed, &Period::ALL[1..2]),
        ("fixed, six periods", Shape::Fixed, &Period::ALL),
        ("sliding", Shape::Sliding, &Period::ALL[1..2]),
        ("token bucket", Shape::Bucket, &Period::ALL[1..2]),
    ]
}

fn hot(c: &mut Criterion) {
    let mut group = c.benchmark_group("one key");
    for (name, shape, periods) in shapes() {
        let local = Local::new(shape, periods, 1 << 20);
        group.bench_function(name, |b| {
            b.iter(|| {
                let key = local.key(black_box("a client"));
                local.take(key, NOW, &[u64::from(u32::MAX); 6])
            });
        });
    }
    group.finish();
}

fn many(c: &mut Criterion) {
    let mut group = c.benchmark_group("a million keys");
    for (name, shape, periods) in shapes() {
        let local = Local::new(shape, periods, 1 << 20);
        for key in 0..KEYS {
            local.take(local.key(key), NOW, &[5; 6]);
        }
        println!("{name}: {} bytes", local.bytes());
        let mut next = 0u32;
        group.bench_function(name, |b| {
            b.iter(|| {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                local.take(local.key(next % KEYS), NOW, &[5; 6])
            });
        });
    }
    group.finish();
}

/// What a take costs when two threads do nothing else.
fn contended(c: &mut Criterion) {
    let mut group = c.benchmark_group("two threads");
    for same in [true, false] {
        let name = if same { "one key" } else { "a key each" };
        let local = Local::new(Shape::Fixed, &Period::ALL[1..2], 1 << 20);
        group.bench_function(name, |b| {
            b.iter_custom(|takes| {
                let begin = Instant::now();
                std::thread::scope(|scope| {
                    for thread in 0..2u32 {
                        let local = &local;
                        scope.spawn(move || {
                            for _ in 0..takes {
                                let key = local.key(if same { 0 } else { thread });
                                black_box(local.take(key, NOW, &[u64::MAX]));
                            }
                        });
                    }
                });
                begin.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = hot, many, contended
}
criterion_main!(benches);
