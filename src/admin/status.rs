//! `/status`: the process at a glance. `/metrics`: the same for machines.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Admin, answer, blocking, health, views};
use crate::telemetry::metrics::CONTENT_TYPE;
use crate::util::clock;
use crate::util::drain::Phase;

/// A listener with its real port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerInfo {
    /// `proxy`, `admin`, `status`.
    pub role: &'static str,
    /// It does TLS.
    pub tls: bool,
    /// Where it listens.
    pub address: SocketAddr,
}

impl ListenerInfo {
    /// `http` or `tls`.
    pub fn protocol(&self) -> &'static str {
        match self.tls {
            true => "tls",
            false => "http",
        }
    }

    /// The line that is printed at start: `proxy http 127.0.0.1:43211`.
    pub fn line(&self) -> String {
        format!("{} {} {}", self.role, self.protocol(), self.address)
    }

    fn json(&self) -> Value {
        json!({
            "listener": self.line(),
            "role": self.role,
            "protocol": self.protocol(),
            "address": self.address.to_string(),
        })
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    let render = move || admin.parts().metrics.render();
    match blocking(render).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(failed) => failed,
    }
}

/// `GET /status`.
pub(super) async fn show(State(admin): State<Admin>) -> Response {
    answer(StatusCode::OK, &admin.status())
}

impl Admin {
    fn status(&self) -> Value {
        let parts = self.parts();
        let uptime = clock::now().saturating_duration_since(self.0.started);
        let verdict = parts.checks.ask();
        let mut out = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": uptime.as_secs(),
            "phase": self.phase(),
            "workers": parts.metrics.workers(),
            "listeners": parts.listeners.iter().map(|of| of.json()).collect::<Vec<_>>(),
            "server": self.connections(),
            "configuration": self.configuration(),
            "health": health::verdict_json(&verdict),
        });
        for detail in parts.checks.details() {
            match &mut out[detail.kind] {
                Value::Array(list) => list.push(detail.json),
                absent => *absent = vec![detail.json].into(),
            }
        }
        // Kong's name for it, which tools look at to see whether nodes agree.
        out["configuration_hash"] = out["configuration"]["hash"].clone();
        out
    }

    fn phase(&self) -> &'static str {
        match (self.parts().drain.phase(), self.readiness()) {
            (Phase::Serving, Ok(())) => "ready",
            (Phase::Serving, Err(_)) => "starting",
            (Phase::Handed | Phase::Closing | Phase::Draining { .. }, _) => "draining",
            (Phase::Ended, _) => "ended",
        }
    }

    /// In Kong's names, as far as they mean something here.
    fn connections(&self) -> Value {
        let totals = self.parts().metrics.totals();
        json!({
            "connections_accepted": totals.accepted,
            "connections_handled": totals.handled,
            "connections_active": totals.active,
            "connections_waiting": totals.idle,
            "total_requests": totals.requests,
            "upstream_connections_opened": totals.upstream_opened,
            "upstream_connections_reused": totals.upstream_reused,
            "upstream_connections_idle": totals.pool_idle,
        })
    }

    fn configuration(&self) -> Value {
        let parts = self.parts();
        let live = parts.cell.load();
        let last = parts.reloads.last().map(|last| {
            json!({
                "at": clock::rfc3339(last.at_ms),
                "source": last.source,
                "result": last.result,
                "report": last.report,
                "restart_needed_for": last.restart,
                "outcome": last.outcome,
            })
        });
        json!({
            "generation": live.as_ref().map(|live| live.generation),
            "hash": live.as_ref().map(|live| live.hash.as_str()),
            "entities": live.as_ref().map(|live| views::counts(live)),
            "last_reload": last,
        })
    }
}
