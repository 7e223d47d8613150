//! Deadlines of connections without a timer each: a slot per connection, one sweep per worker.
//!
//! Every [`PERIOD`] the sweep compares all deadlines with the clock, flags those that have passed
//! and wakes their tasks. A task tests its flag only where a poll came back pending, so a deadline
//! costs a busy connection one store.
//!
//! Invariant: a flag is never set before its deadline, and at most one period after it (the sweep
//! task running). Dropping a [`Slot`] frees its place; nobody else can be woken by it.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::util::clock;

/// How often deadlines are looked at: also the most that one can be late.
pub const PERIOD: Duration = Duration::from_millis(100);

/// A deadline that does not exist.
const UNSET: u64 = u64::MAX;
/// A deadline that has passed and was flagged.
const EXPIRED: u64 = 0;

/// The deadlines of one worker. Clones are the same table.
#[derive(Clone)]
pub struct Sweep(Rc<Shared>);

struct Shared {
    /// Deadlines are nanoseconds from here, so that one is eight bytes.
    epoch: Instant,
    table: RefCell<Table>,
}

/// Parallel arrays: the scan touches deadlines only.
#[derive(Default)]
struct Table {
    deadlines: Vec<u64>,
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Sweep {
    /// An empty table. Deadlines fire only while [`Sweep::run`] is polled.
    pub fn new() -> Self {
        Self(Rc::new(Shared {
            epoch: clock::now(),
            table: RefCell::default(),
        }))
    }

    /// A place for one connection's deadline, unset.
    pub fn slot(&self) -> Slot {
        Slot {
            shared: Rc::clone(&self.0),
            index: self.0.table.borrow_mut().insert(),
        }
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        let table = self.0.table.borrow();
        table.deadlines.len() - table.free.len()
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flags and wakes what has expired, every [`PERIOD`], for ever: the worker spawns this once.
    pub async fn run(self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.pass(clock::now());
        }
    }

    /// Wakes every task that has registered, whatever its deadline: how a worker tells its idle
    /// connections that something else changed (a drain began).
    pub fn wake_all(&self) {
        let wakers: Vec<_> = self
            .0
            .table
            .borrow()
            .wakers
            .iter()
            .flatten()
            .cloned()
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// One look at all deadlines. Tasks are woken after the table is released: a waker is
    /// somebody else's code.
    fn pass(&self, now: Instant) {
        let due = self.0.table.borrow_mut().expire(self.0.nanos(now));
        due.into_iter().for_each(Waker::wake);
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    /// A moment as stored: never one of the two marks.
    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since)
            .unwrap_or(UNSET)
            .clamp(EXPIRED + 1, UNSET - 1)
    }
}

impl Table {
    fn insert(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        self.deadlines.push(UNSET);
        self.wakers.push(None);
        (self.deadlines.len() - 1) as u32
    }

    /// Flags what is due and returns whom to wake.
    fn expire(&mut self, now: u64) -> Vec<Waker> {
        let mut due = Vec::new();
        for (index, deadline) in self.deadlines.iter_mut().enumerate() {
            // One comparison for both bounds: the mark EXPIRED wraps around to the largest.
            if deadline.wrapping_sub(1) < now {
                *deadline = EXPIRED;
                due.extend(self.wakers[index].clone());
            }
        }
        due
    }
}

/// One connection's deadline. Dropping it gives the place back.
pub struct Slot {
    shared: Rc<Shared>,
    index: u32,
}

impl Slot {
    /// Sets the deadline `after` from now, in place of an earlier one, expired or not.
    pub fn set(&self, after: Duration) {
        self.set_from(clock::now(), after);
    }

    /// Sets the deadline `after` from a moment that the caller has at hand.
    pub fn set_from(&self, start: Instant, after: Duration) {
        match start.checked_add(after) {
            Some(at) => self.set_at(at),
            None => self.clear(),
        }
    }

    /// Sets the deadline to a moment, in place of an earlier one, expired or not.
    pub fn set_at(&self, at: Instant) {
        self.store(self.shared.nanos(at));
    }

    /// Takes the deadline away, expired or not.
    pub fn clear(&self) {
        self.store(UNSET);
    }

    /// Whether the deadline that was last set has passed and the sweep has seen it.
    pub fn expired(&self) -> bool {
        self.shared.table.borrow().deadlines[self.index as usize] == EXPIRED
    }

    /// Names the task to wake at the deadline. To be called once when the task starts, and again
    /// only if its waker may have changed; an unchanged one costs a comparison.
    pub fn register(&self, cx: &Context<'_>) {
        // An old waker is dropped after the table is released: dropping one is others' code.
        let _old = {
            let mut table = self.shared.table.borrow_mut();
            let place = &mut table.wakers[self.index as usize];
            match place {
                Some(known) if known.will_wake(cx.waker()) => None,
                _ => place.replace(cx.waker().clone()),
            }
        };
    }

    /// Registers the task; ready once the deadline has passed.
    pub fn poll_expired(&self, cx: &Context<'_>) -> Poll<()> {
        if self.expired() {
            return Poll::Ready(());
        }
        self.register(cx);
        Poll::Pending
    }

    /// Runs `future` for at most `after`; `None` if that was not enough. The deadline is taken
    /// away afterwards. Dropping the returned future drops `future`.
    pub async fn within<F: Future>(&self, after: Duration, future: F) -> Option<F::Output> {
        self.set(after);
        let mut future = pin!(future);
        let out = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            Poll::Pending => self.poll_expired(cx).map(|()| None),
        })
        .await;
        self.clear();
        out
    }

    fn store(&self, deadline: u64) {
        self.shared.table.borrow_mut().deadlines[self.index as usize] = deadline;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _waker = {
            let mut table = self.shared.table.borrow_mut();
            table.deadlines[self.index as usize] = UNSET;
            table.free.push(self.index);
            table.wakers[self.index as usize].take()
        };
    }
}

#[cfg(test)]
mod tests;
