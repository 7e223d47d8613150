//! The router: look-ups in tables of 10, 1,000 and 100,000 routes, and compilation.
//!
//! `route -- --count KIND ROUTES TIMES` does only that, for an instruction counter: the difference
//! of two counts with different TIMES is the price of a look-up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group};
use sluicegate::router::{Flavor, Lookup, RouteSpec, RouteTable};

/// What a table is made of, and the request that goes through it.
struct Kind {
    name: &'static str,
    spec: fn(usize) -> RouteSpec,
    /// Host, path and header value for the route number.
    request: fn(usize) -> (String, String, String),
}

fn prefix(i: usize) -> RouteSpec {
    RouteSpec {
        paths: vec![format!("/api/v{}/service-{i}", i % 3)],
        ..RouteSpec::default()
    }
}

fn host(i: usize) -> RouteSpec {
    RouteSpec {
        hosts: vec![format!("tenant-{i}.example.test")],
        paths: vec!["/api".into()],
        methods: vec!["GET".into(), "POST".into()],
        ..RouteSpec::default()
    }
}

fn regex(i: usize) -> RouteSpec {
    RouteSpec {
        paths: vec![format!("~/api/service-{i}/(?<id>[0-9]+)")],
        ..RouteSpec::default()
    }
}

/// Nothing literal to tell them apart by: one joint automaton has to.
fn crowd(i: usize) -> RouteSpec {
    RouteSpec {
        paths: vec![format!("~/api/[^/]+/service-{i}/(?<id>[0-9]+)")],
        ..RouteSpec::default()
    }
}

fn header(i: usize) -> RouteSpec {
    RouteSpec {
        paths: vec!["/api".into()],
        headers: vec![("x-tenant".into(), vec![format!("tenant-{i}")])],
        ..RouteSpec::default()
    }
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "prefix",
        spec: prefix,
        request: |i| {
            (
                "a.test".into(),
                format!("/api/v{}/service-{i}/items/77", i % 3),
                String::new(),
            )
        },
    },
    Kind {
        name: "miss",
        spec: prefix,
        request: |i| {
            (
                "a.test".into(),
                format!("/api/v{}/serviceX", i % 3),
                String::new(),
            )
        },
    },
    Kind {
        name: "host",
        spec: host,
        request: |i| {
            (
                format!("tenant-{i}.example.test:8000"),
                "/api/items/77".into(),
                String::new(),
            )
        },
    },
    Kind {
        name: "regex",
        spec: regex,
        request: |i| {
            (
                "a.test".into(),
                format!("/api/service-{i}/4711/x"),
                String::new(),
            )
        },
    },
    Kind {
        name: "crowd",
        spec: crowd,
        request: |i| {
            (
                "a.test".into(),
                format!("/api/tenant/service-{i}/4711/x"),
                String::new(),
            )
        },
    },
    Kind {
        name: "header",
        spec: header,
        request: |i| {
            (
                "a.test".into(),
                "/api/items/77".into(),
                format!("Tenant-{i}"),
            )
        },
    },
];

impl Kind {
    fn specs(&self, routes: usize) -> Vec<RouteSpec> {
        (0..routes).map(self.spec).collect()
    }

    fn table(&self, routes: usize) -> RouteTable {
        RouteTable::compile(&self.specs(routes), Flavor::default()).unwrap()
    }

    fn look_up(&self, table: &RouteTable, routes: usize, times: usize) {
        let (host, path, tenant) = (self.request)(routes - 1);
        let headers = vec![("accept", "*/*"), ("x-tenant", tenant.as_str())];
        for _ in 0..times {
            let lookup = Lookup {
                method: "GET",
                host: &host,
                tls: false,
                sni: None,
                path: &path,
                headers: &headers,
            };
            let found = table.find(black_box(&lookup));
            assert_eq!(black_box(found).is_some(), self.name != "miss");
        }
    }
}

/// Tables of expressions end at 10,000: more are seconds of compiling.
fn sizes(kind: &Kind, sizes: &[usize]) -> Vec<usize> {
    let most = match kind.name {
        "crowd" => 1_000,
        "regex" => 10_000,
        _ => usize::MAX,
    };
    sizes.iter().copied().filter(|size| *size <= most).collect()
}

fn look_ups(c: &mut Criterion) {
    for kind in &KINDS {
        let mut group = c.benchmark_group(format!("find/{}", kind.name));
        for routes in sizes(kind, &[10, 1_000, 100_000]) {
            let table = kind.table(routes);
            group.bench_function(BenchmarkId::from_parameter(routes), |b| {
                b.iter(|| kind.look_up(&table, routes, 1));
            });
        }
    }
}

fn compile(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    for kind in KINDS.iter().filter(|kind| kind.name != "miss") {
        for routes in sizes(kind, &[1_000, 10_000, 100_000]) {
            let specs = kind.specs(routes);
            group.bench_function(BenchmarkId::new(kind.name, routes), |b| {
                b.iter(|| RouteTable::compile(&specs, Flavor::default()).unwrap());
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = look_ups, compile
}

fn main() {
    let words: Vec<String> = std::env::args()
        .skip_while(|word| word != "--count")
        .collect();
    if let [_, kind, routes, times, ..] = &words[..] {
        let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
        let routes = routes.parse().unwrap();
        return kind.look_up(&kind.table(routes), routes, times.parse().unwrap());
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
