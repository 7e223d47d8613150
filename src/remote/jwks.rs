//! Sets of public keys that an issuer of tokens publishes: fetched, kept, fetched again.
//!
//! Invariants: whoever asks for a set never waits for the network unless it chooses to; the last
//! good set stays while its source is away. No answer is read beyond its bound in time and size.

mod document;

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use foldhash::quality::FixedState;
use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub use document::{Jwk, keys};

use super::web::{self, Trouble};
use crate::telemetry::{Check, Exposition, Health, Weight};
use crate::tls::client::{Alpn, Verify};
use crate::tls::{TlsClients, TlsIdentity};

/// Bound for one fetch, discovery included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bound for a document, in bytes.
const MOST: usize = 1 << 20;
/// How long a set is good for where its source does not say, and the bounds of what it may say.
const USUAL: Duration = Duration::from_secs(600);
const BOUNDS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400));
/// First and longest pause after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A set is fetched for an unknown key at most once in this time.
const ROTATION: Duration = Duration::from_secs(10);
/// Requests that wait for one fetch: tokens that nobody signed cost no more than these.
const WAITING: usize = 256;

/// Why there is no set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JwksError {
    /// No connection, or one that broke.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// An answer that is none.
    #[error("answers with status {0}")]
    Status(u16),
    /// More than any set has.
    #[error("answers with more than {MOST} bytes")]
    TooLarge,
    /// The document cannot be read. What it says is a stranger's, and not repeated.
    #[error("answers with no document of this kind: {0}")]
    Malformed(&'static str),
    /// The issuer's document is another issuer's.
    #[error("its document names another issuer")]
    OtherIssuer,
}

impl From<Trouble> for JwksError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TimedOut => Self::TimedOut,
            Trouble::Words(words) => Self::Unreachable(words),
        }
    }
}

/// Where a set is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At this URL.
    Uri(String),
    /// Where the issuer's discovery document says (OpenID Connect Discovery 1.0).
    Issuer(String),
}

impl Place {
    /// For logs and labels: without what may be a secret, and of its own for each place.
    fn label(&self) -> String {
        let (Place::Uri(text) | Place::Issuer(text)) = self;
        let Ok(mut url) = Url::parse(text) else {
            return format!("{:08x}", FixedState::default().hash_one(text) as u32);
        };
        let is_bare = url.username().is_empty() && url.password().is_none();
        let is_bare = is_bare && url.query().is_none() && url.fragment().is_none();
        // A URL with a host can be without them.
        let _ = (url.set_username(""), url.set_password(None));
        url.set_query(None);
        url.set_fragment(None);
        match is_bare {
            true => url.to_string(),
            false => format!("{url}#{:08x}", FixedState::default().hash_one(text) as u32),
        }
    }
}

/// What is made of a set once it was fetched, off the data plane.
pub type Made = Box<dyn Any + Send + Sync>;

/// A set as it was fetched.
pub struct KeySet {
    keys: Vec<Jwk>,
    /// Another one has other keys.
    pub generation: u64,
    made: Made,
}

impl KeySet {
    /// What was made of the keys.
    pub fn made<T: 'static>(&self) -> Option<&T> {
        self.made.downcast_ref()
    }
}

/// One set, whoever uses it. Fetching ends with the last of them.
pub struct KeySource {
    inner: Arc<Inner>,
    task: AbortHandle,
}

impl Drop for KeySource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Inner {
    place: Place,
    label: String,
    make: fn(&[Jwk]) -> Made,
    set: ArcSwapOption<KeySet>,
    state: Mutex<State>,
    wanted: Notify,
    /// Fetches that are over.
    over: watch::Sender<u64>,
    waiting: Semaphore,
    fetched: [AtomicU64; 2],
}

#[derive(Default)]
struct State {
    trouble: Option<JwksError>,
    /// When the set was fetched last.
    at: Option<Instant>,
    /// A fetch is under way.
    running: bool,
    /// When somebody last wanted other keys, and after how many fetches they have come.
    asked: Option<Instant>,
    due: u64,
}

impl KeySource {
    /// The last good set; none before the first.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.inner.set.load_full()
    }

    /// Waits for the first fetch, or has the set fetched again if that is not too soon. `false`:
    /// nothing new is to be expected.
    pub async fn renew(&self) -> bool {
        let inner = &self.inner;
        let (Ok(_place), Some(due)) = (inner.waiting.try_acquire(), inner.due()) else {
            return false;
        };
        let mut over = inner.over.subscribe();
        let waited = timeout(PATIENCE, over.wait_for(|over| *over >= due)).await;
        waited.is_ok_and(|found| found.is_ok())
    }
}

