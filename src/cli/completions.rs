//! `sluicegate completions SHELL`: a script for the shell.

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::{Console, Exit, say};

pub(super) fn command() -> Command {
    Command::new("completions")
        .about("Print a completion script for a shell")
        .arg(
            Arg::new("shell")
                .value_name("SHELL")
                .value_parser(value_parser!(Shell))
                .required(true),
        )
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let Some(shell) = matches.get_one::<Shell>("shell") else {
        return Exit::Usage;
    };
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut super::command(), "sluicegate", &mut script);
    say(console.out, &String::from_utf8_lossy(&script));
    Exit::Fine
}
