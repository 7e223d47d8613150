//! The admin and status listeners: health, metrics, views, reloads, the dashboard (floor 7).
//!
//! Runs on the control runtime. Invariant: nothing here touches the data plane but by reading what
//! is shared with it already; a stuck or hostile admin client costs admin connections only, and
//! those are bounded ([`serve`]). No secret leaves: views show what [`crate::snapshot`] has masked.
//!
//! Must not know: the gateway's exchanges, sockets of the data plane.

mod body;
mod config;
mod guard;
mod health;
mod index;
pub mod reload;
pub mod serve;
mod status;
mod targets;
mod views;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, put};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::settings::Token;
use crate::snapshot::ConsulDiscovery;
use crate::snapshot::cell::SnapshotCell;
use crate::telemetry::{Checks, Metrics};
use crate::util::clock;
use crate::util::drain::Drain;

pub use reload::{Answer, LastReload, Offer, Reloads};
pub use serve::{Secure, Stream};
pub use status::ListenerInfo;

/// What the admin listener tells about. Handed in once by whoever owns the process.
pub struct Parts {
    /// The live configuration.
    pub cell: SnapshotCell,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// Everybody who can tell how something is.
    pub checks: Checks,
    /// Whether the process is going down.
    pub drain: Drain,
    /// Who loads configurations.
    pub reloads: Arc<dyn Reloads>,
    /// What is listened on, with real ports.
    pub listeners: Vec<ListenerInfo>,
    /// How old a discovered list is, and where it is from.
    pub discovered: Discovered,
    /// What requests must carry, if anything.
    pub token: Option<Token>,
}

/// Tells of one discovered list; `None` while nobody asks for it.
pub type Discovered = Arc<dyn Fn(&ConsulDiscovery) -> Option<Value> + Send + Sync>;

/// The admin service. Clones are the same.
#[derive(Clone)]
pub struct Admin(Arc<Shared>);

struct Shared {
    parts: Parts,
    started: Instant,
    /// The first answers of discovery are in, or were waited for long enough. Never goes back.
    discovered: AtomicBool,
    /// Requests without the token.
    denied: Arc<AtomicU64>,
    /// Room for configurations that are being posted.
    uploads: Semaphore,
}

impl Admin {
    /// Takes the parts and registers the checks that follow from them: the configuration, every
    /// upstream, the drain.
    pub fn new(parts: Parts) -> Admin {
        health::register(&parts);
        register_targets(&parts);
        let denied = Arc::new(AtomicU64::new(0));
        register_denied(&parts, denied.clone());
        Admin(Arc::new(Shared {
            parts,
            started: clock::now(),
            discovered: AtomicBool::new(false),
            denied,
            uploads: Semaphore::new(config::AT_A_TIME),
        }))
    }

    /// Everything: for `admin_listen`.
    pub fn admin_routes(&self) -> Router {
        let router = table()
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| {
                router.route(&path, methods)
            });
        let authorize = from_fn_with_state(self.clone(), guard::authorize);
        let router = answering(router.with_state(self.clone()));
        router.layer(authorize).layer(from_fn(guard::check))
    }

    /// What probes and scrapers need, nothing that changes or tells more: for `status_listen`.
    pub fn status_routes(&self) -> Router {
        let router = probes()
            .into_iter()
            .fold(Router::new(), |router, (path, methods)| {
                router.route(path, methods)
            });
        answering(router.with_state(self.clone())).layer(from_fn(guard::check))
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }
}

/// What probes and scrapers need.
fn probes() -> [(&'static str, MethodRouter<Admin>); 3] {
    [
        ("/health", get(health::health)),
        ("/ready", get(health::ready)),
        ("/metrics", get(status::metrics)),
    ]
}

/// Every path. `openapi.json` has them all: a test compares.
fn table() -> Vec<(String, MethodRouter<Admin>)> {
    let set = "/upstreams/{upstream}/targets/{target}/{word}";
    let set_address = "/upstreams/{upstream}/targets/{target}/{address}/{word}";
    let others = [
        ("/", get(index::show)),
        ("/openapi.json", get(index::openapi)),
        ("/status", get(status::show)),
        ("/config", get(config::show).post(config::load)),
        ("/upstreams/{upstream}/health", get(targets::health)),
        ("/upstreams/{upstream}/targets", get(targets::list)),
        (set, put(targets::set)),
        (set_address, put(targets::set_address)),
    ];
    let fixed = probes().into_iter().chain(others);
    let fixed = fixed.map(|(path, methods)| (path.to_owned(), methods));
    let views = views::KINDS.into_iter().flat_map(|kind| {
        let (all, one) = (views::all(kind), views::one(kind));
        let path = format!("/{}", kind.name);
        [(path.clone() + "/{key}", get(one)), (path, get(all))]
    });
    fixed.chain(views).collect()
}

/// Lets `/metrics` tell the health of targets under Kong's name, while somebody wants it.
fn register_targets(parts: &Parts) {
    let (cell, kong) = (parts.cell.clone(), parts.metrics.kong().clone());
    parts.metrics.register(Box::new(move |out| {
        if let Some(snapshot) = cell.load().filter(|_| kong.wants_health()) {
            targets::expose(&snapshot, out);
        }
    }));
}

fn register_denied(parts: &Parts, denied: Arc<AtomicU64>) {
    if parts.token.is_some() {
        parts.metrics.register(Box::new(move |out| {
            out.counter(
                "sluicegate_admin_denied_total",
                "Requests to the admin API without its token.",
                &[],
                denied.load(Ordering::Relaxed) as f64,
            );
        }));
    }
}

/// JSON for what does not exist, too.
fn answering(router: Router) -> Router {
    router
        .fallback(|| async { message(StatusCode::NOT_FOUND, "Not found") })
        .method_not_allowed_fallback(|| async {
            message(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
        })
}

/// An answer that says one thing.
fn message(status: StatusCode, words: &str) -> Response {
    answer(status, &json!({ "message": words }))
}

/// An answer in JSON.
fn answer(status: StatusCode, body: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, crate::message::reply::JSON)];
    (status, json, body.to_string()).into_response()
}

/// Runs what may take milliseconds beside the runtime's own threads.
async fn blocking<T, F>(work: F) -> Result<T, Response>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| {
        message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An unexpected error occurred",
        )
    })
}

#[cfg(test)]
mod tests;
