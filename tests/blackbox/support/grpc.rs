//! gRPC with frames by hand: a server with a few methods, and bodies sent piece by piece.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// A body whose frames are sent by hand; it ends when the sender is dropped.
pub struct Fed(mpsc::UnboundedReceiver<Frame<Bytes>>);
/// The writing end of a [`Fed`] body.
pub type Feed = mpsc::UnboundedSender<Frame<Bytes>>;

/// A body and its writing end.
pub fn fed() -> (Feed, Fed) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, Fed(receive))
}

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// A message with its prefix: not compressed, four bytes of length.
pub fn message(payload: &[u8]) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[0][..], &length, payload].concat().into()
}

/// A call, its body still to be sent.
pub fn call(path: &str, body: Fed) -> Request<Fed> {
    Request::builder()
        .method("POST")
        .uri(format!("http://gateway.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

/// A call with one message.
pub fn unary(path: &str, payload: &[u8]) -> Request<Fed> {
    let (feed, body) = fed();
    feed.send(Frame::data(message(payload))).unwrap();
    call(path, body)
}

/// Reads messages off a body as they come.
#[derive(Default)]
pub struct Messages {
    read: Vec<u8>,
    /// The trailers, once they came.
    pub trailers: Option<HeaderMap>,
}

impl Messages {
    /// The next message; `None` at the end.
    pub async fn next(&mut self, body: &mut Incoming) -> Option<Vec<u8>> {
        loop {
            if let Some(head) = self.read.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.read.len() >= 5 + length {
                    let rest = self.read.split_off(5 + length);
                    let whole = std::mem::replace(&mut self.read, rest);
                    return Some(whole[5..].to_vec());
                }
            }
            match body.frame().await?.unwrap().into_data() {
                Ok(data) => self.read.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }

    /// All messages and the trailers.
    pub async fn all(mut self, body: &mut Incoming) -> (Vec<Vec<u8>>, HeaderMap) {
        let mut all = Vec::new();
        while let Some(message) = self.next(body).await {
            all.push(message);
        }
        (all, self.trailers.unwrap_or_default())
    }
}

/// The status of a call with one message, wherever it stands.
pub async fn status(proxy: SocketAddr, path: &str) -> String {
    let mut client = super::h2::connect::<Fed>(proxy).await;
    let answer = client.send_request(unary(path, b"m")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (head, mut body) = answer.into_parts();
    let (_, trailers) = Messages::default().all(&mut body).await;
    let status = head.headers.get("grpc-status");
    let status = status.unwrap_or_else(|| &trailers["grpc-status"]);
    status.to_str().unwrap().to_owned()
}

/// A gRPC server of its own thread: `/test.Echo/Unary` answers each message once it ended,
/// `/test.Echo/Stream` three times, `/test.Echo/Both` at once; `/test.Echo/Fail` answers with
/// trailers alone, `/test.Echo/Fail14` so with that status, `/test.Echo/Late14` behind a message.
pub struct Server {
    address: SocketAddr,
    heads: Heads,
    health: Arc<AtomicU8>,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Server {
    /// Starts it, behind TLS or not.
    pub fn start(tls: Option<Arc<ServerConfig>>) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (told, telling) = std::sync::mpsc::channel();
        let heads = Heads::default();
        let health = Arc::new(AtomicU8::new(UNKNOWN));
        let record = (heads.clone(), health.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    () = accept(listener, tls, record) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            address: telling.recv().unwrap(),
            heads,
            health,
            _stop: stop,
        }
    }

    /// What its service of health checks says from now on: [`SERVING`] or another status of
    /// `grpc.health.v1.HealthCheckResponse`. Before, it echoes the question.
    pub fn says(&self, health: u8) {
        self.health.store(health, Ordering::SeqCst);
    }

    /// The heads that reached it.
    pub fn heads(&self) -> Vec<http::request::Parts> {
        self.heads.lock().unwrap().clone()
    }
}

type Heads = Arc<Mutex<Vec<http::request::Parts>>>;

/// Statuses of health checks.
const UNKNOWN: u8 = 0;
pub const SERVING: u8 = 1;
pub const NOT_SERVING: u8 = 2;

type Record = (Heads, Arc<AtomicU8>);

async fn accept(listener: TcpListener, tls: Option<Arc<ServerConfig>>, record: Record) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, record) = (tls.clone(), record.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        serve(stream, record).await;
                    }
                }
                None => serve(tcp, record).await,
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, record: Record) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (heads, health) = record.clone();
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_owned();
            heads.lock().unwrap().push(parts);
            let health = health.load(Ordering::SeqCst);
            Ok::<_, Infallible>(answer(&path, body, health))
        }
    });
    let io = TokioIo::new(stream);
    let _ = http2::Builder::new(TokioExecutor::new())
        .serve_connection(io, service)
        .await;
}

fn answer(path: &str, mut body: Incoming, health: u8) -> Response<Fed> {
    let (feed, answer) = fed();
    let checked = path == "/grpc.health.v1.Health/Check" && health != UNKNOWN;
    let response = Response::builder().header("content-type", "application/grpc");
    if let Some((_, status)) = path.split_once("/Fail") {
        return response
            .header("grpc-status", if status.is_empty() { "5" } else { status })
            .header("grpc-message", "no such thing")
            .body(answer)
            .unwrap();
    }
    let status = path.split_once("/Late").map_or("0", |(_, status)| status);
    let status = status.parse().unwrap();
    let times = if path.ends_with("/Stream") { 3 } else { 1 };
    tokio::spawn(async move {
        let mut messages = Messages::default();
        while let Some(mut message) = messages.next(&mut body).await {
            if checked {
                // Field 1, a varint.
                message = vec![8, health];
            }
            for _ in 0..times {
                let _ = feed.send(Frame::data(self::message(&message)));
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status);
        trailers.insert("x-note", "at the end".parse().unwrap());
        let _ = feed.send(Frame::trailers(trailers));
    });
    response.body(answer).unwrap()
}
