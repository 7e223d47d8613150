//! One finished exchange as data: what log plugins, access logs and metrics see.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value, json};

use super::head::{ConnInfo, RequestHead, ResponseHead};
use super::reply::Origin;

/// An entity of the configuration as logs show it.
#[derive(Clone, Debug, Default)]
pub struct Entity {
    /// Its id.
    pub id: String,
    /// Its name (a consumer's username), where it has one.
    pub name: Option<String>,
    /// The whole entity in Kong's shape, secrets left out.
    pub json: Value,
}

impl Entity {
    /// Name, else id: what labels show.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// One attempt to get an answer from an upstream.
#[derive(Clone, Debug)]
pub struct Try {
    /// The target's address.
    pub address: SocketAddr,
    /// It failed, and why: a stable short name.
    pub failed: Option<&'static str>,
    /// The status that it answered with.
    pub status: Option<u16>,
    /// When it began, milliseconds since 1970.
    pub started_ms: u64,
    /// How long choosing the target took, in nanoseconds.
    pub balancer_ns: u64,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latencies {
    /// From the request's head to the end of the answer.
    pub request: u64,
    /// In the gateway: before the hand-over to an upstream, or all of it without one.
    pub gateway: u64,
    /// Waiting for the upstream's head; `None` when no upstream answered.
    pub upstream: Option<u64>,
    /// Reading the upstream's body.
    pub receive: u64,
}

/// A finished exchange. Borrowed: what is to outlive the log phase must be copied out.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The request as it was sent upstream: header fields after the plugins' edits.
    pub request: &'a RequestHead,
    /// The response as sent to the client.
    pub response: &'a ResponseHead,
    /// The status sent; 499 when the client left first.
    pub status: u16,
    /// The client connection.
    pub conn: &'a ConnInfo,
    /// The client's address after trust was applied.
    pub client_ip: IpAddr,
    /// 32 hex digits.
    pub request_id: &'a str,
    /// When the head was read, milliseconds since 1970.
    pub started_ms: u64,
    /// Where the time went.
    pub latencies: Latencies,
    /// Bytes of head and body received from the client.
    pub request_size: u64,
    /// Bytes of head and body sent to the client.
    pub response_size: u64,
    /// Bytes of the response body alone.
    pub body_size: u64,
    /// Every attempt, in order.
    pub tries: &'a [Try],
    /// Path and query as sent upstream; empty when nothing was sent.
    pub upstream_uri: &'a str,
    /// The matched route.
    pub route: Option<&'a Entity>,
    /// Its service.
    pub service: Option<&'a Entity>,
    /// The authenticated or anonymous consumer.
    pub consumer: Option<&'a Entity>,
    /// Id of the credential that proved who the client is.
    pub credential_id: Option<&'a str>,
    /// Who answered.
    pub origin: Origin,
    /// What the correlation-id plugin noted.
    pub correlation_id: Option<&'a str>,
}

impl Record<'_> {
    /// The record in the JSON shape of Kong's log plugins.
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "request": self.request_json(),
            "upstream_uri": self.upstream_uri,
            "upstream_status": self.upstream_status(),
            "response": {
                "status": self.status,
                "headers": headers_json(self.response.headers.iter(), false),
                "size": self.response_size,
            },
            "latencies": {
                "kong": self.latencies.gateway,
                "proxy": self.latencies.upstream.map_or(-1, |ms| ms as i64),
                "request": self.latencies.request,
                "receive": self.latencies.receive,
            },
            "tries": self.tries.iter().map(try_json).collect::<Vec<_>>(),
            "client_ip": self.client_ip.to_string(),
            "started_at": self.started_ms,
            "source": if self.origin == Origin::Upstream { "upstream" } else { "kong" },
            "workspace_name": "default",
        });
        self.add_entities(&mut out);
        out
    }

    fn add_entities(&self, out: &mut Value) {
        let entities = [
            ("route", self.route),
            ("service", self.service),
            ("consumer", self.consumer),
        ];
        for (key, entity) in entities {
            if let Some(entity) = entity {
                out[key] = entity.json.clone();
            }
        }
        if let Some(id) = self.credential_id {
            let consumer_id = self.consumer.map(|consumer| consumer.id.as_str());
            out["authenticated_entity"] = json!({"id": id, "consumer_id": consumer_id});
        }
        if let Some(id) = self.correlation_id {
            out["correlation_id"] = id.into();
        }
    }

    fn request_json(&self) -> Value {
        let request = self.request;
        let host = request.host();
        let port = self.conn.listen_port;
        let colon = if host.contains(':') {
            String::new()
        } else {
            format!(":{port}")
        };
        let mut out = json!({
            "id": self.request_id,
            "uri": request.target(),
            "url": format!("{}://{host}{colon}{}", self.conn.scheme(), request.target()),
            "querystring": querystring_json(request.query()),
            "method": request.method(),
            "headers": headers_json(request.headers.iter(), true),
            "size": self.request_size,
        });
        if let Some(tls) = &self.conn.tls {
            out["tls"] =
                json!({"version": tls.version, "cipher": tls.cipher, "client_verify": "NONE"});
        }
        out
    }

    /// The statuses of all attempts, as nginx and Kong join them: `502, 200`.
    pub fn upstream_status(&self) -> String {
        let statuses: Vec<String> = self
            .tries
            .iter()
            .map(|attempt| attempt.status.unwrap_or(502).to_string())
            .collect();
        statuses.join(", ")
    }
}

fn try_json(attempt: &Try) -> Value {
    let mut out = json!({
        "ip": attempt.address.ip().to_string(),
        "port": attempt.address.port(),
        "balancer_start": attempt.started_ms,
        "balancer_start_ns": attempt.started_ms.saturating_mul(1_000_000),
        "balancer_latency": attempt.balancer_ns / 1_000_000,
        "balancer_latency_ns": attempt.balancer_ns,
    });
    if attempt.failed.is_some() {
        out["state"] = "failed".into();
        out["code"] = attempt.status.unwrap_or(502).into();
    }
    out
}

/// Header fields by lower-case name; repeated ones become arrays.
fn headers_json<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, redact: bool) -> Value {
    let mut out = Map::new();
    for (name, value) in fields {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let secret = redact && matches!(name.as_str(), "authorization" | "proxy-authorization");
        let value = if secret {
            "REDACTED".into()
        } else {
            String::from_utf8_lossy(value).into()
        };
        add(&mut out, name, Value::String(value));
    }
    Value::Object(out)
}

fn querystring_json(query: &str) -> Value {
    let mut out = Map::new();
    for (key, value) in super::query::pairs(query) {
        let value = super::query::decode(value).into_owned();
        add(
            &mut out,
            super::query::decode(key).into_owned(),
            Value::String(value),
        );
    }
    Value::Object(out)
}

fn add(out: &mut Map<String, Value>, key: String, value: Value) {
    match out.get_mut(&key) {
        None => {
            out.insert(key, value);
        }
        Some(Value::Array(values)) => values.push(value),
        Some(first) => *first = Value::Array(vec![first.take(), value]),
    }
}
