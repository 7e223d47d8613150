//! A client of our own: so many connections, each asking again as soon as it has its answer, or at
//! its own times. Prints one JSON line of counts and percentiles, in microseconds.

mod http1;
mod http2;
mod idle;
mod websocket;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cases::{Idle, Load, Tokens};
use crate::machine::scratch;
use crate::peers::Proxy;
use crate::tokens::Keys;

/// The name that certificate and requests have.
pub const HOST: &str = "bench.test";

/// What the client shall do.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    pub kind: Kind,
    pub address: SocketAddr,
    pub tls: bool,
    pub path: String,
    pub connections: usize,
    pub millis: u64,
    /// Length of a body to send.
    pub body: usize,
    pub tokens: Option<(Tokens, Keys)>,
    /// The first number of tokens that were never sent.
    pub first_token: u64,
    pub certificate: PathBuf,
}

/// How it asks.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Kind {
    /// Again and again on connections that stay.
    Closed,
    /// So many requests a second in all, each at its time.
    Open(f64),
    /// A connection for each request.
    Churn,
    Http2 {
        streams: usize,
        grpc: bool,
    },
    WebSocket,
    Idle(Idle),
}

impl Spec {
    pub fn of(load: Load, proxy: &Proxy, time: Duration, rate: Option<f64>) -> Spec {
        let plain = Spec {
            kind: Kind::Closed,
            address: proxy.http,
            tls: false,
            path: "/small".into(),
            connections: 64,
            millis: time.as_millis() as u64,
            body: 0,
            tokens: None,
            first_token: now_nanos(),
            certificate: scratch().join("bench.crt"),
        };
        let secure = Spec {
            address: proxy.tls,
            tls: true,
            ..plain.clone()
        };
        match load {
            Load::Get {
                path,
                connections,
                tls,
            } => Spec {
                path: path.into(),
                connections,
                ..if tls { secure } else { plain }
            },
            Load::Post { bytes, connections } => Spec {
                body: bytes,
                connections,
                ..plain
            },
            Load::Tokens { of, .. } => Spec {
                tokens: proxy.keys.clone().map(|keys| (of, keys)),
                ..plain
            },
            Load::Http2 { streams } => Spec {
                kind: Kind::Http2 {
                    streams,
                    grpc: false,
                },
                connections: 8,
                ..secure
            },
            Load::Grpc => Spec {
                kind: Kind::Http2 {
                    streams: 10,
                    grpc: true,
                },
                path: "/bench.Echo/Call".into(),
                connections: 8,
                ..secure
            },
            Load::Handshakes => Spec {
                kind: Kind::Churn,
                connections: 16,
                ..secure
            },
            Load::Churn => Spec {
                kind: Kind::Churn,
                connections: 16,
                ..plain
            },
            Load::WebSocket => Spec {
                kind: Kind::WebSocket,
                path: "/ws".into(),
                ..plain
            },
            // To find out what a proxy can do, they are asked in a closed loop.
            Load::Open { .. } => Spec {
                kind: rate.map_or(Kind::Closed, Kind::Open),
                ..plain
            },
            Load::Idle { connections, kind } => Spec {
                kind: Kind::Idle(kind),
                connections,
                ..if kind == Idle::Plain { plain } else { secure }
            },
        }
    }

    /// An HTTP/1.1 request with these fields more.
    fn request(&self, more: &str) -> Vec<u8> {
        let method = if self.body > 0 { "POST" } else { "GET" };
        let mut text = format!(
            "{method} {} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\nAccept: */*\r\n{more}",
            self.path
        );
        if self.body > 0 {
            text += &format!("Content-Length: {}\r\n", self.body);
        }
        let mut request = (text + "\r\n").into_bytes();
        request.resize(request.len() + self.body, b'x');
        request
    }
}

fn now_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos() as u64
}

/// Latencies by the microsecond, up to two seconds.
struct Histogram(Vec<u32>);

impl Histogram {
    fn add(&mut self, time: Duration) {
        let place = (time.as_micros() as usize).min(self.0.len() - 1);
        self.0[place] += 1;
    }

    fn percentile(&self, percent: f64) -> usize {
        let total: u64 = self.0.iter().copied().map(u64::from).sum();
        let mut left = (total as f64 * percent / 100.0).ceil() as u64;
        for (place, count) in self.0.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return place;
            }
        }
        0
    }
}

/// What all connections share.
pub struct Tally {
    latencies: RefCell<Histogram>,
    requests: Cell<u64>,
    errors: Cell<u64>,
    until: Instant,
}

impl Tally {
    fn goes_on(&self) -> bool {
        Instant::now() < self.until
    }

    fn done(&self, since: Instant) {
        self.requests.set(self.requests.get() + 1);
        self.latencies.borrow_mut().add(since.elapsed());
    }

    fn failed(&self) {
        self.errors.set(self.errors.get() + 1);
    }
}

/// Does what is asked.
pub fn run(spec: &Spec) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    let dial = Dial::new(spec);
    if let Kind::Idle(kind) = spec.kind {
        return runtime.block_on(idle::hold(spec, kind, &dial));
    }
    let start = Instant::now();
    let tally = Rc::new(Tally {
        latencies: Histogram(vec![0; 2_000_000]).into(),
        requests: 0.into(),
        errors: 0.into(),
        until: start + Duration::from_millis(spec.millis),
    });
    runtime.block_on(async {
        match spec.kind {
            Kind::Closed => http1::closed(spec, &dial, &tally).await,
            Kind::Open(rate) => http1::open(spec, rate, &dial, &tally).await,
            Kind::Churn => http1::churn(spec, &dial, &tally).await,
            Kind::Http2 { streams, grpc } => http2::load(spec, streams, grpc, &dial, &tally).await,
            Kind::WebSocket => websocket::load(spec, &dial, &tally).await,
            Kind::Idle(_) => {}
        }
    });
    let latencies = tally.latencies.borrow();
    let line = json!({
        "requests": tally.requests.get(),
        "errors": tally.errors.get(),
        "duration_us": start.elapsed().as_micros() as u64,
        "p50": latencies.percentile(50.0),
        "p99": latencies.percentile(99.0),
        "p999": latencies.percentile(99.9),
    });
    println!("{line}");
}

/// A connection of either kind.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// How connections are made: under TLS by 1.3, x25519, and never resumed.
#[derive(Clone)]
pub struct Dial {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Dial {
    fn new(spec: &Spec) -> Dial {
        let http2 = matches!(spec.kind, Kind::Http2 { .. } | Kind::Idle(Idle::Http2));
        Dial {
            address: spec.address,
            tls: spec.tls.then(|| connector(spec, http2)),
        }
    }

    pub async fn connect(&self) -> Option<Box<dyn Stream>> {
        let socket = TcpStream::connect(self.address).await.ok()?;
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Some(Box::new(socket));
        };
        let name = ServerName::try_from(HOST).unwrap();
        Some(Box::new(tls.connect(name, socket).await.ok()?))
    }
}

fn connector(spec: &Spec, http2: bool) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&spec.certificate).unwrap();
    roots.add(certificate).unwrap();
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![if http2 {
        b"h2".to_vec()
    } else {
        b"http/1.1".to_vec()
    }];
    TlsConnector::from(Arc::new(config))
}
