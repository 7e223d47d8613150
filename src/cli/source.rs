//! Reading declarative files for commands, and telling what is wrong with them.

use std::io::Read;

use super::{Console, say};
use crate::config::node::Pos;
use crate::config::{Report, settings};
use crate::plugins;
use crate::snapshot::{self, Checked, Surroundings};

/// The file that a command is about: its flag, else the environment, else `gateway.yaml`.
pub(super) fn choose(flag: Option<&str>, console: &mut Console<'_>) -> String {
    let (file, notice) = settings::config_source(flag, &console.variables);
    if let Some(notice) = notice {
        say(console.err, &format!("notice: {notice}\n"));
    }
    file
}

/// Reads and checks a file; `-` is standard input. One that cannot be read has that as its error.
pub(super) fn check(file: &str, around: &Surroundings) -> (Option<Checked>, Report) {
    match read(file) {
        Ok(text) => snapshot::check(&text, file, around, plugins::TABLE),
        Err(error) => {
            let mut report = Report::new(file, "");
            report.error(Pos::NOWHERE, "", format!("cannot be read: {error}"));
            (None, report)
        }
    }
}

fn read(file: &str) -> std::io::Result<String> {
    if file != "-" {
        return std::fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Prints a report the way standard error takes it.
pub(super) fn print(report: &Report, console: &mut Console<'_>) {
    let text = match console.terminal {
        true => report.to_terminal(console.colour),
        false => report.to_text(),
    };
    say(console.err, &text);
}
