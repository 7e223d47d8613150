//! One name and its addresses, asked for again and again.
//!
//! Invariant: the last good addresses are kept while refreshing fails; a name that is gone keeps
//! them for an hour.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::{Found, Lookup, LookupError, Services, lock};
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

/// A name without services is asked for them again after this time (Kong's `dns_not_found_ttl`).
const AGAIN: Duration = Duration::from_secs(30);

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
    pub(in crate::control) good: Option<(Vec<Found>, Instant)>,
    /// What went wrong last; nothing after a good answer.
    pub(in crate::control) trouble: Option<LookupError>,
}

impl Name {
    /// Begins to ask for a name.
    pub(in crate::control) fn start(
        host: &str,
        lookup: Arc<dyn Lookup>,
        services: Services,
        runtime: &Handle,
    ) -> Task<Name> {
        let name = Arc::new(Name {
            host: host.to_owned(),
            known: Mutex::default(),
            listeners: Listeners::default(),
        });
        let refresh = name.clone().refresh(lookup, services);
        Task::new(name, runtime.spawn(refresh).abort_handle())
    }

    /// What is known now.
    pub(in crate::control) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    /// Asks again and again, until the task is ended.
    async fn refresh(self: Arc<Self>, lookup: Arc<dyn Lookup>, services: Services) {
        let mut retry = RETRY.0;
        let mut ask = services;
        // Since when it is known to have no services.
        let mut without = clock::now();
        loop {
            let asked = timeout(PATIENCE, lookup.lookup(&self.host, ask)).await;
            let late = || LookupError::Failed(format!("no answer within {PATIENCE:?}"));
            let pause = match asked.unwrap_or_else(|_| Err(late())) {
                Ok(answer) => {
                    retry = RETRY.0;
                    let has_services = answer.found.iter().any(|it| it.service.is_some());
                    if ask != Services::Skip {
                        without = clock::now();
                    }
                    ask = match has_services {
                        true => Services::Need,
                        false => Services::Skip,
                    };
                    self.note(Ok(answer.found));
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
            if ask == Services::Skip && services == Services::Try && without.elapsed() >= AGAIN {
                ask = Services::Try;
            }
        }
    }

    fn note(&self, answer: Result<Vec<Found>, LookupError>) {
        let mut known = lock(&self.known);
        let before = known.trouble.take();
        match answer {
            Ok(mut found) => {
                // Servers turn the order with every answer; that is no change.
                found.sort_unstable();
                found.dedup();
                if before.is_some() {
                    info!(name = self.host, "name resolves again");
                }
                known.good = Some((found, clock::now()));
            }
            Err(error) => {
                if before.as_ref() != Some(&error) {
                    warn!(name = self.host, "name does not resolve: {error}");
                }
                let stale = |(_, at): &mut (Vec<Found>, Instant)| at.elapsed() > STALE;
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
