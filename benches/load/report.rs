//! Tables for people, JSON for the next comparison.

use std::fs;

use serde_json::{Value, json};

use crate::measure::{Sample, scratch};

/// The best and the middle of several.
struct Spread {
    best: f64,
    median: f64,
}

fn spread(mut values: Vec<f64>, higher_is_better: bool) -> Spread {
    values.sort_by(f64::total_cmp);
    let best = if higher_is_better {
        values.last()
    } else {
        values.first()
    };
    Spread {
        best: best.copied().unwrap_or_default(),
        median: values.get(values.len() / 2).copied().unwrap_or_default(),
    }
}

/// Everything of one proxy in one case.
struct Summary<'a> {
    proxy: &'a str,
    rate: Spread,
    cpu: Spread,
    latency: [f64; 3],
    rss_kib: u64,
    errors: u64,
}

fn summaries<'a>(case: &str, samples: &'a [Sample]) -> Vec<Summary<'a>> {
    let of_case: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.case == case)
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for sample in &of_case {
        if !names.contains(&sample.proxy) {
            names.push(sample.proxy);
        }
    }
    let summary = |proxy: &'a str| {
        let own: Vec<&&Sample> = of_case.iter().filter(|it| it.proxy == proxy).collect();
        let all = |pick: &dyn Fn(&Sample) -> f64| own.iter().map(|it| pick(it)).collect();
        Summary {
            proxy,
            rate: spread(all(&|it| it.requests_per_second), true),
            cpu: spread(all(&|it| it.cpu_us_per_request), false),
            latency: [0, 1, 2].map(|ix| spread(all(&|it| it.latency[ix]), false).median),
            rss_kib: own.iter().map(|it| it.rss_kib).max().unwrap_or_default(),
            errors: own.iter().map(|it| it.errors).sum(),
        }
    };
    names.into_iter().map(summary).collect()
}

/// One case as a table; ratios are those of the best rounds against the gateway's.
pub fn print(case: &str, samples: &[Sample]) {
    let rows = summaries(case, samples);
    let ours = rows.iter().find(|row| row.proxy == "sluicegate");
    println!("\n{case}");
    println!(
        "{:<12} {:>17} {:>15} {:>20} {:>8} {:>7} {:>7}",
        "", "requests/s", "CPU us/request", "p50/p99/p99.9 us", "RSS MiB", "CPU x", "errors"
    );
    for row in &rows {
        let ratio = ours.map_or(0.0, |ours| row.cpu.best / ours.cpu.best.max(0.001));
        println!(
            "{:<12} {:>8.0} / {:>6.0} {:>7.1} / {:>5.1} {:>20} {:>8.1} {:>7.2} {:>7}",
            row.proxy,
            row.rate.best,
            row.rate.median,
            row.cpu.best,
            row.cpu.median,
            row.latency.map(|us| format!("{us:.0}")).join("/"),
            row.rss_kib as f64 / 1024.0,
            ratio,
            row.errors
        );
    }
    println!("(best / median of the rounds; percentiles are medians)");
}

/// `target/load.json`.
pub fn write(samples: &[Sample], how: &str) {
    let rows: Vec<Value> = samples
        .iter()
        .map(|it| {
            json!({
                "proxy": it.proxy,
                "case": it.case,
                "requests_per_second": it.requests_per_second,
                "errors": it.errors,
                "latency_us": {"p50": it.latency[0], "p99": it.latency[1], "p999": it.latency[2]},
                "cpu_us_per_request": it.cpu_us_per_request,
                "rss_kib": it.rss_kib,
            })
        })
        .collect();
    let target = scratch().join("../load.json");
    let text = json!({"how": how, "samples": rows}).to_string();
    match fs::write(&target, text) {
        Ok(()) => println!("\nwritten to target/load.json"),
        Err(error) => println!("\n{}: {error}", target.display()),
    }
}
