//! The proxies, each with one thread and the settings that make it fast.
//!
//! Left at their defaults, peers are slow for no fault of theirs: nginx opens a connection per
//! request, HAProxy reuses none of another client's, Envoy and Caddy stop at a thousand and at 32
//! connections. All of them add the client's address, for a gateway has to.

mod caddy;
mod envoy;
mod haproxy;
mod nginx;
mod sluicegate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::cases::Player;
use crate::machine::{self, Pins, Running, found, free_address};
use crate::stage::{Stage, Surroundings};

/// Who may play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The upstream itself.
    Direct,
    Splice,
    Sluicegate,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
    Pingora,
}

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Direct => "no proxy",
            Peer::Splice => "splice",
            Peer::Sluicegate => "sluicegate",
            Peer::Nginx => "nginx",
            Peer::Haproxy => "haproxy",
            Peer::Envoy => "envoy",
            Peer::Caddy => "caddy",
            Peer::Pingora => "pingora",
        }
    }
}

/// Something to send load to.
pub struct Proxy {
    pub name: &'static str,
    pub stage: Stage,
    pub http: SocketAddr,
    pub tls: SocketAddr,
    pub admin: Option<SocketAddr>,
    /// Whose cost is measured; none for the upstream itself.
    pub pid: Option<u32>,
    /// Its file and two texts for it, where it has other ones in turn.
    pub texts: Option<(PathBuf, String, String)>,
    /// The keys of the tokens that it takes, to make more of them.
    pub keys: Option<crate::tokens::Keys>,
    _running: Option<Running>,
}

/// Where a proxy shall listen.
#[derive(Clone, Copy)]
pub struct Places {
    pub http: SocketAddr,
    pub tls: SocketAddr,
    pub admin: SocketAddr,
}

/// What starts a proxy.
pub struct Setup {
    pub command: Command,
    /// Where it accepts once it is ready.
    pub listens: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub texts: Option<(PathBuf, String, String)>,
}

/// Starts a player; `None` where it is not installed or cannot be set up so.
pub fn start(player: &Player, around: &Surroundings, pins: Pins) -> Option<Proxy> {
    let (name, stage) = (player.label(), *player.stage());
    let keys = match stage {
        Stage::Chain(algorithm) => Some(around.keys(algorithm).clone()),
        _ => None,
    };
    let places = Places {
        http: free_address(),
        tls: free_address(),
        admin: free_address(),
    };
    let proxy = |pid, http, setup: Option<Setup>, running| {
        let (admin, texts) = setup.map_or((None, None), |setup| (setup.admin, setup.texts));
        Proxy {
            name,
            stage,
            http,
            tls: places.tls,
            admin,
            pid,
            texts,
            keys: keys.clone(),
            _running: running,
        }
    };
    let setup = match player.peer {
        Peer::Direct => return Some(proxy(None, around.http(stage), None, None)),
        Peer::Splice => {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([
                "splice",
                &places.http.to_string(),
                &around.http(stage).to_string(),
            ]);
            Setup {
                command,
                listens: vec![places.http],
                admin: None,
                texts: None,
            }
        }
        Peer::Sluicegate => sluicegate::set_up(stage, around, places)?,
        Peer::Nginx => nginx::set_up(found("nginx", "NGINX")?, stage, around, places)?,
        Peer::Haproxy => haproxy::set_up(found("haproxy", "HAPROXY")?, stage, around, places)?,
        Peer::Envoy => envoy::set_up(found("envoy", "ENVOY")?, stage, around, places)?,
        Peer::Caddy => caddy::set_up(found("caddy", "CADDY")?, stage, around, places)?,
        Peer::Pingora => {
            let mut command = Command::new(found("sluicegate-bench-pingora", "PINGORA")?);
            command.args([places.http.to_string(), around.http(stage).to_string()]);
            Setup {
                command,
                listens: vec![places.http],
                admin: None,
                texts: None,
            }
        }
    };
    let mut setup = setup;
    let command = std::mem::replace(&mut setup.command, Command::new("true"));
    let running = machine::start(player.peer.name(), pins.proxy(command), &setup.listens);
    let pid = running.0.id();
    Some(proxy(Some(pid), places.http, Some(setup), Some(running)))
}

/// A file of one proxy's own: several of one peer may run at once.
fn file(at: Places, name: &str, text: &str) -> PathBuf {
    let folder = machine::scratch().join(at.http.port().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}
