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
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::supervisor::{Origin, Reloads};
use crate::config::text::{self, TextError};
use crate::snapshot::verify::hash;
use crate::util::clock;

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
    match read_whole(file).await {
        Ok((text, _)) => reloads.offer(text, origin).await,
        Err(error) => reloads.unreadable(origin, &error),
    }
}

/// A file is read once it has not changed for so long.
const QUIET: Duration = Duration::from_millis(200);
/// So often at most it is waited for; one that never rests is read as it is.
const TURNS: usize = 50;
/// How often it is looked at at most, whatever happens in its folder.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked at without any event.
const POLL: Duration = Duration::from_millis(600);

/// Offers the file's text whenever it changes, until the process ends. `text` is what was read
/// last.
pub async fn watch(file: PathBuf, text: String, reloads: Reloads) {
    let (hint, mut hints) = mpsc::channel(1);
    // Dropping it would end the events.
    let _watcher = watcher(&file, hint);
    let origin = Origin::File(file.display().to_string());
    let mut seen = Seen::new(&text);
    drop(text);
    loop {
        // A closed channel means that there are no events: then only the clock counts.
        match timeout(POLL, hints.recv()).await {
            // There may be many, of other files in the folder: a log, for example.
            Ok(Some(())) => sleep(PAUSE).await,
            Ok(None) => sleep(POLL).await,
            Err(_) => {}
        }
        match seen.look(&file, || reloads.is_failing(&origin)).await {
            Some(Ok(text)) => reloads.offer(text, origin.clone()).await,
            Some(Err(error)) => reloads.unreadable(origin.clone(), &error),
            None => {}
        }
    }
}

/// What the file held when it was last looked at.
struct Seen {
    /// Of its text.
    hash: String,
    /// While it stays, the text does.
    stamp: Option<Stamp>,
    trouble: Option<Trouble>,
}

/// Since when there is no text, and whether that was told.
struct Trouble {
    since: Instant,
    told: bool,
}

impl Seen {
    fn new(text: &str) -> Seen {
        Seen {
            hash: hash(text),
            stamp: None,
            trouble: None,
        }
    }

    /// The text, if it is new, or an old one with which trouble ends; why there is none, once. A
    /// file that is being written anew may be gone or empty for a moment; that is no change, unless
    /// it stays so.
    async fn look(
        &mut self,
        file: &Path,
        is_failing: impl Fn() -> bool,
    ) -> Option<Result<String, TextError>> {
        let stamp = Stamp::of(file).await.ok();
        if stamp.is_some() && stamp == self.stamp {
            return None;
        }
        match read_whole(file).await {
            Ok((text, _)) if text.is_empty() && !self.lasts() => None,
            Ok((text, stamp)) => {
                self.trouble = None;
                self.stamp = Some(stamp);
                let hash = hash(&text);
                let is_new = std::mem::replace(&mut self.hash, hash.clone()) != hash;
                (is_new || is_failing()).then_some(Ok(text))
            }
            Err(error) => {
                let lasts = self.lasts();
                let trouble = self.trouble.as_mut()?;
                let news = lasts && !std::mem::replace(&mut trouble.told, lasts);
                news.then_some(Err(error))
            }
        }
    }

    /// Notes that there is no text; whether that is so for a while.
    fn lasts(&mut self) -> bool {
        let now = Instant::now();
        let trouble = self.trouble.get_or_insert(Trouble {
            since: now,
            told: false,
        });
        now - trouble.since >= POLL
    }
}

/// Which file it was, its length and times: while they stay, its text does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    async fn of(file: &Path) -> std::io::Result<Stamp> {
        let meta = tokio::fs::metadata(file).await?;
        Ok(Stamp {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// Whether the last change is old enough, by the clock of the file system: nobody writes.
    fn is_old(&self) -> bool {
        let now = i128::from(clock::unix_ms());
        let (seconds, nanos) = self.changed;
        let changed = i128::from(seconds) * 1000 + i128::from(nanos) / 1_000_000;
        now - changed >= QUIET.as_millis() as i128
    }
}

/// Reads a file that nobody is writing: half of one could be a configuration, too.
async fn read_whole(file: &Path) -> Result<(String, Stamp), TextError> {
    let mut before = Stamp::of(file).await?;
    for _ in 0..TURNS {
        if !before.is_old() {
            sleep(QUIET).await;
            let now = Stamp::of(file).await?;
            if std::mem::replace(&mut before, now) != now {
                continue;
            }
        }
        let text = read(file).await?;
        let after = Stamp::of(file).await?;
        if after == before {
            return Ok((text, after));
        }
        before = after;
    }
    Ok((read(file).await?, before))
}

async fn read(file: &Path) -> Result<String, TextError> {
    let file = file.to_owned();
    let reading = spawn_blocking(move || text::read_file(&file)).await;
    reading.unwrap_or_else(|failed| Err(std::io::Error::other(failed).into()))
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
