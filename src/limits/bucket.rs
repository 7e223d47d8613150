//! Token buckets: as many tokens as the limit, refilled evenly over the period.
//!
//! The arithmetic is governor's (GCRA): a key has one number, the moment at which its bucket will
//! be full again. Its clock says what the caller said, and its cells live in our bounded table.
//!
//! Invariant: of `limit` tokens and what is refilled since, none is given twice; a refused request
//! takes none. A bucket that is full is the same as none, so it may give way to others.

use std::cell::Cell;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::Taken;
use super::period::Period;
use super::table::{Key, Table, Tally};

/// How a bucket is refilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds for a token.
    pub interval: u64,
    /// The tokens of a full bucket.
    pub burst: u32,
}

impl Rate {
    /// So many tokens in a period, at least one and at most [`Rate::most`].
    pub fn new(limit: u64, period: Period) -> Rate {
        let limit = limit.clamp(1, Rate::most(period));
        Rate {
            interval: period.seconds() * 1_000_000_000 / limit,
            burst: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }

    /// Most tokens in a period: one takes a microsecond at least, so that the interval in whole
    /// nanoseconds is exact to a thousandth.
    pub fn most(period: Period) -> u64 {
        (period.seconds() * 1_000_000).min(u64::from(u32::MAX))
    }

    /// What follows from when the bucket will be full again, in nanoseconds since 1970, this
    /// request included.
    pub fn told(self, full_at: u64, allowed: bool, now: Duration) -> Taken {
        let missing = full_at.saturating_sub(nanos(now));
        let gone = missing.div_ceil(self.interval);
        let room = self.interval * u64::from(self.burst - 1);
        let wait = missing.saturating_sub(room).div_ceil(1_000_000_000);
        let mut taken = Taken {
            allowed,
            ..Taken::default()
        };
        taken.remaining[0] = u64::from(self.burst).saturating_sub(gone);
        taken.reset[0] = wait.max(1);
        taken
    }

    fn quota(self) -> Quota {
        let burst = NonZeroU32::new(self.burst).unwrap_or(NonZeroU32::MIN);
        let interval = Duration::from_nanos(self.interval);
        let quota = Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(burst));
        quota.allow_burst(burst)
    }

    /// How long an empty bucket takes to fill.
    fn whole(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst))
    }
}

fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// The buckets of any number of keys. They outlive a change of the limit.
#[derive(Debug)]
pub struct Buckets {
    period: Period,
    table: Table<u64>,
}

impl Buckets {
    /// Refilled over a period, for at most about so many keys; where there is no room, full
    /// buckets give way, and failing these, further keys share one.
    pub fn new(period: Period, most_keys: usize) -> Buckets {
        Buckets {
            period,
            table: Table::new(1, most_keys),
        }
    }

    /// The key of whatever is counted.
    pub fn key(&self, of: impl Hash) -> Key {
        self.table.key(of)
    }

    /// How many keys have buckets.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// Memory that the counters have reserved.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// What was decided so far.
    pub fn tally(&self) -> Tally {
        self.table.tally()
    }

    /// Takes a token of so many in the period, if there is one. `now` is the time since 1970.
    pub fn take(&self, key: Key, now: Duration, limit: u64) -> Taken {
        let rate = Rate::new(limit, self.period);
        let cells = Cells {
            buckets: self,
            rate,
        };
        // What the limiter counts from its begin is a time since 1970 then.
        NOW.set(0);
        let limiter: Limiter<'_> = RateLimiter::new(rate.quota(), cells, Said);
        NOW.set(nanos(now));
        let allowed = limiter.check_key(&key).is_ok();
        rate.told(FULL_AT.get(), allowed, now)
    }

    /// Takes over when this key's bucket will be full again, as others see it, in nanoseconds
    /// since 1970. `decided` is a decision that belongs to it.
    pub fn raise(&self, key: Key, now: Duration, full_at: u64, decided: Option<bool>) {
        self.with(key, now, |cell| {
            *cell = (*cell).max(full_at);
            decided
        });
    }

    fn with(&self, key: Key, now: Duration, run: impl FnOnce(&mut u64) -> Option<bool>) {
        let over = |cells: &[u64]| cells.iter().all(|full_at| *full_at <= nanos(now));
        self.table
            .with(key, now.as_secs(), over, |cells| run(cells.first_mut()?));
    }
}

type Limiter<'a> = RateLimiter<Key, Cells<'a>, Said, NoOpMiddleware<Nanos>>;

thread_local! {
    /// What time the caller says it is, in nanoseconds since 1970.
    static NOW: Cell<u64> = const { Cell::new(0) };
    /// What the cell held after the last decision.
    static FULL_AT: Cell<u64> = const { Cell::new(0) };
}

/// A clock that shows what its caller said.
#[derive(Clone, Copy, Debug)]
struct Said;

impl Clock for Said {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(NOW.get())
    }
}

/// Our table, as governor sees it.
struct Cells<'a> {
    buckets: &'a Buckets,
    rate: Rate,
}

impl StateStore for Cells<'_> {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let now = NOW.get();
        // A bucket can lack no more than all. One that seems to was left by a clock that has been
        // set back since, or by a larger bucket.
        let farthest = now.saturating_add(self.rate.whole());
        let mut result = f(None).map(|(value, _)| value);
        self.buckets.with(*key, Duration::from_nanos(now), |cell| {
            let before = (*cell).min(farthest);
            let decided = f((before > 0).then(|| Nanos::new(before)));
            *cell = match &decided {
                Ok((_, after)) => after.as_u64(),
                Err(_) => before,
            };
            FULL_AT.set(*cell);
            let allowed = decided.is_ok();
            result = decided.map(|(value, _)| value);
            Some(allowed)
        });
        result
    }
}

#[cfg(test)]
mod tests;
