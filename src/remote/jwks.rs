//! Sets of public keys that an issuer of tokens publishes: fetched, kept, fetched again.
//!
//! Invariants: whoever asks for a set never waits for the network unless it chooses to; the last
//! good set stays while its source is away. No answer is read beyond its bound in time and size.

mod document;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::header::CACHE_CONTROL;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub use document::{Jwk, keys};

use crate::telemetry::{Check, Exposition, Health, Weight};
use crate::tls::client::{Alpn, Verify};
use crate::tls::{TlsClients, TlsIdentity};
use crate::util::clock;

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
    /// The document cannot be read.
    #[error("answers with no document of this kind: {0}")]
    Malformed(String),
    /// The issuer's document is another issuer's.
    #[error("its document names another issuer")]
    OtherIssuer,
}

impl JwksError {
    /// A word for counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::OtherIssuer => "other_issuer",
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
    /// For logs and labels: without what may be a secret.
    fn label(&self) -> String {
        let (Place::Uri(url) | Place::Issuer(url)) = self;
        let bare = url.split(['?', '#']).next().unwrap_or_default();
        match (bare.split_once("://"), bare.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
            _ => bare.to_owned(),
        }
    }
}

/// A set as it was fetched.
pub struct KeySet {
    keys: Vec<Jwk>,
    /// Number of the fetch: another one may have other keys.
    pub generation: u64,
    at: Instant,
    made: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl KeySet {
    /// What `make` makes of the keys; made once.
    pub fn made<T: Send + Sync + 'static>(&self, make: impl FnOnce(&[Jwk]) -> T) -> Option<&T> {
        let made = self.made.get_or_init(|| Box::new(make(&self.keys)));
        made.downcast_ref()
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
    set: ArcSwapOption<KeySet>,
    trouble: Mutex<Option<JwksError>>,
    wanted: Notify,
    /// Fetches that are over.
    attempts: watch::Sender<u64>,
    /// When somebody last wanted other keys, in milliseconds on the process's clock, plus 1.
    asked: AtomicU64,
    /// The fetch that was asked for then: so many are over after it.
    due: AtomicU64,
    fetched: [AtomicU64; 2],
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
        let mut attempts = inner.attempts.subscribe();
        let over = *attempts.borrow_and_update();
        if over > 0 {
            if inner.may_ask() {
                inner.due.store(over + 1, Ordering::Release);
                inner.wanted.notify_one();
            } else if inner.due.load(Ordering::Acquire) <= over {
                return false;
            }
        }
        timeout(PATIENCE, attempts.changed()).await.is_ok()
    }
}

impl Inner {
    /// Whether the set may be fetched for an unknown key; of those who ask at once, one may, and
    /// the others wait with it.
    fn may_ask(&self) -> bool {
        let now = start().elapsed().as_millis() as u64 + 1;
        let last = self.asked.load(Ordering::Acquire);
        let soon = ROTATION.as_millis() as u64;
        if last != 0 && now < last + soon {
            return false;
        }
        let claimed = self
            .asked
            .compare_exchange(last, now, Ordering::AcqRel, Ordering::Acquire);
        claimed.is_ok()
    }

    /// Fetches again and again, until the task is ended.
    async fn run(self: Arc<Self>, client: Client) {
        let mut retry = RETRY.0;
        loop {
            let fetched = timeout(PATIENCE, fetch(&client, &self.place)).await;
            let pause = match fetched.unwrap_or(Err(JwksError::TimedOut)) {
                Ok((keys, good_for)) => {
                    retry = RETRY.0;
                    self.received(keys);
                    good_for
                }
                Err(error) => {
                    self.failed(error);
                    let pause = retry;
                    retry = (retry * 2).min(RETRY.1);
                    pause
                }
            };
            self.attempts.send_modify(|attempts| *attempts += 1);
            // Whoever wants other keys need not wait for the clock.
            let _ = timeout(pause, self.wanted.notified()).await;
        }
    }

    fn received(&self, keys: Vec<Jwk>) {
        self.fetched[0].fetch_add(1, Ordering::Relaxed);
        let source = self.label.as_str();
        let (before, count) = (self.set.load(), keys.len());
        let recovered = lock(&self.trouble).take().is_some();
        let same = before.as_ref().is_some_and(|set| set.keys == keys);
        if recovered || !same {
            info!(source, keys = count, "keys to verify tokens with");
        }
        let last = before.as_ref().map_or(0, |set| set.generation);
        self.set.store(Some(Arc::new(KeySet {
            keys,
            generation: if same { last } else { last + 1 },
            at: Instant::now(),
            made: OnceLock::new(),
        })));
    }

    fn failed(&self, error: JwksError) {
        self.fetched[1].fetch_add(1, Ordering::Relaxed);
        let mut trouble = lock(&self.trouble);
        if trouble.as_ref() != Some(&error) {
            warn!(source = self.label, "keys to verify tokens with: {error}");
        }
        *trouble = Some(error);
    }
}

/// What moments of the process count from.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(clock::now)
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
    Ok((keys, good_for.unwrap_or(USUAL).clamp(BOUNDS.0, BOUNDS.1)))
}

/// A document, and how long it is good for if its source says so.
async fn get(client: &Client, url: &str) -> Result<(Vec<u8>, Option<Duration>), JwksError> {
    let answer = client.get(url).send().await.map_err(unreachable)?;
    if answer.status() != StatusCode::OK {
        return Err(JwksError::Status(answer.status().as_u16()));
    }
    let control = answer.headers().get(CACHE_CONTROL);
    let good_for = control.and_then(|value| document::max_age(value.to_str().ok()?));
    let mut answer = answer;
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + piece.len() > MOST {
            return Err(JwksError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok((body, good_for))
}

/// The reason beneath all wrappers, and never the URL.
fn unreachable(error: reqwest::Error) -> JwksError {
    if error.is_timeout() {
        return JwksError::TimedOut;
    }
    let error = error.without_url();
    let mut reason: &dyn std::error::Error = &error;
    while let Some(beneath) = reason.source() {
        reason = beneath;
    }
    JwksError::Unreachable(reason.to_string())
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

    /// The set at that place.
    pub fn get(&self, place: &Place) -> Arc<KeySource> {
        let mut known = lock(&self.known);
        known.retain(|source| source.strong_count() > 0);
        let mut living = known.iter().filter_map(Weak::upgrade);
        if let Some(found) = living.find(|source| source.inner.place == *place) {
            return found;
        }
        let inner = Arc::new(Inner {
            place: place.clone(),
            label: place.label(),
            set: ArcSwapOption::empty(),
            trouble: Mutex::default(),
            wanted: Notify::new(),
            attempts: watch::channel(0).0,
            asked: 0.into(),
            due: 0.into(),
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
            let (status, message) = match (&*lock(&inner.trouble), inner.set.load().as_ref()) {
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
            let labels = [("source", inner.label.as_str())];
            out.gauge(
                "sluicegate_jwks_up",
                "Whether the last fetch of the keys went well.",
                &labels,
                f64::from(lock(&inner.trouble).is_none() && set.is_some()),
            );
            if let Some(set) = set.as_ref() {
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
                    set.at.elapsed().as_secs_f64(),
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
