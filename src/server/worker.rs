//! The data plane's threads: one runtime each, its own sockets, nothing shared but what is atomic.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tokio::time::Instant;
use tracing::error;

use super::balance::{self, Inbox, Loads, Outlet};
use super::conn::{self, Entrance};
use super::limit::ConnLimit;
use super::listener::Listener;
use super::per_address::PerAddress;
use crate::gateway::{AccessLog, Policy, Worker};
use crate::snapshot::cell::SnapshotCell;
use crate::telemetry::Metrics;
use crate::tls::ServerTls;
use crate::util::closed;
use crate::util::drain::{Drain, Phase};
use crate::util::local;
use crate::util::sweep::Sweep;

/// One address that clients connect to.
pub struct Port {
    /// The real address.
    pub address: SocketAddr,
    /// One listening socket per worker; a single one where connections are balanced.
    pub sockets: Vec<TcpListener>,
    /// TLS, where it is spoken.
    pub tls: Option<ServerTls>,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// Makes the access log of one worker, on its thread.
pub type MakeAccess = Arc<dyn Fn(usize) -> Option<Box<dyn AccessLog>> + Send + Sync>;

/// What the data plane consists of.
pub struct Setup {
    /// Number of threads.
    pub workers: usize,
    /// Where clients come in.
    pub ports: Vec<Port>,
    /// One worker accepts for all and hands connections to the one that has the fewest.
    pub balance: bool,
    /// Process settings.
    pub policy: Policy,
    /// Where the live configuration stands.
    pub cell: SnapshotCell,
    /// The drain signal.
    pub drain: Drain,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How many connections may be open, over all workers.
    pub limit: ConnLimit,
    /// How many a client address may have, over all workers.
    pub per_address: Option<PerAddress>,
    /// The access log.
    pub access: MakeAccess,
}

/// How often a worker looks through its idle upstream connections.
const POOL_SWEEP: Duration = Duration::from_secs(1);
/// How often it looks for one that another worker waits for.
const POOL_YIELD: Duration = Duration::from_millis(100);

/// Starts the threads. They end by themselves once the process has drained.
pub fn start(setup: Setup) -> io::Result<Vec<JoinHandle<()>>> {
    let Setup {
        workers,
        ports,
        balance,
        policy,
        cell,
        drain,
        metrics,
        limit,
        per_address,
        access,
    } = setup;
    let loads = balance.then(|| Loads::new(workers));
    let mut shares: Vec<Vec<(Source, Entrance)>> = Vec::new();
    shares.resize_with(workers, Vec::new);
    for (nth, port) in ports.into_iter().enumerate() {
        let entrance = Entrance {
            address: port.address,
            tls: port.tls,
            proxy_protocol: port.proxy_protocol,
            per_address: per_address.clone(),
        };
        let sources = match &loads {
            Some(loads) => balanced(loads, port.sockets, nth % workers.max(1)),
            None => port
                .sockets
                .into_iter()
                .map(Source::Own)
                .enumerate()
                .collect(),
        };
        for (worker, source) in sources {
            // Sockets that were handed over may be more than workers.
            if let Some(share) = shares.get_mut(worker % workers.max(1)) {
                share.push((source, entrance.clone()));
            }
        }
    }
    let spawn = |(ix, sources)| {
        let share = Share {
            ix,
            sources,
            policy: policy.clone(),
            cell: cell.clone(),
            drain: drain.clone(),
            metrics: metrics.clone(),
            limit: limit.clone(),
            access: access.clone(),
        };
        Builder::new()
            .name(format!("worker-{ix}"))
            .spawn(move || share.run())
    };
    shares.into_iter().enumerate().map(spawn).collect()
}

/// Where a worker's connections come from.
enum Source {
    /// A socket of its own.
    Own(TcpListener),
    /// It accepts for all.
    ForAll(TcpListener, Outlet),
    /// Whoever accepts for all hands them to it.
    Inbox(Inbox),
}

/// Every worker has an inbox; one of them has the sockets, too.
fn balanced(loads: &Loads, sockets: Vec<TcpListener>, acceptor: usize) -> Vec<(usize, Source)> {
    let mut sources = Vec::new();
    for socket in sockets {
        let (outlet, inboxes) = balance::ways(loads);
        sources.push((acceptor, Source::ForAll(socket, outlet)));
        sources.extend(inboxes.into_iter().map(Source::Inbox).enumerate());
    }
    sources
}

/// What one thread is made of.
struct Share {
    ix: usize,
    sources: Vec<(Source, Entrance)>,
    policy: Policy,
    cell: SnapshotCell,
    drain: Drain,
    metrics: Arc<Metrics>,
    limit: ConnLimit,
    access: MakeAccess,
}

impl Share {
    fn run(self) {
        match runtime() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(reason) => error!("worker {} cannot start: {reason}", self.ix),
        }
    }

