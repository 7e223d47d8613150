//! Listening sockets that systemd has opened (`sd_listen_fds(3)`).
//!
//! Invariant: what was passed is served or refused; nobody waits at a socket that nobody looks at.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use thiserror::Error;

use super::handover::Inherited;

/// The variable by which systemd says how many there are.
pub const VARIABLE: &str = "LISTEN_FDS";

/// What was passed cannot be used.
#[derive(Debug, Error)]
pub enum ActivationError {
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
/// the variables are gone then, and a process that this one starts does not see them.
///
/// # Errors
/// Where a socket is none that listens for TCP.
pub fn receive() -> Result<Inherited, ActivationError> {
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
