//! `sluicegate schema`: JSON Schema of the file, for editors.

use clap::Command;

use super::{Console, Exit, say};
use crate::{config, plugins};

pub(super) fn command() -> Command {
    Command::new("schema").about("Print the JSON Schema of the declarative file, for editors")
}

pub(super) fn run(console: &mut Console<'_>) -> Exit {
    let schema = config::file_schema(&plugins::known());
    say(console.out, &format!("{schema:#}\n"));
    Exit::Fine
}
