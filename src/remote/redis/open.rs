//! A new connection: name, socket, TLS, login.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Address, Away, Shared};
use crate::tls::{self, Io, PeerName};

/// How many bytes the server may send for each write of ours. Answers are a hundred; the slots of
/// a large cluster some ten thousand.
const GRANT: usize = 256 * 1024;
/// What answers may wait for at most, so that a server that sends without end is cut.
const MOST: usize = 4 * GRANT;
/// What the error says then.
const TOO_LONG: &str = "the answer does not end";

/// A connection's work, to be run beside its use; it ends with the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connects and logs in. Unbounded in time: the caller bounds it.
pub(super) async fn open(
    shared: &Shared,
    address: &Address,
) -> Result<(MultiplexedConnection, Driver), Away> {
    let failed = |error: &dyn std::fmt::Display| Away::Connect(error.to_string());
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await;
    let socket = socket.map_err(|error| failed(&error))?;
    socket.set_nodelay(true).map_err(|error| failed(&error))?;
    let mut io = Io::Plain(socket);
    if let Some(tls) = &shared.tls {
        let named = shared
            .target
            .tls
            .as_ref()
            .and_then(|tls| tls.server_name.as_deref());
        let name = PeerName::of_host(named.unwrap_or(&address.host));
        let name = name.map_err(|error| failed(&error))?;
        let secure = tls::connect(io, tls, &name).await;
        io = secure.map_err(|error| failed(&error))?;
    }
    let io = Capped { io, left: GRANT };
    // Time-outs are the caller's.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    match MultiplexedConnection::new_with_config(&shared.login, io, config).await {
        Ok((connection, driver)) => Ok((connection, Box::pin(driver))),
        Err(error) => Err(match why(&error) {
            Away::Closed(text) => Away::Connect(text),
            other => other,
        }),
    }
}

/// What an error of the library means.
pub(super) fn why(error: &redis::RedisError) -> Away {
    use redis::ErrorKind::{Io, Parse, UnexpectedReturnType};
    let text = error.to_string();
    match error.kind() {
        Io if text.contains(TOO_LONG) => Away::Garbage(TOO_LONG.to_owned()),
        Io => Away::Closed(text),
        Parse | UnexpectedReturnType => Away::Garbage(short(text)),
        _ => Away::Refused(short(text)),
    }
}

/// The begin of a text that somebody else wrote.
fn short(mut text: String) -> String {
    const ENOUGH: usize = 200;
    if let Some((end, _)) = text.char_indices().nth(ENOUGH) {
        text.truncate(end);
    }
    text
}

/// A connection that reads so many bytes only for each write.
struct Capped {
    io: Io,
    left: usize,
}

impl AsyncRead for Capped {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, TOO_LONG)));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        let read_len = buf.filled().len() - before;
        this.left = this.left.saturating_sub(read_len);
        read
    }
}

impl AsyncWrite for Capped {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.left = (this.left + GRANT).min(MOST);
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
