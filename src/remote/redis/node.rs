//! One server: its circuit, its calls, and the probe that brings it back.
//!
//! Invariant: while the circuit is open no request waits. Requests open it, the probe alone closes
//! it, so a server that hangs costs each request of the first moments its time-out, and later ones
//! nothing.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::call::{Answer, Call, Results};
use super::open::{open, why};
use super::{Address, Away, Shared, link, lock};
use crate::util::clock;

/// So many failures in a row open the circuit.
const FAILURES: u32 = 3;
/// How soon the probe looks again after the circuit opened; twice as long each time, at most
/// [`REGULAR`].
const SOON: Duration = Duration::from_millis(100);
/// How often the probe looks at a server that answers.
const REGULAR: Duration = Duration::from_secs(2);
/// A circuit that opens again so soon after it closed stays open longer each time: the server
/// answers the probe, but not what requests ask.
const RELAPSE: Duration = Duration::from_secs(10);
/// The log says the same again only after this many seconds.
const SAY_AGAIN: u64 = 10;

/// Where a call comes from: each side has connections of its own.
pub(super) trait Side {
    /// A connection to a node. Unbounded in time: the caller bounds it.
    fn connection(node: &Node) -> impl Future<Output = Result<MultiplexedConnection, Away>>;
}

/// A worker: its thread has one connection to each server.
pub(super) struct Here;

impl Side for Here {
    fn connection(node: &Node) -> impl Future<Output = Result<MultiplexedConnection, Away>> {
        link::get(node)
    }
}

/// The control runtime: probes and pushes share one connection to each server.
pub(super) struct Aside;

impl Side for Aside {
    fn connection(node: &Node) -> impl Future<Output = Result<MultiplexedConnection, Away>> {
        node.aside()
    }
}

/// A server.
pub(super) struct Node {
    /// Distinguishes it from all nodes there ever were in this process.
    pub(super) id: u64,
    pub(super) address: Address,
    pub(super) shared: Arc<Shared>,
    failures: AtomicU32,
    open: AtomicBool,
    /// Grows whenever the circuit opens: older connections are of no more use.
    generation: AtomicU64,
    /// Why the circuit is open, and since when.
    why: Mutex<Option<(Away, Instant)>>,
    /// When the log last heard that it is away, in seconds since 1970.
    said: AtomicU64,
    /// The log still thinks that it is away.
    said_away: AtomicBool,
    /// Wakes the probe.
    opened: Arc<Notify>,
    /// Cancelled when the node is gone.
    gone: CancellationToken,
    _gone: DropGuard,
    aside: tokio::sync::Mutex<Option<Driven>>,
    results: Results,
}

impl Node {
    /// A server, looked at from now on.
    pub(super) fn start(
        address: &Address,
        shared: &Arc<Shared>,
        runtime: Option<&Handle>,
    ) -> Arc<Node> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let gone = shared.gone.child_token();
        let node = Arc::new(Node {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            address: address.clone(),
            shared: shared.clone(),
            failures: AtomicU32::new(0),
            open: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            why: Mutex::default(),
            said: AtomicU64::new(0),
            said_away: AtomicBool::new(false),
            opened: Arc::default(),
            gone: gone.clone(),
            _gone: gone.drop_guard(),
            aside: tokio::sync::Mutex::default(),
            results: Results::new(address, shared),
        });
        let metrics = &shared.metrics;
        metrics.register_weak(Arc::downgrade(&node), |node, out| {
            let redis = node.address.to_string();
            let up = f64::from(u8::from(!node.is_open()));
            let help = "Whether the Redis server is asked; 0 while its circuit is open.";
            out.gauge(
                "sluicegate_ratelimit_redis_up",
                help,
                &[("redis", &redis)],
                up,
            );
        });
        if let Some(runtime) = runtime {
            runtime.spawn(watch(Arc::downgrade(&node)));
        }
        node
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Tells when nobody uses it any more.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Why the circuit is open, for people.
    pub(super) fn why(&self) -> Option<String> {
        let why = lock(&self.why);
        let (away, since) = why.as_ref()?;
        let secs = clock::now().saturating_duration_since(*since).as_secs();
        Some(format!("{}: {away} (for {secs} s)", self.address))
    }

    /// Runs a script: so long for a connection at most, so long for the answer, and within the
    /// call's deadline.
    pub(super) async fn run<S: Side>(&self, call: &Call<'_>, asking: bool) -> Result<Answer, Away> {
        if self.is_open() {
            return Err(self.count(Away::Open));
        }
        match self.try_run::<S>(call, asking).await {
            Ok(answer) => {
                self.results.ok.inc();
                if self.failures.load(Ordering::Relaxed) != 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
                Ok(answer)
            }
            Err(away) => Err(self.failed(away)),
        }
    }

