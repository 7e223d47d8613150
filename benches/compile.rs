//! Large files: text, tree, model, snapshot; how long each step takes, and what memory it needs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;
mod counting;

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use sluicegate::config::yaml;
use sluicegate::gateway::Worker;
use sluicegate::plugins;
use sluicegate::snapshot::cell::SnapshotCell;
use sluicegate::snapshot::{self, Checked, Parts, Snapshot, Surroundings, UpstreamTls};
use sluicegate::telemetry::Metrics;
use sluicegate::util::clock;
use sluicegate::util::drain::Drain;
use sluicegate::util::handles::Handles;
use sluicegate::util::keep::Keeps;
use sluicegate::util::sweep::Sweep;

#[global_allocator]
static ALLOCATOR: counting::Counting<MiMalloc> = counting::Counting(MiMalloc);

const ROUTES_EACH: usize = 10;

/// Hosts, prefixes, an expression here and there, a plugin on every service, consumers with keys.
fn generate(services: usize, consumers: usize) -> String {
    let mut text = String::from("_format_version: \"3.0\"\nservices:\n");
    for service in 0..services {
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
                // Distinct expressions are the slowest there is: a hundredth of all routes.
                9 if service % 10 == 0 => {
                    format!("\"~/service-{service}/items/(?<id>[0-9]+)$\"")
                }
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
    text += "consumers:\n";
    for consumer in 0..consumers {
        writeln!(
            text,
            "- username: user-{consumer}\n  keyauth_credentials: [{{key: secret-{consumer}}}]"
        )
        .unwrap();
    }
    text
}

fn checked(text: &str) -> Checked {
    let around = Surroundings::default();
    let (checked, report) = snapshot::check(text, "bench.yaml", &around, plugins::TABLE);
    checked.unwrap_or_else(|| panic!("{}", report.to_text()))
}

/// What a snapshot is made with.
struct Process {
    metrics: Arc<Metrics>,
    keeps: Keeps,
    handles: Handles,
    tls: UpstreamTls,
}

impl Process {
    fn new() -> Process {
        Process {
            metrics: Metrics::new(1),
            keeps: Keeps::default(),
            handles: Handles::default(),
            tls: UpstreamTls::new().unwrap(),
        }
    }

    fn compile(&self, checked: Checked) -> Snapshot {
        let parts = Parts {
            table: plugins::TABLE,
            keeps: &self.keeps,
            handles: &self.handles,
            metrics: &self.metrics,
            tls: &self.tls,
            workers: 2,
            generation: 1,
        };
        snapshot::compile(checked, &parts)
    }

    /// From the tree to what can go live.
    fn live(&self, text: &str) -> Duration {
        let checked = checked(text);
        let check = checked.took().check;
        let begin = clock::now();
        black_box(self.compile(checked));
        check + begin.elapsed()
    }
}

/// What a step holds in the end, and the most that it held on its way; in MiB.
fn memory<T>(what: &str, step: impl FnOnce() -> T) -> T {
    let before = counting::held();
    counting::most();
    let made = step();
    let mib = |bytes: usize| bytes.saturating_sub(before) as f64 / f64::from(1 << 20);
    let (most, held) = (counting::most(), counting::held());
    println!(
        "{what}: holds {:.1} MiB, at most {:.1} MiB",
        mib(held),
        mib(most)
    );
    made
}

fn measure(c: &mut Criterion, name: &str, services: usize, consumers: usize) {
    let text = generate(services, consumers);
    let json = yaml::parse(&text).unwrap().to_json().to_string();
    println!(
        "{name}: {} bytes of YAML, {} of JSON",
        text.len(),
        json.len()
    );
    let process = Process::new();
    drop(memory("tree", || yaml::parse(&text)));
    let checked = memory("checked", || checked(&text));
    drop(memory("snapshot beside it", || process.compile(checked)));

    let mut group = c.benchmark_group(name);
    group.sample_size(10);
    for (what, text) in [("YAML to tree", &text), ("JSON to tree", &json)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(what, |b| b.iter(|| yaml::parse(black_box(text))));
    }
    let cell = SnapshotCell::default();
    let worker = looking(&cell, &process.metrics);
    let both = [(); 2].map(|()| Arc::new(process.compile(self::checked(&text))));
    group.bench_function("a worker's first look", |b| {
        b.iter_custom(|times| {
            let look = |nth: u64| {
                cell.publish(both[nth as usize % 2].clone());
                let begin = clock::now();
                black_box(worker.live());
                begin.elapsed()
            };
            (0..times).map(look).sum()
        });
    });
    group.bench_function("tree to live", |b| {
        b.iter_custom(|times| (0..times).map(|_| process.live(&text)).sum());
    });
}

/// A worker that has requests for these configurations.
fn looking(cell: &SnapshotCell, metrics: &Metrics) -> Worker {
    Worker::new(
        0,
        common::policy(),
        cell.reader(),
        Sweep::new(),
        Drain::new(),
        metrics.worker(0),
        None,
    )
}

/// What an upstream's targets take beside everything else.
fn targets() {
    let upstream = |targets: usize| {
        let target = |n: usize| format!("  - target: 10.0.{}.{}:8000\n", n / 250, n % 250);
        let list: String = (0..targets).map(target).collect();
        format!("services: [{{host: u}}]\nupstreams:\n- name: u\n  targets:\n{list}")
    };
    for count in [1, 1_001] {
        let (text, process) = (upstream(count), Process::new());
        let live = || process.compile(checked(&text));
        drop(memory(&format!("live, {count} targets"), live));
    }
}

fn compile(c: &mut Criterion) {
    targets();
    measure(c, "10,000 routes", 1_000, 5_000);
    measure(c, "100,000 routes", 10_000, 5_000);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5));
    targets = compile
}
criterion_main!(benches);
