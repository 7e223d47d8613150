//! A request head: read from bytes, and written as the upstream gets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sluicegate::gateway::Exchange;
use sluicegate::gateway::rewrite::Lines;
use sluicegate::http1::parse;
use sluicegate::message::Framing;

fn rewrite(c: &mut Criterion) {
    let upstream = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let conn = common::conn();
    common::run(async {
        let worker = common::worker(&common::config(upstream, ""));
        let mut ex = Exchange::default();
        let mut group = c.benchmark_group("head");
        group.throughput(Throughput::Bytes(common::REQUEST.len() as u64));
        group.bench_function("parse", |b| {
            b.iter(|| {
                ex.clear();
                let raw = &mut ex.request.headers.raw;
                raw.extend_from_slice(black_box(common::REQUEST));
                parse::request(&mut ex.request, &mut 0, &worker.policy.limits).unwrap()
            });
        });
        ex.begin(&worker, &conn).unwrap();
        ex.find_route(&conn).unwrap();
        ex.edge.renew(&conn);
        let mut out = Vec::new();
        group.bench_function("upward", |b| {
            b.iter(|| {
                out.clear();
                let upward = ex.upward(&worker, &conn, Framing::None, false);
                let edge = &ex.edge;
                upward.write(&mut Lines {
                    out: &mut out,
                    edge,
                });
                black_box(out.len())
            });
        });
        ex.end(&worker, &conn);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = rewrite
}
criterion_main!(benches);
