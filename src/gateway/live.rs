//! What one worker thread holds: its view of the configuration, its idle connections, its
//! reusable memory. Nothing in here is shared with another thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use super::forward_http2::Http2Pool;
use crate::http1::limits::Limits;
use crate::message::{Record, RequestHead};
use crate::plugin::RequestId;
use crate::snapshot::Snapshot;
use crate::snapshot::cell::Reader;
use crate::telemetry::WorkerMetrics;
use crate::upstream::{Balancer, Pool};
use crate::util::cidr::AddrSet;
use crate::util::drain::Drain;
use crate::util::sweep::Sweep;

/// Process settings that requests look at.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Peers that may speak for clients.
    pub trusted: AddrSet,
    /// The field that names the client's address when a trusted peer speaks, in lower case.
    pub real_ip_header: String,
    /// Walk `X-Forwarded-For` back over trusted addresses.
    pub real_ip_recursive: bool,
    /// Response fields that the gateway adds.
    pub headers: HeaderSwitch,
    /// Sizes that a request may not exceed.
    pub limits: Limits,
    /// Largest request body; 0: no limit.
    pub max_body: u64,
    /// Time for a request head once its first byte is in.
    pub header_timeout: Duration,
    /// Longest pause in a request body, and in taking a response.
    pub body_timeout: Duration,
    /// Longest wait for the next request on a connection.
    pub idle_timeout: Duration,
    /// Idle upstream connections live so long.
    pub upstream_idle_timeout: Duration,
    /// Idle upstream connections kept per worker.
    pub upstream_max_idle: usize,
}

/// Which of the gateway's own response fields are sent (Kong's `headers` setting).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderSwitch {
    /// `Server` where the upstream sent none.
    pub server: bool,
    /// `Via`.
    pub via: bool,
    /// `X-Kong-Proxy-Latency`.
    pub proxy_latency: bool,
    /// `X-Kong-Upstream-Latency`.
    pub upstream_latency: bool,
    /// `X-Kong-Response-Latency`.
    pub response_latency: bool,
    /// `X-Kong-Upstream-Status`.
    pub upstream_status: bool,
    /// `X-Kong-Request-Id`.
    pub request_id: bool,
}

impl Default for HeaderSwitch {
    /// Kong's default: everything but the upstream's status.
    fn default() -> HeaderSwitch {
        HeaderSwitch {
            server: true,
            via: true,
            proxy_latency: true,
            upstream_latency: true,
            response_latency: true,
            upstream_status: false,
            request_id: true,
        }
    }
}

/// One generation of the configuration as one worker uses it.
pub struct Live {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    balancers: RefCell<Vec<Option<Balancer>>>,
    worker: u32,
}

impl Live {
    fn new(snapshot: Arc<Snapshot>, worker: u32) -> Live {
        let mut balancers = Vec::new();
        balancers.resize_with(snapshot.clusters.len(), || None);
        Live {
            snapshot,
            balancers: balancers.into(),
            worker,
        }
    }

    /// Works with this worker's balancer of a cluster, made on first use.
    pub fn balancer<T>(&self, cluster: usize, work: impl FnOnce(&mut Balancer) -> T) -> Option<T> {
        let mut balancers = self.balancers.borrow_mut();
        let place = balancers.get_mut(cluster)?;
        if place.is_none() {
            *place = Some(Balancer::new(
                self.snapshot.clusters.get(cluster)?.clone(),
                self.snapshot.policies.get(cluster)?.clone(),
                self.worker,
            ));
        }
        place.as_mut().map(work)
    }
}

