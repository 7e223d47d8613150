//! Records on their way to a receiver elsewhere: a bounded queue, batches, attempts with growing
//! pauses.
//!
//! Invariant: handing a record over never waits. When the receiver is away for too long the oldest
//! records go, and are counted. A batch is delivered whole or tried again whole, so a receiver may
//! see a record twice, but none is skipped in silence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::dropped;
use super::receiver::{Failure, Receiver};
use crate::telemetry::log::{Pace, log_once_per};
use crate::telemetry::{Counter, Metrics};
use crate::util::clock;

/// How records are queued.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queueing {
    /// Most records that are sent at once.
    pub batch: usize,
    /// How long a record waits for others to join it.
    pub coalesce: Duration,
    /// Most records that wait; beyond that the oldest go.
    pub entries: usize,
    /// Most bytes that wait.
    pub bytes: Option<usize>,
    /// The pause before the second attempt; each later one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// After this time a batch is given up.
    pub patience: Duration,
    /// Batches that are under way at once.
    pub concurrent: usize,
}

impl Default for Queueing {
    /// Kong's.
    fn default() -> Queueing {
        Queueing {
            batch: 1,
            coalesce: Duration::from_secs(1),
            entries: 10_000,
            bytes: None,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(60),
            patience: Duration::from_secs(60),
            concurrent: 1,
        }
    }
}

/// How many records may be on their way to the queue's own task before new ones are dropped: that
/// task drops the oldest, but only once it runs.
const SLACK: usize = 4096;

/// The way to a receiver. When the last holder is gone, what waits is sent and the queue ends.
pub struct Queue {
    entries: mpsc::UnboundedSender<Entry>,
    /// Records that are not under way yet.
    waiting: Arc<AtomicUsize>,
    most: usize,
    overflown: Counter,
}

enum Entry {
    Record(Vec<u8>),
    /// Hurry, and tell when nothing waits any more.
    Flush(oneshot::Sender<()>),
}

impl Queue {
    /// A queue, and the task that empties it.
    pub(super) fn new(
        receiver: Receiver,
        settings: Queueing,
        metrics: &Metrics,
    ) -> (Arc<Queue>, Batcher) {
        let (sender, entries) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let label = receiver.label().to_owned();
        let overflown = dropped(metrics, &label, "queue_full");
        let queue = Queue {
            entries: sender,
            waiting: waiting.clone(),
            most: settings.entries + SLACK,
            overflown: overflown.clone(),
        };
        let batcher = Batcher {
            entries,
            waiting,
            settings,
            queued: VecDeque::new(),
            bytes: 0,
            since: clock::now(),
            flights: JoinSet::new(),
            flushers: Vec::new(),
            overflown,
            sender: Arc::new(Sending {
                written: metrics.counter(
                    "sluicegate_log_lines_total",
                    "Log lines written, by target.",
                    &[("target", &label)],
                ),
                failed: dropped(metrics, &label, "delivery_failed"),
                receiver,
                hurry: Notify::new(),
                complaint: log_once_per(Duration::from_secs(60)),
            }),
        };
        (Arc::new(queue), batcher)
    }

    /// A queue that nobody empties: what is handed over vanishes.
    pub(super) fn closed(metrics: &Metrics) -> Arc<Queue> {
        let (entries, _) = mpsc::unbounded_channel();
        Arc::new(Queue {
            entries,
            waiting: Arc::default(),
            most: usize::MAX,
            overflown: dropped(metrics, "none", "queue_full"),
        })
    }

    /// Hands a record over. `false` when there was no room: it is dropped and counted.
    pub fn push(&self, record: Vec<u8>) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            // Without a task (a check, the end of the runtime) nobody misses the record.
            return self.entries.send(Entry::Record(record)).is_ok();
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.overflown.inc();
        false
    }

    /// Resolves when what was handed over so far is delivered or given up.
    pub(super) fn written(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        // Fails only without a task.
        let _ = self.entries.send(Entry::Flush(done));
        written
    }
}

