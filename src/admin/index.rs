//! `GET /`: the dashboard for browsers, an index for everybody else.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Admin, answer};
use crate::message::reply::JSON;

/// One file without outside resources; it reads the other paths of this listener.
const DASHBOARD: &str = include_str!("dashboard.html");

/// What every path takes and answers.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// Nothing from elsewhere, nothing to elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Whether this is a browser.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).map(|value| value.as_bytes());
    accept.is_some_and(|accept| memchr::memmem::find(accept, b"text/html").is_some())
}

/// `GET /`.
pub(super) async fn show(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    if wants_page(&headers) {
        let fields = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        return (fields, DASHBOARD).into_response();
    }
    let body = json!({
        "name": "sluicegate",
        "version": env!("CARGO_PKG_VERSION"),
        "listeners": admin.parts().listeners.iter().map(|of| of.line()).collect::<Vec<_>>(),
        "paths": [
            "/health", "/ready", "/metrics", "/status", "/config", "/services", "/routes",
            "/upstreams", "/plugins", "/consumers", "/upstreams/{name}/health",
            "/upstreams/{name}/targets", "/openapi.json",
        ],
    });
    answer(StatusCode::OK, &body)
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, JSON)], OPENAPI).into_response()
}
