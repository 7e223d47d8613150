//! Counters with one writer each: a worker adds to its own, a scrape sums over all of them.
//!
//! Invariant: a shard is written by the thread of its worker alone, so an addition is a plain load
//! and a plain store, never a locked instruction; readers see each number whole and only growing.
//! Shards fill cache lines of their own. After its first use a shard allocates nothing.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number with a single writer, readable from everywhere.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Takes one away (of what is a level, not a total).
    pub fn dec(&self) {
        self.set(self.get().saturating_sub(1));
    }

    /// Sets the number.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One value a worker, made when that worker first needs it, on cache lines of its own.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[OnceLock<Box<Padded<T>>>]>);

/// Two cache lines: processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// Room for that many workers.
    pub fn new(workers: usize) -> PerWorker<T> {
        PerWorker((0..workers.max(1)).map(|_| OnceLock::new()).collect())
    }

    /// The value of one worker; `None` for a worker that there is not.
    pub fn of(&self, worker: usize) -> Option<&T> {
        let place = self.0.get(worker)?;
        Some(&place.get_or_init(Box::default).0)
    }

    /// The values that are in use.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(OnceLock::get).map(|own| &own.0)
    }
}

/// What one finished request adds.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The method as received; others than the standard ones are counted as `OTHER`.
    pub method: &'a str,
    /// The status that was sent; 499 when the client left first.
    pub status: u16,
    /// Who answered: `upstream`, `plugin` or `gateway`.
    pub source: &'static str,
    /// From the request's head to the end of the answer.
    pub total: Duration,
    /// Waiting for the upstream's head; `None` when no upstream answered.
    pub upstream: Option<Duration>,
    /// The gateway's own share.
    pub gateway: Duration,
    /// Bytes received from the client, head and body.
    pub bytes_in: u64,
    /// Bytes sent to the client, head and body.
    pub bytes_out: u64,
}

/// The methods of the label `method`; the last one stands for all others.
pub const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER",
];

/// The values of the label `source`.
pub const SOURCES: [&str; 3] = ["upstream", "plugin", "gateway"];

fn method_ix(method: &str) -> usize {
    let known = match method.len() {
        3 => &[0, 3][..],
        4 => &[1, 2],
        5 => &[7, 8],
        6 => &[4],
        7 => &[5, 6],
        _ => &[],
    };
    let found = known.iter().find(|ix| METHODS[**ix] == method);
    found.map_or(METHODS.len() - 1, |ix| *ix)
}

fn source_ix(source: &str) -> usize {
    match source {
        "upstream" => 0,
        "plugin" => 1,
        _ => 2,
    }
}

/// Upper bounds of the buckets for whole requests and for upstreams, in nanoseconds.
pub const REQUEST_BOUNDS: [u64; BUCKETS] = micros([
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
]);

/// Upper bounds of the buckets for the gateway's own share, in nanoseconds.
pub const GATEWAY_BOUNDS: [u64; BUCKETS] = micros([
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 5_000_000,
]);

const BUCKETS: usize = 16;

const fn micros(mut bounds: [u64; BUCKETS]) -> [u64; BUCKETS] {
    let mut ix = 0;
    while ix < BUCKETS {
        bounds[ix] *= 1_000;
        ix += 1;
    }
    bounds
}

/// A histogram of durations over fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One count a bucket, not cumulative; the last one is beyond every bound.
    counts: [Count; BUCKETS + 1],
    /// Sum of all durations, in nanoseconds.
    sum: Count,
}

impl Histogram {
    /// Adds one duration; `bounds` must be the same at every call.
    pub fn observe(&self, bounds: &[u64; BUCKETS], took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // From below: most are quick.
        let bucket = bounds.iter().position(|bound| nanos <= *bound);
        let bucket = bucket.unwrap_or(bounds.len());
        self.counts[bucket].inc();
        self.sum.add(nanos);
    }
}

/// The sum of several [`Histogram`]s with the same bounds.
#[derive(Clone, Debug, Default)]
pub struct HistogramSum {
    /// One count a bucket, not cumulative; the last one is beyond every bound.
    pub counts: [u64; BUCKETS + 1],
    /// Sum of all durations, in nanoseconds.
    pub nanos: u64,
}

impl HistogramSum {
    /// Adds what one worker has.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.get();
        }
        self.nanos = self.nanos.wrapping_add(histogram.sum.get());
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What one worker counts of one route.
#[derive(Debug, Default)]
pub struct RouteShard {
    requests: Requests,
    /// From the request's head to the end of the answer.
    pub total: Histogram,
    /// Waiting for the upstream's head.
    pub upstream: Histogram,
    /// The gateway's own share.
    pub gateway: Histogram,
    /// Bytes received from clients.
    pub bytes_in: Count,
    /// Bytes sent to clients.
    pub bytes_out: Count,
}

