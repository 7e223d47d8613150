//! What systemd is told (`sd_notify(3)`): that the gateway serves, that it stops, and which process
//! it is after a hand-over.
//!
//! Invariant: nothing here can hold the gateway up or end it; without `NOTIFY_SOCKET` nothing is
//! done.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

use crate::config::settings::Variables;

/// Names the socket: a path, or an abstract name behind `@`.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Whom to tell.
pub(super) struct Notify(Option<String>);

impl Notify {
    pub(super) fn of(variables: &Variables) -> Notify {
        Notify(variables.get(VARIABLE).filter(|at| !at.is_empty()).cloned())
    }

    /// It serves. The process says who it is too: after a hand-over it is another one.
    pub(super) fn ready(&self) {
        let pid = std::process::id();
        self.tell(&format!("READY=1\nMAINPID={pid}\nSTATUS=serving"));
    }

    /// It stops: open requests are finished.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing open requests");
    }

    fn tell(&self, state: &str) {
        let Some(at) = &self.0 else {
            return;
        };
        if let Err(error) = send(at, state) {
            warn!("{VARIABLE}: systemd cannot be told: {error}");
        }
    }
}

fn send(at: &str, state: &str) -> io::Result<()> {
    let address = match at.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(at)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold the gateway up.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
