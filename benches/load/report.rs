//! Tables for people, JSON for the next comparison.

pub mod page;

use std::fs;

use serde_json::json;

use crate::cases::{Case, Load};
use crate::machine::scratch;
use crate::measure::Sample;

/// The best and the middle of several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread {
    pub best: f64,
    pub median: f64,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

fn spread(mut values: Vec<f64>, higher_is_better: bool) -> Spread {
    let median = median(&mut values);
    let best = match higher_is_better {
        true => values.last(),
        false => values.first(),
    };
    Spread {
        best: best.copied().unwrap_or_default(),
        median,
    }
}

/// What the first player costs for each of the other's, round by round: the middle, and an interval
/// that holds it. Of eight rounds it runs from the second smallest to the second largest, which is
/// right in 93 of 100 cases.
#[derive(Clone, Copy, Debug)]
pub struct Paired {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Paired {
    pub fn text(self) -> String {
        let Paired { median, low, high } = self;
        format!("{median:.2} ({low:.2} to {high:.2})")
    }
}

fn paired(ours: &[&Sample], theirs: &[&Sample], of: impl Fn(&Sample) -> f64) -> Option<Paired> {
    let ratio = |(ours, theirs): (&&Sample, &&Sample)| of(ours) / of(theirs).max(1e-9);
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(ratio).collect();
    let median = median(&mut ratios);
    let outside = usize::from(ratios.len() > 4);
    Some(Paired {
        median,
        low: *ratios.get(outside)?,
        high: *ratios.get(ratios.len().checked_sub(outside + 1)?)?,
    })
}

/// Everything of one proxy in one case.
pub struct Row<'a> {
    pub proxy: &'a str,
    pub rate: Spread,
    pub cpu: Spread,
    /// Medians of the rounds' percentiles.
    pub latency: [f64; 3],
    pub rss_kib: u64,
    pub errors: u64,
    pub idle_bytes: Option<f64>,
    /// The processor time of the first player by this one's.
    pub cpu_ratio: Option<Paired>,
    /// The same of the 99th percentile.
    pub p99_ratio: Option<Paired>,
}

impl Row<'_> {
    /// What counts in a case: processor time, or how long a few have waited.
    pub fn ratio(&self, case: &Case) -> Option<Paired> {
        match case.load {
            Load::Open { .. } => self.p99_ratio,
            _ => self.cpu_ratio,
        }
    }
}

pub fn rows<'a>(case: &Case, samples: &'a [Sample]) -> Vec<Row<'a>> {
    let of_case: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.case == case.name)
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for sample in &of_case {
        if !names.contains(&sample.proxy) {
            names.push(sample.proxy);
        }
    }
    let of = |proxy: &str| -> Vec<&'a Sample> {
        of_case
            .iter()
            .filter(|it| it.proxy == proxy)
            .copied()
            .collect()
    };
    let first = names.first().map(|name| of(name)).unwrap_or_default();
    let row = |proxy: &'a str| {
        let own = of(proxy);
        let all = |pick: &dyn Fn(&Sample) -> f64| own.iter().map(|it| pick(it)).collect();
        let measured = own.iter().any(|it| it.cpu_us_per_request > 0.0);
        let is_first = Some(&proxy) == names.first();
        let ratio = |of: &dyn Fn(&Sample) -> f64| paired(&first, &own, of).filter(|_| !is_first);
        Row {
            proxy,
            rate: spread(all(&|it| it.requests_per_second), true),
            cpu: spread(all(&|it| it.cpu_us_per_request), false),
            latency: [0, 1, 2].map(|ix| spread(all(&|it| it.latency_us[ix]), false).median),
            rss_kib: own.iter().map(|it| it.rss_kib).max().unwrap_or_default(),
            errors: own.iter().map(|it| it.errors).sum(),
            idle_bytes: own.iter().find_map(|it| it.idle_bytes),
            cpu_ratio: ratio(&|it| it.cpu_us_per_request).filter(|_| measured),
            p99_ratio: ratio(&|it| it.latency_us[1]),
        }
    };
    names.iter().map(|name| row(name)).collect()
}

/// One case as a table.
pub fn print(case: &Case, samples: &[Sample]) {
    let rows = rows(case, samples);
    println!("\n{}: {}", case.name, case.title);
    if let Load::Idle { .. } = case.load {
        for row in rows {
            let bytes = row.idle_bytes.unwrap_or_default();
            println!(
                "{:<22} {bytes:>9.0} bytes each {:>7} failed",
                row.proxy, row.errors
            );
        }
        return;
    }
    println!(
        "{:<22} {:>17} {:>19} {:>23} {:>22} {:>8} {:>6}",
        "",
        "requests/s",
        "CPU us/request",
        "p50/p99/p99.9 us",
        "ours by it, paired",
        "RSS MiB",
        "errors"
    );
    for row in &rows {
        let ratio = row.ratio(case).map_or(String::new(), Paired::text);
        println!(
            "{:<22} {:>8.0} / {:>6.0} {:>9.2} / {:>7.2} {:>23} {:>22} {:>8.1} {:>6}",
            row.proxy,
            row.rate.best,
            row.rate.median,
            row.cpu.best,
            row.cpu.median,
            row.latency.map(|us| format!("{us:.0}")).join("/"),
            ratio,
            row.rss_kib as f64 / 1024.0,
            row.errors
        );
    }
}

/// `target/load.json`.
pub fn write_json(samples: &[Sample], how: &str) {
    let target = scratch().join("../load.json");
    let text = json!({"how": how, "samples": samples}).to_string();
    match fs::write(&target, text) {
        Ok(()) => println!("\nwritten to target/load.json"),
        Err(error) => println!("\n{}: {error}", target.display()),
    }
}
