//! The command line (floor 9): one file per command, flags over environment over `gateway:`
//! section over defaults.
//!
//! Invariant: commands write to the streams that they are given and answer with an exit code, so
//! that tests see what a user sees. The environment is read here, once.

mod ask;
mod check;
mod completions;
mod demo;
mod diff;
mod explain;
mod flags;
mod healthcheck;
mod run;
mod schema;
mod source;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use crate::config::settings::Variables;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// `check` found errors, `healthcheck` found no healthy gateway, `diff` found a difference.
    Bad = 1,
    /// `diff`: the file would be refused.
    Refused = 2,
    /// The command line is wrong, or the value of a setting (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// An address could not be bound (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// The configuration is missing or invalid at start (`EX_CONFIG`).
    Config = 78,
}

/// Where a command reads from and writes to.
pub struct Console<'a> {
    /// Standard output.
    pub out: &'a mut dyn Write,
    /// Standard error.
    pub err: &'a mut dyn Write,
    /// Standard error is a terminal: problems come with the text that they are about.
    pub terminal: bool,
    /// Colours are welcome.
    pub colour: bool,
    /// The environment.
    pub variables: Variables,
}

/// The whole program: reads the command line, runs a command.
pub fn main() -> ExitCode {
    crate::tls::install_provider();
    let variables: Variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let terminal = io::stderr().is_terminal();
    let mut console = Console {
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        terminal,
        colour: terminal && !variables.contains_key("NO_COLOR"),
        variables,
    };
    let exit = run(std::env::args_os(), &mut console);
    ExitCode::from(exit as u8)
}

/// Runs one command line, its first word being the name of the program.
pub fn run(args: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> Exit {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return usage(&error, console),
    };
    match matches.subcommand() {
        Some(("run", matches)) => run::run(matches, console),
        Some(("check", matches)) => check::run(matches, console),
        Some(("demo", matches)) => demo::run(matches, console),
        Some(("diff", matches)) => diff::run(matches, console),
        Some(("explain", matches)) => explain::run(matches, console),
        Some(("healthcheck", matches)) => healthcheck::run(matches, console),
        Some(("schema", _)) => schema::run(console),
        Some(("completions", matches)) => completions::run(matches, console),
        _ => Exit::Usage,
    }
}

/// `--help` and `--version` are no mistakes.
fn usage(error: &clap::Error, console: &mut Console<'_>) -> Exit {
    let text = error.render();
    let coloured = |styled: bool| match styled {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    if error.use_stderr() {
        say(console.err, &coloured(console.colour));
        Exit::Usage
    } else {
        say(console.out, &text.to_string());
        Exit::Fine
    }
}

/// Writes a text. That nobody reads it any more is no reason to fail.
fn say(stream: &mut dyn Write, text: &str) {
    let _ = stream.write_all(text.as_bytes());
    let _ = stream.flush();
}

fn command() -> Command {
    Command::new("sluicegate")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An API gateway that runs a Kong-style declarative file")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(run::command())
        .subcommand(check::command())
        .subcommand(demo::command())
        .subcommand(diff::command())
        .subcommand(explain::command())
        .subcommand(healthcheck::command())
        .subcommand(schema::command())
        .subcommand(completions::command())
}

/// `-c FILE`.
fn config_arg() -> Arg {
    Arg::new("config")
        .short('c')
        .long("config")
        .value_name("FILE")
        .help("the declarative file [default: $SLUICEGATE_CONFIG, else ./gateway.yaml]")
}

fn text<'m>(matches: &'m ArgMatches, name: &str) -> Option<&'m str> {
    matches.get_one::<String>(name).map(String::as_str)
}

fn texts<'m>(matches: &'m ArgMatches, name: &str) -> Vec<&'m str> {
    let values = matches.get_many::<String>(name).into_iter().flatten();
    values.map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
