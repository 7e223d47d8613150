//! Counters on a Redis server: keys, scripts, and what their answers mean.
//!
//! Invariant: a request is decided in one script, so however many gateways ask at once, a limit
//! holds exactly and what is refused is not counted. All keys of one counter have one hash tag, so
//! a cluster keeps them together. Time is the gateway's: it is in the keys.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::identity::Who;
use crate::limits::bucket::Rate;
use crate::limits::sliding::{self, Used};
use crate::limits::{Counts, MOST, Period, Shape, Taken, window};
use crate::plugin::Scope;
use crate::remote::redis::{Away, RedisClient, Script};

static FIXED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fixed.lua")));
static SLIDING: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("sliding.lua")));
static BUCKET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("bucket.lua")));
static PUSH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("push.lua")));

/// What stands for a scope that an instance does not have.
const NIL: &str = "00000000-0000-0000-0000-000000000000";
/// How much longer than needed a key lives, for gateways whose clocks are behind.
const SLACK_MS: u64 = 10_000;
/// A month and a year of the calendar are longer than their flat length by so much at most.
const CALENDAR_SLACK_MS: u64 = 2 * 86_400_000;

/// The counters of one instance, on a server.
pub(super) struct Shared {
    client: Arc<RedisClient>,
    /// The begin of every key.
    prefix: String,
    shape: Shape,
    periods: Vec<Period>,
}

/// A window of a period: which one, since when in milliseconds since 1970, and how often it was
/// used since the last exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) period: usize,
    pub(super) start_ms: u64,
    pub(super) count: u64,
}

impl Shared {
    pub(super) fn new(
        client: Arc<RedisClient>,
        scope: &Scope,
        shape: Shape,
        periods: &[Period],
    ) -> Shared {
        let or_nil = |id: &'_ str| if id.is_empty() { NIL } else { id }.to_owned();
        let (route, service) = (or_nil(&scope.route), or_nil(&scope.service));
        let mut prefix = format!("{{ratelimit:{route}:{service}:");
        if !scope.consumer.is_empty() {
            prefix.push_str(&scope.consumer);
            prefix.push(':');
        }
        Shared {
            client,
            prefix,
            shape,
            periods: periods.to_vec(),
        }
    }

    /// The name of somebody's counters: what their keys begin with, the hash tag.
    pub(super) fn name(&self, who: Who<'_>) -> String {
        let mut name = String::with_capacity(self.prefix.len() + 80);
        name.push_str(&self.prefix);
        who.write(&mut name);
        name.push('}');
        name
    }

    /// Whether it is known that there will be no answer.
    pub(super) fn is_away(&self, name: &str) -> bool {
        self.client.is_open(name)
    }

    /// Decides on a request. What the server has counted, this request included, comes with it.
    pub(super) async fn take(
        &self,
        name: &str,
        now: Duration,
        limits: &[u64],
    ) -> Result<(Taken, Counts), Away> {
        match self.shape {
            Shape::Fixed => self.take_fixed(name, now, limits).await,
            Shape::Sliding => self.take_sliding(name, now, limits).await,
            Shape::Bucket => self.take_token(name, now, limits).await,
        }
    }

    async fn take_fixed(
        &self,
        name: &str,
        now: Duration,
        limits: &[u64],
    ) -> Result<(Taken, Counts), Away> {
        let mut keys = Vec::with_capacity(self.periods.len());
        let mut args: Vec<i64> = limits.iter().map(|limit| number(*limit)).collect();
        for period in &self.periods {
            keys.push(self.key(name, *period, period.start(now.as_secs()) * 1000));
            args.push(number(self.lifetime(*period)));
        }
        let reply = self.client.run(&FIXED, &keys, &args).await?;
        let [allowed, used @ ..] = reply.as_slice() else {
            return Err(too_short());
        };
        let allowed = *allowed == 1;
        let mut before = [0; MOST];
        let mut after = [0; MOST];
        for (ix, used) in used.iter().take(self.periods.len()).enumerate() {
            before[ix] = count(*used);
            after[ix] = count(*used).saturating_add(u64::from(allowed));
        }
        let taken = window::told(&self.periods, limits, &before, allowed, now);
        Ok((taken, Counts::Fixed(after)))
    }

    async fn take_sliding(
        &self,
        name: &str,
        now: Duration,
        limits: &[u64],
    ) -> Result<(Taken, Counts), Away> {
        let mut keys = Vec::with_capacity(self.periods.len() * 2);
        let mut args = Vec::with_capacity(self.periods.len() * 3);
        for (period, limit) in self.periods.iter().zip(limits) {
            let (place, length) = (sliding::place(*period, now), sliding::length(*period));
            keys.push(self.key(name, *period, place.window * length));
            keys.push(self.key(name, *period, place.window.saturating_sub(1) * length));
            args.extend([*limit, place.elapsed, length].map(number));
        }
        let reply = self.client.run(&SLIDING, &keys, &args).await?;
        let [allowed, used @ ..] = reply.as_slice() else {
            return Err(too_short());
        };
        let allowed = *allowed == 1;
        let mut before = [Used::default(); MOST];
        for (used, pair) in before.iter_mut().zip(used.chunks_exact(2)) {
            used.this = count(pair[0]);
            used.last = count(pair[1]);
        }
        let taken = sliding::told(&self.periods, limits, &before, Some(allowed), now);
        let after = before.map(|used| Used {
            this: used.this.saturating_add(u64::from(allowed)),
            last: used.last,
        });
        Ok((taken, Counts::Sliding(after)))
    }

