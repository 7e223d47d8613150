//! `sluicegate diff`: what loading a file into the gateway that runs would change.
//!
//! The gateway itself compares, so that changed secrets count without being shown.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value};

use super::{Console, Exit, ask, config_arg, flags, say, source, text};
use crate::app;
use crate::config::schema::texts;
use crate::config::settings::Settings;
use crate::snapshot::Surroundings;

/// Checking a large file takes a while.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn command() -> Command {
    let command = Command::new("diff")
        .about("Show what loading a file into the running gateway would change")
        .long_about(
            "Asks the gateway that runs what the file would add, remove and change. Nothing is \
             loaded.\n\
             Exits with 0 when nothing would change, 1 when something would, 2 when the file \
             would be refused, 69 when no gateway answers.",
        )
        .arg(config_arg())
        .arg(
            Arg::new("admin")
                .long("admin")
                .value_name("URL")
                .help("the admin listener, http://host:port [default: as the settings say]"),
        )
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["text", "json"])
                .default_value("text")
                .help("json: the gateway's answer as it is"),
        );
    flags::add(command)
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let file = source::choose(text(matches, "config"), console);
    let around = Surroundings {
        flags: flags::layer(matches),
        variables: console.variables.clone(),
    };
    let wanted = match source::read(&file, &around) {
        Ok(wanted) => wanted,
        Err(error) => {
            say(
                console.err,
                &format!("error: {file}: cannot be read: {error}\n"),
            );
            return Exit::Refused;
        }
    };
    let settings = ask::settings_in(&wanted, &file, &around);
    let address = match admin(matches, &settings) {
        Ok(address) => address,
        Err(problem) => {
            say(console.err, &format!("error: {problem}\n"));
            return Exit::Usage;
        }
    };
    let target = "/config?dry_run=1";
    let token = settings.admin_token.as_ref();
    let answer = ask::ask(address, "POST", target, wanted.as_bytes(), token, PATIENCE);
    let told = answer.map(|(status, body)| (status, serde_json::from_slice::<Value>(&body)));
    let json = text(matches, "format") == Some("json");
    match told {
        Ok((200, Ok(answer))) => {
            let changes = answer["changes"].as_object().cloned().unwrap_or_default();
            let lines = match json {
                true => format!("{answer}\n"),
                false => lines(&changes),
            };
            say(console.out, &lines);
            match changes.is_empty() {
                true => Exit::Fine,
                false => Exit::Bad,
            }
        }
        Ok((400, Ok(answer))) => {
            match json {
                true => say(console.out, &format!("{answer}\n")),
                false => say(console.err, &refusal(&file, &answer)),
            }
            Exit::Refused
        }
        Ok((401, _)) => {
            let line = format!("error: http://{address} asks for its token: --admin-token\n");
            say(console.err, &line);
            Exit::Unavailable
        }
        Ok((status, _)) => {
            say(
                console.err,
                &format!("error: http://{address}{target} answers {status}\n"),
            );
            Exit::Unavailable
        }
        Err(error) => {
            say(console.err, &format!("error: http://{address}: {error}\n"));
            Exit::Unavailable
        }
    }
}

/// Whom to ask.
fn admin(matches: &ArgMatches, settings: &Settings) -> Result<SocketAddr, String> {
    let Some(url) = text(matches, "admin") else {
        let mut listeners = settings.admin_listen.iter();
        let found = listeners.find(|listener| !listener.tls);
        return found
            .map(|listener| app::reachable(listener.addr))
            .ok_or_else(|| "admin_listen is off here: say --admin URL".to_owned());
    };
    let parts = texts::url_parts(url).filter(|parts| matches!(parts.scheme, None | Some("http")));
    let parts = parts.ok_or_else(|| format!("--admin {url}: expected http://host:port"))?;
    let host = parts.host.trim_matches(['[', ']']);
    let found = (host, parts.port.unwrap_or(8001)).to_socket_addrs();
    let mut found = found.map_err(|error| format!("--admin {url}: {error}"))?;
    found
        .next()
        .ok_or_else(|| format!("--admin {url}: no address"))
}

/// A line for each entity, by kind.
fn lines(changes: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (kind, change) in changes {
        out += &format!("{kind}:\n");
        for (sign, list) in [('+', "added"), ('-', "removed"), ('~', "changed")] {
            for name in change[list].as_array().into_iter().flatten() {
                out += &format!("  {sign} {}\n", name.as_str().unwrap_or_default());
            }
        }
        if change["reordered"] == true {
            out += "    in another order\n";
        }
        if let Some(more) = change["left_out"].as_u64() {
            out += &format!("    and {more} more\n");
        }
    }
    if out.is_empty() {
        out += "nothing would change\n";
    }
    out
}

/// The errors as `check` writes them.
fn refusal(file: &str, answer: &Value) -> String {
    let line = |error: &Value| {
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let (at, path) = (
            format!("{}:{}", error["line"], error["column"]),
            text("path"),
        );
        let path = if path.is_empty() {
            path
        } else {
            format!("{path}: ")
        };
        let hint = match text("hint") {
            hint if hint.is_empty() => hint,
            hint => format!("  hint: {hint}\n"),
        };
        format!("{file}:{at}: error: {path}{}\n{hint}", text("message"))
    };
    let errors = answer["errors"].as_array().into_iter().flatten();
    let lines: String = errors.map(line).collect();
    match lines.is_empty() {
        true => format!(
            "error: {}\n",
            answer["message"].as_str().unwrap_or("refused")
        ),
        false => lines,
    }
}