    async fn try_run<S: Side>(&self, call: &Call<'_>, asking: bool) -> Result<Answer, Away> {
        let bound = self.shared.target.timeout;
        let late = |_| Away::Timeout(bound);
        let until = || call.deadline.min(clock::now() + bound);
        let connection = timeout_at(until(), S::connection(self)).await;
        let mut connection = connection.map_err(late)??;
        let answer = timeout_at(until(), call.send(&mut connection, asking)).await;
        answer.map_err(late)?
    }

    /// The connection of the control side.
    async fn aside(&self) -> Result<MultiplexedConnection, Away> {
        let mut held = self.aside.lock().await;
        let usable = |of: &&Driven| !of.driver.is_finished() && of.generation == self.generation();
        if let Some(driven) = held.as_ref().filter(usable) {
            return Ok(driven.connection.clone());
        }
        *held = None;
        let generation = self.generation();
        let (connection, driver) = open(&self.shared, &self.address).await?;
        *held = Some(Driven {
            connection: connection.clone(),
            driver: tokio::spawn(driver),
            generation,
        });
        Ok(connection)
    }

    /// Asks whether it is there. Until it is, each time over a new connection.
    async fn ping(&self) -> Result<(), Away> {
        let ping = async {
            let mut connection = self.aside().await?;
            match connection.send_packed_command(&redis::cmd("PING")).await {
                Ok(Value::SimpleString(pong)) if pong == "PONG" => Ok(()),
                Ok(Value::ServerError(error)) => Err(why(&error.into())),
                Ok(_) => Err(Away::Garbage("a PONG was expected".to_owned())),
                Err(error) => Err(why(&error)),
            }
        };
        let bound = self.shared.target.timeout;
        let pong = timeout(bound, ping).await;
        let pong = pong.unwrap_or(Err(Away::Timeout(bound)));
        if let Err(away) = &pong {
            self.count(away.clone());
            *self.aside.lock().await = None;
        }
        pong
    }

    /// An answer that nobody can use.
    pub(super) fn refused(&self, text: String) -> Away {
        self.failed(Away::Refused(text))
    }

    fn count(&self, away: Away) -> Away {
        let mut results = self.results.failed.iter();
        if let Some((_, counter)) = results.find(|(label, _)| *label == away.label()) {
            counter.inc();
        }
        away
    }

    fn failed(&self, away: Away) -> Away {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.opens(&away);
        }
        self.count(away)
    }

    fn opens(&self, away: &Away) {
        if self.open.swap(true, Ordering::Relaxed) {
            return;
        }
        self.generation.fetch_add(1, Ordering::Relaxed);
        *lock(&self.why) = Some((away.clone(), clock::now()));
        if self.may_say() {
            self.said_away.store(true, Ordering::Relaxed);
            warn!("redis {}: {away}; not asked until it is back", self.address);
        }
        self.opened.notify_one();
        self.shared.moved.notify_one();
    }

    fn closes(&self) {
        self.failures.store(0, Ordering::Relaxed);
        *lock(&self.why) = None;
        self.open.store(false, Ordering::Relaxed);
        if self.said_away.swap(false, Ordering::Relaxed) {
            info!("redis {} is back", self.address);
        }
    }

    /// Whether the log has not heard of it for a while.
    fn may_say(&self) -> bool {
        let now = clock::unix_secs();
        let said = self.said.swap(now, Ordering::Relaxed);
        now.saturating_sub(said) >= SAY_AGAIN
    }
}

/// Looks at a server for as long as anybody uses it.
async fn watch(node: Weak<Node>) {
    let mut pause = SOON;
    let mut closed = None;
    loop {
        let Some(node) = node.upgrade() else { return };
        let was_open = node.is_open();
        match node.ping().await {
            Ok(()) => node.closes(),
            Err(away) => node.opens(&away),
        }
        let next = match (was_open, node.is_open()) {
            (_, true) => {
                pause = (pause * 2).min(REGULAR);
                pause
            }
            (true, false) => {
                closed = Some(clock::now());
                REGULAR
            }
            (false, false) => REGULAR,
        };
        let (gone, opened) = (node.gone(), node.opened.clone());
        drop(node);
        tokio::select! {
            () = gone.cancelled() => return,
            () = sleep(next) => {}
            // The circuit has just opened.
            () = opened.notified() => {
                let relapsed = closed.is_some_and(|at| clock::now() - at < RELAPSE);
                pause = if relapsed { (pause * 2).min(REGULAR) } else { SOON };
                sleep(pause).await;
            }
        }
    }
}

/// A connection, and the task that drives it.
struct Driven {
    connection: MultiplexedConnection,
    driver: JoinHandle<()>,
    /// The node's, when it was opened.
    generation: u64,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
