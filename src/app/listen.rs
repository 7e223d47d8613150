//! The sockets of the process, bound before anything else is started.

use std::net::TcpListener;
use std::sync::Arc;

use crate::admin::ListenerInfo;
use crate::config::settings::{Accept, Listener, Settings};
use crate::server::bind::{self, BindError, Bound, DEFAULT_BACKLOG};
use crate::server::handover::{Inherited, Spare};
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
    /// Where operators come in.
    pub(super) sides: Vec<Side>,
    /// All of them, as they are told.
    pub(super) infos: Vec<ListenerInfo>,
    /// Duplicates, for a process that takes over. To be closed before this one drains: a socket is
    /// open until the last of its duplicates is closed.
    pub(super) spares: Vec<Spare>,
}

/// A listener of the control side.
pub(super) struct Side {
    /// Everything, or what probes need.
    pub(super) is_admin: bool,
    pub(super) socket: TcpListener,
    pub(super) tls: Option<ServerTls>,
}

impl Listening {
    /// Binds every address; with one that is taken, none stays bound.
    pub(super) fn bind(
        settings: &Settings,
        workers: usize,
        cell: &SnapshotCell,
        default_cert: &Arc<DefaultCert>,
        keeps: &Keeps,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let tls = |http2| server_tls(cell, default_cert, keeps, http2);
        let mut listening = Self {
            ports: Vec::new(),
            sides: Vec::new(),
            infos: Vec::new(),
            spares: Vec::new(),
        };
        let sockets = match settings.accept {
            Accept::Reuseport => workers,
            Accept::Balance => 1,
        };
        for listener in &settings.proxy_listen {
            let bound = socket(listener, sockets, inherited)?;
            listening.spare(listener, &bound)?;
            listening.tell("proxy", listener, &bound);
            listening.ports.push(Port {
                address: bound.address,
                sockets: bound.sockets,
                tls: listener.tls.then(|| tls(true)).transpose()?,
                proxy_protocol: listener.proxy_protocol,
            });
        }
        let admin = settings
            .admin_listen
            .iter()
            .map(|listener| (true, listener));
        let status = settings
            .status_listen
            .iter()
            .map(|listener| (false, listener));
        for (is_admin, listener) in admin.chain(status) {
            let bound = socket(listener, 1, inherited)?;
            listening.spare(listener, &bound)?;
            listening.tell(if is_admin { "admin" } else { "status" }, listener, &bound);
            let tls = listener.tls.then(|| tls(false)).transpose()?;
            for socket in bound.sockets {
                let tls = tls.clone();
                listening.sides.push(Side {
                    is_admin,
                    socket,
                    tls,
                });
            }
        }
        Ok(listening)
    }

    fn tell(&mut self, role: &'static str, listener: &Listener, bound: &Bound) {
        self.infos.push(ListenerInfo {
            role,
            tls: listener.tls,
            address: bound.address,
        });
    }

    fn spare(&mut self, listener: &Listener, bound: &Bound) -> Result<(), StartError> {
        let sockets = bound.sockets.iter().map(TcpListener::try_clone);
        self.spares.push(Spare {
            asked: listener.addr,
            sockets: sockets.collect::<std::io::Result<Vec<_>>>()?,
        });
        Ok(())
    }

    /// Sets the length of the queues of sockets that were taken over: as asked for, or `otherwise`.
    /// Only once nobody else serves them.
    pub(super) fn queue(&self, settings: &Settings, otherwise: Option<u32>) -> std::io::Result<()> {
        let clients = settings.proxy_listen.iter();
        let all = clients
            .chain(&settings.admin_listen)
            .chain(&settings.status_listen);
        for (listener, spare) in all.zip(&self.spares) {
            if let Some(backlog) = listener.backlog.or(otherwise) {
                let mut sockets = spare.sockets.iter();
                sockets.try_for_each(|socket| bind::queue(socket, backlog))?;
            }
        }
        Ok(())
    }

    /// Whether clients may speak TLS anywhere.
    pub(super) fn has_tls(&self) -> bool {
        self.ports.iter().any(|port| port.tls.is_some())
    }
}

fn socket(
    listener: &Listener,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Bound, BindError> {
    let backlog = listener.backlog.unwrap_or(DEFAULT_BACKLOG);
    match inherited.take(listener.addr) {
        Some(sockets) => bind::complete(sockets, listener.addr, workers),
        None => bind::bind(listener.addr, backlog, workers),
    }
}

fn server_tls(
    cell: &SnapshotCell,
    default: &Arc<DefaultCert>,
    keeps: &Keeps,
    http2: bool,
) -> Result<ServerTls, TlsSetupError> {
    let cell = cell.clone();
    let table = move || cell.load().map(|live| live.certs.clone());
    let table = move || table().unwrap_or_default();
    let resolver = CertResolver::new(table, default.clone());
    ServerTls::new(resolver, &ClientAuth::Off, http2, keeps)
}
