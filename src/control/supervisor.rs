//! The one task that owns reloads: texts from signals, from the file's watcher and from
//! `POST /config` come in through one channel.
//!
//! Invariants: the newest text wins; a text that is live already is not compiled again; whoever
//! asked is told what became of it.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{error, info, warn};

pub use super::loader::Origin;
use super::loader::{Compiled, Live, Loader};
use crate::config::node::Pos;
use crate::config::{Issue, Report};
use crate::snapshot::Snapshot;
use crate::snapshot::verify::hash;

/// What became of a text that went live.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The live configuration.
    pub live: Live,
    /// Its warnings.
    pub report: Report,
}

/// Why a text did not go live.
#[derive(Clone, Debug, Error)]
pub enum ReloadError {
    /// It is live already.
    #[error("the configuration is unchanged")]
    Unchanged(Live),
    /// It has errors.
    #[error("the configuration has errors")]
    Invalid(Report),
    /// A newer one overtook it.
    #[error("a newer configuration overtook this one")]
    Superseded,
    /// The process is going down.
    #[error("the gateway is stopping")]
    Stopping,
}

type Answer = Result<Applied, ReloadError>;

/// One text to load.
struct Reload {
    text: Arc<str>,
    origin: Origin,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Reload {
    fn tell(self, answer: Answer) {
        if let Some(sender) = self.answer {
            // Who asked may have gone.
            let _ = sender.send(answer);
        }
    }
}

/// The way to the supervisor. Clones lead to the same one.
#[derive(Clone)]
pub struct Reloads {
    queue: mpsc::Sender<Reload>,
    loader: Arc<Loader>,
}

/// Texts that may wait; older ones of them are overtaken at once.
const WAITING: usize = 16;

impl Reloads {
    /// Starts the supervisor on the current runtime. It ends with the last clone.
    pub fn start(loader: Arc<Loader>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let supervisor = Supervisor {
            waiting,
            loader: loader.clone(),
            old: Vec::new(),
        };
        tokio::spawn(supervisor.run());
        Self { queue, loader }
    }

    /// What is live and what was refused.
    pub fn loader(&self) -> &Arc<Loader> {
        &self.loader
    }

    /// Loads a text and waits for what becomes of it. Dropping the future does not take the text
    /// back.
    pub async fn load(&self, text: impl Into<Arc<str>>, origin: Origin) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.send(text.into(), origin, Some(sender)).await?;
        answer.await.unwrap_or(Err(ReloadError::Stopping))
    }

    /// Loads a text; what becomes of it is logged.
    pub async fn offer(&self, text: impl Into<Arc<str>>, origin: Origin) {
        // Nobody is left to tell when the process goes down.
        let _ = self.send(text.into(), origin, None).await;
    }

    /// Notes that there was no text to be had: what is live stays.
    pub fn unreadable(&self, origin: Origin, error: &dyn Display) {
        let mut report = Report::new(origin.file(), "");
        report.error(Pos::NOWHERE, "", format!("cannot be read: {error}"));
        refused(&report, &origin);
        self.loader.note(origin, "rejected", Some(&report));
    }

    /// Whether the last text from there was refused.
    pub fn is_failing(&self, origin: &Origin) -> bool {
        let last = self.loader.last();
        last.is_some_and(|last| last.result == "rejected" && last.origin == *origin)
    }

    async fn send(
        &self,
        text: Arc<str>,
        origin: Origin,
        answer: Option<oneshot::Sender<Answer>>,
    ) -> Result<(), ReloadError> {
        let reload = Reload {
            text,
            origin,
            answer,
        };
        let sent = self.queue.send(reload).await;
        sent.map_err(|_| ReloadError::Stopping)
    }
}

struct Supervisor {
    waiting: mpsc::Receiver<Reload>,
    loader: Arc<Loader>,
    /// Snapshots that were live, until nobody uses them: freeing one takes too long for a worker.
    old: Vec<Arc<Snapshot>>,
}

/// How often it is looked whether old snapshots are still in use.
const OLD: Duration = Duration::from_millis(500);

/// A text was looked at: compiled, or refused.
type LookedAt = (Option<Compiled>, Report);

