//! What the tests of endurance have in common.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Whether they run in full length, for figures.
pub fn is_full() -> bool {
    std::env::var("SLUICEGATE_SOAK").is_ok_and(|value| value == "full")
}

/// How long things took.
#[derive(Clone, Debug, Default)]
pub struct Quantiles(Vec<Duration>);

impl Quantiles {
    /// One more.
    pub fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// Those of another.
    pub fn add(&mut self, other: &Quantiles) {
        self.0.extend(&other.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// So many of a thousand took no longer.
    pub fn at(&self, permille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted
            .get(last * permille / 1000)
            .copied()
            .unwrap_or_default()
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, nearly, all] = [500, 990, 999, 1000].map(|permille| self.at(permille));
        write!(
            f,
            "p50 {half:?}, p99 {most:?}, p99.9 {nearly:?}, longest {all:?}"
        )
    }
}

/// An upstream for a great many requests without bodies: says `ok`, and keeps no record.
pub struct Tireless {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl fmt::Display for Tireless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Tireless {
    /// Starts it, on a thread of its own.
    pub fn start() -> Tireless {
        let (stop, stopped) = oneshot::channel();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                let listener = TcpListener::from_std(socket).unwrap();
                let accepting = async {
                    while let Ok((tcp, _)) = listener.accept().await {
                        tokio::spawn(say_ok(tcp));
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    _ = stopped => {}
                }
            });
        });
        Tireless {
            address,
            _stop: stop,
        }
    }
}

/// A runtime for one thread.
pub fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn say_ok(mut tcp: TcpStream) {
    tcp.set_nodelay(true).unwrap();
    let mut read = Vec::new();
    while let Ok(1..) = tcp.read_buf(&mut read).await {
        let end = b"\r\n\r\n";
        while let Some(at) = read.windows(end.len()).position(|part| part == end) {
            read.drain(..at + end.len());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if tcp.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}
