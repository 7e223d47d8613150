//! `sluicegate healthcheck`: asks the gateway of this machine whether it is ready.
//!
//! Meant for container health checks: needs no shell, no curl, and the same settings as `run`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::{Console, Exit, config_arg, flags, say, source, text};
use crate::config::settings::{self, Layer, Settings};
use crate::snapshot::Surroundings;

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
    let settings = settings(matches, console);
    let Some(address) = address(&settings) else {
        say(
            console.err,
            "unhealthy: admin_listen and status_listen are off, so there is nobody to ask\n",
        );
        return Exit::Bad;
    };
    match ask(address) {
        Ok(200) => {
            say(console.out, "healthy\n");
            Exit::Fine
        }
        Ok(status) => {
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

/// The settings of the gateway that runs; a file that is missing or broken by now says nothing.
fn settings(matches: &ArgMatches, console: &mut Console<'_>) -> Settings {
    let around = Surroundings {
        flags: flags::layer(matches),
        variables: console.variables.clone(),
    };
    let file = source::choose(text(matches, "config"), console);
    match source::check(&file, &around) {
        (Some(checked), _) => checked.settings().settings.clone(),
        _ => settings::merge(&around.flags, &around.variables, &Layer::default()).settings,
    }
}

/// The listener to ask, as this machine reaches it.
fn address(settings: &Settings) -> Option<SocketAddr> {
    let listeners = settings.admin_listen.iter().chain(&settings.status_listen);
    let mut address = listeners.into_iter().find(|listener| !listener.tls)?.addr;
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Some(address)
}

/// The status of the answer to `GET /ready`.
fn ask(address: SocketAddr) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!("GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(4096)).read_until(b'\n', &mut line)?;
    let status = std::str::from_utf8(&line)
        .ok()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no HTTP answer"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn answering(head: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 512];
            let read = stream.read(&mut asked).unwrap();
            assert!(asked[..read].starts_with(b"GET /ready HTTP/1.1\r\n"));
            stream.write_all(head.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn the_status_is_that_of_the_answer() {
        let ready = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(ask(ready).unwrap(), 200);
        let draining = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(ask(draining).unwrap(), 503);
        assert!(ask(answering("nonsense")).is_err());
    }

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
