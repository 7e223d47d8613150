//! One finished exchange as data: what log plugins, access logs and metrics see.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

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

/// The id of the only workspace: that of Kong without a database.
const WORKSPACE: &str = "0dc6f45b-8f8d-40d2-a504-473544ee190b";

impl Record<'_> {
    /// The record in the JSON shape of Kong's log plugins.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Appends [`Record::to_json`] as text, without making a tree of it first.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(out, self);
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

    /// `scheme://host:port` and the target.
    fn url(&self) -> String {
        let host = self.request.host();
        let (scheme, target) = (self.conn.scheme(), self.request.target());
        match host.contains(':') {
            true => format!("{scheme}://{host}{target}"),
            false => format!("{scheme}://{host}:{}{target}", self.conn.listen_port),
        }
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let head = self.request;
        RecordJson {
            request: RequestJson {
                id: self.request_id,
                uri: head.target(),
                url: self.url(),
                querystring: Grouped(&|each| {
                    for (key, value) in super::query::pairs(head.query()) {
                        each(super::query::decode(key), super::query::decode(value));
                    }
                }),
                method: head.method(),
                headers: Grouped(&|each| fields(head.headers.iter(), true, each)),
                size: self.request_size,
                tls: self.conn.tls.as_ref().map(|tls| TlsJson {
                    version: tls.version,
                    cipher: tls.cipher,
                    client_verify: "NONE",
                }),
            },
            upstream_uri: self.upstream_uri,
            upstream_status: self.upstream_status(),
            response: ResponseJson {
                status: self.status,
                headers: Grouped(&|each| fields(self.response.headers.iter(), false, each)),
                size: self.response_size,
            },
            latencies: LatenciesJson {
                kong: self.latencies.gateway,
                proxy: self.latencies.upstream.map_or(-1, |ms| ms as i64),
                request: self.latencies.request,
                receive: self.latencies.receive,
            },
            tries: self.tries.iter().map(TryJson::of).collect(),
            client_ip: self.client_ip,
            started_at: self.started_ms,
            source: match self.origin {
                Origin::Upstream => "upstream",
                Origin::Plugin(_) | Origin::Gateway { .. } => "kong",
            },
            workspace: WORKSPACE,
            workspace_name: "default",
            route: self.route.map(|entity| &entity.json),
            service: self.service.map(|entity| &entity.json),
            consumer: self.consumer.map(|entity| &entity.json),
            authenticated_entity: self.credential_id.map(|id| Authenticated {
                id,
                consumer_id: self.consumer.map(|consumer| consumer.id.as_str()),
            }),
            correlation_id: self.correlation_id,
        }
        .serialize(to)
    }
}

#[derive(Serialize)]
struct RecordJson<'a> {
    request: RequestJson<'a>,
    upstream_uri: &'a str,
    upstream_status: String,
    response: ResponseJson<'a>,
    latencies: LatenciesJson,
    tries: Vec<TryJson>,
    client_ip: IpAddr,
    started_at: u64,
    source: &'static str,
    workspace: &'static str,
    workspace_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticated_entity: Option<Authenticated<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
}

#[derive(Serialize)]
struct RequestJson<'a> {
    id: &'a str,
    uri: &'a str,
    url: String,
    querystring: Grouped<'a>,
    method: &'a str,
    headers: Grouped<'a>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsJson>,
}

#[derive(Serialize)]
struct TlsJson {
    version: &'static str,
    cipher: &'static str,
    client_verify: &'static str,
}

#[derive(Serialize)]
struct ResponseJson<'a> {
    status: u16,
    headers: Grouped<'a>,
    size: u64,
}

#[derive(Serialize)]
struct LatenciesJson {
    kong: u64,
    proxy: i64,
    request: u64,
    receive: u64,
}

#[derive(Serialize)]
struct Authenticated<'a> {
    id: &'a str,
    consumer_id: Option<&'a str>,
}

#[derive(Serialize)]
struct TryJson {
    ip: IpAddr,
    port: u16,
    balancer_start: u64,
    balancer_start_ns: u64,
    balancer_latency: u64,
    balancer_latency_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

impl TryJson {
    fn of(attempt: &Try) -> TryJson {
        let failed = attempt.failed.is_some();
        TryJson {
            ip: attempt.address.ip(),
            port: attempt.address.port(),
            balancer_start: attempt.started_ms,
            balancer_start_ns: attempt.started_ms.saturating_mul(1_000_000),
            balancer_latency: attempt.balancer_ns / 1_000_000,
            balancer_latency_ns: attempt.balancer_ns,
            state: failed.then_some("failed"),
            code: failed.then_some(attempt.status.unwrap_or(502)),
        }
    }
}

/// Takes one name with its value.
type Each<'e> = &'e mut dyn FnMut(Cow<'_, str>, Cow<'_, str>);

/// Pairs as a map: values of a name that comes again become an array.
struct Grouped<'a>(&'a dyn Fn(Each<'_>));

impl Serialize for Grouped<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        (self.0)(&mut |name, value| {
            let value = value.into_owned();
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => all.push((name.into_owned(), vec![value])),
            }
        });
        let mut map = to.serialize_map(Some(all.len()))?;
        for (name, values) in &all {
            match values.as_slice() {
                [one] => map.serialize_entry(name, one)?,
                many => map.serialize_entry(name, many)?,
            }
        }
        map.end()
    }
}

/// Header fields by lower-case name. What proves who the client is is not shown, as in Kong.
fn fields<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>, redact: bool, each: Each<'_>) {
    for (name, value) in fields {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let secret = redact && matches!(name.as_str(), "authorization" | "proxy-authorization");
        let value = match secret {
            true => "REDACTED".into(),
            false => String::from_utf8_lossy(value),
        };
        each(name.into(), value);
    }
}
