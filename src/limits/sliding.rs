//! Sliding windows: what counts is this window and as much of the last one as is still inside.
//!
//! Usage is `this + last × share`, where the share falls evenly from 1 at a window's begin to 0 at
//! its end. A request passes when one more fits below the limit. Windows of a period are those of
//! its flat length since 1970: nobody sees where they begin.
//!
//! Invariant: numbers are computed as floating point in one order of operations, which a script on
//! a store can repeat exactly; what is refused is not counted.

use std::hash::Hash;
use std::time::Duration;

use super::period::Period;
use super::table::{Key, Table, Tally};
use super::wide::Wide;
use super::{MOST, Taken};

/// Counters of several periods under any number of keys.
#[derive(Debug)]
pub struct Sliding {
    periods: Box<[Period]>,
    table: Table<Counter>,
}

/// Counts of a window and of the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counter {
    /// Which window of its period, counted from 1970.
    window: u32,
    this: Wide,
    last: Wide,
}

/// Where a moment lies in a period's windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which window, counted from 1970.
    pub window: u64,
    /// Milliseconds since it began.
    pub elapsed: u64,
}

/// How often a period's limit was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// In this window.
    pub this: u64,
    /// In the one before.
    pub last: u64,
}

/// Where `now` lies.
pub fn place(period: Period, now: Duration) -> Place {
    let (ms, length) = (now.as_millis() as u64, length(period));
    Place {
        window: ms / length,
        elapsed: ms % length,
    }
}

/// A window in milliseconds.
pub fn length(period: Period) -> u64 {
    period.seconds() * 1000
}

/// Usage in whole requests: what is begun counts as one.
fn usage(used: Used, elapsed: u64, length: u64) -> u64 {
    let inside = used.last as f64 * (length - elapsed) as f64 / length as f64;
    used.this.saturating_add(inside.ceil() as u64)
}

impl Sliding {
    /// Counters of these periods, at most six, for at most about so many keys; see
    /// [`super::window::Windows::new`].
    pub fn new(periods: &[Period], most_keys: usize) -> Sliding {
        let periods: Box<[Period]> = periods.iter().copied().take(MOST).collect();
        Sliding {
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

    /// Lets a request through unless a limit would be passed. `now` is the time since 1970.
    pub fn take(&self, key: Key, now: Duration, limits: &[u64]) -> Taken {
        let mut taken = Taken::default();
        self.with(key, now, |counters| {
            let mut used = [Used::default(); MOST];
            for (used, counter) in used.iter_mut().zip(&*counters) {
                *used = Used {
                    this: counter.this.get(),
                    last: counter.last.get(),
                };
            }
            // A thread that comes late is counted at the begin of the window that others entered.
            let now = self.latest(counters, now);
            taken = told(&self.periods, limits, &used, None, now);
            if taken.allowed {
                for counter in counters {
                    counter.this = counter.this.next();
                }
            }
            Some(taken.allowed)
        });
        taken
    }

    /// Takes over what others have counted of this key. Own counts that are higher stay.
    /// `decided` is a decision that belongs to it.
    pub fn raise(&self, key: Key, now: Duration, used: &[Used], decided: Option<bool>) {
        self.with(key, now, |counters| {
            for (counter, used) in counters.iter_mut().zip(used) {
                counter.this = Wide::of(counter.this.get().max(used.this));
                counter.last = Wide::of(counter.last.get().max(used.last));
            }
            decided
        });
    }

    fn with(&self, key: Key, now: Duration, run: impl FnOnce(&mut [Counter]) -> Option<bool>) {
        let mut windows = [0; MOST];
        for (window, period) in windows.iter_mut().zip(&self.periods) {
            *window = place(*period, now).window as u32;
        }
        let over = |counters: &[Counter]| {
            let mut pairs = counters.iter().zip(&windows);
            pairs.all(|(counter, window)| counter.window + 1 < *window)
        };
        self.table.with(key, now.as_secs(), over, |counters| {
            for (counter, window) in counters.iter_mut().zip(&windows) {
                enter(counter, *window);
            }
            run(counters)
        });
    }

    /// `now`, or the begin of the latest window that a counter is in already.
    fn latest(&self, counters: &[Counter], now: Duration) -> Duration {
        let begins = counters.iter().zip(&self.periods).map(|(counter, period)| {
            Duration::from_millis(u64::from(counter.window) * length(*period))
        });
        begins.fold(now, Duration::max)
    }
}

/// Moves a counter into a window. One from a window before, by a thread that comes late, is counted
/// where others are already; a clock that was set back further makes the counter begin anew.
fn enter(counter: &mut Counter, window: u32) {
    if counter.window == window || counter.window == window + 1 {
        return;
    }
    let follows = counter.window + 1 == window;
    *counter = Counter {
        window,
        this: Wide::default(),
        last: if follows {
            counter.this
        } else {
            Wide::default()
        },
    };
}

/// What follows from how often each period's windows were used before. `decided` is what a store
/// has decided; `None` decides here.
pub fn told(
    periods: &[Period],
    limits: &[u64],
    used: &[Used],
    decided: Option<bool>,
    now: Duration,
) -> Taken {
    let each = || periods.iter().zip(limits).zip(used);
    let at = |period: Period| (place(period, now).elapsed, length(period));
    let fits = |((period, limit), used): ((&Period, &u64), &Used)| {
        let (elapsed, length) = at(*period);
        usage(*used, elapsed, length) < *limit
    };
    let allowed = decided.unwrap_or_else(|| each().all(fits));
    let own = u64::from(allowed);
    let mut taken = Taken {
        allowed,
        ..Taken::default()
    };
    for (ix, ((period, limit), used)) in each().enumerate() {
        let (elapsed, length) = at(*period);
        let used = Used {
            this: used.this.saturating_add(own),
            last: used.last,
        };
        taken.remaining[ix] = limit.saturating_sub(usage(used, elapsed, length));
        taken.reset[ix] = wait(used, *limit, elapsed, length).div_ceil(1000).max(1);
    }
    if !allowed {
        // Whichever of the exhausted periods is named: it helps to come back when none is.
        let each = || taken.remaining.iter().zip(&taken.reset).take(limits.len());
        let exhausted = each().filter(|(remaining, _)| **remaining == 0);
        let longest = exhausted.map(|(_, reset)| *reset).max().unwrap_or(1);
        for (remaining, reset) in taken.remaining.iter().zip(&mut taken.reset) {
            if *remaining == 0 {
                *reset = longest;
            }
        }
    }
    taken
}

/// Milliseconds until one more request fits.
fn wait(used: Used, limit: u64, elapsed: u64, length: u64) -> u64 {
    if usage(used, elapsed, length) < limit {
        return 0;
    }
    match limit.checked_sub(used.this + 1) {
        // As soon as enough of the last window has left.
        Some(free) => begin_of_room(free, used.last, length).saturating_sub(elapsed),
        // Not in this window; in the next one it is the last.
        None => length - elapsed + begin_of_room(limit.saturating_sub(1), used.this, length),
    }
}

/// How far into a window no more than `free` of the `last` one are inside, in milliseconds.
fn begin_of_room(free: u64, last: u64, length: u64) -> u64 {
    let inside = u128::from(free) * u128::from(length) / u128::from(last.max(1));
    length - u64::try_from(inside).unwrap_or(u64::MAX).min(length)
}

#[cfg(test)]
mod tests;
