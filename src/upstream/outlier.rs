//! Endpoints that do worse than the others are taken out for a while: outlier detection as Envoy
//! has it, by failures in a row and by the time that answers take.
//!
//! Invariant: nobody stays out for ever, and never so many that the others could not bear it: each
//! ejection has an end, and a share of the endpoints, but for one, is the most that are out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::cluster::{Cluster, Endpoint};
use super::error::UpstreamErrorKind;
use super::health::Moment;

/// What the file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Outliers {
    /// Failures in a row until an endpoint is out; 0: they do not count.
    pub consecutive: u32,
    /// How many times the median time of all an endpoint may take, over two intervals in a row.
    pub latency_factor: Option<f64>,
    /// Between two looks at the times, and at who may come back.
    pub interval: Duration,
    /// How long the first ejection lasts; the second in a row twice as long, and so on.
    pub time: Duration,
    /// The longest ejection.
    pub longest: Duration,
    /// Most endpoints that may be out, in percent; one always may.
    pub most: f64,
}

/// Fewer endpoints than this have no median to speak of.
const MIN_ENDPOINTS: usize = 3;
/// Answers in an interval until their mean says something.
const MIN_ANSWERS: u64 = 5;
/// Intervals in a row in which an endpoint must have been too slow.
const SLOW_INTERVALS: u8 = 2;

/// Why an endpoint is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Failures in a row.
    Failures,
    /// Much slower than the others.
    Latency,
}

impl Reason {
    /// Both.
    pub const ALL: [Reason; 2] = [Reason::Failures, Reason::Latency];

    /// For logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Failures => "consecutive_failures",
            Reason::Latency => "latency",
        }
    }
}

/// What is known of an endpoint: one word, so that threads agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Conduct {
    out: bool,
    /// When it may come back.
    until: Moment,
    /// Ejections, less one for each interval without.
    times: u8,
    /// Intervals in a row in which it was too slow.
    slow: u8,
    failures: u16,
}

impl Conduct {
    fn pack(self) -> u64 {
        u64::from(self.failures)
            | u64::from(self.slow) << 16
            | u64::from(self.times) << 24
            | u64::from(self.out) << 32
            | u64::from(self.until.word()) << 33
    }

    fn unpack(word: u64) -> Conduct {
        Conduct {
            failures: word as u16,
            slow: (word >> 16) as u8,
            times: (word >> 24) as u8,
            out: word >> 32 & 1 == 1,
            until: Moment::of_word((word >> 33) as u32),
        }
    }
}

/// How an endpoint behaves, as all threads see it.
#[derive(Debug, Default)]
pub(super) struct ConductCell {
    word: AtomicU64,
    /// Answers of this interval: how many, and their time in microseconds.
    answers: AtomicU64,
}

/// Where the number of answers begins in its word.
const COUNT: u32 = 40;

impl ConductCell {
    fn get(&self) -> Conduct {
        Conduct::unpack(self.word.load(Ordering::Acquire))
    }

    /// Changes it; whether this caller did.
    fn change(&self, how: impl Fn(Conduct) -> Option<Conduct>) -> bool {
        let next = |word| how(Conduct::unpack(word)).map(Conduct::pack);
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .is_ok()
    }

    fn note(&self, took: Duration) {
        let micros = (took.as_micros() as u64).min((1 << COUNT) - 1);
        self.answers
            .fetch_add(1 << COUNT | micros, Ordering::Relaxed);
    }

    /// The mean time of the interval's answers in microseconds, if there were enough; a new
    /// interval begins.
    fn mean(&self) -> Option<f64> {
        let word = self.answers.swap(0, Ordering::Relaxed);
        let (count, micros) = (word >> COUNT, word & ((1 << COUNT) - 1));
        (count >= MIN_ANSWERS).then(|| micros as f64 / count as f64)
    }
}

impl Endpoint {
    /// Whether it is taken out as an outlier.
    pub fn is_ejected(&self) -> bool {
        self.conduct().get().out
    }
}

