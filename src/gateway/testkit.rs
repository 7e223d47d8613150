//! A worker on a configuration text, and peers to put around it, for the tests of this floor.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::drive_http2;
use super::live::{HeaderSwitch, Policy, Worker};
use crate::config::Report;
use crate::config::known::{KnownPlugin, Parsed};
use crate::config::schema::{Fields, Record, field, text};
use crate::http1::limits::Limits;
use crate::http2::{Incoming, LocalExec};
use crate::message::{BodyWish, ConnInfo, Record as LogRecord, Reply};
use crate::plugin::{
    BodyCx, Build, Flow, OutcomeCx, Phases, Plugin, PluginDef, RequestCx, ResponseCx, Verdict,
};
use crate::snapshot::UpstreamTls;
use crate::snapshot::cell::SnapshotCell;
use crate::snapshot::compile::{self, Parts};
use crate::snapshot::verify::{self, Surroundings};
use crate::telemetry::Metrics;
use crate::tls::Io;
use crate::util::drain::Drain;
use crate::util::handles::Handles;
use crate::util::keep::Keeps;
use crate::util::local;
use crate::util::sweep::Sweep;

thread_local! {
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What the plugin `probe` has heard on this thread since the last call.
pub fn heard() -> Vec<String> {
    HEARD.take()
}

fn hear(words: String) {
    HEARD.with_borrow_mut(|heard| heard.push(words));
}

/// Waits until the probe has heard something, for a second at most, and returns it.
pub async fn heard_soon() -> Vec<String> {
    for _ in 0..1000 {
        let heard = heard();
        if !heard.is_empty() {
            return heard;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Vec::new()
}

/// Does what its `mode` says and tells the test what it hears.
struct Probe(String);

impl Plugin for Probe {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        match self.0.as_str() {
            "deny" => Reply::message(403, "no").into(),
            "panic" if cx.request.path() == "/now" => panic!("on purpose"),
            "panic" if cx.request.path() == "/later" => Flow::Wait(Box::pin(async {
                tokio::task::yield_now().await;
                panic!("on purpose")
            })),
            "read" => Flow::Wait(Box::pin(async move {
                let read = cx.body(64 * 1024).await.map(<[u8]>::len);
                hear(format!("body {read:?}"));
                Verdict::Next
            })),
            "rewrite" => Flow::Wait(Box::pin(async move {
                let body = cx
                    .body(64 * 1024)
                    .await
                    .unwrap_or_default()
                    .to_ascii_uppercase();
                cx.replace_body([&body[..], b"!"].concat());
                Verdict::Next
            })),
            _ => Flow::Next,
        }
    }

    fn on_outcome(&self, cx: &mut OutcomeCx<'_>) {
        hear(format!("{:?} {}", cx.outcome, cx.replaceable));
        if self.0 == "fallback" {
            cx.replace(Reply::message(200, "instead"));
        }
    }

    fn on_response(&self, cx: &mut ResponseCx<'_>) -> BodyWish {
        match self.0.as_str() {
            "panic" if cx.request.path() == "/answer" => panic!("on purpose"),
            "collect" => BodyWish::Collect(100),
            "tee" => BodyWish::Tee(100),
            "replace" => BodyWish::Replace(b"replaced".to_vec()),
            _ => BodyWish::Pass,
        }
    }

    fn on_body<'a>(&'a self, cx: &'a mut BodyCx<'_>) -> Flow<'a> {
        hear(format!("saw {}", String::from_utf8_lossy(cx.body)));
        cx.body.make_ascii_uppercase();
        Flow::Next
    }

    fn on_log(&self, record: &LogRecord<'_>) {
        hear(format!("log {} {}", record.status, record.origin.label()));
    }
}

static CONFIG: Record = Record::new(&[field("mode", text())]);

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(fields.opt_string("mode").unwrap_or_default()))
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    Arc::new(Probe(parsed.get::<String>().cloned().unwrap_or_default()))
}

static PROBE: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "probe",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 100,
    phases: Phases::REQUEST
        .and(Phases::GATE)
        .and(Phases::OUTCOME)
        .and(Phases::RESPONSE)
        .and(Phases::LOG),
    credentials: None,
    anonymous: None,
    build,
};

static TABLE: &[&PluginDef] = &[&PROBE];

