//! From an accepted socket to a driver: PROXY protocol, TLS, the protocol spoken.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tracing::debug;

use super::listener::Accepted;
use super::per_address::{AddressPlace, PerAddress};
use super::proxy_protocol::{self, ProxyHeader};
use crate::gateway::Worker;
use crate::gateway::drive_http1::{self, Ended};
use crate::gateway::drive_http2;
use crate::message::{ConnInfo, TlsInfo};
use crate::tls::{self, HandshakeError, Io, ServerTls};

/// Where a connection came in.
#[derive(Clone)]
pub struct Entrance {
    /// The address listened on.
    pub address: SocketAddr,
    /// TLS, where it is spoken.
    pub tls: Option<ServerTls>,
    /// Connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// How many connections a client may have.
    pub per_address: Option<PerAddress>,
}

/// How many connections were taken.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// Serves one client connection to its end. The drain counts it from the moment of the call, not
/// only from the first poll.
pub fn serve(
    accepted: Accepted,
    entrance: Rc<Entrance>,
    worker: Rc<Worker>,
) -> impl Future<Output = ()> {
    let token = worker.drain.token();
    let Accepted {
        socket,
        peer,
        place,
        load,
    } = accepted;
    let held = (place, load, token);
    worker.metrics.accepted.inc();
    worker.metrics.active.inc();
    let local = socket.local_addr().unwrap_or(entrance.address);
    let conn = ConnInfo {
        number: CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1,
        peer,
        local,
        trusted: worker.policy.trusted.contains(peer.ip()),
        listen_port: local.port(),
        tls: None,
    };
    let io = Io::Plain(socket);
    // One block, for an asynchronous function has room twice for what it is handed: this is what a
    // sleeping connection consists of.
    async move {
        let opened = match entrance.is_plain() {
            true => Some((io, conn, None)),
            // Boxed: only a moment of the connection needs what stands in there.
            false => Box::pin(open(io, conn, &entrance, &worker)).await,
        };
        // Under TLS the protocol is told by ALPN, in clear text by what the client says first.
        let mut _place = None;
        let opened = opened.map(|(io, conn, place)| {
            _place = place;
            (io, conn)
        });
        let http2 = match opened {
            None => None,
            Some((io, conn)) if io.alpn() == Some(b"h2") => Some((io, conn, Vec::new())),
            Some((io, conn)) => match drive_http1::serve(io, conn, Rc::clone(&worker)).await {
                Ended::Closed => {
                    worker.metrics.handled.inc();
                    None
                }
                Ended::Http2(parts) => Some(*parts),
            },
        };
        if let Some((io, conn, read)) = http2 {
            drive_http2::serve(io, read, conn, Rc::clone(&worker)).await;
            worker.metrics.handled.inc();
        }
        worker.metrics.active.dec();
        drop(held);
    }
}

impl Entrance {
    /// Nothing stands before HTTP.
    fn is_plain(&self) -> bool {
        !self.proxy_protocol && self.tls.is_none() && self.per_address.is_none()
    }

    /// A place among the connections of the client, where these are limited. `Err` when there is none:
    /// the connection is closed without a word, for whoever opens too many does not listen. A
    /// balancer in front that names no client is not one client.
    fn place(&self, conn: &ConnInfo, came: SocketAddr) -> Result<Option<AddressPlace>, ()> {
        let is_named = conn.peer != came;
        match &self.per_address {
            Some(limit) if is_named || !conn.trusted => {
                limit.take(conn.peer.ip()).map(Some).ok_or(())
            }
            _ => Ok(None),
        }
    }
}

/// What stands before HTTP. `None` when it failed: the connection is closed.
async fn open(
    mut io: Io,
    mut conn: ConnInfo,
    entrance: &Entrance,
    worker: &Worker,
) -> Option<(Io, ConnInfo, Option<AddressPlace>)> {
    let came = conn.peer;
    if entrance.proxy_protocol {
        read_proxy_header(&mut io, &mut conn, worker).await?;
    }
    let Ok(place) = entrance.place(&conn, came) else {
        worker.metrics.over_address_limit.inc();
        debug!(peer = %conn.peer, "closed: max_connections_per_ip");
        return None;
    };
    let Some(settings) = &entrance.tls else {
        return Some((io, conn, place));
    };
    let slot = worker.sweep.slot();
    let shaken = slot
        .within(worker.policy.header_timeout, tls::accept(io, settings))
        .await;
    match shaken {
        Some(Ok(io)) => {
            worker.metrics.tls_ok.inc();
            conn.tls = Some(Box::new(tls_info(&io)));
            Some((io, conn, place))
        }
        Some(Err(HandshakeError::ClearText(io))) => {
            worker.metrics.tls_failed.inc();
            refuse_clear_text(io).await;
            None
        }
        Some(Err(reason)) => {
            worker.metrics.tls_failed.inc();
            debug!(peer = %conn.peer, "{reason}");
            None
        }
        None => {
            worker.metrics.tls_failed.inc();
            None
        }
    }
}

/// Takes the client's address from the header. Only a trusted peer may name one; with an empty
/// `trusted_ips` the listener itself is the statement of trust.
async fn read_proxy_header(io: &mut Io, conn: &mut ConnInfo, worker: &Worker) -> Option<()> {
    if !conn.trusted && !worker.policy.trusted.is_empty() {
        debug!(peer = %conn.peer, "PROXY protocol from a peer that is not in trusted_ips");
        return None;
    }
    match proxy_protocol::read(io, worker.policy.header_timeout).await {
        Ok(ProxyHeader::Tcp {
            source,
            destination,
        }) => {
            conn.peer = source;
            conn.local = destination;
            Some(())
        }
        Ok(ProxyHeader::Unknown | ProxyHeader::Unix) => Some(()),
        Err(reason) => {
            debug!(peer = %conn.peer, "{reason}");
            None
        }
    }
}

fn tls_info(io: &Io) -> TlsInfo {
    let session = io.tls_info();
    TlsInfo {
        sni: io.sni().map(str::to_owned),
        version: session.map_or("", |session| session.version),
        cipher: session.map_or("", |session| session.cipher),
    }
}

/// HTTP in clear text was sent to a TLS port: the sender is told so in clear text.
async fn refuse_clear_text(mut io: Io) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; \
        charset=utf-8\r\nContent-Length: 62\r\nConnection: close\r\n\r\n\
        {\"message\":\"The plain HTTP request was sent to an HTTPS port\"}";
    // The answer is a courtesy: whether it arrives is the sender's concern.
    let _ = io.write_all(ANSWER).await;
    let _ = io.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function with these parameters returns.
    fn size<F>(_: fn(Accepted, Rc<Entrance>, Rc<Worker>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_sleeping_connection_is_small() {
        let size = size(serve);
        assert!(size <= 768, "{size} bytes");
    }
}
