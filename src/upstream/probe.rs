//! One probe: is this endpoint well?
//!
//! Invariant: a probe uses a connection of its own, never a kept one, and is bounded in time and
//! memory. Any thread may run it.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::cluster::Endpoint;
use super::connect::connect;
use super::health::{Counts, Event};
use crate::http1::parse;
use crate::http2::unary;
use crate::message::ResponseHead;
use crate::tls::{ClientTls, Io};

/// What a probe speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// `GET` of a path, with or without TLS.
    Http,
    /// Connecting is enough.
    Tcp,
    /// The health service of gRPC (grpc.health.v1).
    Grpc,
}

/// How the endpoints of an upstream are probed.
#[derive(Clone, Debug)]
pub struct Probing {
    /// What is spoken.
    pub kind: ProbeKind,
    /// TLS settings, where it is spoken under TLS, and the server name to ask for.
    pub tls: Option<(ClientTls, Option<String>)>,
    /// Bound for one probe.
    pub timeout: Duration,
    /// Probes of this upstream at the same time.
    pub concurrency: usize,
    /// Path to ask for; of gRPC the service, behind the slash.
    pub path: String,
    /// `Host` to send where the target's own will not do.
    pub host: Option<String>,
    /// More header fields.
    pub headers: Vec<(String, String)>,
    /// Time between probes of a healthy endpoint; zero: none.
    pub healthy_interval: Duration,
    /// Time between probes of an unhealthy endpoint; zero: none.
    pub unhealthy_interval: Duration,
}

impl Probing {
    /// Time between probes of an endpoint; `None` when it is not probed.
    pub fn interval(&self, healthy: bool) -> Option<Duration> {
        let [ours, other] = match healthy {
            true => [self.healthy_interval, Duration::ZERO],
            // Or it would never be known that it came back.
            false => [self.unhealthy_interval, self.healthy_interval],
        };
        [ours, other].into_iter().find(|time| !time.is_zero())
    }

    /// Probes an endpoint. Nothing when its answer says nothing of its health.
    pub async fn probe(&self, endpoint: &Endpoint, counts: &Counts) -> Option<Event> {
        let probing = pin!(self.ask(endpoint, counts));
        timeout(self.timeout, probing)
            .await
            .unwrap_or(Some(Event::Timeout))
    }

    async fn ask(&self, endpoint: &Endpoint, counts: &Counts) -> Option<Event> {
        let host = without_port(self.host.as_deref().unwrap_or(&endpoint.host));
        match self.kind {
            ProbeKind::Tcp => match self.open(endpoint, host).await {
                Some(_) => Some(Event::Success),
                None => Some(Event::TcpFailure),
            },
            ProbeKind::Http => self.http(endpoint, host, counts).await,
            ProbeKind::Grpc => match self.open(endpoint, host).await {
                Some(io) => Some(self.grpc(io, host).await),
                None => Some(Event::TcpFailure),
            },
        }
    }

    async fn open(&self, endpoint: &Endpoint, host: &str) -> Option<Io> {
        let tls = self.tls.as_ref().map(|(tls, name)| {
            let name = name.as_deref().unwrap_or(host);
            (tls, name.trim_matches(['[', ']']))
        });
        connect(endpoint.address, tls).await.ok()
    }

    /// A server that does not speak this version is asked in the older one.
    async fn http(&self, endpoint: &Endpoint, host: &str, counts: &Counts) -> Option<Event> {
        let mut status = 0;
        for version in ["1.1", "1.0"] {
            let Some(io) = self.open(endpoint, host).await else {
                return Some(Event::TcpFailure);
            };
            match status_of(io, &self.request(host, version)).await {
                Ok(answered) => status = answered,
                Err(event) => return Some(event),
            }
            if status != 505 {
                break;
            }
        }
        counts.judge(status)
    }

    fn request(&self, host: &str, version: &str) -> String {
        let mut text = format!("GET {} HTTP/{version}\r\n", self.path);
        let named = |wanted: &str| {
            let mut names = self.headers.iter();
            names.any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        let own = [
            ("Host", host),
            ("Connection", "close"),
            ("User-Agent", AGENT),
        ];
        for (name, value) in own.into_iter().filter(|(name, _)| !named(name)) {
            text += &format!("{name}: {value}\r\n");
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n"
    }

    async fn grpc(&self, io: Io, host: &str) -> Event {
        let Some(request) = self.grpc_request(host) else {
            return Event::HttpFailure;
        };
        match unary::call(io, request).await {
            None => Event::TcpFailure,
            Some(answer) => {
                let code = answer.fields.get("grpc-status").map(HeaderValue::as_bytes);
                match answer.status == 200 && code == Some(b"0") && is_serving(&answer.body) {
                    true => Event::Success,
                    false => Event::HttpFailure,
                }
            }
        }
    }

    fn grpc_request(&self, host: &str) -> Option<Request<Bytes>> {
        let scheme = match self.tls {
            Some(_) => "https",
            None => "http",
        };
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(host)
            .path_and_query("/grpc.health.v1.Health/Check")
            .build()
            .ok()?;
        let mut request = Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", AGENT);
        for (name, value) in &self.headers {
            // They are checked with the file; HTTP/2 has none for connections.
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
                && name != "connection"
                && name != "host"
            {
                request = request.header(name, value);
            }
        }
        request
            .body(check_request(self.path.trim_start_matches('/'))?)
            .ok()
    }
}

const AGENT: &str = concat!("sluicegate/", env!("CARGO_PKG_VERSION"), " (probe)");

/// A `HealthCheckRequest` in its frame: the service is field 1, a text.
fn check_request(service: &str) -> Option<Bytes> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Longer lengths would need more than one byte; no service has such a name.
        let length = u8::try_from(service.len())
            .ok()
            .filter(|length| *length < 128)?;
        message.extend([0x0a, length]);
        message.extend(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    Some(frame.into())
}

/// Whether a frame holds a `HealthCheckResponse` that says SERVING: field 1 is 1. The message has
/// no other field.
fn is_serving(frame: &[u8]) -> bool {
    frame.first() == Some(&0) && frame.get(5..) == Some(&[0x08, 0x01])
}

/// The status that a server answers with.
async fn status_of(mut io: Io, request: &str) -> Result<u16, Event> {
    let gone = |_| Event::TcpFailure;
    io.write_all(request.as_bytes()).await.map_err(gone)?;
    let mut head = ResponseHead::default();
    let mut scan = 0;
    loop {
        let read = io.read_buf(&mut head.headers.raw).await.map_err(gone)?;
        if read == 0 {
            return Err(Event::TcpFailure);
        }
        loop {
            match parse::response(&mut head, &mut scan, "GET") {
                Err(_) => return Err(Event::HttpFailure),
                Ok(None) => break,
                Ok(Some(_)) if head.status >= 200 => return Ok(head.status),
                Ok(Some(end)) => {
                    head.headers.raw.drain(..end);
                    if head.headers.raw.is_empty() {
                        break;
                    }
                }
            }
        }
    }
}

fn without_port(host: &str) -> &str {
    let name = host.trim_end_matches(|c: char| c.is_ascii_digit());
    match name.strip_suffix(':') {
        // An address without brackets is all colons.
        Some(name) if !name.contains(':') || name.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests;