/// The task behind a queue.
pub(super) struct Batcher {
    entries: mpsc::UnboundedReceiver<Entry>,
    waiting: Arc<AtomicUsize>,
    settings: Queueing,
    queued: VecDeque<Vec<u8>>,
    /// Those of what is queued.
    bytes: usize,
    /// When the first of the next batch came.
    since: Instant,
    /// Batches under way.
    flights: JoinSet<()>,
    flushers: Vec<oneshot::Sender<()>>,
    overflown: Counter,
    sender: Arc<Sending>,
}

impl Batcher {
    /// Runs until every holder of the queue is gone and it is empty.
    pub(super) async fn run(mut self) {
        let mut open = true;
        let mut taken = Vec::new();
        loop {
            self.start_flights(open);
            if self.queued.is_empty() && self.flights.is_empty() {
                for done in self.flushers.drain(..) {
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                if !open {
                    return;
                }
            }
            let due = self.since + self.settings.coalesce;
            tokio::select! {
                count = self.entries.recv_many(&mut taken, 256), if open => {
                    open = count > 0;
                    if !open {
                        self.sender.hurry.notify_waiters();
                    }
                    taken.drain(..).for_each(|entry| self.accept(entry));
                }
                Some(_) = self.flights.join_next() => {}
                () = sleep_until(due), if self.is_collecting() => {}
            }
        }
    }

    fn accept(&mut self, entry: Entry) {
        match entry {
            Entry::Record(record) => {
                if self.queued.is_empty() {
                    self.since = clock::now();
                }
                self.bytes += record.len();
                self.queued.push_back(record);
                self.make_room();
            }
            Entry::Flush(done) => {
                self.flushers.push(done);
                self.sender.hurry.notify_waiters();
            }
        }
    }

    /// Drops the oldest while there are too many.
    fn make_room(&mut self) {
        let Queueing { entries, bytes, .. } = self.settings;
        while self.queued.len() > entries || bytes.is_some_and(|most| self.bytes > most) {
            if self.take().is_none() {
                return;
            }
            self.overflown.inc();
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let record = self.queued.pop_front()?;
        self.bytes -= record.len();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(record)
    }

    /// The next batch waits for more records, not for its turn.
    fn is_collecting(&self) -> bool {
        !self.queued.is_empty() && self.flights.len() < self.settings.concurrent
    }

    fn start_flights(&mut self, open: bool) {
        while self.is_collecting() {
            let hurry = !open || !self.flushers.is_empty();
            let full = self.queued.len() >= self.settings.batch;
            if !hurry && !full && clock::now() < self.since + self.settings.coalesce {
                return;
            }
            let count = self.settings.batch.min(self.queued.len());
            let batch = (0..count).filter_map(|_| self.take()).collect();
            self.since = clock::now();
            let sender = self.sender.clone();
            self.flights
                .spawn(sender.send(batch, self.settings.clone()));
        }
    }
}

/// What every batch needs.
struct Sending {
    receiver: Receiver,
    written: Counter,
    failed: Counter,
    /// Pauses between attempts are over: the end is near.
    hurry: Notify,
    complaint: Pace,
}

impl Sending {
    /// Delivers a batch or gives it up.
    async fn send(self: Arc<Self>, batch: Vec<Vec<u8>>, settings: Queueing) {
        let count = batch.len() as u64;
        let end = clock::now() + settings.patience;
        let mut pause = settings.first_pause;
        loop {
            let failure = match self.receiver.deliver(&batch).await {
                Ok(()) => return self.written.add(count),
                Err(failure) => failure,
            };
            if failure.is_final() || clock::now() + pause > end {
                self.failed.add(count);
                return self.complain(&failure, "log records are lost");
            }
            self.complain(&failure, "log records are not delivered: trying again");
            tokio::select! {
                () = sleep(pause) => {}
                () = self.hurry.notified() => {}
            }
            pause = (pause * 2).min(settings.longest_pause);
        }
    }

    fn complain(&self, failure: &Failure, words: &str) {
        if let Some(hidden) = self.complaint.ready() {
            let target = self.receiver.label();
            tracing::warn!(log = target, error = %failure, hidden, "{words}");
        }
    }
}

#[cfg(test)]
mod tests;
