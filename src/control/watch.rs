//! What comes from outside: signals, and changes of the file.
//!
//! Invariant: a change is offered to the supervisor once it is read whole; events are only hints
//! that make the next look come sooner, for file systems differ in what they tell.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::supervisor::{Origin, Reloads};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: load the file again.
    Reload,
    /// SIGTERM, SIGINT: stop.
    Stop,
    /// SIGUSR1: open log files again.
    Reopen,
    /// SIGUSR2: hand over to a new process.
    Upgrade,
}

/// The signals of the process.
pub struct Signals {
    hangup: Stream,
    terminate: Stream,
    interrupt: Stream,
    user1: Stream,
    user2: Stream,
}

impl Signals {
    /// Takes the signals over from their default meaning. On a runtime.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
            _ = self.user1.recv() => Signal::Reopen,
            _ = self.user2.recv() => Signal::Upgrade,
        }
    }
}

/// Reads the file and offers its text, for SIGHUP: also when nothing seems to have changed.
pub async fn reread(file: &Path, reloads: &Reloads) {
    let origin = Origin::File(file.display().to_string());
    match tokio::fs::read_to_string(file).await {
        Ok(text) => reloads.offer(text, origin).await,
        Err(error) => warn!("{} cannot be read: {error}", file.display()),
    }
}

/// A file is looked at this long after the last event of a burst.
const QUIET: Duration = Duration::from_millis(100);
/// And this often without any event.
const POLL: Duration = Duration::from_millis(800);

/// Offers the file's text whenever it changes, until the process ends. `text` is what was read
/// last.
pub async fn watch(file: PathBuf, text: String, reloads: Reloads) {
    let (hint, mut hints) = mpsc::channel(1);
    // Dropping it would end the events.
    let _watcher = watcher(&file, hint);
    let origin = Origin::File(file.display().to_string());
    let mut seen = Seen {
        text,
        stamp: None,
        trouble: false,
    };
    loop {
        // A closed channel means that there are no events: then only the clock counts.
        match timeout(POLL, hints.recv()).await {
            Ok(Some(())) => settle(&mut hints).await,
            Ok(None) => sleep(POLL).await,
            Err(_) => {}
        }
        if let Some(text) = seen.look(&file).await {
            reloads.offer(text, origin.clone()).await;
        }
    }
}

/// Waits for the end of a burst of events, but not for ever.
async fn settle(hints: &mut mpsc::Receiver<()>) {
    const MOST: usize = 5;
    for _ in 0..MOST {
        if timeout(QUIET, hints.recv()).await.is_err() {
            return;
        }
    }
}

/// What the file held when it was last looked at.
struct Seen {
    text: String,
    /// Which file it was, its length and times: while they stay, its text does.
    stamp: Option<Stamp>,
    trouble: bool,
}

type Stamp = (u64, u64, u64, i64, i64);

impl Seen {
    /// The text, if it is new. A file that is being written anew may be gone or empty for a
    /// moment; that is no change, unless it stays so.
    async fn look(&mut self, file: &Path) -> Option<String> {
        let stamp = stamp(file).await;
        if stamp.is_some() && stamp == self.stamp {
            return None;
        }
        match tokio::fs::read_to_string(file).await {
            Ok(text) if text.is_empty() && !std::mem::replace(&mut self.trouble, true) => None,
            Ok(text) => {
                self.trouble = false;
                self.stamp = stamp;
                (text != self.text).then(|| {
                    self.text.clone_from(&text);
                    text
                })
            }
            Err(error) => {
                if !std::mem::replace(&mut self.trouble, true) {
                    warn!("{} cannot be read: {error}", file.display());
                }
                None
            }
        }
    }
}

async fn stamp(file: &Path) -> Option<Stamp> {
    let meta = tokio::fs::metadata(file).await.ok()?;
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), meta.size(), changed.0, changed.1))
}

/// Watches the folder of the file: editors and ConfigMaps put another file in its place.
fn watcher(file: &Path, hint: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let event = move |_| {
        // One hint waits already: that is enough.
        let _ = hint.try_send(());
    };
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let watcher = notify::recommended_watcher(event).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watcher
        .map_err(|error| debug!("no file events, polling instead: {error}"))
        .ok()
}

#[cfg(test)]
mod tests;