    async fn take_token(
        &self,
        name: &str,
        now: Duration,
        limits: &[u64],
    ) -> Result<(Taken, Counts), Away> {
        let (Some(period), Some(limit)) = (self.periods.first(), limits.first()) else {
            return Err(too_short());
        };
        let rate = Rate::new(*limit, *period);
        let keys = [format!("{name}:{}:token-bucket", period.name())];
        let args = [
            number(now.as_secs()),
            i64::from(now.subsec_nanos()),
            number(rate.interval),
            i64::from(rate.burst),
        ];
        let reply = self.client.run(&BUCKET, &keys, &args).await?;
        let [allowed, seconds, nanos] = reply.as_slice() else {
            return Err(too_short());
        };
        let second = now.as_secs().saturating_add_signed(*seconds);
        let full_at = second
            .saturating_mul(1_000_000_000)
            .saturating_add(count(*nanos));
        let taken = rate.told(full_at, *allowed == 1, now);
        Ok((taken, Counts::Bucket(full_at)))
    }

    /// The windows that a moment lies in, and for sliding ones those before them.
    pub(super) fn windows(&self, now: Duration) -> Vec<Use> {
        let mut windows = Vec::with_capacity(self.periods.len() * 2);
        for (current, period) in self.current(now).zip(&self.periods) {
            let before = current.start_ms.saturating_sub(sliding::length(*period));
            windows.push(Use {
                count: 0,
                ..current
            });
            if self.shape == Shape::Sliding {
                let count = 0;
                windows.push(Use {
                    start_ms: before,
                    count,
                    ..current
                });
            }
        }
        windows
    }

    /// One use of each window that a moment lies in.
    pub(super) fn current(&self, now: Duration) -> impl Iterator<Item = Use> {
        let periods = self.periods.iter().enumerate();
        periods.map(move |(period, of)| Use {
            period,
            start_ms: match self.shape {
                Shape::Sliding => sliding::place(*of, now).window * sliding::length(*of),
                _ => of.start(now.as_secs()) * 1000,
            },
            count: 1,
        })
    }

    /// Adds uses to what the server has counted; the totals, in the same order. For tasks of the
    /// control runtime.
    pub(super) async fn push(&self, name: &str, uses: &[Use]) -> Result<Vec<u64>, Away> {
        let of = |using: &Use| self.periods.get(using.period).copied();
        let uses = || uses.iter().filter_map(|using| Some((using, of(using)?)));
        let keys: Vec<String> = uses()
            .map(|(using, period)| self.key(name, period, using.start_ms))
            .collect();
        let lives = uses().map(|(_, period)| self.lifetime(period));
        let args = uses().map(|(using, _)| using.count).chain(lives);
        let args: Vec<i64> = args.map(number).collect();
        let totals = self.client.run_aside(&PUSH, &keys, &args).await?;
        match totals.len() == keys.len() {
            true => Ok(totals.into_iter().map(count).collect()),
            false => Err(too_short()),
        }
    }

    /// What totals mean for the local counters.
    pub(super) fn counts(&self, now: Duration, totals: &[(Use, u64)]) -> Counts {
        let windows = self.windows(now);
        let total = |window: &Use| {
            let same = |(using, _): &&(Use, u64)| {
                (using.period, using.start_ms) == (window.period, window.start_ms)
            };
            totals.iter().find(same).map_or(0, |(_, total)| *total)
        };
        match self.shape {
            Shape::Sliding => {
                let mut used = [Used::default(); MOST];
                for (used, pair) in used.iter_mut().zip(windows.chunks_exact(2)) {
                    used.this = total(&pair[0]);
                    used.last = total(&pair[1]);
                }
                Counts::Sliding(used)
            }
            _ => {
                let mut used = [0; MOST];
                for (used, window) in used.iter_mut().zip(&windows) {
                    *used = total(window);
                }
                Counts::Fixed(used)
            }
        }
    }

    fn key(&self, name: &str, period: Period, start_ms: u64) -> String {
        let slides = match self.shape {
            Shape::Sliding => ":sliding",
            _ => "",
        };
        format!("{name}:{start_ms}:{}{slides}", period.name())
    }

    /// How long a window's key lives, in milliseconds.
    fn lifetime(&self, period: Period) -> u64 {
        let length = sliding::length(period);
        match (self.shape, period) {
            (Shape::Sliding, _) => 2 * length + SLACK_MS,
            (_, Period::Month | Period::Year) => length + CALENDAR_SLACK_MS,
            _ => length + SLACK_MS,
        }
    }
}

fn number(of: u64) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

fn count(of: i64) -> u64 {
    u64::try_from(of).unwrap_or(0)
}

fn too_short() -> Away {
    Away::Garbage("too few numbers".to_owned())
}

#[cfg(test)]
mod tests;