impl Cluster {
    /// A response head came after so much time.
    pub(super) fn note_time(&self, of: &Outliers, endpoint: &Endpoint, took: Duration) {
        if of.latency_factor.is_some() {
            endpoint.conduct().note(took);
        }
    }

    /// An attempt ended with a status, or without an answer.
    pub(super) fn judge(
        &self,
        of: &Outliers,
        endpoint: &Endpoint,
        outcome: Result<u16, UpstreamErrorKind>,
        now: Instant,
    ) {
        if of.consecutive == 0 || outcome == Err(UpstreamErrorKind::Deadline) {
            return;
        }
        let failed = outcome.map_or(true, |status| matches!(status, 502..=504));
        let cell = endpoint.conduct();
        if !failed {
            if cell.get().failures > 0 {
                cell.change(|old| Some(Conduct { failures: 0, ..old }));
            }
            return;
        }
        cell.change(|old| {
            let failures = old.failures.saturating_add(1);
            Some(Conduct { failures, ..old })
        });
        if u32::from(cell.get().failures) >= of.consecutive {
            self.eject(of, endpoint, Reason::Failures, now);
        }
    }

    /// A look at everybody, once in an interval: who may come back, who is too slow.
    pub fn review(&self, of: &Outliers, now: Instant) {
        let set = self.endpoints();
        for endpoint in &set.endpoints {
            self.take_back(endpoint, now);
        }
        let Some(factor) = of.latency_factor else {
            return;
        };
        let means = set.endpoints.iter().map(|of| of.conduct().mean());
        let means: Vec<Option<f64>> = means.collect();
        let mut known: Vec<f64> = means.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        let median = match known.len() {
            count if count >= MIN_ENDPOINTS => known[(count - 1) / 2],
            _ => return,
        };
        for (endpoint, mean) in set.endpoints.iter().zip(means) {
            let too_slow = mean.is_some_and(|mean| mean > median * factor);
            endpoint.conduct().change(|old| {
                let slow = if too_slow {
                    old.slow.saturating_add(1)
                } else {
                    0
                };
                (slow != old.slow).then_some(Conduct { slow, ..old })
            });
            if endpoint.conduct().get().slow >= SLOW_INTERVALS {
                self.eject(of, endpoint, Reason::Latency, now);
            }
        }
    }

    /// Takes one out, unless too many are.
    fn eject(&self, of: &Outliers, endpoint: &Endpoint, why: Reason, now: Instant) {
        let set = self.endpoints();
        let out = set.endpoints.iter().filter(|it| it.is_ejected()).count();
        let most = (set.endpoints.len() as f64 * of.most / 100.0).max(1.0);
        if out + 1 > most as usize {
            return;
        }
        let moment = endpoint.moment(now);
        let changed = endpoint.conduct().change(|old| {
            let times = old.times.saturating_add(1);
            let time = of.time.saturating_mul(times.into()).min(of.longest);
            (!old.out).then_some(Conduct {
                out: true,
                until: moment.plus(time),
                times,
                slow: 0,
                failures: 0,
            })
        });
        if changed {
            self.count_ejection(why);
            let (upstream, target, address) =
                (self.key().name(), &endpoint.target, endpoint.address);
            warn!(%upstream, %target, %address, why = why.label(), "target is taken out");
        }
    }