/// Where a finished exchange is written to. Called on the data plane: must not wait.
pub trait AccessLog {
    /// Writes one line.
    fn write(&self, record: &Record<'_>);
}

/// One thread's share of the data plane.
pub struct Worker {
    /// Which worker it is, from 0.
    pub ix: usize,
    /// Process settings.
    pub policy: Policy,
    /// Idle upstream connections.
    pub pool: RefCell<Pool>,
    /// Upstream connections over HTTP/2.
    pub http2: Http2Pool,
    /// Deadlines of this thread.
    pub sweep: Sweep,
    /// Whether the process is going down.
    pub drain: Drain,
    /// Counters of this thread.
    pub metrics: Arc<WorkerMetrics>,
    /// Where access log lines go, if anywhere.
    pub access: Option<Box<dyn AccessLog>>,
    reader: RefCell<Reader>,
    live: RefCell<Option<Rc<Live>>>,
    buffers: RefCell<Spare<Vec<u8>>>,
    exchanges: RefCell<Spare<Box<Exchange>>>,
    random: Cell<u64>,
}

/// Bytes that one read may bring on an idle connection.
pub const BUFFER: usize = 8 * 1024;
/// Buffers and exchanges that a worker keeps for later.
const SPARE: usize = 256;

/// What is kept for later, as long as it is used now and then.
struct Spare<T> {
    all: Vec<T>,
    /// The fewest that there were since the last [`Spare::tidy`]: so many were not needed.
    fewest: usize,
}

impl<T> Spare<T> {
    const fn new() -> Spare<T> {
        Spare {
            all: Vec::new(),
            fewest: 0,
        }
    }

    fn take(&mut self) -> Option<T> {
        let taken = self.all.pop();
        self.fewest = self.fewest.min(self.all.len());
        taken
    }

    /// Keeps it, if there are not enough.
    fn give(&mut self, one: T) {
        if self.all.len() < SPARE {
            self.all.push(one);
        }
    }

    /// Drops what was not needed since the last call.
    fn tidy(&mut self) {
        self.all.truncate(self.all.len() - self.fewest);
        self.fewest = self.all.len();
    }
}

impl Worker {
    /// A worker without connections.
    pub fn new(
        ix: usize,
        policy: Policy,
        reader: Reader,
        sweep: Sweep,
        drain: Drain,
        metrics: Arc<WorkerMetrics>,
        access: Option<Box<dyn AccessLog>>,
    ) -> Worker {
        let pool = Pool::new(policy.upstream_max_idle, policy.upstream_idle_timeout);
        let http2 = Http2Pool::new(policy.upstream_idle_timeout);
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Worker {
            ix,
            policy,
            pool: pool.into(),
            http2,
            sweep,
            drain,
            metrics,
            access,
            reader: reader.into(),
            live: None.into(),
            buffers: Spare::new().into(),
            exchanges: Spare::new().into(),
            random: seed.into(),
        }
    }

    /// The live configuration: one pointer comparison and one `Rc`. `None` before the first.
    pub fn live(&self) -> Option<Rc<Live>> {
        let mut reader = self.reader.borrow_mut();
        let now = reader.load()?;
        let mut live = self.live.borrow_mut();
        match &*live {
            Some(live) if Arc::ptr_eq(&live.snapshot, now) => Some(live.clone()),
            _ => {
                let fresh = Rc::new(Live::new(now.clone(), self.ix as u32));
                *live = Some(fresh.clone());
                Some(fresh)
            }
        }
    }

    /// An empty buffer with room for one read.
    pub fn buffer(&self) -> Vec<u8> {
        let spare = self.buffers.borrow_mut().take();
        spare.unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    /// Takes a buffer back. Large ones are dropped, so that one large body does not cost memory
    /// for ever.
    pub fn recycle(&self, mut buffer: Vec<u8>) {
        if (BUFFER..=4 * BUFFER).contains(&buffer.capacity()) {
            buffer.clear();
            self.buffers.borrow_mut().give(buffer);
        }
    }

    /// Gives memory back that is kept for requests and was not needed for a while. To be called about
    /// once a second.
    pub fn tidy(&self) {
        self.buffers.borrow_mut().tidy();
        self.exchanges.borrow_mut().tidy();
    }

    /// A cleared exchange.
    pub fn exchange(&self) -> Box<Exchange> {
        self.exchanges.borrow_mut().take().unwrap_or_default()
    }

    /// Takes an exchange back.
    pub fn recycle_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.shrink();
        self.exchanges.borrow_mut().give(exchange);
    }

    /// 64 random bits (wyrand): good for ids and jitter, not for secrets.
    pub fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0xa076_1d64_78bd_642f);
        self.random.set(state);
        let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
        (product >> 64) as u64 ^ product as u64
    }

    /// An id for the next request.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(u128::from(self.random()) << 64 | u128::from(self.random()))
    }

    /// Whether the head names the client's address, for peers that may.
    pub fn real_ip<'a>(&self, head: &'a RequestHead) -> Option<&'a [u8]> {
        head.headers.get(&self.policy.real_ip_header)
    }
}
