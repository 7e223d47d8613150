//! How the process stops: one signal for all threads, and a count of what is still open.
//!
//! Phases go forward only: serving, handed over (another process accepts; answers say `Connection:
//! close`, idle connections stay for a while), closing (answers say `Connection: close`, listeners still
//! accept), draining (no more accepting; what is open has until the deadline), ended.
//!
//! Invariant: the phase that a request reads is one relaxed load; it may be read a moment late,
//! never backwards. Read it once per answer: the decision to keep a connection must not change
//! between the answer's head and its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

/// Where the process stands on its way from start to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All is as usual.
    Serving,
    /// Another process accepts at the same sockets. Every answer asks its connection to close; idle
    /// connections stay, so that no request meets one that is just being closed.
    Handed,
    /// Still accepting, but every answer asks its connection to close.
    Closing,
    /// Not accepting; open connections finish until the deadline and are then dropped.
    Draining {
        /// The end of all patience.
        deadline: Instant,
    },
    /// Whatever is left is to be dropped now.
    Ended,
}

impl Phase {
    fn rank(self) -> u8 {
        match self {
            Self::Serving => SERVING,
            Self::Handed => HANDED,
            Self::Closing => CLOSING,
            Self::Draining { .. } => DRAINING,
            Self::Ended => ENDED,
        }
    }
}

const SERVING: u8 = 0;
const HANDED: u8 = 1;
const CLOSING: u8 = 2;
const DRAINING: u8 = 3;
const ENDED: u8 = 4;

/// The drain signal of the process. Clones are the same signal.
#[derive(Clone, Debug)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    rank: AtomicU8,
    phase: watch::Sender<Phase>,
    open: AtomicUsize,
    emptied: Notify,
}

