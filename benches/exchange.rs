//! One whole exchange: client over a pipe in memory, gateway, upstream on loopback, and back. The
//! number to watch per commit; the allocations it makes are printed beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
mod counting;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting(std::alloc::System);

/// Time and allocations of so many exchanges.
async fn exchanges(client: &mut common::Client, request: &[u8], times: u64) -> (Duration, u64) {
    let (start, before) = (Instant::now(), counting::count());
    for _ in 0..times {
        client.exchange(request, common::BODY).await;
    }
    (start.elapsed(), counting::count() - before)
}

fn exchange(c: &mut Criterion) {
    let upstream = common::upstream(common::ANSWER);
    let cases = [
        ("plain", "", common::REQUEST.to_vec()),
        ("six plugins", common::PLUGINS, common::guarded()),
    ];
    for (name, more, request) in cases {
        let config = common::config(upstream, more);
        let runtime = common::runtime();
        let mut client = runtime.block_on(async { common::Client::new(common::worker(&config)) });
        runtime.block_on(exchanges(&mut client, &request, 200));
        let (_, made) = runtime.block_on(exchanges(&mut client, &request, 1000));
        println!("exchange/{name}: {} allocations", made as f64 / 1000.0);
        c.bench_function(&format!("exchange/{name}"), |b| {
            b.iter_custom(|times| runtime.block_on(exchanges(&mut client, &request, times)).0);
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = exchange
}
criterion_main!(benches);
