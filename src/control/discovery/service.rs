//! One question to Consul: what was answered last, and what that makes for a cluster.
//!
//! Invariant: listeners are told after the state they are to look at is in place.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Counts;
use crate::control::dns::name::{Hears, Listeners, Name, Task};
use crate::control::dns::{Lookup, Services, lock};
use crate::remote::consul::pace::by_chance;
use crate::remote::consul::watch::WAIT;
use crate::remote::consul::{
    Consul, ConsulError, Fresh, Instance, Instances, ServiceQuery, State, Watch,
};
use crate::snapshot::{ConsulDiscovery, TargetSpec};
use crate::upstream::EndpointSpec;
use crate::util::clock;

/// An empty answer that is doubted is believed when it has stayed for this long.
const DOUBT: Duration = Duration::from_secs(30);

/// What a watcher works with.
pub(super) struct Around {
    pub(super) consul: Consul,
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) runtime: Handle,
}

/// One question and its answers.
pub(in crate::control) struct Service {
    pub(super) query: ServiceQuery,
    counts: Arc<Counts>,
    seen: Mutex<Seen>,
    pub(in crate::control) listeners: Listeners,
}

#[derive(Default)]
pub(super) struct Seen {
    /// The last good answer.
    pub(super) good: Option<Arc<Vec<Instance>>>,
    /// Host names among its addresses.
    names: HashMap<String, Task<Name>>,
    /// What is wrong; nothing after a good answer.
    pub(super) trouble: Option<ConsulError>,
    /// Since when an empty answer is doubted.
    doubted: Option<Instant>,
    /// When Consul last answered.
    pub(super) answered: Option<Instant>,
    /// When the list last changed.
    pub(super) changed: Option<Instant>,
    /// Entries of the last answer that were left out.
    pub(super) malformed: usize,
    /// Consul's index of the last answer.
    pub(super) index: u64,
}

/// What is known for a cluster.
pub(in crate::control) struct Found {
    /// Nobody has answered yet.
    pub(in crate::control) pending: bool,
    /// There is no answer, and asking fails.
    pub(in crate::control) failed: bool,
    /// Instances that may get traffic.
    pub(in crate::control) endpoints: Vec<EndpointSpec>,
}

impl Service {
    pub(super) fn new(query: ServiceQuery, counts: Arc<Counts>) -> Arc<Self> {
        Arc::new(Self {
            query,
            counts,
            seen: Mutex::default(),
            listeners: Listeners::default(),
        })
    }

    /// Asks again and again, until the task is ended.
    pub(super) async fn run(self: Arc<Self>, around: Around, delay: Duration) {
        if !delay.is_zero() {
            sleep(by_chance(delay)).await;
        }
        let mut watch = Watch::new(around.consul.clone(), self.query.clone());
        loop {
            let answered = watch.next(self.patience()).await;
            let told = match answered {
                Ok(fresh) => self.answered(fresh, &around),
                Err(error) => {
                    self.counts.error(&error);
                    self.failed(error)
                }
            };
            if told {
                self.listeners.tell();
            }
        }
    }

    /// How long a question may wait: a doubt is to be cleared in time.
    fn patience(&self) -> Duration {
        let doubted = lock(&self.seen).doubted;
        doubted.map_or(WAIT, |since| {
            let left = DOUBT.saturating_sub(since.elapsed());
            left.max(Duration::from_millis(100))
        })
    }

    /// Takes an answer. Says whether listeners should look.
    fn answered(self: &Arc<Self>, fresh: Fresh<Instances>, around: &Around) -> bool {
        self.counts.answers.fetch_add(1, Ordering::Relaxed);
        let malformed = fresh.answer.malformed;
        self.counts
            .malformed
            .fetch_add(malformed as u64, Ordering::Relaxed);
        if let Some(doubt) = self.doubt(&fresh) {
            let error = ConsulError::Doubted(doubt);
            self.counts.error(&error);
            return self.failed(error);
        }
        let mut seen = lock(&self.seen);
        let service = self.query.service.as_str();
        if seen.trouble.take().is_some() {
            info!(service, "Consul answers again");
        }
        if malformed > 0 && seen.malformed != malformed {
            warn!(
                service,
                malformed, "instances in Consul that make no sense are left out"
            );
        }
        seen.malformed = malformed;
        seen.doubted = None;
        seen.answered = Some(clock::now());
        seen.index = fresh.meta.index.unwrap_or(0);
        let list = fresh.answer.list;
        if seen.good.as_deref() == Some(&list) {
            return false;
        }
        self.counts.changes.fetch_add(1, Ordering::Relaxed);
        let usable = list.iter().filter(|of| of.weight().is_some()).count();
        info!(
            service,
            instances = list.len(),
            usable,
            "instances from Consul"
        );
        let without = portless(&list);
        if without > 0 && without != seen.without_port() {
            warn!(
                service,
                without, "instances in Consul have no port: only a host with a port reaches them"
            );
        }
        let names = self.names(&list, std::mem::take(&mut seen.names), around);
        seen.names = names;
        seen.changed = Some(clock::now());
        seen.good = Some(Arc::new(list));
        true
    }

