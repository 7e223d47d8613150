//! Reading declarative files for commands, and telling what is wrong with them.

use std::path::Path;

use super::{Console, say};
use crate::app::{self, StartError};
use crate::config::node::Pos;
use crate::config::{Report, settings, text};
use crate::control::kv;
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
    match read(file, around) {
        Ok(text) => snapshot::check(&text, file, around, plugins::TABLE),
        Err(error) => {
            let mut report = Report::new(file, "");
            report.error(Pos::NOWHERE, "", format!("cannot be read: {error}"));
            (None, report)
        }
    }
}

/// The text of a source.
pub(super) fn read(file: &str, around: &Surroundings) -> Result<String, String> {
    if file.starts_with(kv::SCHEME) {
        let merged = settings::merge(
            &around.flags,
            &around.variables,
            &settings::Layer::default(),
        );
        return match app::source::read(Path::new(file), &merged.settings) {
            Err(StartError::Kv { error, .. }) => Err(error.to_string()),
            read => read.map_err(|error| error.to_string()),
        };
    }
    let read = match file {
        "-" => text::read(std::io::stdin()),
        file => text::read_file(Path::new(file)),
    };
    read.map_err(|error| error.to_string())
}

/// Prints a report the way standard error takes it.
pub(super) fn print(report: &Report, console: &mut Console<'_>) {
    let text = match console.terminal {
        true => report.to_terminal(console.colour),
        false => report.to_text(),
    };
    say(console.err, &text);
}
