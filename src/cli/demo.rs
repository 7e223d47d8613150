//! `sluicegate demo`: the gateway and four little services in one process, on the `gateway.yaml`
//! that ships. Only here the names of that file lead to this process.

mod services;
mod token;

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;
use std::{env, fs, io, process, thread};

use clap::{ArgMatches, Command};

use super::run::failed;
use super::{Console, Exit, flags, say};
use crate::app::{self, Options};
use crate::control::dns::Elsewhere;
use crate::snapshot::Surroundings;
use crate::util::clock;

/// The file that ships.
const SHIPPED: &str = include_str!("../../gateway.yaml");
/// Its client, as the file has it.
const CLIENT: (&str, &str) = ("demo-app", "for-the-demo-only-change-me");
const KEY: &str = "demo-key-change-me";
/// How long the token that is printed is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

pub(super) fn command() -> Command {
    let command = Command::new("demo").about("Run a demonstration: the gateway and its services").long_about(
        "Runs the gateway on the gateway.yaml of this folder (else on the one that ships) together \
         with little services of its own, and prints commands to try.",
    );
    flags::add(command)
}

pub(super) fn run(matches: &ArgMatches, console: &mut Console<'_>) -> Exit {
    let (file, elsewhere) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            say(
                console.err,
                &format!("error: cannot start the services: {error}\n"),
            );
            return Exit::Unavailable;
        }
    };
    let shown = file.display().to_string();
    let options = Options {
        file,
        around: Surroundings {
            flags: flags::layer(matches),
            variables: console.variables.clone(),
        },
        lookup: None,
        elsewhere,
    };
    let out = &mut *console.out;
    match app::run(options, |lines| say(out, &welcome(lines, &shown))) {
        Ok(()) => Exit::Fine,
        Err(error) => failed(&error, console),
    }
}

/// The file, and the services with their addresses.
fn prepare() -> io::Result<(PathBuf, Elsewhere)> {
    let here = PathBuf::from("gateway.yaml");
    let file = if here.exists() { here } else { unpack()? };
    Ok((file, start()?))
}

/// Writes the file that ships where it can be looked at and edited.
fn unpack() -> io::Result<PathBuf> {
    let folder = env::temp_dir().join(format!("sluicegate-demo-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let file = folder.join("gateway.yaml");
    fs::write(&file, SHIPPED)?;
    Ok(file)
}

/// Starts the services on a thread of their own.
fn start() -> io::Result<Elsewhere> {
    let (tell, told) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("demo".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                // Nobody listens any more: the process is ending.
                let _ = tell.send(services::start().await);
                std::future::pending::<()>().await;
            });
        })?;
    told.recv().map_err(io::Error::other)?
}

/// What is listening, and what to try.
fn welcome(lines: &[String], file: &str) -> String {
    let address = |role: &str| {
        let line = lines.iter().find_map(|line| line.strip_prefix(role))?;
        Some(
            line.replace("0.0.0.0", "localhost")
                .replace("[::]", "localhost"),
        )
    };
    let proxy = address("proxy http ").unwrap_or_else(|| "localhost:8000".to_owned());
    let expires = clock::unix_secs() + TOKEN_LIFE.as_secs();
    let token = token::sign(CLIENT.0, CLIENT.1, expires);
    let mut text = lines.join("\n");
    text.push_str(&format!(
        r#"

The gateway runs {file} with four little services. Try:

  # refused: nobody has said who he is
  curl -i http://{proxy}/api/users

  # with a token of the consumer demo-app, good for a day; 100 requests a minute
  TOKEN={token}
  curl -i -H "Authorization: Bearer $TOKEN" http://{proxy}/api/users
  curl -i -H "Authorization: Bearer $TOKEN" http://{proxy}/api/orders -d '{{"items":["tea"]}}'

  # open to all, two targets at 3 to 1; better limits with a key
  curl -i http://{proxy}/api/products/42
  curl -i -H "apikey: {KEY}" http://{proxy}/api/products/42

  # answered by plugins alone: a browser's preflight, a version that is gone
  curl -i -X OPTIONS -H "Origin: https://shop.example" \
    -H "Access-Control-Request-Method: GET" http://{proxy}/api/users
  curl -i http://{proxy}/api/v0
"#
    ));
    if let Some(admin) = address("admin http ") {
        text.push_str(&format!(
            "\n  # what is going on\n  curl http://{admin}/health\n  curl http://{admin}/metrics\n"
        ));
    }
    text.push_str("\nEdit the file and it is loaded again. Ctrl-C ends it.\n");
    text
}
