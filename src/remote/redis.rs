//! Scripts on a Redis server or cluster, for counters that several gateways share.
//!
//! A worker has one connection to each server, on its own thread, and pipelines the calls of all
//! its requests over it. A call is one round trip (`EVALSHA`; the whole script only when the server
//! does not know it yet); neither its answer nor connecting before it takes longer than the
//! time-out. Each server has a circuit: after a few failures nobody waits for it any more, until a
//! probe on the control runtime has reached it again.
//!
//! Invariant: the protocol is the library's, connections are ours: nothing is awaited without a
//! bound in time, nothing read without a bound in bytes.

mod call;
mod link;
mod node;
mod open;
mod slots;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::{Cmd, RedisConnectionInfo};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::call::{Answer, Call};
use self::node::{Aside, Here, Node, Side};
use self::slots::Cluster;
use crate::telemetry::{Check, Health, Metrics, Weight};
use crate::tls::client::{Alpn, Verify};
use crate::tls::{ClientTls, TlsClients, TlsIdentity};
use crate::util::clock;
use crate::util::keep::Keep;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Address {
    /// From `host:port`, the host in brackets where it is an IPv6 address.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.rsplit_once(':')?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return None;
        }
        let host = bare.unwrap_or(host);
        let fits = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
        fits.then_some(Address {
            host: host.to_owned(),
            port: port.parse().ok().filter(|port| *port > 0)?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What makes one server, or cluster, unlike another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The server; of a cluster, nodes to begin with.
    pub nodes: Vec<Address>,
    /// They are a cluster.
    pub cluster: bool,
    /// How long connecting may take, and how long an answer.
    pub timeout: Duration,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The database.
    pub database: u32,
    /// TLS, if it is spoken.
    pub tls: Option<TargetTls>,
}

/// How TLS is spoken with a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetTls {
    /// Its certificate is verified.
    pub verify: bool,
    /// The name that it is called by, if not its host.
    pub server_name: Option<String>,
}

/// A script that servers keep under its digest.
pub struct Script {
    text: &'static str,
    sha: String,
}

impl Script {
    /// From its text.
    pub fn new(text: &'static str) -> Script {
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let hex = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Script {
            text,
            sha: hex.collect(),
        }
    }

    fn call(&self, name: &str, keys: &[String], args: &[i64]) -> Cmd {
        let script = match name {
            "EVALSHA" => self.sha.as_str(),
            _ => self.text,
        };
        let mut call = redis::cmd(name);
        call.arg(script).arg(keys.len()).arg(keys).arg(args);
        call
    }
}

/// Why a call has no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Away {
    /// It has failed before, so it is not even asked.
    #[error("its circuit is open")]
    Open,
    /// It takes too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Closed(String),
    /// It answers with an error.
    #[error("it says: {0}")]
    Refused(String),
    /// It answers what is none.
    #[error("not an answer: {0}")]
    Garbage(String),
    /// Nothing is ever connected here: a configuration is only being checked.
    #[error("not connected")]
    Detached,
}

impl Away {
    /// The label `result` in metrics.
    fn label(&self) -> &'static str {
        match self {
            Away::Open => "open",
            Away::Timeout(_) => "timeout",
            Away::Connect(_) => "connect",
            Away::Closed(_) => "closed",
            Away::Refused(_) => "error",
            Away::Garbage(_) => "garbage",
            Away::Detached => "detached",
        }
    }
}

/// What all nodes of a target share.
struct Shared {
    target: Target,
    tls: Option<ClientTls>,
    login: RedisConnectionInfo,
    /// Cancelled when the last user of the target is gone.
    gone: CancellationToken,
    /// Something happened that may have changed who serves which slots.
    moved: Arc<Notify>,
    metrics: Arc<Metrics>,
}

/// Every server in use: two users of one target share its circuit and its connections.
pub struct RedisClients {
    /// `None`: nothing is connected.
    runtime: Option<Handle>,
    metrics: Arc<Metrics>,
    tls: Option<TlsClients>,
    living: Keep<Target, RedisClient>,
    /// Work that wants to end well, and its signal to do so.
    work: TaskTracker,
    closing: CancellationToken,
}

