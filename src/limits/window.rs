//! Fixed windows of the calendar: how often something may happen in a second, a minute, … a year.
//!
//! Invariant: within one window of a period a key is let through at most `limit` times, however
//! many threads ask at once, and what is refused is not counted.

use std::hash::Hash;

use super::period::Period;
use super::table::{Counter, Table};

pub use super::table::Key;

/// Counters of several periods under any number of keys.
#[derive(Debug)]
pub struct Windows {
    periods: Box<[Period]>,
    table: Table,
}

/// Most periods that can be counted at once.
pub const MOST: usize = Period::ALL.len();

/// What became of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// It is let through and was counted.
    pub allowed: bool,
    /// Per period, how often its key was let through before, in the current window.
    pub used: [u64; MOST],
}

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

    /// Lets a request through unless a limit is reached. `now` is in seconds since 1970; `limits`
    /// are those of the periods, in the same order.
    pub fn take(&self, key: Key, now: u64, limits: &[u64]) -> Taken {
        let mut starts = [0; MOST];
        for (start, period) in starts.iter_mut().zip(&self.periods) {
            *start = period.start(now);
        }
        let starts = &starts[..self.periods.len()];
        self.table.with(key, starts, |counters| {
            let mut taken = Taken {
                allowed: true,
                ..Taken::default()
            };
            for (at, counter) in counters.iter_mut().enumerate() {
                enter(counter, starts[at], now, self.periods[at]);
                taken.used[at] = counter.used;
                taken.allowed &= limits.get(at).is_none_or(|limit| counter.used < *limit);
            }
            if taken.allowed {
                for counter in counters {
                    counter.used += 1;
                }
            }
            taken
        })
    }
}

/// Moves a counter into the window that began at `start`.
///
/// Threads read the clock before they take the lock, so one may come a little late, from the window
/// before; it is then counted in the window that others have entered. Only a clock that was set
/// back by more than a period makes a counter begin anew.
fn enter(counter: &mut Counter, start: u64, now: u64, period: Period) {
    let late = counter.start > start && counter.start - now <= period.seconds();
    if counter.start != start && !late {
        *counter = Counter { start, used: 0 };
    }
}

#[cfg(test)]
mod tests;
