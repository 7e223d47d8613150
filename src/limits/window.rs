//! Fixed windows of the calendar: how often something may happen in a second, a minute, … a year.
//!
//! Invariant: within one window of a period a key is let through at most `limit` times, however
//! many threads ask at once, and what is refused is not counted.

use std::hash::Hash;
use std::time::Duration;

use super::period::Period;
use super::table::{Key, Table, Tally};
use super::wide::Wide;
use super::{MOST, Taken};

/// Counters of several periods under any number of keys.
#[derive(Debug)]
pub struct Windows {
    periods: Box<[Period]>,
    table: Table<Counter>,
}

/// How often something happened since a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counter {
    /// When its window began, in seconds since 1970.
    start: u32,
    used: Wide,
}

/// When the window of each period began, in seconds since 1970.
type Starts = [u32; MOST];

impl Windows {
    /// Counters of these periods, at most six, for at most about so many keys. Where there is no
    /// room, counters whose windows are all over give way; failing these, further keys share a
    /// counter.
    pub fn new(periods: &[Period], most_keys: usize) -> Windows {
        let periods: Box<[Period]> = periods.iter().copied().take(MOST).collect();
        Windows {
            table: Table::new(periods.len(), most_keys),
            periods,
        }
    }

    /// The key of whatever is counted.
    pub fn key(&self, of: impl Hash) -> Key {
        self.table.key(of)
    }

    /// How many keys have counters.
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

    /// Lets a request through unless a limit is reached. `now` is the time since 1970; `limits`
    /// are those of the periods, in the same order.
    pub fn take(&self, key: Key, now: Duration, limits: &[u64]) -> Taken {
        let mut taken = Taken::default();
        self.with(key, now, |counters| {
            let mut used = [0; MOST];
            for (used, counter) in used.iter_mut().zip(&*counters) {
                *used = counter.used.get();
            }
            let allowed = used.iter().zip(limits).all(|(used, limit)| used < limit);
            if allowed {
                for counter in counters {
                    counter.used = counter.used.next();
                }
            }
            taken = told(&self.periods, limits, &used, allowed, now);
            Some(allowed)
        });
        taken
    }

    /// Takes over what others have counted of this key: so often in each period's current window.
    /// Own counts that are higher stay. `decided` is a decision that belongs to it.
    pub fn raise(&self, key: Key, now: Duration, used: &[u64], decided: Option<bool>) {
        self.with(key, now, |counters| {
            for (counter, used) in counters.iter_mut().zip(used) {
                counter.used = Wide::of(counter.used.get().max(*used));
            }
            decided
        });
    }

    /// Runs on the counters of a key, moved into the windows that hold `now`.
    fn with(&self, key: Key, now: Duration, run: impl FnOnce(&mut [Counter]) -> Option<bool>) {
        let starts = self.starts(now);
        let over = |counters: &[Counter]| {
            let mut pairs = counters.iter().zip(&starts);
            pairs.all(|(counter, start)| counter.start < *start)
        };
        self.table.with(key, now.as_secs(), over, |counters| {
            for ((counter, start), period) in counters.iter_mut().zip(&starts).zip(&self.periods) {
                enter(counter, *start, now.as_secs(), *period);
            }
            run(counters)
        });
    }

    fn starts(&self, now: Duration) -> Starts {
        let mut starts = [0; MOST];
        for (start, period) in starts.iter_mut().zip(&self.periods) {
            *start = period.start(now.as_secs()) as u32;
        }
        starts
    }
}

/// Moves a counter into the window that began at `start`.
///
/// Threads read the clock before they take the lock, so one may come a little late, from the window
/// before; it is then counted in the window that others have entered. Only a clock that was set
/// back by more than a period makes a counter begin anew.
fn enter(counter: &mut Counter, start: u32, now: u64, period: Period) {
    let ahead = u64::from(counter.start).saturating_sub(now);
    let late = counter.start > start && ahead <= period.seconds();
    if counter.start != start && !late {
        *counter = Counter {
            start,
            used: Wide::default(),
        };
    }
}

/// What follows from how often each period's window was used before.
pub fn told(
    periods: &[Period],
    limits: &[u64],
    used: &[u64],
    allowed: bool,
    now: Duration,
) -> Taken {
    let mut taken = Taken {
        allowed,
        ..Taken::default()
    };
    // This request counts among those that are gone, unless it is refused.
    let own = u64::from(allowed);
    for (at, ((period, limit), used)) in periods.iter().zip(limits).zip(used).enumerate() {
        taken.remaining[at] = limit.saturating_sub(used.saturating_add(own));
        taken.reset[at] = period.reset(now.as_secs());
    }
    taken
}

#[cfg(test)]
mod tests;
