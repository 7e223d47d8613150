//! `GET /config` shows the live file, `POST /config` loads another.
//!
//! Invariant: what is refused changes nothing, and says everything that is wrong at once.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::reload::{Answer, Offer};
use super::{Admin, answer, blocking, body, message};
use crate::config::report::Report;
use crate::message::query;

/// Largest configuration, in bytes.
const LARGEST: usize = 64 * 1024 * 1024;
/// Time for a body to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);
/// How many configurations may arrive and be compiled at a time: each costs memory.
pub(super) const AT_A_TIME: usize = 2;

/// `GET /config`: YAML as a file; in a JSON field, as Kong does it, for who asks for JSON.
pub(super) async fn show(State(admin): State<Admin>, headers: HeaderMap) -> Response {
    let Some(snapshot) = admin.parts().cell.load() else {
        return message(StatusCode::NOT_FOUND, "No configuration is live");
    };
    let shown = match blocking(move || snapshot.masked()).await {
        Ok(shown) => shown,
        Err(failed) => return failed,
    };
    if field(&headers, header::ACCEPT).contains("application/json") {
        return answer(StatusCode::OK, &json!({ "config": shown }));
    }
    ([(header::CONTENT_TYPE, "application/yaml")], shown).into_response()
}

/// `POST /config[?check_hash=1][?dry_run=1]`.
pub(super) async fn load(
    State(admin): State<Admin>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Ok(_place) = admin.0.uploads.try_acquire() else {
        let words = "Other configurations are being loaded: try again later";
        return message(StatusCode::TOO_MANY_REQUESTS, words);
    };
    let text = match receive(&headers, body).await {
        Ok(text) => text,
        Err(refusal) => return refusal,
    };
    let query = query.as_deref();
    let offer = Offer {
        text,
        dry_run: is_set(query, "dry_run"),
    };
    let outcome = admin.parts().reloads.offer(offer).await;
    admin.told(outcome, is_set(query, "check_hash"))
}

async fn receive(headers: &HeaderMap, body: Body) -> Result<String, Response> {
    let declared = field(headers, header::CONTENT_LENGTH).parse::<usize>();
    if declared.is_ok_and(|length| length > LARGEST) {
        return Err(message(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"));
    }
    let bytes = match timeout(ARRIVAL, to_bytes(body, LARGEST)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(message(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large")),
        Err(_) => return Err(message(StatusCode::REQUEST_TIMEOUT, "Request timeout")),
    };
    body::text(field(headers, header::CONTENT_TYPE), &bytes)
        .map_err(|words| message(StatusCode::BAD_REQUEST, words))
}

impl Admin {
    fn told(&self, outcome: Answer, check_hash: bool) -> Response {
        match outcome {
            Answer::Loaded {
                report,
                restart,
                mut outcome,
            } => {
                outcome["message"] = "the configuration is live".into();
                outcome["warnings"] = report.to_json()["warnings"].take();
                outcome["restart_needed_for"] = restart.into();
                answer(StatusCode::CREATED, &self.with_live(outcome))
            }
            Answer::Unchanged if check_hash => StatusCode::NOT_MODIFIED.into_response(),
            Answer::Unchanged => {
                let extra = json!({"message": "the configuration was live already"});
                answer(StatusCode::CREATED, &self.with_live(extra))
            }
            Answer::Superseded => message(
                StatusCode::CONFLICT,
                "A newer configuration overtook this one",
            ),
            Answer::Invalid(report) => answer(StatusCode::BAD_REQUEST, &refusal(&report)),
            Answer::Preview(changes) => answer(StatusCode::OK, &changes),
            Answer::Gone => message(StatusCode::SERVICE_UNAVAILABLE, "The gateway is going down"),
        }
    }

    fn with_live(&self, mut body: Value) -> Value {
        if let Some(live) = self.parts().cell.load() {
            body["generation"] = live.generation.into();
            body["configuration_hash"] = live.hash.as_str().into();
        }
        body
    }
}

/// Kong's form of a refusal, with every error and its place beside it.
fn refusal(report: &Report) -> Value {
    let fields = report.fields_json();
    json!({
        "code": 14,
        "name": "invalid declarative configuration",
        "message": format!("declarative config is invalid: {fields}"),
        "fields": fields,
        "errors": report.errors_json(),
    })
}

/// Whether a switch in the query is on: `?name`, `?name=1`, `?name=true`.
pub(super) fn is_set(text: Option<&str>, name: &str) -> bool {
    query::pairs(text.unwrap_or_default())
        .any(|(key, value)| key == name && matches!(value, "" | "1" | "true" | "on" | "yes"))
}

fn field(headers: &HeaderMap, name: HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}
