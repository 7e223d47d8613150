//! The services of Consul that clusters are made of: one watcher per distinct question in the
//! process, whoever asks it.
//!
//! Invariants: no failure empties a list: the last good one is kept. An empty answer counts when
//! Consul knows what it says: not while it hides things from the token, and after an outage or a
//! lost state only once it has stayed so. Tags and states are looked at here, not by Consul, so
//! that upstreams that differ in them share a watcher.

mod exposed;
mod service;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tracing::warn;

use super::dns::Lookup;
use super::dns::lock;
use super::dns::name::Task;
use crate::config::settings::ConsulSettings;
use crate::remote::consul::{Consul, ConsulError, KINDS, Secret, ServiceQuery};
use crate::snapshot::ConsulDiscovery;
pub use exposed::register;
pub(super) use service::Service;

/// Starts watchers, and knows those that run.
pub struct Discovery {
    consul: Consul,
    lookup: Arc<dyn Lookup>,
    runtime: Handle,
    /// Where to ask when nobody says.
    datacenter: Option<String>,
    namespace: Option<String>,
    partition: Option<String>,
    watchers: Mutex<Vec<Weak<Service>>>,
    counts: Arc<Counts>,
}

/// What happened so far, over all watchers that ever were.
#[derive(Default)]
pub(super) struct Counts {
    errors: [AtomicU64; KINDS.len()],
    malformed: AtomicU64,
    answers: AtomicU64,
    changes: AtomicU64,
}

impl Counts {
    fn error(&self, error: &ConsulError) {
        if let Some(ix) = KINDS.iter().position(|kind| *kind == error.kind()) {
            self.errors[ix].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Consul serves this many connections per client address, where nobody said otherwise, to all
/// programs of this machine; each watcher holds one.
const MANY: usize = 150;
/// So many first questions may be asked at once.
const AT_ONCE: usize = 16;
/// Each further one waits up to this much longer, up to [`SPREAD`].
const APART: Duration = Duration::from_millis(10);
const SPREAD: Duration = Duration::from_secs(2);

impl Discovery {
    /// Nobody is watched yet; tasks run on `runtime`, and host names of instances are asked of
    /// `lookup`.
    pub fn new(
        consul: Consul,
        settings: &ConsulSettings,
        lookup: Arc<dyn Lookup>,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            consul,
            lookup,
            runtime,
            datacenter: settings.datacenter.clone(),
            namespace: settings.namespace.clone(),
            partition: settings.partition.clone(),
            watchers: Mutex::default(),
            counts: Arc::default(),
        })
    }

    /// What is asked of Consul for this description.
    pub(super) fn query(&self, of: &ConsulDiscovery) -> ServiceQuery {
        let or = |own: &Option<String>, process: &Option<String>| {
            own.clone().or_else(|| process.clone())
        };
        ServiceQuery {
            service: of.service.clone(),
            datacenter: or(&of.datacenter, &self.datacenter),
            filter: of.filter.clone(),
            namespace: or(&of.namespace, &self.namespace),
            partition: or(&of.partition, &self.partition),
            peer: of.peer.clone(),
            token: of.token.as_deref().map(Secret::new),
        }
    }

    /// Takes what is watched already out of `old`, else begins to watch.
    pub(super) fn watch(
        &self,
        query: ServiceQuery,
        old: &mut HashMap<ServiceQuery, Task<Service>>,
    ) -> Task<Service> {
        if let Some(task) = old.remove(&query) {
            // Those who listened belong to a snapshot that is over.
            task.of.listeners.clear();
            return task;
        }
        let running = self.running().len();
        if running + 1 == MANY {
            warn!(
                "{MANY} services are watched in Consul, each over a connection: raise Consul's \
                 limits.http_max_conns_per_client"
            );
        }
        let later = running.saturating_sub(AT_ONCE) as u32;
        let delay = (APART * later).min(SPREAD);
        let service = Service::new(query, self.counts.clone());
        lock(&self.watchers).push(Arc::downgrade(&service));
        let around = service::Around {
            consul: self.consul.clone(),
            lookup: self.lookup.clone(),
            runtime: self.runtime.clone(),
        };
        let task = self.runtime.spawn(service.clone().run(around, delay));
        Task::new(service, task.abort_handle())
    }

    /// The watchers that run.
    fn running(&self) -> Vec<Arc<Service>> {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests;
