//! The writing end: takes what waits, writes it in one go on a blocking thread.
//!
//! Invariant: the file position is at the beginning of a line before each write, or `torn` says
//! that it is not.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Entry, Target, count_lines, dropped, weight};
use crate::telemetry::log::{Pace, log_once_per};
use crate::telemetry::{Counter, Metrics};

/// How many entries are taken at a time.
const ENTRIES: usize = 256;
/// How many bytes are written at a time, about.
const CHUNK: usize = 1024 * 1024;
/// How long a descriptor that would block is left alone.
const BLOCKED: Duration = Duration::from_millis(20);
/// How many times in a row.
const PATIENCE: u32 = 250;

pub(super) struct Writer {
    entries: mpsc::UnboundedReceiver<Entry>,
    queued: Arc<AtomicUsize>,
    label: String,
    /// Away only while a blocking thread has it.
    sink: Option<Sink>,
    written: Counter,
    failed: Counter,
    complaint: Pace,
}

struct Sink {
    target: Target,
    file: Option<File>,
    torn: bool,
    /// It is opened for each write, in case that its name means another file by now.
    anew: bool,
}

impl Writer {
    pub(super) fn new(
        target: Target,
        entries: mpsc::UnboundedReceiver<Entry>,
        queued: Arc<AtomicUsize>,
        metrics: &Metrics,
        anew: bool,
    ) -> Writer {
        let label = target.label();
        Writer {
            entries,
            queued,
            written: metrics.counter(
                "sluicegate_log_lines_total",
                "Log lines written, by target.",
                &[("target", &label)],
            ),
            failed: dropped(metrics, &label, "write_failed"),
            label,
            sink: Some(Sink {
                target,
                file: None,
                torn: false,
                anew,
            }),
            complaint: log_once_per(Duration::from_secs(60)),
        }
    }

    /// Writes until every shipper is gone and the queue is empty.
    pub(super) async fn run(mut self) {
        self.open(|sink| sink.ready().map(drop)).await;
        let mut entries = Vec::with_capacity(ENTRIES);
        while self.entries.recv_many(&mut entries, ENTRIES).await > 0 {
            let mut text = Vec::new();
            let mut taken = 0;
            for entry in entries.drain(..) {
                match entry {
                    Entry::Lines(lines) => {
                        taken += weight(&lines);
                        join(&mut text, lines);
                        if text.len() < CHUNK {
                            continue;
                        }
                        self.write(std::mem::take(&mut text)).await;
                    }
                    Entry::Reopen => {
                        self.write(std::mem::take(&mut text)).await;
                        self.open(Sink::reopen).await;
                    }
                    Entry::Flush(done) => {
                        self.write(std::mem::take(&mut text)).await;
                        // Whoever asked may have stopped waiting.
                        let _ = done.send(());
                    }
                }
                self.queued
                    .fetch_sub(std::mem::take(&mut taken), Ordering::Relaxed);
            }
            self.write(text).await;
            self.queued.fetch_sub(taken, Ordering::Relaxed);
        }
    }

    /// Writes the text or counts its lines as lost.
    async fn write(&mut self, text: Vec<u8>) {
        if text.is_empty() {
            return;
        }
        let lines = count_lines(&text);
        let step = move |sink: &mut Sink| {
            let (written, result) = sink.write(&text);
            (count_lines(&text[..written]), result)
        };
        let (written, result) = self.with_sink(step).await.unwrap_or((0, Ok(())));
        self.written.add(written);
        self.failed.add(lines - written);
        self.complain(result);
    }

    /// Runs `work` on a blocking thread; `None` when there is none to be had: the runtime ends.
    async fn with_sink<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Sink) -> T + Send + 'static,
    ) -> Option<T> {
        let mut sink = self.sink.take()?;
        let done = spawn_blocking(move || {
            let out = work(&mut sink);
            (sink, out)
        });
        let (sink, out) = done.await.ok()?;
        self.sink = Some(sink);
        Some(out)
    }

    async fn open(&mut self, how: fn(&mut Sink) -> io::Result<()>) {
        let result = self.with_sink(how).await;
        self.complain(result.unwrap_or(Ok(())));
    }

    fn complain(&self, result: io::Result<()>) {
        if let Err(error) = result
            && let Some(hidden) = self.complaint.ready()
        {
            tracing::error!(log = %self.label, %error, hidden, "log lines are lost: cannot write");
        }
    }
}

