//! `sluicegate check FILE…`: every problem of every file at once.

use clap::{Arg, ArgMatches, Command};

use super::{Console, Exit, say, source, text, texts};
use crate::config::Report;
use crate::config::model::Model;
use crate::snapshot::Surroundings;

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Check declarative files without running them")
        .long_about(
            "Check declarative files without running them. A file that checks loads.\n\
             Exits with 0 when all files are fine (warnings do not count), with 1 when one is not.",
        )
        .arg(
            Arg::new("files")
                .value_name("FILE")
                .num_args(1..)
                .required(true)
                .help("the files; - is standard input"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("json: one object a file, one a line, on standard output"),
        )
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let json = text(matches, "format") == Some("json");
    let around = Surroundings {
        variables: console.variables.clone(),
        ..Surroundings::default()
    };
    let mut exit = Exit::Fine;
    for file in texts(matches, "files") {
        let (checked, report) = source::check(file, &around);
        match (json, &checked) {
            (true, _) => say(console.out, &format!("{}\n", report.to_json())),
            (false, Some(checked)) => {
                source::print(&report, console);
                say(console.out, &summary(&report, checked.model()));
            }
            (false, None) => source::print(&report, console),
        }
        if checked.is_none() {
            exit = Exit::Bad;
        }
    }
    exit
}

fn summary(report: &Report, model: &Model) -> String {
    format!(
        "{}: ok ({}, {}, {})\n",
        report.file(),
        count(model.services.len(), "service"),
        count(model.routes.len(), "route"),
        count(model.plugins.len(), "plugin"),
    )
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