impl Supervisor {
    async fn run(mut self) {
        let mut next = self.next().await;
        while let Some(reload) = next {
            let reload = self.newest(reload);
            next = match self.attempt(reload).await {
                Some(newer) => Some(newer),
                None => self.next().await,
            };
        }
    }

    /// The next text; meanwhile frees what is not used any more.
    async fn next(&mut self) -> Option<Reload> {
        while !self.old.is_empty() {
            tokio::select! {
                reload = self.waiting.recv() => return reload,
                () = sleep(OLD) => self.free(),
            }
        }
        self.waiting.recv().await
    }

    fn free(&mut self) {
        let unused = |old: &mut Arc<Snapshot>| Arc::strong_count(old) == 1;
        for old in self.old.extract_if(.., unused) {
            // Nothing waits for it.
            drop(self.loader.loading().background.run(move || {
                if let Some(old) = Arc::into_inner(old) {
                    old.free();
                }
            }));
        }
    }

    /// The newest of those that wait; the others are overtaken.
    fn newest(&mut self, mut reload: Reload) -> Reload {
        while let Ok(newer) = self.waiting.try_recv() {
            self.superseded(std::mem::replace(&mut reload, newer));
        }
        reload
    }

    fn superseded(&self, reload: Reload) {
        self.loader.note(reload.origin.clone(), "superseded", None);
        info!(
            "overtaken by a newer configuration: {}",
            reload.origin.file()
        );
        reload.tell(Err(ReloadError::Superseded));
    }

    /// Loads one text, unless a newer one comes while it is being compiled: that is returned.
    async fn attempt(&mut self, reload: Reload) -> Option<Reload> {
        let live = self.loader.live();
        if let Some(live) = live.filter(|live| live.hash == hash(&reload.text)) {
            self.loader.note(reload.origin.clone(), "unchanged", None);
            info!("configuration is unchanged: {}", reload.origin.file());
            reload.tell(Err(ReloadError::Unchanged(live)));
            return None;
        }
        let (loader, text) = (self.loader.clone(), reload.text.clone());
        let file = reload.origin.file().to_owned();
        self.free();
        let overtaken = Arc::new(AtomicBool::new(false));
        let stop = overtaken.clone();
        let background = &self.loader.loading().background;
        let working = background.run(move || look_at(&loader, &text, &file, &stop));
        tokio::select! {
            biased;
            outcome = working => {
                match outcome {
                    Some(outcome) => self.finish(reload, outcome),
                    None => error!("loading a configuration failed: {}", reload.origin.file()),
                }
                None
            }
            Some(newer) = self.waiting.recv() => {
                // What is half done is dropped where it is done.
                overtaken.store(true, Ordering::Relaxed);
                self.superseded(reload);
                Some(newer)
            }
        }
    }

    fn finish(&mut self, reload: Reload, (compiled, report): LookedAt) {
        let origin = reload.origin.clone();
        match compiled {
            Some(compiled) => {
                warn_of(&report);
                self.old.extend(self.loader.snapshot());
                let live = self.loader.publish(compiled, origin.clone());
                self.loader.note(origin, "loaded", Some(&report));
                reload.tell(Ok(Applied { live, report }));
            }
            None => {
                refused(&report, &origin);
                self.loader.note(origin, "rejected", Some(&report));
                reload.tell(Err(ReloadError::Invalid(report)));
            }
        }
    }
}

fn look_at(loader: &Loader, text: &str, file: &str, overtaken: &AtomicBool) -> LookedAt {
    let (checked, report) = loader.check(text, file);
    let wanted = checked.filter(|_| !overtaken.load(Ordering::Relaxed));
    (wanted.map(|checked| loader.compile(checked)), report)
}

/// Logs the warnings of a text that went live.
pub fn warn_of(report: &Report) {
    for issue in report.warnings() {
        warn!("{}", told(report, issue));
    }
}

fn refused(report: &Report, origin: &Origin) {
    let errors = report.error_count();
    error!(
        errors,
        "configuration refused, the old one stays: {}",
        origin.file()
    );
    for issue in report.errors() {
        error!("{}", told(report, issue));
    }
}

fn told(report: &Report, issue: &Issue) -> String {
    let file = report.file();
    match issue.at.is_known() {
        true => format!("{file}:{}: {}", issue.at, issue.line()),
        false => format!("{file}: {}", issue.line()),
    }
}

#[cfg(test)]
mod tests;