    async fn serve(self) {
        let sweep = Sweep::new();
        local::spawn(sweep.clone().run());
        let worker = Rc::new(Worker::new(
            self.ix,
            self.policy,
            self.cell.reader(),
            sweep,
            self.drain.clone(),
            self.metrics.worker(self.ix),
            (self.access)(self.ix),
        ));
        local::spawn(tidy(worker.clone()));
        for (source, entrance) in self.sources {
            let taking = take(
                source,
                Rc::new(entrance),
                self.limit.clone(),
                worker.clone(),
            );
            // Counted as a connection: those that still wait in a queue are not forgotten.
            let token = worker.drain.token();
            local::spawn(async move {
                if let Err(reason) = taking.await {
                    error!("worker {} cannot listen: {reason}", self.ix);
                }
                drop(token);
            });
        }
        until_drained(&worker).await;
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
}

/// Serves what comes from one source until the process drains.
async fn take(
    source: Source,
    entrance: Rc<Entrance>,
    limit: ConnLimit,
    worker: Rc<Worker>,
) -> io::Result<()> {
    let drain = worker.drain.clone();
    let serve = |accepted| {
        local::spawn(conn::serve(accepted, entrance.clone(), worker.clone()));
    };
    match source {
        Source::Own(socket) => Listener::new(socket, limit)?.run(&drain, serve).await,
        Source::ForAll(socket, mut outlet) => {
            let listener = Listener::new(socket, limit)?;
            listener.run(&drain, |accepted| outlet.hand(accepted)).await;
        }
        Source::Inbox(inbox) => inbox.run(serve).await,
    }
    Ok(())
}

/// Drops idle upstream connections that are of no more use, every second, and a configuration that
/// is not live any more: a worker without requests would keep it, and its state, for ever. One that
/// keeps a request of another worker waiting goes sooner.
async fn tidy(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(POOL_YIELD);
    let mut swept = Instant::now();
    loop {
        let now = ticks.tick().await;
        worker.pool.borrow_mut().make_room();
        worker.http2.make_room();
        worker.http2.share();
        if now < swept + POOL_SWEEP {
            continue;
        }
        swept = now;
        worker.live();
        let idle = {
            let mut pool = worker.pool.borrow_mut();
            pool.sweep();
            pool.len()
        };
        for (count, more) in worker.metrics.upstream_closed.iter().zip(closed::take()) {
            count.add(more);
        }
        worker.metrics.pool_idle.set(idle as u64);
        worker.tidy();
        return_memory();
    }
}

/// Makes the allocator return memory that has been free for a while. It looks for such only when a
/// page of its own is freed, and a worker whose connections all wait frees none: after a rush it
/// would keep what the rush has needed.
fn return_memory() {
    const PAGE: usize = 1 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(PAGE)));
}

/// Tells the connections of each phase, and waits for the end of the last one.
async fn until_drained(worker: &Worker) {
    let mut watch = worker.drain.watch();
    loop {
        let phase = watch.changed().await;
        worker.sweep.wake_all();
        match phase {
            Phase::Draining { deadline } => {
                worker.drain.emptied(deadline).await;
                return;
            }
            Phase::Ended => return,
            Phase::Serving | Phase::Handed | Phase::Closing => {}
        }
    }
}
