//! The data plane's threads: one runtime each, its own sockets, nothing shared but what is atomic.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::LocalRuntime;
use tracing::error;

use super::conn::{self, Entrance};
use super::limit::ConnLimit;
use super::listener::Listener;
use crate::gateway::{AccessLog, Policy, Worker};
use crate::snapshot::cell::SnapshotCell;
use crate::telemetry::Metrics;
use crate::tls::ServerTls;
use crate::util::drain::{Drain, Phase};
use crate::util::local;
use crate::util::sweep::Sweep;

/// One address that clients connect to.
pub struct Port {
    /// The real address.
    pub address: SocketAddr,
    /// One listening socket per worker.
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
    /// Where clients come in; each with as many sockets as there are workers.
    pub ports: Vec<Port>,
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
    /// The access log.
    pub access: MakeAccess,
}

/// How often a worker looks through its idle upstream connections.
const POOL_SWEEP: Duration = Duration::from_secs(1);

/// Starts the threads. They end by themselves once the process has drained.
pub fn start(setup: Setup) -> io::Result<Vec<JoinHandle<()>>> {
    let Setup {
        workers,
        ports,
        policy,
        cell,
        drain,
        metrics,
        limit,
        access,
    } = setup;
    let mut entrances: Vec<Vec<(TcpListener, Entrance)>> = Vec::new();
    entrances.resize_with(workers, Vec::new);
    for port in ports {
        let entrance = Entrance {
            address: port.address,
            tls: port.tls,
            proxy_protocol: port.proxy_protocol,
        };
        for (sockets, socket) in entrances.iter_mut().zip(port.sockets) {
            sockets.push((socket, entrance.clone()));
        }
    }
    let spawn = |(ix, sockets)| {
        let share = Share {
            ix,
            sockets,
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
    entrances.into_iter().enumerate().map(spawn).collect()
}

/// What one thread is made of.
struct Share {
    ix: usize,
    sockets: Vec<(TcpListener, Entrance)>,
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
        for (socket, entrance) in self.sockets {
            match Listener::new(socket, self.limit.clone()) {
                Ok(listener) => {
                    local::spawn(accept(listener, Rc::new(entrance), worker.clone()));
                }
                Err(reason) => error!("worker {} cannot listen: {reason}", self.ix),
            }
        }
        until_drained(&worker).await;
    }
}

fn runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
}

/// Serves what comes in at one socket until the process drains.
async fn accept(listener: Listener, entrance: Rc<Entrance>, worker: Rc<Worker>) {
    let drain = worker.drain.clone();
    let serve = |accepted| {
        local::spawn(conn::serve(accepted, entrance.clone(), worker.clone()));
    };
    listener.run(&drain, serve).await;
}

/// Drops idle upstream connections that are of no more use, every second, and a configuration that
/// is not live any more: a worker without requests would keep it, and its state, for ever.
async fn tidy(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(POOL_SWEEP);
    loop {
        ticks.tick().await;
        worker.live();
        let (closed, idle) = {
            let mut pool = worker.pool.borrow_mut();
            (pool.sweep(), pool.len())
        };
        worker.metrics.upstream_closed.add(closed as u64);
        worker.metrics.pool_idle.set(idle as u64);
    }
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
            Phase::Serving | Phase::Closing => {}
        }
    }
}