impl RedisClients {
    /// Probes run on `runtime`.
    pub fn new(runtime: Handle, metrics: Arc<Metrics>, tls: TlsClients) -> Arc<RedisClients> {
        Arc::new(RedisClients {
            runtime: Some(runtime),
            metrics,
            tls: Some(tls),
            living: Keep::default(),
            work: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    /// Connects to nothing: for checking a configuration.
    pub fn detached() -> Arc<RedisClients> {
        Arc::new(RedisClients {
            runtime: None,
            metrics: Metrics::new(1),
            tls: None,
            living: Keep::default(),
            work: TaskTracker::new(),
            closing: CancellationToken::new(),
        })
    }

    /// The client of that target: the living one, else a new one.
    pub fn client(&self, target: Target) -> Arc<RedisClient> {
        let make = || RedisClient::new(&target, self);
        self.living.adopt(target.clone(), make)
    }

    /// The check `redis`, when there is a client.
    pub fn check(&self) -> Option<Check> {
        let clients = self.living.living();
        let nodes: Vec<Arc<Node>> = clients.iter().flat_map(|client| client.nodes()).collect();
        let away: Vec<String> = nodes.iter().filter_map(|node| node.why()).collect();
        let (status, message) = match (nodes.len(), away.is_empty()) {
            (0, _) => return None,
            (1, true) => (Health::Healthy, "1 server".to_owned()),
            (n, true) => (Health::Healthy, format!("{n} servers")),
            (_, false) => (
                Health::Degraded,
                format!("not asked for now: {}", away.join("; ")),
            ),
        };
        Some(Check {
            name: "redis".into(),
            status,
            message,
            weight: Weight::Part,
        })
    }

    /// Runs work of the control side, unless nothing is connected. It is to end soon after
    /// [`RedisClients::closing`] is cancelled.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            self.work.spawn_on(work, runtime);
        }
    }

    /// Cancelled when the process ends.
    pub fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Tells all work to end and waits for it, at most `within`; whether it has. Dropping the
    /// future gives up waiting.
    pub async fn close(&self, within: Duration) -> bool {
        self.closing.cancel();
        self.work.close();
        tokio::time::timeout(within, self.work.wait()).await.is_ok()
    }

    fn tls(&self, target: &Target) -> Option<ClientTls> {
        let verify = target.tls.as_ref()?.verify;
        let verify = match verify {
            // As deep as chains are in practice; the field has no word on it.
            true => Verify::On {
                cas: None,
                depth: 8,
            },
            false => Verify::Off,
        };
        let identity = TlsIdentity {
            verify,
            client_cert: None,
            alpn: Alpn::None,
        };
        Some(self.tls.as_ref()?.get(identity))
    }
}

/// One server or cluster.
pub struct RedisClient {
    timeout: Duration,
    connected: bool,
    servers: Servers,
    /// Ends connections and probes.
    _gone: DropGuard,
}

enum Servers {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl RedisClient {
    fn new(target: &Target, clients: &RedisClients) -> RedisClient {
        let gone = CancellationToken::new();
        let mut login = RedisConnectionInfo::default()
            .set_db(target.database.into())
            .set_skip_set_lib_name();
        if let Some(username) = &target.username {
            login = login.set_username(username);
        }
        if let Some(password) = &target.password {
            login = login.set_password(password);
        }
        let shared = Arc::new(Shared {
            target: target.clone(),
            tls: clients.tls(target),
            login,
            gone: gone.clone(),
            moved: Arc::default(),
            metrics: clients.metrics.clone(),
        });
        let runtime = clients.runtime.clone();
        let servers = match (target.cluster, target.nodes.first()) {
            (false, Some(address)) => Servers::One(Node::start(address, &shared, runtime.as_ref())),
            _ => Servers::Cluster(Cluster::start(&shared, runtime)),
        };
        RedisClient {
            timeout: target.timeout,
            connected: clients.runtime.is_some(),
            servers,
            _gone: gone.drop_guard(),
        }
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        match &self.servers {
            Servers::One(node) => vec![node.clone()],
            Servers::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Whether a call on this key would not even be tried.
    pub fn is_open(&self, key: &str) -> bool {
        match &self.servers {
            Servers::One(node) => node.is_open(),
            Servers::Cluster(cluster) => cluster.node_of(key).is_some_and(|node| node.is_open()),
        }
    }

    /// Runs a script on keys that lie in one slot; it answers with whole numbers. For tasks of a
    /// worker: the connection is its own. Dropping the future gives up waiting; the script may run
    /// all the same.
    pub async fn run(
        &self,
        script: &Script,
        keys: &[String],
        args: &[i64],
    ) -> Result<Vec<i64>, Away> {
        self.run_from::<Here>(script, keys, args).await
    }

    /// The same for tasks of the control runtime.
    pub async fn run_aside(
        &self,
        script: &Script,
        keys: &[String],
        args: &[i64],
    ) -> Result<Vec<i64>, Away> {
        self.run_from::<Aside>(script, keys, args).await
    }

    async fn run_from<S: Side>(
        &self,
        script: &Script,
        keys: &[String],
        args: &[i64],
    ) -> Result<Vec<i64>, Away> {
        if !self.connected {
            return Err(Away::Detached);
        }
        let call = Call {
            script,
            keys,
            args,
            deadline: clock::now() + 2 * self.timeout,
        };
        match &self.servers {
            Servers::One(node) => match node.run::<S>(&call, false).await? {
                Answer::Numbers(numbers) => Ok(numbers),
                // Not a cluster, as far as the configuration knows.
                Answer::Elsewhere { to, .. } => Err(node.refused(format!(
                    "MOVED {to}: the nodes of a cluster are named in cluster_nodes"
                ))),
            },
            Servers::Cluster(cluster) => cluster.run::<S>(&call).await,
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "../../tests/blackbox/support/redis.rs"]
pub(crate) mod server;
#[cfg(test)]
mod tests;