/// Appends without copying where there is nothing to append to.
fn join(text: &mut Vec<u8>, lines: Vec<u8>) {
    match text.is_empty() {
        true => *text = lines,
        false => text.extend_from_slice(&lines),
    }
}

impl Sink {
    /// Opens the target unless it is open.
    fn ready(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.target)?,
        };
        Ok(self.file.insert(file))
    }

    /// Leaves the open file for the one that has its name now. When there is none to be had, the
    /// old one stays.
    fn reopen(&mut self) -> io::Result<()> {
        let file = open(&self.target)?;
        self.file = Some(file);
        self.torn = false;
        Ok(())
    }

    /// Writes as much as goes: how many bytes of `text` did, and why not all.
    fn write(&mut self, text: &[u8]) -> (usize, io::Result<()>) {
        if self.anew {
            self.file = None;
        }
        let torn = self.torn;
        let file = match self.ready() {
            Ok(file) => file,
            Err(error) => return (0, Err(error)),
        };
        if torn && let Err(error) = file.write_all(b"\n") {
            return (0, Err(error));
        }
        let (written, result) = write_all(file, text);
        self.torn = match written {
            0 => false,
            _ => text[written - 1] != b'\n',
        };
        (written, result)
    }
}

/// [`Write::write_all`], but tells how far it came, and is patient with a descriptor that somebody
/// has set to non-blocking (a terminal or pipe shared with other programs).
fn write_all(out: &mut impl Write, text: &[u8]) -> (usize, io::Result<()>) {
    let (mut written, mut patience) = (0, PATIENCE);
    while written < text.len() {
        match out.write(&text[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(n) => (written, patience) = (written + n, PATIENCE),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && patience > 0 => {
                patience -= 1;
                std::thread::sleep(BLOCKED);
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// Opens a target for appending.
pub(super) fn open(target: &Target) -> io::Result<File> {
    let own = |fd: io::Result<OwnedFd>| fd.map(File::from);
    match target {
        Target::Stdout => own(io::stdout().as_fd().try_clone_to_owned()),
        Target::Stderr => own(io::stderr().as_fd().try_clone_to_owned()),
        Target::File(path) => OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            .open(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, then fails as told.
    struct Disk {
        room: usize,
        error: ErrorKind,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let n = text.len().min(self.room).min(3);
            if n == 0 {
                self.room = 100;
                return Err(self.error.into());
            }
            self.room -= n;
            self.text.extend_from_slice(&text[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write(room: usize, error: ErrorKind) -> (usize, Option<ErrorKind>, Vec<u8>) {
        let mut disk = Disk {
            room,
            error,
            text: Vec::new(),
        };
        let (written, result) = write_all(&mut disk, b"one\ntwo\n");
        (written, result.err().map(|error| error.kind()), disk.text)
    }

    #[test]
    fn a_full_disk_tells_how_far_it_came() {
        let full = ErrorKind::StorageFull;
        assert_eq!(write(5, full), (5, Some(full), b"one\nt".to_vec()));
        assert_eq!(write(8, full), (8, None, b"one\ntwo\n".to_vec()));
    }

    #[test]
    fn interruptions_and_a_slow_pipe_lose_nothing() {
        for error in [ErrorKind::Interrupted, ErrorKind::WouldBlock] {
            assert_eq!(write(5, error), (8, None, b"one\ntwo\n".to_vec()));
        }
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = Sink {
            target: Target::File(path.clone()),
            file: None,
            torn: false,
            anew: false,
        };
        assert!(sink.write(b"one\ntw").1.is_ok());
        assert!(sink.write(b"three\n").1.is_ok());
        assert!(sink.write(b"four\n").1.is_ok());
        assert_eq!(std::fs::read(path).unwrap(), b"one\ntw\nthree\nfour\n");
    }
}
