//! Who closed connections to upstreams, counted per thread: connections end in many places, some of
//! which know of no counters.
//!
//! Invariant: each connection is counted once. Whoever keeps counters takes what was counted on its
//! thread.

use std::cell::Cell;

/// Who closed a connection, or why the gateway did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The upstream: it closed, or said that it would.
    Upstream,
    /// The gateway: it was idle for too long.
    Idle,
    /// The gateway: there are enough idle ones, it has served for long, or others need its place.
    Limit,
    /// The gateway: a request ended without an answer to its end.
    Gateway,
}

impl By {
    /// All of them.
    pub const ALL: [By; 4] = [By::Upstream, By::Idle, By::Limit, By::Gateway];

    /// For metrics.
    pub fn label(self) -> &'static str {
        match self {
            By::Upstream => "upstream",
            By::Idle => "idle",
            By::Limit => "limit",
            By::Gateway => "gateway",
        }
    }
}

thread_local! {
    static CLOSED: [Cell<u64>; 4] = const { [const { Cell::new(0) }; 4] };
}

/// One more.
pub fn count(by: By) {
    CLOSED.with(|closed| {
        let count = &closed[by as usize];
        count.set(count.get() + 1);
    });
}

/// What was counted on this thread since the last call, in the order of [`By::ALL`].
pub fn take() -> [u64; 4] {
    CLOSED.with(|closed| By::ALL.map(|by| closed[by as usize].take()))
}

/// Counts a connection as closed when it is dropped, unless it was kept.
#[derive(Debug)]
pub struct Mark(Cell<Option<By>>);

impl Mark {
    /// It is the gateway, unless something else is known by then.
    pub fn new() -> Mark {
        Mark(Cell::new(Some(By::Gateway)))
    }

    /// It is somebody else.
    pub fn set(&self, by: By) {
        self.0.set(Some(by));
    }

    /// The connection lives on.
    pub fn keep(self) {
        self.0.set(None);
    }
}

impl Default for Mark {
    fn default() -> Mark {
        Mark::new()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(by) = self.0.get() {
            count(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once() {
        take();
        drop(Mark::new());
        Mark::new().keep();
        let told = Mark::new();
        told.set(By::Upstream);
        drop(told);
        count(By::Idle);
        assert_eq!(take(), [1, 1, 0, 1]);
        assert_eq!(take(), [0; 4]);
    }
}
