//! `/health` for people and monitors, `/ready` for load balancers.
//!
//! Invariant: one sick upstream never makes the gateway unhealthy, or somebody would restart it
//! for a fault that is elsewhere.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{Admin, Parts, Reloads, answer, message};
use crate::snapshot::cell::SnapshotCell;
use crate::snapshot::{Snapshot, TargetSpec};
use crate::telemetry::{Check, Health, Verdict, Weight};
use crate::upstream::{Cluster, ClusterKey, Policy, Resolution};
use crate::util::clock;
use crate::util::drain::Drain;

/// How long `/ready` waits for the first answers of discovery.
const DISCOVERY: Duration = Duration::from_secs(10);

/// `GET /health[?strict=1]`.
pub(super) async fn health(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let verdict = admin.parts().checks.ask();
    let fine = match super::config::is_set(query.as_deref(), "strict") {
        true => verdict.is_spotless(),
        false => verdict.status != Health::Unhealthy,
    };
    answer(status(fine), &verdict_json(&verdict))
}

/// `GET /ready`.
pub(super) async fn ready(State(admin): State<Admin>) -> Response {
    match admin.readiness() {
        Ok(()) => message(StatusCode::OK, "ready"),
        Err(words) => message(StatusCode::SERVICE_UNAVAILABLE, words),
    }
}

fn status(fine: bool) -> StatusCode {
    match fine {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

pub(super) fn verdict_json(verdict: &Verdict) -> Value {
    let mut checks = Map::new();
    for check in &verdict.checks {
        let json = json!({"status": check.status.label(), "message": check.message});
        checks.insert(check.name.clone(), json);
    }
    json!({
        "status": verdict.status.label(),
        "checks": checks,
        "timestamp": clock::rfc3339(clock::unix_ms()),
    })
}

impl Admin {
    /// Whether clients may be sent here.
    pub fn is_ready(&self) -> bool {
        self.readiness().is_ok()
    }

    /// Whether clients should be sent here, else why not.
    pub(super) fn readiness(&self) -> Result<(), &'static str> {
        let Parts { cell, drain, .. } = self.parts();
        if !drain.keeps_connections() {
            return Err("draining");
        }
        let Some(snapshot) = cell.load() else {
            return Err("no configuration is live");
        };
        // Once ready, a reload that brings a new name does not take clients away again.
        let discovered = &self.0.discovered;
        if !discovered.load(Ordering::Relaxed) {
            let waited = clock::now().saturating_duration_since(self.0.started);
            let mut clusters = snapshot.clusters.iter().zip(&snapshot.targets);
            if waited < DISCOVERY && clusters.any(|(of, targets)| is_pending(of, targets)) {
                return Err("the first answers of discovery are not in");
            }
            discovered.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether nobody has said yet where this leads. A Consul that fails may only be starting.
fn is_pending(cluster: &Cluster, targets: &[TargetSpec]) -> bool {
    match cluster.endpoints().resolution {
        Resolution::Pending => true,
        Resolution::Failed => targets.iter().any(|target| target.consul.is_some()),
        _ => false,
    }
}

/// Registers the checks that follow from the parts.
pub(super) fn register(parts: &Parts) {
    let (cell, drain) = (parts.cell.clone(), parts.drain.clone());
    let reloads = Arc::clone(&parts.reloads);
    parts.checks.register(move |out| {
        out.push(configuration(&cell, reloads.as_ref()));
        out.extend(going_down(&drain));
        if let Some(snapshot) = cell.load() {
            out.extend(upstreams(&snapshot));
        }
    });
}

fn configuration(cell: &SnapshotCell, reloads: &dyn Reloads) -> Check {
    let rejected = reloads.last().filter(|last| last.is_rejected());
    let (status, message) = match (cell.load(), rejected) {
        (None, _) => (Health::Unhealthy, "no configuration is live".to_string()),
        (Some(_), Some(last)) => (
            Health::Degraded,
            format!(
                "the configuration from {} was refused: {}",
                last.source,
                first_error(&last.report)
            ),
        ),
        (Some(live), None) => (
            Health::Healthy,
            format!(
                "{}, {}",
                counted(live.services.len(), "service"),
                counted(live.routes.len(), "route")
            ),
        ),
    };
    Check {
        name: "configuration".into(),
        status,
        message,
        weight: Weight::Vital,
    }
}

/// The first error of a report, and how many more there are.
fn first_error(report: &Value) -> String {
    let errors = report["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(first) = errors.first() else {
        return "it could not be read".into();
    };
    let text = |key: &str| first[key].as_str().unwrap_or_default().to_string();
    let line = first["line"]
        .as_u64()
        .map_or(String::new(), |line| format!("line {line}: "));
    let more = match errors.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    format!("{line}{}: {}{more}", text("path"), text("message"))
}

fn going_down(drain: &Drain) -> Option<Check> {
    (!drain.keeps_connections()).then(|| Check {
        name: "drain".into(),
        status: Health::Unhealthy,
        message: "the gateway is going down".into(),
        weight: Weight::Vital,
    })
}

/// One check for each upstream, and for each host that services name themselves.
fn upstreams(snapshot: &Snapshot) -> impl Iterator<Item = Check> {
    let all = snapshot.clusters.iter().zip(&snapshot.policies);
    all.map(|(cluster, policy)| {
        let (status, message) = cluster_health(cluster, policy);
        let kind = match cluster.key() {
            ClusterKey::Upstream(_) => "upstream",
            ClusterKey::Host { .. } => "host",
        };
        Check {
            name: format!("{kind}:{}", cluster.key().name()),
            status,
            message,
            weight: Weight::Share("upstream"),
        }
    })
}

fn cluster_health(cluster: &Cluster, policy: &Policy) -> (Health, String) {
    let set = cluster.endpoints();
    let usable = set.endpoints.iter().filter(|of| of.weight() > 0);
    let (all, fit) = usable.fold((0, 0), |(all, fit), of| {
        (all + 1, fit + usize::from(!policy.shuts(of)))
    });
    let words = || format!("{fit} of {} healthy", counted(all, "address"));
    match (all, set.resolution) {
        (0, Resolution::Pending) => (Health::Degraded, "not resolved yet".into()),
        (0, Resolution::NotFound) => (Health::Unhealthy, "the name has no address".into()),
        (0, Resolution::Failed) => (Health::Unhealthy, "the name cannot be resolved".into()),
        (0, Resolution::Known) => (Health::Unhealthy, "no target".into()),
        _ if !policy.standing(&set).is_usable => (Health::Unhealthy, words()),
        // The others serve: nothing that a monitor should wake anybody for.
        _ if fit < all => (Health::Healthy, words()),
        _ => (Health::Healthy, counted(all, "address")),
    }
}

/// `1 route`, `2 addresses`.
fn counted(n: usize, thing: &str) -> String {
    let ending = match (n, thing.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{n} {thing}{ending}")
}