impl Drain {
    /// A process that serves and has no connection.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            rank: AtomicU8::new(SERVING),
            phase: watch::Sender::new(Phase::Serving),
            open: AtomicUsize::new(0),
            emptied: Notify::new(),
        }))
    }

    /// Goes forward to `phase`. An earlier phase than the present one, or the same, changes
    /// nothing: a deadline that was given stands. Says whether anything changed.
    pub fn advance(&self, phase: Phase) -> bool {
        self.0.phase.send_if_modified(|now| {
            let forward = phase.rank() > now.rank();
            if forward {
                *now = phase;
                self.0.rank.store(phase.rank(), Ordering::Relaxed);
            }
            forward
        })
    }

    /// The present phase, with its deadline. Takes a lock: for rare use.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Whether answers may keep their connection open: the check of every request.
    pub fn keeps_connections(&self) -> bool {
        self.0.rank.load(Ordering::Relaxed) == SERVING
    }

    /// Whether listeners still accept.
    pub fn accepts(&self) -> bool {
        matches!(self.0.rank.load(Ordering::Relaxed), SERVING | CLOSING)
    }

    /// Whether connections without a request are to be closed.
    pub fn closes_idle(&self) -> bool {
        self.0.rank.load(Ordering::Relaxed) >= CLOSING
    }

    /// Whether another process accepts what waits.
    pub fn is_handed(&self) -> bool {
        self.0.rank.load(Ordering::Relaxed) == HANDED
    }

    /// Whether everything is to be dropped now.
    pub fn has_ended(&self) -> bool {
        self.0.rank.load(Ordering::Relaxed) == ENDED
    }

    /// A place to wait for changes, starting from the present phase.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch {
            phase: self.0.phase.subscribe(),
            _shared: Arc::clone(&self.0),
        }
    }

    /// Counts one connection, or a listener that may have some waiting, for as long as the token
    /// lives.
    pub fn token(&self) -> ConnToken {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        ConnToken(Arc::clone(&self.0))
    }

    /// Connections and listeners that are open, over all threads.
    pub fn connections(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Waits until no connection is open, at most until `deadline` or the end of the drain; the
    /// number that was left. Dropping the future changes nothing.
    pub async fn emptied(&self, deadline: Instant) -> usize {
        let mut watch = self.watch();
        tokio::select! {
            _ = timeout_at(deadline, self.wait_for_zero()) => {}
            () = watch.ended() => {}
        }
        self.connections()
    }

    async fn wait_for_zero(&self) {
        loop {
            // Listening starts before the count is read, so that the last token is not missed.
            let mut emptied = std::pin::pin!(self.0.emptied.notified());
            emptied.as_mut().enable();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for phases. A task that serves one connection does not need its own: a worker holds one
/// and wakes its connections through [`crate::util::sweep::Sweep::wake_all`].
#[derive(Clone, Debug)]
pub struct DrainWatch {
    phase: watch::Receiver<Phase>,
    /// Keeps the sending side alive, so that waiting never fails.
    _shared: Arc<Shared>,
}

impl DrainWatch {
    /// The next phase that this watch has not returned yet. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Phase {
        if self.phase.changed().await.is_err() {
            return Phase::Ended;
        }
        *self.phase.borrow_and_update()
    }

    /// Waits until connections are no longer kept open.
    pub async fn closing(&mut self) {
        self.reach(CLOSING).await;
    }

    /// Waits until listeners are to stop.
    pub async fn not_accepting(&mut self) {
        let stop = |phase: &Phase| !matches!(phase, Phase::Serving | Phase::Closing);
        // Whoever could change it is gone: then all is over.
        let _ = self.phase.wait_for(stop).await;
    }

    /// Waits until what is open has a deadline; when that is, if it is known.
    pub async fn draining(&mut self) -> Option<Instant> {
        match self.reach(DRAINING).await {
            Phase::Draining { deadline } => Some(deadline),
            _ => None,
        }
    }

    /// Waits until everything is to be dropped.
    pub async fn ended(&mut self) {
        self.reach(ENDED).await;
    }

    async fn reach(&mut self, rank: u8) -> Phase {
        match self.phase.wait_for(|phase| phase.rank() >= rank).await {
            Ok(phase) => *phase,
            Err(_) => Phase::Ended,
        }
    }
}

/// One open connection, counted until it is dropped.
#[derive(Debug)]
pub struct ConnToken(Arc<Shared>);

impl Drop for ConnToken {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::util::clock;

    const SECOND: Duration = Duration::from_secs(1);

    fn flags(drain: &Drain) -> (bool, bool, bool) {
        (
            drain.keeps_connections(),
            drain.accepts(),
            drain.has_ended(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn phases_go_forward_only() {
        let drain = Drain::new();
        assert_eq!(flags(&drain), (true, true, false));
        assert!(drain.advance(Phase::Closing));
        assert_eq!(flags(&drain), (false, true, false));
        let deadline = clock::now() + SECOND;
        assert!(drain.advance(Phase::Draining { deadline }));
        assert!(!drain.advance(Phase::Draining {
            deadline: deadline + SECOND
        }));
        assert!(!drain.advance(Phase::Closing));
        assert_eq!(drain.phase(), Phase::Draining { deadline });
        assert_eq!(flags(&drain), (false, false, false));
        assert!(drain.advance(Phase::Ended));
        assert_eq!(flags(&drain), (false, false, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_hears_of_every_thread_s_change() {
        let drain = Drain::new();
        let (mut one, mut two) = (drain.watch(), drain.watch());
        let waiting = tokio::spawn(async move { one.draining().await });
        let deadline = clock::now() + SECOND;
        let there = drain.clone();
        std::thread::spawn(move || {
            there.advance(Phase::Closing);
            there.advance(Phase::Draining { deadline });
        })
        .join()
        .unwrap();
        assert_eq!(waiting.await.unwrap(), Some(deadline));
        assert_eq!(two.changed().await, Phase::Draining { deadline });
        two.closing().await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_last_connection() {
        let drain = Drain::new();
        let start = clock::now();
        assert_eq!(drain.emptied(start + 9 * SECOND).await, 0);
        for seconds in 1..=3 {
            let token = drain.token();
            tokio::spawn(async move {
                tokio::time::sleep(seconds * SECOND).await;
                drop(token);
            });
        }
        assert_eq!(drain.connections(), 3);
        assert_eq!(drain.emptied(start + 9 * SECOND).await, 0);
        assert_eq!(clock::now() - start, 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_at_the_deadline_or_at_the_end() {
        let drain = Drain::new();
        let _held = drain.token();
        let start = clock::now();
        assert_eq!(drain.emptied(start + 9 * SECOND).await, 1);
        assert_eq!(clock::now() - start, 9 * SECOND);
        let ends = drain.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SECOND).await;
            ends.advance(Phase::Ended);
        });
        assert_eq!(drain.emptied(start + 60 * SECOND).await, 1);
        assert_eq!(clock::now() - start, 10 * SECOND);
    }
}