    /// Takes one back whose time is over; one that was in forgets an ejection.
    fn take_back(&self, endpoint: &Endpoint, now: Instant) {
        let moment = endpoint.moment(now);
        let was_out = endpoint.is_ejected();
        let changed = endpoint.conduct().change(|old| match old.out {
            true if old.until.has_come(moment) => Some(Conduct { out: false, ..old }),
            true => None,
            false if old.times > 0 => Some(Conduct {
                times: old.times - 1,
                ..old
            }),
            false => None,
        });
        if changed && was_out {
            self.turn();
            let (upstream, target, address) =
                (self.key().name(), &endpoint.target, endpoint.address);
            info!(%upstream, %target, %address, "target is taken back");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::upstream::{ClusterKey, EndpointSpec, Resolution};

    const SECOND: Duration = Duration::from_secs(1);

    fn outliers(latency_factor: Option<f64>, most: f64) -> Outliers {
        Outliers {
            consecutive: 3,
            latency_factor,
            interval: 10 * SECOND,
            time: 30 * SECOND,
            longest: 70 * SECOND,
            most,
        }
    }

    fn cluster(size: u16) -> Cluster {
        let cluster = Cluster::new(ClusterKey::Upstream("u".into()));
        let spec = |port| EndpointSpec {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            host: "a".into(),
            target: format!("a:{port}"),
            weight: 1,
        };
        let specs: Vec<_> = (1..=size).map(spec).collect();
        cluster.set_endpoints(&specs, Resolution::Known);
        cluster
    }

    fn out(cluster: &Cluster) -> Vec<usize> {
        let set = cluster.endpoints();
        let all = set.endpoints.iter().enumerate();
        all.filter(|(_, it)| it.is_ejected())
            .map(|(ix, _)| ix)
            .collect()
    }

    fn fail(cluster: &Cluster, of: &Outliers, ix: usize, times: usize, now: Instant) {
        let endpoint = cluster.endpoints().endpoints[ix].clone();
        for _ in 0..times {
            cluster.judge(of, &endpoint, Err(UpstreamErrorKind::Connect), now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_take_an_endpoint_out_for_longer_each_time() {
        let (cluster, of) = (cluster(4), outliers(None, 50.0));
        let start = Instant::now();
        fail(&cluster, &of, 0, 2, start);
        let endpoint = cluster.endpoints().endpoints[0].clone();
        cluster.judge(&of, &endpoint, Ok(500), start);
        fail(&cluster, &of, 0, 2, start);
        assert_eq!(out(&cluster), [0usize; 0], "an answer ends the row");
        fail(&cluster, &of, 0, 1, start);
        assert_eq!(out(&cluster), [0]);
        let mut now = start;
        for time in [30, 60, 70] {
            cluster.review(&of, now + (time - 1) * SECOND);
            assert_eq!(out(&cluster), [0], "{time}");
            now += (time + 1) * SECOND;
            cluster.review(&of, now);
            assert_eq!(out(&cluster), [0usize; 0], "{time}");
            fail(&cluster, &of, 0, 3, now);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn not_everybody_is_taken_out() {
        let of = outliers(None, 50.0);
        for (size, most) in [(1, 1), (2, 1), (4, 2), (7, 3)] {
            let cluster = cluster(size);
            let now = Instant::now();
            for ix in 0..usize::from(size) {
                fail(&cluster, &of, ix, 9, now);
            }
            assert_eq!(out(&cluster).len(), most, "of {size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_twice_is_taken_out() {
        let (cluster, of) = (cluster(4), outliers(Some(3.0), 50.0));
        let set = cluster.endpoints();
        let mut now = Instant::now();
        for round in 1..=2 {
            for (ix, endpoint) in set.endpoints.iter().enumerate() {
                let took = Duration::from_millis(if ix == 2 { 400 } else { 100 });
                for _ in 0..6 {
                    cluster.note_time(&of, endpoint, took);
                }
            }
            assert_eq!(out(&cluster), [0usize; 0]);
            now += 10 * SECOND;
            cluster.review(&of, now);
            assert_eq!(out(&cluster), [2][..round - 1], "{round}");
        }
    }

    #[test]
    fn a_word_holds_everything() {
        let conduct = Conduct {
            out: true,
            until: Moment::after(Duration::from_secs(60_000_000)),
            times: 255,
            slow: 7,
            failures: 65535,
        };
        assert_eq!(Conduct::unpack(conduct.pack()), conduct);
    }
}
