//! Log lines on their way to a file: a bounded queue, one writer behind it on the control runtime.
//!
//! Invariant: handing lines over never waits. When the disk is full, the pipe closed or the reader
//! stuck, lines are dropped and counted, never requests held up. A file holds whole lines only: a
//! write that was cut short is ended by a line break before the next one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout_at};

use crate::telemetry::{Counter, Metrics};
use crate::util::{clock, local};

mod writer;

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

/// Every target in use: two users of one file share its writer.
pub struct Shippers {
    /// `None`: nothing is opened, lines vanish.
    runtime: Option<Handle>,
    metrics: Arc<Metrics>,
    sinks: Mutex<HashMap<Target, Vec<Sink>>>,
}

struct Sink {
    shipper: Weak<Shipper>,
    writer: JoinHandle<()>,
}

impl Shippers {
    /// Writers run on `runtime`.
    pub fn new(runtime: Handle, metrics: Arc<Metrics>) -> Arc<Shippers> {
        Arc::new(Shippers {
            runtime: Some(runtime),
            metrics,
            sinks: Mutex::default(),
        })
    }

    /// Opens nothing and writes nothing: for checking a configuration.
    pub fn detached() -> Arc<Shippers> {
        Arc::new(Shippers {
            runtime: None,
            metrics: Metrics::new(1),
            sinks: Mutex::default(),
        })
    }

    /// The way to a target, shared with everybody who holds it already. The writer opens the
    /// target in the background, says so once when it cannot, and tries again with later lines.
    pub fn open(&self, target: Target) -> Arc<Shipper> {
        let mut all = self.sinks();
        let sinks = all.entry(target.clone()).or_default();
        sinks.retain(|sink| !sink.writer.is_finished());
        if let Some(living) = sinks.iter().find_map(|sink| sink.shipper.upgrade()) {
            return living;
        }
        let (shipper, writer) = Shipper::new(target, &self.metrics, ROOM);
        if let Some(runtime) = &self.runtime {
            sinks.push(Sink {
                shipper: Arc::downgrade(&shipper),
                writer: runtime.spawn(writer.run()),
            });
        }
        shipper
    }

    /// Opens every file anew: lines handed over before go to the old file, later ones to the new.
    pub fn reopen(&self) {
        for shipper in self.living() {
            shipper.reopen();
        }
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
        for writer in ending {
            complete &= timeout_at(deadline, writer).await.is_ok();
        }
        complete
    }

    /// What a flush has to wait for: the living shippers' answers, and the writers whose shipper
    /// is gone, which end when their queue is empty.
    fn pending(&self) -> (Vec<oneshot::Receiver<()>>, Vec<JoinHandle<()>>) {
        let (mut written, mut ending) = (Vec::new(), Vec::new());
        for (_, sinks) in self.sinks().iter_mut() {
            for sink in std::mem::take(sinks) {
                match sink.shipper.upgrade() {
                    Some(shipper) => {
                        written.push(shipper.written());
                        sinks.push(sink);
                    }
                    None => ending.push(sink.writer),
                }
            }
        }
        (written, ending)
    }

    fn living(&self) -> Vec<Arc<Shipper>> {
        let sinks = self.sinks();
        let sinks = sinks.values().flatten();
        sinks.filter_map(|sink| sink.shipper.upgrade()).collect()
    }

    fn sinks(&self) -> MutexGuard<'_, HashMap<Target, Vec<Sink>>> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn new(target: Target, metrics: &Metrics, room: usize) -> (Arc<Shipper>, Writer) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let label = target.label();
        let shipper = Shipper {
            entries: sender,
            queued: queued.clone(),
            room,
            dropped: dropped(metrics, &label, "queue_full"),
        };
        let writer = Writer::new(target, receiver, queued, metrics);
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

/// How many bytes a worker collects before it hands them over.
const BATCH: usize = 32 * 1024;
/// How long a line waits in its worker at most.
const DELAY: Duration = Duration::from_millis(100);

/// One worker's lines on their way to a [`Shipper`]: collected, so that a busy worker touches the
/// shared queue once in some hundred requests. Dropping it hands over what is left.
pub struct Lines {
    buffer: Rc<Buffer>,
    _timer: local::Owned<()>,
}

struct Buffer {
    text: RefCell<Vec<u8>>,
    /// The timer runs, or is about to.
    armed: Cell<bool>,
    filled: Notify,
    shipper: Arc<Shipper>,
}

impl Lines {
    /// To be called on a worker: its timer is a task there.
    pub fn new(shipper: Arc<Shipper>) -> Lines {
        let buffer = Rc::new(Buffer {
            text: RefCell::new(Vec::with_capacity(BATCH)),
            armed: Cell::new(false),
            filled: Notify::new(),
            shipper,
        });
        Lines {
            _timer: local::spawn_owned(Rc::clone(&buffer).hand_over_in_time()),
            buffer,
        }
    }

    /// Lets `render` append one line, its line break included.
    pub fn write(&self, render: impl FnOnce(&mut Vec<u8>)) {
        let len = {
            let mut text = self.buffer.text.borrow_mut();
            render(&mut text);
            text.len()
        };
        if len >= BATCH {
            self.buffer.hand_over();
        } else if !self.buffer.armed.replace(true) {
            self.buffer.filled.notify_one();
        }
    }

    /// Hands over what was collected.
    pub fn hand_over(&self) {
        self.buffer.hand_over();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.buffer.hand_over();
    }
}

impl Buffer {
    async fn hand_over_in_time(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            sleep(DELAY).await;
            self.armed.set(false);
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let mut text = self.text.borrow_mut();
        if text.is_empty() {
            return;
        }
        // A short text is copied, so that what waits in the queue is not mostly unused memory.
        let lines = if text.len() < BATCH / 8 {
            let lines = text.as_slice().to_vec();
            text.clear();
            lines
        } else {
            std::mem::replace(&mut *text, Vec::with_capacity(BATCH + BATCH / 8))
        };
        self.shipper.try_send(lines);
    }
}

#[cfg(test)]
mod tests;
