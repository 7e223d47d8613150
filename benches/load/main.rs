//! The gateway under load, beside what else is installed: `cargo bench --bench load [-- --quick]`.
//!
//! Starts an upstream, the gateway and every peer that is found (nginx, HAProxy, Envoy, Caddy, a
//! Pingora proxy, a bare splice of sockets), each with one thread and with the settings that make it
//! fast. Then rounds over all of them, one after the other, so that a noisy moment of the machine hits
//! everybody. With two processors and `taskset`, the proxies have the first and everything else the
//! second. `wrk` and `h2load` make the load where they are installed, else a client of our own. Prints
//! tables and writes `target/load.json`.
//!
//! The release build is measured, or the program that the variable `SLUICEGATE` names; `NGINX`,
//! `HAPROXY`, `ENVOY`, `CADDY` and `PINGORA` name peers.
//!
//! - `--quick`: one short round of each case, for a look; fails where a request did
//! - `--case NAME,…`, `--only NAME,…`: the cases and the proxies whose names begin so
//! - `--rounds N`, `--seconds N`: how many, how long
//! - `--own-client`: neither wrk nor h2load
//! - `--report`: writes `benches/report/`, too
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

mod cases;
mod client;
mod gateway;
mod load;
mod machine;
mod measure;
mod peers;
mod report;
mod splice;
mod stage;
mod tokens;
mod upstream;

use std::collections::HashMap;
use std::time::Duration;

use cases::{Case, Load, Player};
use load::Loader;
use measure::Sample;
use peers::Proxy;
use stage::Stage;

struct Options {
    rounds: usize,
    time: Duration,
    quick: bool,
    own_client: bool,
    report: bool,
    only: Option<String>,
    case: Option<String>,
}

fn options(args: &[String]) -> Options {
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    let number = |flag: &str| value(flag).map(|text| text.parse::<u64>().expect(flag));
    let quick = has("--quick");
    Options {
        rounds: number("--rounds").unwrap_or(if quick { 1 } else { 8 }) as usize,
        time: Duration::from_secs(number("--seconds").unwrap_or(if quick { 1 } else { 3 })),
        quick,
        own_client: has("--own-client"),
        report: has("--report"),
        only: value("--only"),
        case: value("--case"),
    }
}

fn chosen(list: &Option<String>, name: &str) -> bool {
    let Some(list) = list else { return true };
    list.split(',').any(|item| name.starts_with(item.trim()))
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--help") {
        println!("the options stand at the top of benches/load/main.rs");
        return std::process::ExitCode::SUCCESS;
    }
    // The same program is the upstream, the client and the splice, each in a process of its own.
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["upstream"] => upstream::run(),
        ["splice", listen, upstream] => splice::run(listen, upstream),
        ["client", spec] => client::run(&serde_json::from_str(spec).unwrap()),
        _ => return measure_all(&args),
    }
    std::process::ExitCode::SUCCESS
}

fn measure_all(args: &[String]) -> std::process::ExitCode {
    let options = options(args);
    let loader = Loader::choose(options.own_client);
    let surroundings = stage::Surroundings::start(loader.pins());
    println!("{}", loader.describe());
    let mut samples: Vec<Sample> = Vec::new();
    let mut played: Vec<Case> = Vec::new();
    for case in cases::all() {
        if !chosen(&options.case, case.name) {
            continue;
        }
        play(&case, &options, &loader, &surroundings, &mut samples);
        if samples.iter().any(|sample| sample.case == case.name) {
            report::print(&case, &samples);
        }
        played.push(case);
    }
    report::write_json(&samples, &loader.describe());
    if options.report {
        report::page::write(&played, &samples, &loader.describe());
    }
    let failed: u64 = samples.iter().map(|sample| sample.errors).sum();
    if options.quick && failed > 0 {
        eprintln!("{failed} requests failed");
        return std::process::ExitCode::FAILURE;
    }
    std::process::ExitCode::SUCCESS
}

/// All rounds of a case.
fn play(
    case: &Case,
    options: &Options,
    loader: &Loader,
    surroundings: &stage::Surroundings,
    samples: &mut Vec<Sample>,
) {
    let players: Vec<&Player> = case
        .players
        .iter()
        .filter(|player| chosen(&options.only, player.peer.name()))
        .collect();
    if let Load::Idle { connections, .. } = case.load {
        if connections + 200 > machine::descriptors() {
            return println!(
                "\n{}: not run, for a process may not have so many sockets",
                case.name
            );
        }
        // Each alone: memory is measured from an untouched start.
        for player in players {
            if let Some(proxy) = peers::start(player, surroundings, loader.pins()) {
                samples.extend(loader.idle(&proxy, case));
            }
        }
        return;
    }
    let start = |player: &&Player| peers::start(player, surroundings, loader.pins());
    let proxies: Vec<Proxy> = players.iter().filter_map(start).collect();
    // One short run each that does not count: connections open, memory is found.
    let warm_up = Duration::from_millis(300);
    let mut capacity: HashMap<&'static str, f64> = HashMap::new();
    for proxy in &proxies {
        let sample = loader.run(proxy, case, warm_up, None);
        capacity.insert(proxy.name, sample.requests_per_second);
    }
    let rate = match case.load {
        Load::Open { share, .. } => {
            let all = capacity.iter().filter(|(name, _)| **name != "no proxy");
            let slowest = all.map(|(_, rate)| *rate).fold(f64::MAX, f64::min);
            Some(slowest * share)
        }
        _ => None,
    };
    for round in 0..options.rounds {
        for proxy in &proxies {
            let _busy = stage::Bustle::start(proxy);
            let mut sample = loader.run(proxy, case, options.time, rate);
            sample.round = round;
            samples.push(sample);
        }
    }
}

/// A name for what a player is set up as.
impl Player {
    fn label(&self) -> &'static str {
        self.label.unwrap_or(self.peer.name())
    }

    fn stage(&self) -> &Stage {
        &self.stage
    }
}