impl Inner {
    /// After how many fetches there may be other keys than now; nothing if that is over.
    fn due(&self) -> Option<u64> {
        let mut state = lock(&self.state);
        let over = *self.over.borrow();
        if over == 0 {
            return Some(1);
        }
        if state.asked.is_none_or(|at| at.elapsed() >= ROTATION) {
            state.asked = Some(Instant::now());
            // One that is under way may have begun before the keys changed.
            state.due = over + 1 + u64::from(state.running);
            self.wanted.notify_one();
        }
        (state.due > over).then_some(state.due)
    }

    /// Fetches again and again, until the task is ended.
    async fn run(self: Arc<Self>, client: Client) {
        let mut retry = RETRY.0;
        loop {
            lock(&self.state).running = true;
            let fetched = timeout(PATIENCE, fetch(&client, &self.place)).await;
            let pause = match fetched.unwrap_or(Err(JwksError::TimedOut)) {
                Ok((keys, good_for)) => {
                    retry = RETRY.0;
                    self.received(keys).await;
                    good_for
                }
                Err(error) => {
                    self.failed(error);
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            {
                let mut state = lock(&self.state);
                state.running = false;
                self.over.send_modify(|over| *over += 1);
            }
            // Whoever wants other keys need not wait for the clock.
            let _ = timeout(pause, self.wanted.notified()).await;
        }
    }

    async fn received(&self, keys: Vec<Jwk>) {
        self.fetched[0].fetch_add(1, Ordering::Relaxed);
        let (source, count) = (self.label.as_str(), keys.len());
        let before = self.set.load_full();
        let same = before.as_ref().is_some_and(|set| set.keys == keys);
        if !same {
            let generation = before.map_or(1, |set| set.generation + 1);
            let make = self.make;
            let making = spawn_blocking(move || KeySet {
                made: make(&keys),
                keys,
                generation,
            });
            // It fails only where the process ends.
            if let Ok(set) = making.await {
                self.set.store(Some(Arc::new(set)));
            }
        }
        let mut state = lock(&self.state);
        state.at = Some(Instant::now());
        if state.trouble.take().is_some() || !same {
            info!(source, keys = count, "keys to verify tokens with");
        }
    }

    fn failed(&self, error: JwksError) {
        self.fetched[1].fetch_add(1, Ordering::Relaxed);
        let mut state = lock(&self.state);
        if state.trouble.as_ref() != Some(&error) {
            warn!(source = self.label, "keys to verify tokens with: {error}");
        }
        state.trouble = Some(error);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn fetch(client: &Client, place: &Place) -> Result<(Vec<Jwk>, Duration), JwksError> {
    let found;
    let uri = match place {
        Place::Uri(uri) => uri,
        Place::Issuer(issuer) => {
            let base = issuer.trim_end_matches('/');
            let (text, _) =
                get(client, &format!("{base}/.well-known/openid-configuration")).await?;
            found = document::jwks_uri(&text, issuer)?;
            &found
        }
    };
    let (text, good_for) = get(client, uri).await?;
    let keys = keys(&text).map_err(JwksError::Malformed)?;
    if keys.is_empty() {
        return Err(JwksError::Malformed(
            "no public key for signatures is in it",
        ));
    }
    Ok((keys, good_for.unwrap_or(USUAL).clamp(BOUNDS.0, BOUNDS.1)))
}

/// A document, and how long it is good for if its source says so.
async fn get(client: &Client, url: &str) -> Result<(Vec<u8>, Option<Duration>), JwksError> {
    let answer = client.get(url).send().await.map_err(Trouble::from)?;
    if answer.status() != StatusCode::OK {
        return Err(JwksError::Status(answer.status().as_u16()));
    }
    let control = answer.headers().get_all(CACHE_CONTROL);
    let good_for = control
        .iter()
        .find_map(|value| document::max_age(value.to_str().ok()?));
    let body = web::body(answer, MOST).await?;
    Ok((body.ok_or(JwksError::TooLarge)?, good_for))
}

/// All sets of the process: one fetcher for each place, over reloads too.
pub struct KeySources {
    client: Client,
    runtime: Handle,
    known: Mutex<Vec<Weak<KeySource>>>,
}

impl KeySources {
    /// None yet; fetching runs on `runtime`.
    pub fn new(runtime: Handle, tls: &TlsClients) -> Result<Arc<Self>, reqwest::Error> {
        let identity = TlsIdentity {
            verify: Verify::On {
                cas: None,
                depth: u8::MAX,
            },
            client_cert: None,
            alpn: Alpn::Http1,
        };
        let client = Client::builder()
            .tls_backend_preconfigured(tls.get(identity).for_http_client())
            .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            // Whoever may redirect from https to elsewhere could hand out keys of its own.
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(PATIENCE / 2)
            .build()?;
        Ok(Arc::new(Self {
            client,
            runtime,
            known: Mutex::default(),
        }))
    }

    /// The set at that place; `make` is called with every new one, and must be the same for all.
    pub fn get(&self, place: &Place, make: fn(&[Jwk]) -> Made) -> Arc<KeySource> {
        let mut known = lock(&self.known);
        known.retain(|source| source.strong_count() > 0);
        let mut living = known.iter().filter_map(Weak::upgrade);
        if let Some(found) = living.find(|source| source.inner.place == *place) {
            return found;
        }
        let inner = Arc::new(Inner {
            place: place.clone(),
            label: place.label(),
            make,
            set: ArcSwapOption::empty(),
            state: Mutex::default(),
            wanted: Notify::new(),
            over: watch::channel(0).0,
            waiting: Semaphore::new(WAITING),
            fetched: Default::default(),
        });
        let task = self.runtime.spawn(inner.clone().run(self.client.clone()));
        let source = Arc::new(KeySource {
            inner,
            task: task.abort_handle(),
        });
        known.push(Arc::downgrade(&source));
        source
    }

    fn living(&self) -> Vec<Arc<KeySource>> {
        lock(&self.known).iter().filter_map(Weak::upgrade).collect()
    }

    /// A check for each set that is in use.
    pub fn checks(&self) -> Vec<Check> {
        let check = |source: &Arc<KeySource>| {
            let inner = &source.inner;
            let (status, message) = match (&lock(&inner.state).trouble, inner.set.load().as_ref()) {
                (None, None) => (Health::Degraded, "not fetched yet".to_owned()),
                (None, Some(set)) => (Health::Healthy, format!("{} keys", set.keys.len())),
                (Some(error), None) => (Health::Degraded, error.to_string()),
                (Some(error), Some(_)) => {
                    (Health::Degraded, format!("{error}; what was known is kept"))
                }
            };
            Check {
                name: format!("jwks:{}", inner.label),
                status,
                message,
                weight: Weight::Part,
            }
        };
        self.living().iter().map(check).collect()
    }

    /// Adds the series of the sets in use.
    pub fn expose(&self, out: &mut Exposition) {
        for source in self.living() {
            let inner = &source.inner;
            let set = inner.set.load();
            let (trouble, at) = {
                let state = lock(&inner.state);
                (state.trouble.is_some(), state.at)
            };
            let labels = [("source", inner.label.as_str())];
            out.gauge(
                "sluicegate_jwks_up",
                "Whether the last fetch of the keys went well.",
                &labels,
                f64::from(!trouble && set.is_some()),
            );
            if let (Some(set), Some(at)) = (set.as_ref(), at) {
                out.gauge(
                    "sluicegate_jwks_keys",
                    "Keys in the set.",
                    &labels,
                    set.keys.len() as f64,
                );
                out.gauge(
                    "sluicegate_jwks_age_seconds",
                    "Time since the keys were fetched.",
                    &labels,
                    at.elapsed().as_secs_f64(),
                );
            }
            for (result, count) in ["success", "failure"].into_iter().zip(&inner.fetched) {
                out.counter(
                    "sluicegate_jwks_fetches_total",
                    "Fetches of the keys, by how they ended.",
                    &[("source", &inner.label), ("result", result)],
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hide_secrets_and_do_not_collide() {
        let label = |url: &str| Place::Uri(url.to_owned()).label();
        assert_eq!(label("https://a/keys@1"), "https://a/keys@1");
        let secrets = [
            "https://u:pw@a/keys",
            "https://a/keys?k=pw",
            "https://a/keys?k=pw2",
        ];
        let labels = secrets.map(label);
        for found in &labels {
            assert!(
                found.starts_with("https://a/keys#") && !found.contains("pw"),
                "{found}"
            );
        }
        assert!(labels[1] != labels[2] && labels[0] != labels[1]);
    }
}
