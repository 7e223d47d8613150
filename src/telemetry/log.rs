//! The log of the process: tracing, to standard error, as text or as JSON.
//!
//! Invariant: writing a line never waits. A thread of its own does the writing; when standard
//! error is stuck and the queue is full, lines are dropped and their number is told later. A
//! worker that waited for a stuck terminal would be a gateway that stands still.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::util::clock;

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; in colours on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Text on a terminal, JSON where a machine reads.
    pub fn of_stderr() -> Format {
        match io::stderr().is_terminal() {
            true => Format::Text,
            false => Format::Json,
        }
    }
}

/// The running log. Keep it for as long as the process lives; dropping it writes out what waits.
pub struct Log {
    queue: Queue,
    level: reload::Handle<Targets, Registry>,
}

impl Log {
    /// Starts logging for the whole process. A second call is an error.
    pub fn start(level: Level, format: Format) -> Result<Log, String> {
        let (queue, lines) = Queue::new(QUEUE);
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || lines.write_to(&mut io::stderr()))
            .map_err(|error| format!("the log thread cannot be started: {error}"))?;
        let colours = format == Format::Text && io::stderr().is_terminal();
        let (subscriber, level) = subscriber(level, format, colours, queue.clone());
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(Log { queue, level })
    }

    /// Changes what is logged from now on.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone, and then nobody logs.
        let _ = self.level.reload(targets(level));
    }

    /// Waits until everything logged so far is written, at most `within`. Call it before the
    /// process exits by itself: no value is dropped then.
    pub fn flush(&self, within: Duration) {
        self.queue.flush(within);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush(Duration::from_secs(1));
    }
}

/// How many lines may wait.
const QUEUE: usize = 4096;

/// Other people's crates tell of their inner life at `debug`: only their warnings are ours.
fn targets(level: Level) -> Targets {
    let ours = LevelFilter::from_level(level);
    let others = match level {
        Level::TRACE => LevelFilter::DEBUG,
        _ => ours.min(LevelFilter::WARN),
    };
    Targets::new()
        .with_default(others)
        .with_target(env!("CARGO_CRATE_NAME"), ours)
}

type Subscriber = Box<dyn tracing::Subscriber + Send + Sync>;

fn subscriber<W>(
    level: Level,
    format: Format,
    colours: bool,
    writer: W,
) -> (Subscriber, reload::Handle<Targets, Registry>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        Format::Text => lines.with_ansi(colours).with_target(false).boxed(),
        Format::Json => lines.json().flatten_event(true).with_target(false).boxed(),
    };
    let subscriber = Registry::default().with(lines.with_filter(filter));
    (Box::new(subscriber), handle)
}

/// The way from whoever logs to the writing thread. Clones are the same queue.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

struct Lines {
    lines: Receiver<Entry>,
    dropped: Arc<AtomicU64>,
}

enum Entry {
    Line(Vec<u8>),
    /// Tell when everything before is written.
    Flush(SyncSender<()>),
}

impl Queue {
    fn new(room: usize) -> (Queue, Lines) {
        let (sender, receiver) = sync_channel(room);
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue {
            lines: sender,
            dropped: dropped.clone(),
        };
        let lines = Lines {
            lines: receiver,
            dropped,
        };
        (queue, lines)
    }

    fn push(&self, line: Vec<u8>) {
        if self.lines.try_send(Entry::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self, within: Duration) {
        let (done, wait) = sync_channel(1);
        let deadline = clock::now() + within;
        let mut entry = Entry::Flush(done);
        while let Err(TrySendError::Full(back)) = self.lines.try_send(entry) {
            if clock::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
            entry = back;
        }
        let left = deadline.saturating_duration_since(clock::now());
        let _: Result<(), RecvTimeoutError> = wait.recv_timeout(left);
    }
}

impl Lines {
    /// Writes until every queue handle is gone. What cannot be written is lost: there is nobody
    /// left to tell.
    fn write_to(self, out: &mut dyn Write) {
        while let Ok(entry) = self.lines.recv() {
            match entry {
                Entry::Line(line) => {
                    let _ = out.write_all(&line);
                    self.tell_dropped(out);
                }
                Entry::Flush(done) => {
                    let _ = out.flush();
                    let _ = done.try_send(());
                }
            }
        }
    }

    fn tell_dropped(&self, out: &mut dyn Write) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let at = clock::rfc3339(clock::unix_ms());
            let _ = writeln!(
                out,
                r#"{{"timestamp":"{at}","level":"WARN","message":"{dropped} log lines dropped: standard error was stuck"}}"#
            );
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter {
            line: Vec::new(),
            queue: self.clone(),
        }
    }
}

/// Collects one line and queues it whole.
struct LineWriter {
    line: Vec<u8>,
    queue: Queue,
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.queue.push(std::mem::take(&mut self.line));
    }
}

/// Lets a message through once in a while, however often its cause comes back.
///
/// ```
/// # use std::time::Duration;
/// # use sluicegate::telemetry::log::{Pace, log_once_per};
/// static REFUSED: Pace = log_once_per(Duration::from_secs(10));
/// if let Some(hidden) = REFUSED.ready() {
///     tracing::warn!(hidden, "connection refused: too many are open");
/// }
/// ```
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    /// Milliseconds of [`since_first_use`] before which nothing passes.
    not_before: AtomicU64,
    hidden: AtomicU64,
}

/// A [`Pace`] of one message per `interval`; the first passes at once.
pub const fn log_once_per(interval: Duration) -> Pace {
    Pace {
        interval,
        not_before: AtomicU64::new(0),
        hidden: AtomicU64::new(0),
    }
}

impl Pace {
    /// Whether a message may be logged now: then, how many were held back since the last one.
    pub fn ready(&self) -> Option<u64> {
        self.ready_at(since_first_use())
    }

    fn ready_at(&self, now: Duration) -> Option<u64> {
        let now_ms = now.as_millis() as u64;
        let next = now_ms + self.interval.as_millis() as u64;
        let due = |not_before| (not_before <= now_ms).then_some(next);
        let order = Ordering::Relaxed;
        match self.not_before.fetch_update(order, order, due) {
            Ok(_) => Some(self.hidden.swap(0, order)),
            Err(_) => {
                self.hidden.fetch_add(1, order);
                None
            }
        }
    }
}

fn since_first_use() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(clock::now);
    clock::now().saturating_duration_since(first)
}

#[cfg(test)]
mod tests;