impl RouteShard {
    /// Adds one finished request.
    pub fn observe(&self, sample: &Sample<'_>) {
        self.requests.inc(
            method_ix(sample.method),
            sample.status,
            source_ix(sample.source),
        );
        self.total.observe(&REQUEST_BOUNDS, sample.total);
        if let Some(upstream) = sample.upstream {
            self.upstream.observe(&REQUEST_BOUNDS, upstream);
        }
        self.gateway.observe(&GATEWAY_BOUNDS, sample.gateway);
        self.bytes_in.add(sample.bytes_in);
        self.bytes_out.add(sample.bytes_out);
    }

    /// Calls `each(method, code, source, count)` for whatever was counted.
    pub fn requests(&self, each: &mut dyn FnMut(&'static str, Code, &'static str, u64)) {
        self.requests.visit(each);
    }
}

/// The value of the label `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// A status.
    Exact(u16),
    /// The first digit alone, of requests that found the table full.
    Class(u8),
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Code::Exact(status) => write!(f, "{status}"),
            Code::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

const SLOTS: usize = 64;
const CLASSES: usize = 10;

/// Requests by (method, code, source): a small open-addressed table that is never emptied. What
/// comes when it is full is counted by the class of its status, so that error rates stay right.
#[derive(Debug)]
struct Requests {
    slots: [RequestSlot; SLOTS],
    full: [[Count; CLASSES]; SOURCES.len()],
}

#[derive(Debug, Default)]
struct RequestSlot {
    /// 0 while free. Written once, after the first count.
    key: AtomicU64,
    count: Count,
}

impl Default for Requests {
    fn default() -> Self {
        Requests {
            slots: std::array::from_fn(|_| RequestSlot::default()),
            full: Default::default(),
        }
    }
}

impl Requests {
    fn inc(&self, method: usize, status: u16, source: usize) {
        // Never 0: bit 63 marks a key.
        let key = 1 << 63 | u64::from(status) << 8 | (method as u64) << 2 | source as u64;
        let start = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize;
        for step in 0..SLOTS {
            let slot = &self.slots[(start + step) % SLOTS];
            match slot.key.load(Ordering::Relaxed) {
                taken if taken == key => return slot.count.inc(),
                0 => {
                    slot.count.inc();
                    return slot.key.store(key, Ordering::Release);
                }
                _ => {}
            }
        }
        self.full[source][(usize::from(status) / 100).min(CLASSES - 1)].inc();
    }

    fn visit(&self, each: &mut dyn FnMut(&'static str, Code, &'static str, u64)) {
        for slot in &self.slots {
            let key = slot.key.load(Ordering::Acquire);
            if key != 0 {
                let (method, source) = ((key >> 2 & 63) as usize, (key & 3) as usize);
                let code = Code::Exact((key >> 8) as u16);
                each(METHODS[method], code, SOURCES[source], slot.count.get());
            }
        }
        for (source, classes) in SOURCES.iter().zip(&self.full) {
            for (class, count) in classes.iter().enumerate().filter(|(_, n)| n.get() > 0) {
                each("OTHER", Code::Class(class as u8), source, count.get());
            }
        }
    }
}

/// What one worker counts beside requests. Levels are set or raised and lowered, totals only grow.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Total: connections taken from the kernel.
    pub accepted: Count,
    /// Total: connections that came to serve (TLS and PROXY protocol done).
    pub handled: Count,
    /// Level: open client connections.
    pub active: Count,
    /// Level: those of them that wait for a request.
    pub idle: Count,
    /// Total: connections closed at once, for their client's address had enough.
    pub over_address_limit: Count,
    /// Total: requests whose head was read.
    pub requests: Count,
    /// Total: upstream connections opened.
    pub upstream_opened: Count,
    /// Total: requests sent on an upstream connection that was open already.
    pub upstream_reused: Count,
    /// Totals: upstream connections closed, in the order of [`By::ALL`](crate::util::closed::By).
    pub upstream_closed: [Count; 4],
    /// Level: upstream connections in the pool.
    pub pool_idle: Count,
    /// Total: TLS handshakes with clients that succeeded.
    pub tls_ok: Count,
    /// Total: TLS handshakes with clients that failed.
    pub tls_failed: Count,
}