    /// Why an empty answer should not be believed yet.
    fn doubt(&self, fresh: &Fresh<Instances>) -> Option<&'static str> {
        let mut seen = lock(&self.seen);
        let had = seen.good.as_ref().is_some_and(|list| !list.is_empty());
        if !had || !fresh.answer.list.is_empty() {
            return None;
        }
        if fresh.meta.filtered {
            return Some("the token may not see everything");
        }
        if fresh.answer.malformed > 0 {
            return Some("no instance of it makes sense");
        }
        if seen.doubted.is_none() && !fresh.fell && seen.trouble.is_none() {
            return None;
        }
        let since = *seen.doubted.get_or_insert_with(clock::now);
        (since.elapsed() < DOUBT).then_some("Consul has just come back or lost its state")
    }

    fn failed(&self, error: ConsulError) -> bool {
        let mut seen = lock(&self.seen);
        let service = self.query.service.as_str();
        if seen.trouble.as_ref() != Some(&error) {
            warn!(service, "{error}");
        }
        let first = seen.trouble.replace(error).is_none();
        first && seen.good.is_none()
    }

    /// The names among the addresses: those that are asked for already, and new ones.
    fn names(
        self: &Arc<Self>,
        list: &[Instance],
        mut old: HashMap<String, Task<Name>>,
        around: &Around,
    ) -> HashMap<String, Task<Name>> {
        let mut names = HashMap::new();
        for instance in list {
            let host = &instance.address;
            if host.parse::<IpAddr>().is_ok() || names.contains_key(host) {
                continue;
            }
            let task = old.remove(host).unwrap_or_else(|| {
                let task =
                    Name::start(host, around.lookup.clone(), Services::Skip, &around.runtime);
                let us: Weak<Self> = Arc::downgrade(self);
                task.of.listeners.add(us);
                task
            });
            names.insert(host.clone(), task);
        }
        names
    }

    /// What this means for a target: the instances that it may use, with their own ports and
    /// weights.
    pub(in crate::control) fn found(&self, target: &TargetSpec, of: &ConsulDiscovery) -> Found {
        let seen = lock(&self.seen);
        let mut found = Found {
            pending: seen.good.is_none() && seen.trouble.is_none(),
            failed: seen.good.is_none() && seen.trouble.is_some(),
            endpoints: Vec::new(),
        };
        let list = seen.good.as_deref().map(Vec::as_slice).unwrap_or_default();
        for instance in list {
            let Some(weight) = instance.weight() else {
                continue;
            };
            let warned = of.passing_only && instance.state == State::Warning;
            let port = match instance.port {
                0 => target.port,
                port => port,
            };
            if warned || port == 0 || !instance.has_tags(&of.tags) {
                continue;
            }
            let addresses = match instance.address.parse() {
                Ok(address) => vec![address],
                Err(_) => seen.addresses(&instance.address),
            };
            let endpoint =
                |ip: IpAddr| endpoint(target, instance, SocketAddr::new(ip, port), weight);
            found.endpoints.extend(addresses.into_iter().map(endpoint));
        }
        // Two registrations of one address are one place to go to.
        found
            .endpoints
            .sort_by_key(|of| (of.address, u32::MAX - of.weight));
        found.endpoints.dedup_by_key(|of| of.address);
        found
    }

    /// What is known, for views.
    pub(super) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&lock(&self.seen))
    }
}

impl Seen {
    /// Instances that have no port of their own.
    pub(super) fn without_port(&self) -> usize {
        self.good.as_deref().map_or(0, |list| portless(list))
    }

    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let known = self.names.get(host).map(|task| task.of.known());
        let good = known.and_then(|known| known.good);
        let found = good.map(|(found, _)| found).unwrap_or_default();
        found.into_iter().map(|it| it.ip).collect()
    }
}

impl Hears for Service {
    fn changed(&self) {
        self.listeners.tell();
    }
}

fn portless(list: &[Instance]) -> usize {
    list.iter().filter(|of| of.port == 0).count()
}

/// A target of the file names its instances; without one they go by their own addresses.
fn endpoint(
    target: &TargetSpec,
    instance: &Instance,
    address: SocketAddr,
    weight: u32,
) -> EndpointSpec {
    let named = !target.target.is_empty();
    let host = if named {
        &target.host
    } else {
        &instance.address
    };
    let own = || match host.contains(':') {
        true => format!("[{host}]:{}", address.port()),
        false => format!("{host}:{}", address.port()),
    };
    EndpointSpec {
        address,
        host: host.clone(),
        target: if named { target.target.clone() } else { own() },
        weight: weight.saturating_mul(target.weight),
    }
}
