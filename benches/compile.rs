//! A file of 1,000 services and 10,000 routes: text, tree, model, snapshot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sluicegate::config::yaml;
use sluicegate::plugins;
use sluicegate::snapshot::{self, Checked, Parts, Surroundings, UpstreamTls};
use sluicegate::telemetry::Metrics;
use sluicegate::util::handles::Handles;
use sluicegate::util::keep::Keeps;

const SERVICES: usize = 1_000;
const ROUTES_EACH: usize = 10;

/// Hosts, prefixes, an expression here and there, a plugin on every service.
fn generate() -> String {
    let mut text = String::from("_format_version: \"3.0\"\nservices:\n");
    for service in 0..SERVICES {
        let (high, low) = (service / 250, service % 250);
        write!(
            text,
            "- name: service-{service}\n  url: http://10.0.{high}.{low}:8080/internal\n  \
             retries: 2\n  plugins:\n  - name: correlation-id\n    config: {{generator: uuid}}\n  \
             routes:\n"
        )
        .unwrap();
        for route in 0..ROUTES_EACH {
            let path = match route {
                9 => format!("\"~/service-{service}/items/(?<id>[0-9]+)$\""),
                _ => format!("/service-{service}/resource-{route}"),
            };
            write!(
                text,
                "  - name: route-{service}-{route}\n    hosts: [api-{}.example.com]\n    \
                 paths: [{path}]\n    methods: [GET, POST]\n",
                service % 20
            )
            .unwrap();
        }
    }
    text
}

fn checked(text: &str) -> Checked {
    let around = Surroundings::default();
    let (checked, report) = snapshot::check(text, "bench.yaml", &around, plugins::TABLE);
    checked.unwrap_or_else(|| panic!("{}", report.to_text()))
}

fn compile(c: &mut Criterion) {
    let text = generate();
    let (metrics, keeps, handles) = (Metrics::new(1), Keeps::default(), Handles::default());
    let tls = UpstreamTls::new().unwrap();
    let parts = Parts {
        table: plugins::TABLE,
        keeps: &keeps,
        handles: &handles,
        metrics: &metrics,
        tls: &tls,
        workers: 2,
        generation: 1,
    };
    let mut group = c.benchmark_group("10,000 routes");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("text to tree", |b| b.iter(|| yaml::parse(black_box(&text))));
    group.bench_function("text to checked", |b| b.iter(|| checked(black_box(&text))));
    group.bench_function("checked to snapshot", |b| {
        b.iter_batched(
            || checked(&text),
            |checked| snapshot::compile(checked, &parts),
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5));
    targets = compile
}
criterion_main!(benches);
