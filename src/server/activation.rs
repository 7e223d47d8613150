//! Listening sockets that systemd has opened (`sd_listen_fds(3)`).
//!
//! Invariant: what was passed is served or refused; nobody waits at a socket that nobody looks at.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use thiserror::Error;

use super::handover::Inherited;
use crate::config::settings::Variables;

/// The variables by which systemd says how many there are, and for which process.
const COUNT: &str = "LISTEN_FDS";
const PROCESS: &str = "LISTEN_PID";

/// What was passed cannot be used.
#[derive(Debug, Error)]
pub enum ActivationError {
    /// The variables are for this process, and make no sense.
    #[error("LISTEN_FDS: '{0}' is no number of sockets")]
    Count(String),
    /// No socket, or none that clients of HTTP connect to.
    #[error("LISTEN_FDS: socket {nth} of {count}: {error}")]
    Kind {
        /// Its place, from 1.
        nth: usize,
        /// How many there are.
        count: usize,
        /// Why.
        error: io::Error,
    },
    /// No listener is configured for it.
    #[error(
        "LISTEN_FDS: no listener is configured at {0}, where systemd listens: clients would wait \
         there in vain"
    )]
    Unasked(String),
}

/// Takes what was passed, if it was to this process. To be called once, before there are threads:
/// a process that this one starts does not see the variables.
///
/// # Errors
/// Where a socket is none that listens for TCP.
pub fn receive(variables: &Variables) -> Result<Inherited, ActivationError> {
    let process = std::process::id().to_string();
    let Some(said) = variables
        .get(COUNT)
        .filter(|_| variables.get(PROCESS) == Some(&process))
    else {
        return Ok(Inherited::default());
    };
    if said.parse::<u16>().is_err() {
        return Err(ActivationError::Count(said.clone()));
    }
    let mut passed = ListenFd::from_env();
    let count = passed.len();
    let sockets = (0..count).map(|at| {
        take(&mut passed, at).map_err(|error| ActivationError::Kind {
            nth: at + 1,
            count,
            error,
        })
    });
    let sockets = sockets.collect::<Result<Vec<_>, _>>()?;
    Ok(Inherited::passed(sockets))
}

fn take(passed: &mut ListenFd, at: usize) -> io::Result<TcpListener> {
    let none = || io::Error::other("it is gone");
    let socket = passed.take_tcp_listener(at)?.ok_or_else(none)?;
    match socket_acceptconn(&socket)? {
        true => Ok(socket),
        false => Err(io::Error::other("it does not listen (Accept=yes?)")),
    }
}
