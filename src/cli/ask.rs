//! A request to the admin listener of the gateway that runs.
//!
//! Invariant: bounded in time and size, and no other party is ever asked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::ArgMatches;

use super::{Console, flags, source, text};
use crate::config::settings::{self, Layer, Settings, Token};
use crate::plugins;
use crate::snapshot::{self, Surroundings};

/// Longest answer that is read, in bytes.
const MOST: u64 = 64 << 20;

/// The settings of the gateway that runs; a file that is missing or broken by now says nothing.
pub(super) fn settings(matches: &ArgMatches, console: &mut Console<'_>) -> Settings {
    let around = Surroundings {
        flags: flags::layer(matches),
        variables: console.variables.clone(),
    };
    let file = source::choose(text(matches, "config"), console);
    let text = source::read(&file, &around).unwrap_or_default();
    settings_in(&text, &file, &around)
}

/// Those that a text has, else those of flags and environment.
pub(super) fn settings_in(text: &str, file: &str, around: &Surroundings) -> Settings {
    match snapshot::check(text, file, around, plugins::TABLE) {
        (Some(checked), _) => checked.settings().settings.clone(),
        _ => settings::merge(&around.flags, &around.variables, &Layer::default()).settings,
    }
}

/// Asks, and reads the answer: its status and its body. `patience` bounds each wait.
pub(super) fn ask(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &[u8],
    token: Option<&Token>,
    patience: Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let length = body.len();
    let carried = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {}\r\n", token.reveal())
    });
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{carried}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("no HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.lines().next()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
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
    fn status_and_body_are_those_of_the_answer() {
        let ask = |address| ask(address, "GET", "/ready", b"", None, Duration::from_secs(5));
        let ready = answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        assert_eq!(ask(ready).unwrap(), (200, b"ok".to_vec()));
        let draining = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(ask(draining).unwrap().0, 503);
        assert!(ask(answering("nonsense")).is_err());
    }
}
