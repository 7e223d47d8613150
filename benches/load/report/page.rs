//! The report as a page, with a chart for each case.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::{Paired, Row, rows};
use crate::cases::{Case, Load};
use crate::machine;
use crate::measure::Sample;

/// Writes `benches/report/`.
pub fn write(cases: &[Case], samples: &[Sample], how: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/report");
    fs::create_dir_all(&folder).unwrap();
    let rounds = samples
        .iter()
        .map(|sample| sample.round + 1)
        .max()
        .unwrap_or(0);
    let mut page = format!(
        "# Under load\n\nMade by `cargo bench --bench load -- --report`: {rounds} interleaved rounds, {how}.\n\n"
    );
    for line in machine::describe() {
        let _ = writeln!(page, "- {line}");
    }
    page += "\nThe figures of a machine hold for that machine, and a virtual one with few processors is \
             noisy: compare within a table. Processor time is user and system time of the proxy by the \
             requests answered; a best round is the one that was disturbed least. \"Ours by it\" is the \
             first row's processor time by the other's in the same round: the median over the rounds, and \
             from the second smallest to the second largest. Below one the first row is cheaper. In the open loop it is the 99th percentile that is compared.\n";
    for case in cases {
        let rows = rows(case, samples);
        if rows.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## {}\n\n", case.title);
        let idle = matches!(case.load, Load::Idle { .. });
        let (unit, bars): (&str, Vec<(&str, f64)>) = match idle {
            true => (
                "KiB of private memory for each",
                bars(&rows, |row| row.idle_bytes.map(|bytes| bytes / 1024.0)),
            ),
            false => (
                "CPU µs per request, best round",
                bars(&rows, |row| Some(row.cpu.best)),
            ),
        };
        if !bars.is_empty() {
            let file = format!("{}.svg", case.name);
            fs::write(folder.join(&file), chart(unit, &bars)).unwrap();
            let _ = write!(page, "![{}]({file})\n\n", case.title);
        }
        page += &match idle {
            true => idle_table(&rows),
            false => table(case, &rows),
        };
    }
    fs::write(folder.join("README.md"), page).unwrap();
    println!("written to benches/report/");
}

fn bars<'a>(rows: &[Row<'a>], of: impl Fn(&Row<'a>) -> Option<f64>) -> Vec<(&'a str, f64)> {
    let bar = |row: &Row<'a>| {
        of(row)
            .filter(|value| *value > 0.0)
            .map(|value| (row.proxy, value))
    };
    rows.iter().filter_map(bar).collect()
}

fn idle_table(rows: &[Row<'_>]) -> String {
    let mut text = String::from("| | KiB each | failed |\n| --- | --- | --- |\n");
    for row in rows {
        let kib = row.idle_bytes.unwrap_or_default() / 1024.0;
        let _ = writeln!(text, "| {} | {kib:.1} | {} |", row.proxy, row.errors);
    }
    text
}

fn table(case: &Case, rows: &[Row<'_>]) -> String {
    let mut text = String::from(
        "| | CPU µs per request, best / median | ours by it | requests/s, best | p50 / p99 / p99.9 ms | RSS MiB | errors |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let cpu = match row.cpu.best > 0.0 {
            true => format!("{:.1} / {:.1}", row.cpu.best, row.cpu.median),
            false => String::new(),
        };
        let ratio = row.ratio(case).map_or(String::new(), Paired::text);
        let rss = match row.rss_kib {
            0 => String::new(),
            kib => format!("{:.1}", kib as f64 / 1024.0),
        };
        let _ = writeln!(
            text,
            "| {} | {cpu} | {ratio} | {:.0} | {} | {rss} | {} |",
            row.proxy,
            row.rate.best,
            row.latency
                .map(|us| format!("{:.2}", us / 1000.0))
                .join(" / "),
            row.errors
        );
    }
    text
}

/// Horizontal bars, readable on light and on dark ground.
fn chart(unit: &str, bars: &[(&str, f64)]) -> String {
    const LEFT: f64 = 170.0;
    const WIDE: f64 = 420.0;
    const HIGH: f64 = 24.0;
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let height = HIGH * bars.len() as f64 + 34.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <style>text{{fill:#1f2328}}@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}}}</style>\n\
         <text x=\"{LEFT}\" y=\"16\">{unit}</text>\n"
    );
    for (nth, (name, value)) in bars.iter().enumerate() {
        let y = 26.0 + HIGH * nth as f64;
        let wide = (value / most * WIDE).max(1.0);
        let colour = if nth == 0 { "#1a7f64" } else { "#8c959f" };
        let digits = if *value < 10.0 { 1 } else { 0 };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{wide:.1}\" height=\"{}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{value:.digits$}</text>",
            LEFT - 8.0,
            y + 15.0,
            HIGH - 5.0,
            LEFT + wide + 6.0,
            y + 15.0
        );
    }
    svg + "</svg>\n"
}
