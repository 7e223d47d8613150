//! Log lines on their way to a file, log records on their way to a server: a bounded queue, one
//! task behind it on the control runtime.
//!
//! Invariant: handing lines over never waits. When the disk is full, the pipe closed or the reader
//! stuck, lines are dropped and counted, never requests held up. A file holds whole lines only: a
//! write that was cut short is ended by a line break before the next one.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout_at;

use crate::telemetry::{Counter, Metrics};
use crate::tls::TlsClients;
use crate::util::clock;

mod lines;
mod queue;
mod receiver;
mod writer;

pub use lines::Lines;
use queue::Batcher;
pub use queue::{Queue, Queueing};
use receiver::Receiver;
pub use receiver::{
    Destination, HttpDestination, TcpDestination, TcpTls, UdpDestination, is_http_url,
};
use writer::Writer;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Standard output of the process.
    Stdout,
    /// Standard error of the process.
    Stderr,
    /// A file, appended to; made (mode 0644) when it is missing.
    File(PathBuf),
}

impl Target {
    /// The target that a path names; `/dev/stdout` and `/dev/stderr` are the process's own.
    pub fn of(path: &Path) -> Target {
        match path.to_str() {
            Some("/dev/stdout" | "/proc/self/fd/1") => Target::Stdout,
            Some("/dev/stderr" | "/proc/self/fd/2") => Target::Stderr,
            _ => Target::File(path.into()),
        }
    }

    /// Opens it once and closes it again, to refuse at start what could never be written to.
    pub fn probe(&self) -> std::io::Result<()> {
        writer::open(self).map(drop)
    }

    /// As logs and metrics name it.
    pub fn label(&self) -> String {
        match self {
            Target::Stdout => "stdout".into(),
            Target::Stderr => "stderr".into(),
            Target::File(path) => path.display().to_string(),
        }
    }
}

/// How many bytes may wait for a writer before lines are dropped.
const ROOM: usize = 8 * 1024 * 1024;
/// What an entry takes beside its text.
const OVERHEAD: usize = 64;

/// Every target and queue in use: two users of one file share its writer.
pub struct Shippers {
    /// `None`: nothing is opened, lines vanish.
    outside: Option<Outside>,
    metrics: Arc<Metrics>,
    files: Mutex<Kept<FileKey, Shipper>>,
    queues: Mutex<Kept<QueueKey, Queue>>,
}

/// What it takes to reach anything.
struct Outside {
    runtime: Handle,
    tls: TlsClients,
}

/// A target, and whether it is opened anew for each batch of lines.
type FileKey = (Target, bool);
/// Whose queue it is, where it leads, and how.
type QueueKey = (String, Destination, Queueing);

/// The ways that somebody holds, and those whose last lines are still being written.
struct Kept<K, W>(HashMap<K, Vec<Way<W>>>);

struct Way<W> {
    way: Weak<W>,
    task: JoinHandle<()>,
}

impl<K: Eq + Hash, W> Kept<K, W> {
    /// The living way under that key, else the one that `make` makes, with its task.
    fn adopt(&mut self, key: K, make: impl FnOnce() -> (Arc<W>, Option<JoinHandle<()>>)) -> Arc<W> {
        // Forgets what has ended, whoever had it.
        self.0.retain(|_, ways| {
            ways.retain(|way| !way.task.is_finished());
            !ways.is_empty()
        });
        let ways = self.0.entry(key).or_default();
        if let Some(living) = ways.iter().find_map(|way| way.way.upgrade()) {
            return living;
        }
        let (made, task) = make();
        ways.extend(task.map(|task| Way {
            way: Arc::downgrade(&made),
            task,
        }));
        made
    }

    fn living(&self) -> impl Iterator<Item = Arc<W>> {
        self.0
            .values()
            .flatten()
            .filter_map(|way| way.way.upgrade())
    }

