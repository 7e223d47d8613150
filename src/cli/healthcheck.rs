//! `sluicegate healthcheck`: asks the gateway of this machine whether it is ready.
//!
//! Meant for container health checks: needs no shell, no curl, and the same settings as `run`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::{Console, Exit, ask, config_arg, flags, say};
use crate::app;
use crate::config::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn command() -> Command {
    let command = Command::new("healthcheck")
        .about("Exit with 0 when the running gateway is ready")
        .long_about(
            "Asks the admin listener, or the status listener where that is off, for /ready.\n\
             Finds them by the same flags, variables and file as `run`.",
        )
        .arg(config_arg());
    flags::add(command)
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let settings = ask::settings(matches, console);
    let Some(address) = address(&settings) else {
        say(
            console.err,
            "unhealthy: admin_listen and status_listen are off, so there is nobody to ask\n",
        );
        return Exit::Bad;
    };
    match ask::ask(address, "GET", "/ready", b"", None, PATIENCE) {
        Ok((200, _)) => {
            say(console.out, "healthy\n");
            Exit::Fine
        }
        Ok((status, _)) => {
            let line = format!("unhealthy: http://{address}/ready answers {status}\n");
            say(console.err, &line);
            Exit::Bad
        }
        Err(error) => {
            let line = format!("unhealthy: http://{address}/ready: {error}\n");
            say(console.err, &line);
            Exit::Bad
        }
    }
}

/// The listener to ask, as this machine reaches it.
fn address(settings: &Settings) -> Option<SocketAddr> {
    let mut listeners = settings.admin_listen.iter().chain(&settings.status_listen);
    let plain = listeners.find(|listener| !listener.tls)?;
    Some(app::reachable(plain.addr))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{self, Layer};

    #[test]
    fn the_admin_listener_is_asked_else_the_status_listener() {
        let flags = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, text)| (*name, (*text).to_owned()));
            let layer = Layer::of_flags(pairs).unwrap();
            settings::merge(&layer, &Default::default(), &Layer::default()).settings
        };
        let found = |pairs: &[(&str, &str)]| address(&flags(pairs)).map(|a| a.to_string());
        assert_eq!(found(&[]).unwrap(), "127.0.0.1:8001");
        let off = ("admin_listen", "off");
        assert_eq!(found(&[off]), None);
        let status = ("status_listen", "0.0.0.0:8007");
        assert_eq!(found(&[off, status]).unwrap(), "127.0.0.1:8007");
        let tls = ("admin_listen", "127.0.0.1:8444 tls");
        assert_eq!(
            found(&[tls, ("status_listen", "[::]:9")]).unwrap(),
            "[::1]:9"
        );
    }
}
