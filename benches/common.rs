//! What benches and the allocation budget share: a gateway of one thread made of real
//! configuration text, an upstream on loopback, a client over a pipe in memory.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sluicegate::gateway::drive_http1;
use sluicegate::gateway::{HeaderSwitch, Policy, Worker};
use sluicegate::message::ConnInfo;
use sluicegate::plugins;
use sluicegate::snapshot::cell::SnapshotCell;
use sluicegate::snapshot::{self, Parts, Snapshot, Surroundings, UpstreamTls};
use sluicegate::telemetry::Metrics;
use sluicegate::tls::Io;
use sluicegate::util::cidr::AddrSet;
use sluicegate::util::drain::Drain;
use sluicegate::util::handles::Handles;
use sluicegate::util::keep::Keeps;
use sluicegate::util::local;
use sluicegate::util::sweep::Sweep;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A request as a client of an API sends it.
pub const REQUEST: &[u8] = b"GET /api/users/42?page=3 HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    User-Agent: budget/1.0\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: gzip, br\r\n\
    Cookie: session=0123456789abcdef\r\n\
    X-Trace: 4bf92f3577b34da6a3ce929d0e0e4736\r\n\r\n";

/// The end of [`ANSWER`].
pub const BODY: &[u8] = b"{\"ok\":\"true\"}";

/// An upstream's answer.
pub const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 13\r\n\
    Cache-Control: no-store\r\n\
    Server: upstream\r\n\
    Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n\
    {\"ok\":\"true\"}";

/// One service behind `/api`, with more YAML behind it.
pub fn config(upstream: SocketAddr, more: &str) -> String {
    format!(
        "services:\n- name: s\n  url: http://{upstream}/base\n  routes:\n  \
         - name: r\n    paths: [/api]\n    methods: [GET]\n{more}"
    )
}

/// One plugin that looks at each outcome.
pub const BREAKER: &str = "plugins: [{name: circuit-breaker}]\n";

/// Several plugins, none of which answers [`guarded`].
pub const PLUGINS: &str = "
plugins:
- name: correlation-id
- name: cors
  config: {origins: [https://app.example.com, https://admin.example.com]}
- name: jwt
  config: {claims_to_verify: [exp]}
- name: key-auth
- name: rate-limiting
  config: {minute: 1000000000, policy: local}
- name: request-termination
  config: {trigger: X-Maintenance}
consumers:
- username: c
  keyauth_credentials: [{key: k}]
  jwt_secrets: [{key: issuer, secret: secret-of-the-issuer}]
";

/// The owner's chain, whose limit is never reached, and a consumer.
pub const OWNERS: &str = "
plugins:
- name: cors
- name: jwt
- name: rate-limiting
  config: {minute: 1000000000}
consumers:
- username: c
  jwt_secrets: [{key: issuer, secret: secret-of-the-issuer}]
";

/// [`REQUEST`] with an origin, a key and a token that does not expire soon.
pub fn guarded() -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Claims {
        iss: &'static str,
        exp: u64,
    }
    let claims = Claims {
        iss: "issuer",
        exp: 4_000_000_000,
    };
    let key = jsonwebtoken::EncodingKey::from_secret(b"secret-of-the-issuer");
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let mut request = REQUEST[..REQUEST.len() - 2].to_vec();
    write!(
        request,
        "Origin: https://app.example.com\r\napikey: k\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    request
}

/// Configuration text to a snapshot, by the same steps as a reload.
pub fn snapshot(text: &str, metrics: &Metrics, handles: &Handles) -> Snapshot {
    let (checked, report) =
        snapshot::check(text, "bench.yaml", &Surroundings::default(), plugins::TABLE);
    let checked = checked.unwrap_or_else(|| panic!("{}", report.to_text()));
    let parts = Parts {
        table: plugins::TABLE,
        keeps: &Keeps::default(),
        handles,
        metrics,
        tls: &UpstreamTls::new().unwrap(),
        workers: 1,
        generation: 1,
    };
    snapshot::compile(checked, &parts)
}

/// The settings' defaults, as far as requests look at them.
pub fn policy() -> Policy {
    Policy {
        trusted: AddrSet::parse(Vec::<&str>::new()).unwrap(),
        real_ip_header: "x-real-ip".into(),
        real_ip_recursive: false,
        headers: HeaderSwitch::default(),
        limits: Default::default(),
        max_body: 0,
        header_timeout: Duration::from_secs(10),
        body_timeout: Duration::from_secs(60),
        idle_timeout: Duration::from_secs(75),
        upstream_idle_timeout: Duration::from_secs(60),
        upstream_max_idle: 512,
    }
}

/// A worker without listeners that runs this configuration.
pub fn worker(text: &str) -> Rc<Worker> {
    worker_with(text, &Handles::default())
}

/// The same for plugins that need what a process offers.
pub fn worker_with(text: &str, handles: &Handles) -> Rc<Worker> {
    let metrics = Metrics::new(1);
    let cell = SnapshotCell::default();
    cell.publish(Arc::new(snapshot(text, &metrics, handles)));
    let sweep = Sweep::new();
    local::spawn(sweep.clone().run());
    Rc::new(Worker::new(
        0,
        policy(),
        cell.reader(),
        sweep,
        Drain::new(),
        metrics.worker(0),
        None,
    ))
}

/// A client connection as a listener would describe it.
pub fn conn() -> ConnInfo {
    ConnInfo {
        number: 1,
        peer: SocketAddr::from(([127, 0, 0, 1], 40000)),
        local: SocketAddr::from(([127, 0, 0, 1], 8000)),
        trusted: false,
        listen_port: 8000,
        tls: None,
    }
}

/// A data plane's kind of runtime.
pub fn runtime() -> tokio::runtime::LocalRuntime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap()
}

/// Runs a future on it.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// An upstream on threads of its own that answers every request with `answer`. Requests are read
/// to the end of their head, so they must have no body. Lives as long as the process.
pub fn upstream(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || answer_all(socket, answer));
        }
    });
    address
}

fn answer_all(mut socket: TcpStream, answer: &[u8]) {
    socket.set_nodelay(true).unwrap();
    let mut buffer = [0; 16 * 1024];
    let mut filled = 0;
    while let Ok(count) = socket.read(&mut buffer[filled..]) {
        filled += count;
        if count == 0 {
            return;
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if socket.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// A client of a gateway that serves the other end of a pipe.
pub struct Client {
    io: Io,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to a worker.
    pub fn new(worker: Rc<Worker>) -> Client {
        let (io, served) = Io::pair(64 * 1024);
        local::spawn(async move {
            drive_http1::serve(served, conn(), worker).await;
        });
        Client {
            io,
            buffer: vec![0; 64 * 1024],
        }
    }

    /// Sends a request and reads until the answer ends with `end`; the answer.
    pub async fn exchange(&mut self, request: &[u8], end: &[u8]) -> &[u8] {
        self.io.write_all(request).await.unwrap();
        let mut filled = 0;
        loop {
            let count = self.io.read(&mut self.buffer[filled..]).await.unwrap();
            assert!(count > 0, "the gateway closed the connection");
            filled += count;
            if self.buffer[..filled].ends_with(end) {
                return &self.buffer[..filled];
            }
        }
    }
}
