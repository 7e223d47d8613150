//! The counters behind one set of labels of one thread.
//!
//! Invariant: one thread writes; whoever sums sees each number whole and only growing.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{KongLatencies, KongSample, Labels};
use crate::telemetry::exposition::{Buckets, Exposition};
use crate::telemetry::shard::{Code, Count};

/// Upper bounds for the gateway's own share, in milliseconds.
pub(super) const KONG_BOUNDS: [u64; 17] = [
    1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000,
];

/// Upper bounds for upstreams and whole requests, in milliseconds.
pub(super) const UPSTREAM_BOUNDS: [u64; 13] = [
    25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10_000, 30_000, 60_000,
];

/// Requests and bytes of one route and consumer.
#[derive(Default)]
pub(super) struct Counts {
    codes: [CodeSlot; 16],
    /// By class of status, for what finds the slots taken; upstreams apart.
    full: [[Count; 10]; 2],
    ingress: Count,
    egress: Count,
}

#[derive(Default)]
struct CodeSlot {
    /// 0 while free; else the status, doubled, and whether the upstream sent it.
    key: AtomicU32,
    count: Count,
}

const SOURCES: [&str; 2] = ["kong", "service"];

impl Counts {
    pub(super) fn observe(&self, sample: &KongSample<'_>) {
        if let Some(status) = sample.status {
            self.inc(status, sample.from_service);
        }
        if let Some((received, sent)) = sample.bytes {
            self.ingress.add(received);
            self.egress.add(sent);
        }
    }

    fn inc(&self, status: u16, from_service: bool) {
        let key = u32::from(status) << 1 | u32::from(from_service);
        for slot in &self.codes {
            match slot.key.load(Ordering::Relaxed) {
                taken if taken == key => return slot.count.inc(),
                0 => {
                    slot.count.inc();
                    return slot.key.store(key, Ordering::Release);
                }
                _ => {}
            }
        }
        let class = (usize::from(status) / 100).min(9);
        self.full[usize::from(from_service)][class].inc();
    }

    fn codes(&self) -> impl Iterator<Item = (Code, &'static str, u64)> {
        let taken = self.codes.iter().filter_map(|slot| {
            let key = slot.key.load(Ordering::Acquire);
            let code = Code::Exact((key >> 1) as u16);
            (key != 0).then(|| (code, SOURCES[(key & 1) as usize], slot.count.get()))
        });
        let full = SOURCES
            .iter()
            .zip(&self.full)
            .flat_map(|(source, classes)| {
                let each = classes.iter().enumerate();
                each.map(|(class, count)| (Code::Class(class as u8), *source, count.get()))
            });
        taken.chain(full.filter(|(_, _, count)| *count > 0))
    }

    /// Adds the series; those of other threads with the same labels add up.
    pub(super) fn expose(&self, (service, route, consumer): &Labels, out: &mut Exposition) {
        for (code, source, count) in self.codes() {
            out.counter(
                "kong_http_requests_total",
                "Requests by status, service, route and consumer.",
                &[
                    ("service", service),
                    ("route", route),
                    ("code", &code.to_string()),
                    ("source", source),
                    ("workspace", "default"),
                    ("consumer", consumer),
                ],
                count as f64,
            );
        }
        let directions = [("ingress", &self.ingress), ("egress", &self.egress)];
        for (direction, bytes) in directions.into_iter().filter(|(_, of)| of.get() > 0) {
            out.counter(
                "kong_bandwidth_bytes",
                "Bytes by direction, service, route and consumer.",
                &[
                    ("service", service),
                    ("route", route),
                    ("direction", direction),
                    ("workspace", "default"),
                    ("consumer", consumer),
                ],
                bytes.get() as f64,
            );
        }
    }
}

/// Times of one route.
#[derive(Default)]
pub(super) struct Latencies {
    pub(super) kong: Millis,
    pub(super) upstream: Millis,
    pub(super) request: Millis,
}

impl Latencies {
    pub(super) fn observe(&self, took: &KongLatencies) {
        self.kong.observe(&KONG_BOUNDS, took.kong);
        self.request.observe(&UPSTREAM_BOUNDS, took.request);
        if let Some(upstream) = took.upstream {
            self.upstream.observe(&UPSTREAM_BOUNDS, upstream);
        }
    }
}

/// A histogram of whole milliseconds, with room for the longer list of bounds.
#[derive(Default)]
pub(super) struct Millis {
    counts: [Count; KONG_BOUNDS.len() + 1],
    sum: Count,
}

impl Millis {
    fn observe(&self, bounds: &[u64], took: u64) {
        let bucket = bounds.iter().filter(|bound| **bound < took).count();
        self.counts[bucket].inc();
        self.sum.add(took);
    }
}

/// The sum of several [`Millis`] with the same bounds.
#[derive(Clone, Copy, Default)]
pub(super) struct MillisSum {
    counts: [u64; KONG_BOUNDS.len() + 1],
    sum: u64,
}

impl MillisSum {
    pub(super) fn add(&mut self, of: &Millis) {
        for (sum, count) in self.counts.iter_mut().zip(&of.counts) {
            *sum += count.get();
        }
        self.sum += of.sum.get();
    }

    pub(super) fn buckets(&self, bounds: &[u64]) -> Buckets {
        let mut below = 0;
        let cumulative = bounds.iter().zip(&self.counts).map(|(bound, count)| {
            below += count;
            (*bound as f64, below)
        });
        Buckets {
            cumulative: cumulative.collect(),
            sum: self.sum as f64,
            count: self.counts.iter().sum(),
        }
    }
}
