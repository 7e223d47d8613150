//! One name and its addresses, asked for again and again.
//!
//! Invariant: the last good addresses are kept while refreshing fails; a name that is gone keeps
//! them for an hour.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{Lookup, LookupError, lock};
use crate::util::clock;

/// An answer is good for this long at least, whatever its TTL.
const FLOOR: Duration = Duration::from_secs(1);
/// And for this long at most: an address that moves early is found.
const CEILING: Duration = Duration::from_secs(300);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A name that is gone keeps its addresses this long (Kong's `dns_stale_ttl`).
const STALE: Duration = Duration::from_secs(3600);

/// Who wants to know when something changed.
pub(in crate::control) trait Hears: Send + Sync {
    /// Something did.
    fn changed(&self);
}

/// Those who want to know. Who is gone is not told.
#[derive(Default)]
pub(in crate::control) struct Listeners(Mutex<Vec<Weak<dyn Hears>>>);

impl Listeners {
    /// Tells this one, too.
    pub(in crate::control) fn add(&self, listener: Weak<dyn Hears>) {
        lock(&self.0).push(listener);
    }

    /// Tells nobody any more.
    pub(in crate::control) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// Something changed. Without the lock: who hears may look around.
    pub(in crate::control) fn tell(&self) {
        let all = lock(&self.0).clone();
        for listener in all.iter().filter_map(Weak::upgrade) {
            listener.changed();
        }
    }
}

/// A task that ends with its owner.
pub(in crate::control) struct Task<T> {
    pub(in crate::control) of: Arc<T>,
    task: AbortHandle,
}

impl<T> Task<T> {
    pub(in crate::control) fn new(of: Arc<T>, task: AbortHandle) -> Self {
        Self { of, task }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One name, whoever uses it.
pub(in crate::control) struct Name {
    host: String,
    known: Mutex<Known>,
    pub(in crate::control) listeners: Listeners,
}

/// What is known of a name.
#[derive(Clone, Default)]
pub(in crate::control) struct Known {
    /// The last good answer, in order, and when it came.
    pub(in crate::control) good: Option<(Vec<IpAddr>, Instant)>,
    /// What went wrong last; nothing after a good answer.
    pub(in crate::control) trouble: Option<LookupError>,
}

impl Name {
    /// Begins to ask for a name.
    pub(in crate::control) fn start(
        host: &str,
        lookup: Arc<dyn Lookup>,
        runtime: &Handle,
    ) -> Task<Name> {
        let name = Arc::new(Name {
            host: host.to_owned(),
            known: Mutex::default(),
            listeners: Listeners::default(),
        });
        let refresh = name.clone().refresh(lookup);
        Task::new(name, runtime.spawn(refresh).abort_handle())
    }

    /// What is known now.
    pub(in crate::control) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    /// Asks again and again, until the task is ended.
    async fn refresh(self: Arc<Self>, lookup: Arc<dyn Lookup>) {
        let mut retry = RETRY.0;
        loop {
            let asked = timeout(PATIENCE, lookup.lookup(&self.host)).await;
            let late = || LookupError::Failed(format!("no answer within {PATIENCE:?}"));
            let pause = match asked.unwrap_or_else(|_| Err(late())) {
                Ok(answer) => {
                    retry = RETRY.0;
                    self.note(Ok(answer.addresses));
                    answer.ttl.clamp(FLOOR, CEILING)
                }
                Err(error) => {
                    self.note(Err(error));
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    fn note(&self, answer: Result<Vec<IpAddr>, LookupError>) {
        let mut known = lock(&self.known);
        let before = known.trouble.take();
        match answer {
            Ok(mut addresses) => {
                // Servers turn the order with every answer; that is no change.
                addresses.sort_unstable();
                addresses.dedup();
                if before.is_some() {
                    info!(name = self.host, "name resolves again");
                }
                known.good = Some((addresses, clock::now()));
            }
            Err(error) => {
                if before.as_ref() != Some(&error) {
                    warn!(name = self.host, "name does not resolve: {error}");
                }
                let stale = |(_, at): &mut (Vec<IpAddr>, Instant)| at.elapsed() > STALE;
                if error == LookupError::NotFound {
                    known.good.take_if(stale);
                }
                known.trouble = Some(error);
            }
        }
        drop(known);
        self.listeners.tell();
    }
}
