//! The gateway under load, beside what else is installed: `cargo bench --bench load [-- --quick]`.
//!
//! Starts an upstream, the gateway, and nginx and HAProxy where they are on the path, each proxy
//! with one thread and with the settings that make it fast. Then rounds over all of them, one after
//! the other, so that a noisy moment of the machine hits everybody. With two processors and
//! `taskset`, the proxy in turn has the first and everything else the second. `wrk` makes the load
//! where it is installed, else a client of our own. Prints a table and writes `target/load.json`.
//!
//! The release build is measured, or the program that the variable `SLUICEGATE` names.
//!
//! `--quick` is one short round for a look; `--own-client` ignores wrk; `--only NAME,…` and
//! `--case NAME,…` choose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

mod client;
mod gateway;
mod measure;
mod proxies;
mod report;
mod upstream;

use std::time::Duration;

use measure::Sample;
use proxies::Proxy;

/// What is asked for, and how much of it.
pub struct Case {
    pub name: &'static str,
    pub path: &'static str,
    pub connections: usize,
    /// Asked through the gateway's chain of plugins, so of the gateway alone.
    pub plugins: bool,
}

const CASES: [Case; 4] = [
    Case {
        name: "small",
        path: "/small",
        connections: 64,
        plugins: false,
    },
    Case {
        name: "small, 8 connections",
        path: "/small",
        connections: 8,
        plugins: false,
    },
    Case {
        name: "100 KiB",
        path: "/large",
        connections: 64,
        plugins: false,
    },
    Case {
        name: "plugins",
        path: "/guarded",
        connections: 64,
        plugins: true,
    },
];

struct Options {
    rounds: usize,
    time: Duration,
    own_client: bool,
    only: Option<String>,
    case: Option<String>,
}

fn options(args: &[String]) -> Options {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    let quick = has("--quick");
    Options {
        rounds: if quick { 1 } else { 5 },
        time: Duration::from_millis(if quick { 1000 } else { 3000 }),
        own_client: has("--own-client"),
        only: value("--only"),
        case: value("--case"),
    }
}

fn chosen(list: &Option<String>, name: &str) -> bool {
    let Some(list) = list else { return true };
    list.split(',').any(|item| name.starts_with(item.trim()))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // The same program is the upstream and the client, each in a process of its own.
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upstream"] => return upstream::run(),
        [
            "client",
            address,
            path,
            connections,
            millis,
            ref headers @ ..,
        ] => {
            let time = Duration::from_millis(millis.parse().unwrap());
            return client::run(address, path, connections.parse().unwrap(), time, headers);
        }
        _ => {}
    }
    let options = options(&args);
    let load = measure::Load::choose(options.own_client);
    let (_upstream, upstream) = upstream::spawn(load.pins());
    let proxies: Vec<Proxy> = proxies::start_all(upstream, load.pins())
        .into_iter()
        .filter(|proxy| chosen(&options.only, proxy.name))
        .collect();
    println!("{}", load.describe());
    let mut samples: Vec<Sample> = Vec::new();
    for case in CASES.iter().filter(|case| chosen(&options.case, case.name)) {
        // One short run each that does not count: connections open, memory is found.
        let warm_up = Duration::from_millis(300);
        let asked = || proxies.iter().filter(|proxy| proxy.plays(case));
        for proxy in asked() {
            load.run(proxy, case, warm_up);
        }
        for _ in 0..options.rounds {
            samples.extend(asked().map(|proxy| load.run(proxy, case, options.time)));
        }
        report::print(case.name, &samples);
    }
    report::write(&samples, &load.describe());
}
