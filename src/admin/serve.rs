//! The listening side: HTTP/1.1 with keep-alive, bounded in connections and time.
//!
//! Invariant: a client that sends slowly, reads slowly or not at all holds one of
//! [`CONNECTIONS`] places, and no longer than [`LIFE`] and [`GRACE`] together.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use crate::telemetry::log::{Pace, log_once_per};

/// Most connections of one listener; further ones wait in the kernel's queue.
pub const CONNECTIONS: usize = 128;
/// Time for a request's head, and for the next request on an open connection.
const HEAD: Duration = Duration::from_secs(10);
/// How long a connection may take new requests.
const LIFE: Duration = Duration::from_secs(300);
/// How long the last request may then take.
const GRACE: Duration = Duration::from_secs(60);
/// How long a last request may take when the listener ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The address that a client connected to: an extension of each request.
#[derive(Clone, Copy, Debug)]
pub struct Local(pub SocketAddr);

/// A connection after the handshake.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Does the TLS handshake of a connection; its time is bounded by the caller.
pub type Secure = Arc<dyn Fn(TcpStream) -> Handshake + Send + Sync>;

/// A handshake under way.
pub type Handshake = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Serves until `end` resolves; then open requests get a second. Dropping it closes everything.
pub async fn serve(
    listener: TcpListener,
    secure: Option<Secure>,
    routes: Router,
    end: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (ending, _) = watch::channel(());
    let mut tasks = tokio::task::JoinSet::new();
    let mut end = pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = &mut end => break,
        };
        let Some((socket, place)) = accepted else {
            continue;
        };
        while tasks.try_join_next().is_some() {}
        let (secure, routes) = (secure.clone(), routes.clone());
        let ending = ending.subscribe();
        tasks.spawn(async move {
            if let Some((stream, local)) = open(socket, secure).await {
                connection(stream, local, routes, ending).await;
            }
            drop(place);
        });
    }
    drop(listener);
    ending.send_replace(());
    let all = async { while tasks.join_next().await.is_some() {} };
    // Whoever is not done by then is dropped with the set.
    let _ = timeout(FAREWELL, all).await;
}

/// The next connection with its place; `None` after a failure that was waited out.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    static COMPLAINT: Pace = log_once_per(Duration::from_secs(60));
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((socket, _)) => Some((socket, place)),
        Err(error) => {
            if let Some(hidden) = COMPLAINT.ready() {
                tracing::warn!(%error, hidden, "the admin listener cannot accept at present");
            }
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn open(socket: TcpStream, secure: Option<Secure>) -> Option<(Box<dyn Stream>, SocketAddr)> {
    let local = socket.local_addr().ok()?;
    // Answers are written whole: waiting for more to send gains nothing.
    let _ = socket.set_nodelay(true);
    let stream = match secure {
        Some(secure) => timeout(HEAD, secure(socket)).await.ok()?.ok()?,
        None => Box::new(socket),
    };
    Some((stream, local))
}

/// Serves one connection until it closes, its time is over or the listener ends.
async fn connection(
    stream: Box<dyn Stream>,
    local: SocketAddr,
    routes: Router,
    mut ending: watch::Receiver<()>,
) {
    let service = routes.map_request(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Local(local));
        request
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = pin!(serving);
    let patience = tokio::select! {
        _ = serving.as_mut() => return,
        _ = sleep(LIFE) => GRACE,
        _ = ending.changed() => FAREWELL,
    };
    serving.as_mut().graceful_shutdown();
    // Whatever it was that went wrong concerned one admin client.
    let _ = timeout(patience, serving).await;
}
