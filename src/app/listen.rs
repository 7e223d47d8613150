//! The sockets of the process, bound before anything else is started.

use std::sync::Arc;

use crate::config::settings::{Listener, Settings};
use crate::server::bind::{self, BindError, Bound, DEFAULT_BACKLOG};
use crate::server::worker::Port;
use crate::snapshot::cell::SnapshotCell;
use crate::tls::server::ClientAuth;
use crate::tls::{CertResolver, DefaultCert, ServerTls, TlsSetupError};
use crate::util::keep::Keeps;

use super::StartError;

/// Everything that is listened on.
pub(super) struct Listening {
    /// Where clients come in.
    pub(super) ports: Vec<Port>,
    lines: Vec<String>,
}

impl Listening {
    /// Binds every address; with one that is taken, none stays bound.
    pub(super) fn bind(
        settings: &Settings,
        workers: usize,
        cell: &SnapshotCell,
        default_cert: &Arc<DefaultCert>,
        keeps: &Keeps,
    ) -> Result<Self, StartError> {
        let tls = || server_tls(cell, default_cert, keeps);
        let mut listening = Self {
            ports: Vec::new(),
            lines: Vec::new(),
        };
        for listener in &settings.proxy_listen {
            let bound = socket(listener, workers)?;
            listening.lines.push(line("proxy", listener, &bound));
            listening.ports.push(Port {
                address: bound.address,
                sockets: bound.sockets,
                tls: listener.tls.then(tls).transpose()?,
                proxy_protocol: listener.proxy_protocol,
            });
        }
        Ok(listening)
    }

    /// One line per listener, with its real port.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    /// Whether clients may speak TLS anywhere.
    pub(super) fn has_tls(&self) -> bool {
        self.ports.iter().any(|port| port.tls.is_some())
    }
}

fn socket(listener: &Listener, workers: usize) -> Result<Bound, BindError> {
    let backlog = listener.backlog.unwrap_or(DEFAULT_BACKLOG);
    bind::bind(listener.addr, backlog, workers)
}

fn line(role: &str, listener: &Listener, bound: &Bound) -> String {
    let protocol = if listener.tls { "tls" } else { "http" };
    format!("{role} {protocol} {}", bound.address)
}

fn server_tls(
    cell: &SnapshotCell,
    default: &Arc<DefaultCert>,
    keeps: &Keeps,
) -> Result<ServerTls, TlsSetupError> {
    let cell = cell.clone();
    let table = move || cell.load().map(|live| live.certs.clone());
    let table = move || table().unwrap_or_default();
    let resolver = CertResolver::new(table, default.clone());
    ServerTls::new(resolver, &ClientAuth::Off, false, keeps)
}