    /// Hands the living ways to `each`, and gives away the tasks of the others.
    fn ending(&mut self, mut each: impl FnMut(Arc<W>)) -> Vec<JoinHandle<()>> {
        let mut ending = Vec::new();
        for ways in self.0.values_mut() {
            for way in std::mem::take(ways) {
                match way.way.upgrade() {
                    Some(living) => {
                        each(living);
                        ways.push(way);
                    }
                    None => ending.push(way.task),
                }
            }
        }
        ending
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shippers {
    /// Writers run on `runtime`; `tls` is for receivers that want it.
    pub fn new(runtime: Handle, metrics: Arc<Metrics>, tls: TlsClients) -> Arc<Shippers> {
        Shippers::with(Some(Outside { runtime, tls }), metrics)
    }

    /// Opens nothing and writes nothing: for checking a configuration.
    pub fn detached() -> Arc<Shippers> {
        Shippers::with(None, Metrics::new(1))
    }

    fn with(outside: Option<Outside>, metrics: Arc<Metrics>) -> Arc<Shippers> {
        Arc::new(Shippers {
            outside,
            metrics,
            files: Mutex::new(Kept(HashMap::new())),
            queues: Mutex::new(Kept(HashMap::new())),
        })
    }

    /// The way to a target, shared with everybody who holds it already. The writer opens the
    /// target in the background, says so once when it cannot, and tries again with later lines.
    pub fn open(&self, target: Target) -> Arc<Shipper> {
        self.file(target, false)
    }

    /// As [`Shippers::open`], but the file is opened anew whenever lines are written: one that was
    /// moved away gets no more of them.
    pub fn open_anew(&self, target: Target) -> Arc<Shipper> {
        self.file(target, true)
    }

    fn file(&self, target: Target, anew: bool) -> Arc<Shipper> {
        lock(&self.files).adopt((target.clone(), anew), || {
            let (shipper, writer) = Shipper::new(target, &self.metrics, ROOM, anew);
            let task = self.outside.as_ref();
            (shipper, task.map(|to| to.runtime.spawn(writer.run())))
        })
    }

    /// The queue of that owner to that destination: the living one, so that what waits in it
    /// outlives a reload, else a new one.
    pub fn queue(&self, owner: &str, to: Destination, settings: Queueing) -> Arc<Queue> {
        let key = (owner.to_owned(), to.clone(), settings.clone());
        lock(&self.queues).adopt(key, || match &self.outside {
            Some(Outside { runtime, tls }) => {
                let receiver = Receiver::new(to, tls);
                let (queue, batcher): (_, Batcher) = Queue::new(receiver, settings, &self.metrics);
                (queue, Some(runtime.spawn(batcher.run())))
            }
            None => (Queue::closed(&self.metrics), None),
        })
    }

    /// Opens every file anew: lines handed over before go to the old file, later ones to the new.
    pub fn reopen(&self) {
        lock(&self.files).living().for_each(|file| file.reopen());
    }

    /// Waits until what was handed over so far is written, at most `within`; whether it is.
    /// Dropping the future gives up waiting, not writing.
    pub async fn flush(&self, within: Duration) -> bool {
        let deadline = clock::now() + within;
        let mut complete = true;
        let (written, ending) = self.pending();
        for written in written {
            complete &= matches!(timeout_at(deadline, written).await, Ok(Ok(())));
        }
        for task in ending {
            complete &= timeout_at(deadline, task).await.is_ok();
        }
        complete
    }

    /// What a flush has to wait for: the living ways' answers, and the tasks whose way is gone,
    /// which end when their queue is empty.
    fn pending(&self) -> (Vec<oneshot::Receiver<()>>, Vec<JoinHandle<()>>) {
        let mut written = Vec::new();
        let mut ending = lock(&self.files).ending(|file| written.push(file.written()));
        ending.extend(lock(&self.queues).ending(|queue| written.push(queue.written())));
        (written, ending)
    }
}

/// The way to one target. When the last holder is gone, the writer writes what waits and ends.
pub struct Shipper {
    entries: mpsc::UnboundedSender<Entry>,
    queued: Arc<AtomicUsize>,
    room: usize,
    dropped: Counter,
}

enum Entry {
    Lines(Vec<u8>),
    Reopen,
    /// Tell when everything before is written.
    Flush(oneshot::Sender<()>),
}

/// What an entry counts against [`ROOM`].
fn weight(lines: &[u8]) -> usize {
    lines.len() + OVERHEAD
}

fn count_lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

impl Shipper {
    fn new(target: Target, metrics: &Metrics, room: usize, anew: bool) -> (Arc<Shipper>, Writer) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let label = target.label();
        let shipper = Shipper {
            entries: sender,
            queued: queued.clone(),
            room,
            dropped: dropped(metrics, &label, "queue_full"),
        };
        let writer = Writer::new(target, receiver, queued, metrics, anew);
        (Arc::new(shipper), writer)
    }

    /// Hands over whole lines, each with its line break. `false` when there was no room: they are
    /// dropped and counted.
    pub fn try_send(&self, lines: Vec<u8>) -> bool {
        let weight = weight(&lines);
        let before = self.queued.fetch_add(weight, Ordering::Relaxed);
        // An empty queue takes anything, or a line longer than the room could never pass.
        let fits = before == 0 || before + weight <= self.room;
        if fits {
            // Without a writer (a check, the end of the runtime) nobody misses the lines.
            return self.entries.send(Entry::Lines(lines)).is_ok();
        }
        self.queued.fetch_sub(weight, Ordering::Relaxed);
        self.dropped.add(count_lines(&lines));
        false
    }

    /// Opens the file anew, behind all lines handed over so far.
    pub fn reopen(&self) {
        // Fails only without a writer.
        let _ = self.entries.send(Entry::Reopen);
    }

    /// Resolves when all lines handed over so far are written or given up.
    fn written(&self) -> oneshot::Receiver<()> {
        let (done, written) = oneshot::channel();
        let _ = self.entries.send(Entry::Flush(done));
        written
    }
}

fn dropped(metrics: &Metrics, target: &str, reason: &str) -> Counter {
    metrics.counter(
        "sluicegate_log_lines_dropped_total",
        "Log lines that were not written, by target and reason.",
        &[("target", target), ("reason", reason)],
    )
}

#[cfg(test)]
mod tests;