/// Process settings as they are without any given.
pub fn policy() -> Policy {
    Policy {
        trusted: Default::default(),
        real_ip_header: "x-real-ip".into(),
        real_ip_recursive: false,
        headers: HeaderSwitch::default(),
        limits: Limits::REQUEST,
        max_body: 0,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(75),
        upstream_idle_timeout: Duration::from_secs(60),
        upstream_max_idle: 512,
    }
}

/// A worker on that configuration. Its sweep runs.
pub fn worker(text: &str) -> Rc<Worker> {
    worker_with(text, policy())
}

/// A worker on that configuration and those settings.
pub fn worker_with(text: &str, policy: Policy) -> Rc<Worker> {
    let around = Surroundings::default();
    let (checked, report) = verify::check(text, "test.yaml", &around, TABLE);
    let checked = checked.unwrap_or_else(|| panic!("{}", report.to_text()));
    let metrics = Metrics::new(1);
    let snapshot = compile::compile(
        checked,
        &Parts {
            table: TABLE,
            keeps: &Keeps::default(),
            handles: &Handles::default(),
            metrics: &metrics,
            tls: &UpstreamTls::new().unwrap(),
            workers: 1,
            generation: 1,
        },
    );
    let cell = SnapshotCell::default();
    cell.publish(Arc::new(snapshot));
    let sweep = Sweep::new();
    local::spawn(sweep.clone().run());
    let drain = Drain::new();
    let counters = metrics.worker(0);
    let worker = Worker::new(0, policy, cell.reader(), sweep, drain, counters, None);
    Rc::new(worker)
}

/// One service behind `/`, with a probe in that mode.
pub fn file(url: &str, mode: &str) -> String {
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: {url}
  routes: [{{name: r, paths: [/], protocols: [http, https]}}]
  plugins: [{{name: probe, config: {{mode: '{mode}'}}}}]
"
    )
}

/// What is known of the test's own connection.
pub fn conn() -> ConnInfo {
    ConnInfo {
        number: 1,
        peer: SocketAddr::from(([192, 0, 2, 1], 5000)),
        local: SocketAddr::from(([192, 0, 2, 2], 8000)),
        trusted: false,
        listen_port: 8000,
        tls: None,
    }
}

/// A body of any kind.
pub type AnyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A body in hand.
pub fn full(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body in hand with trailers.
pub fn full_with(bytes: impl Into<Bytes>, trailers: HeaderMap) -> AnyBody {
    Full::new(bytes.into())
        .with_trailers(async move { Some(Ok(trailers)) })
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// An HTTP/2 client of the gateway, and the task that drives it.
pub type Client<B> = hyper::client::conn::http2::SendRequest<B>;

/// Connects a client to a worker over a pipe in memory.
pub async fn connect<B>(worker: &Rc<Worker>) -> Client<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (near, far) = Io::pair(64 * 1024);
    let there = Rc::clone(worker);
    local::spawn(async move {
        drive_http2::serve(far, Vec::new(), conn(), there).await;
    });
    handshake(near).await
}

/// The client's part over any connection.
pub async fn handshake<B>(io: Io) -> Client<B>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (client, connection) = hyper::client::conn::http2::Builder::new(LocalExec)
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(io))
        .await
        .unwrap();
    local::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// A request to `http://gate.test` + path.
pub fn request<B>(method: &str, path: &str, body: B) -> Request<B> {
    Request::builder()
        .method(method)
        .uri(format!("http://gate.test{path}"))
        .body(body)
        .unwrap()
}

/// The whole body of an answer as text.
pub async fn text_of(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// An upstream on loopback that answers each request by `handle`; over HTTP/2 if asked.
pub async fn upstream<F, B>(http2: bool, handle: fn(Request<Incoming>) -> F) -> SocketAddr
where
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let io = TokioIo::new(socket);
            let service = service_fn(move |request| {
                let answer = handle(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            if http2 {
                let builder = hyper::server::conn::http2::Builder::new(LocalExec);
                local::spawn(async move {
                    let _ = builder.serve_connection(io, service).await;
                });
            } else {
                let builder = hyper::server::conn::http1::Builder::new();
                local::spawn(async move {
                    let _ = builder.serve_connection(io, service).await;
                });
            }
        }
    });
    address
}
