//! `sluicegate run`: the gateway in the foreground.

use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::{Console, Exit, config_arg, flags, say, source, text};
use crate::app::{self, Options, StartError};
use crate::control::dns::Elsewhere;
use crate::snapshot::Surroundings;

pub(super) fn command() -> Command {
    let command = Command::new("run")
        .about("Run the gateway")
        .long_about(
            "Runs the gateway in the foreground. SIGHUP loads the file again, as does a change of \
             it; SIGTERM and SIGINT drain; SIGUSR1 opens log files again.\n\
             Exits with 0 after a drain, 64 for a wrong setting, 69 when an address cannot be \
             bound, 78 when the file is missing or invalid.",
        )
        .arg(config_arg());
    flags::add(command)
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let file = source::choose(text(matches, "config"), console);
    let options = Options {
        file: PathBuf::from(file),
        around: Surroundings {
            flags: flags::layer(matches),
            variables: console.variables.clone(),
        },
        lookup: None,
        elsewhere: Elsewhere::new(),
    };
    let out = &mut *console.out;
    let ended = app::run(options, |lines| say(out, &(lines.join("\n") + "\n")));
    match ended {
        Ok(()) => Exit::Fine,
        Err(error) => failed(&error, console),
    }
}

/// Says why the gateway did not start.
pub(super) fn failed(error: &StartError, console: &mut Console<'_>) -> Exit {
    match error {
        StartError::Settings(wrong) => {
            for error in wrong {
                say(console.err, &format!("error: {error}\n"));
            }
            Exit::Usage
        }
        StartError::Invalid(report) => {
            source::print(report, console);
            Exit::Config
        }
        StartError::Missing { .. } | StartError::Kv { .. } | StartError::Certificate(_) => {
            say(console.err, &format!("error: {error}\n"));
            Exit::Config
        }
        StartError::Bind(_)
        | StartError::Activation(_)
        | StartError::Tls(_)
        | StartError::System(_)
        | StartError::Log(_) => {
            say(console.err, &format!("error: {error}\n"));
            Exit::Unavailable
        }
    }
}
