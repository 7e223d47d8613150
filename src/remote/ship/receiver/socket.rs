//! Log records as lines on a TCP connection, or as UDP datagrams.
//!
//! Invariant: a connection on which anything went wrong, the time-out included, is not used again.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Failure, TcpDestination, TcpTls, UdpDestination, identity};
use crate::tls::client::Alpn;
use crate::tls::{self, ClientTls, Io, PeerName, TlsClients};
use crate::util::clock;

/// A TCP server and the connection to it.
pub(super) struct Tcp {
    pub(super) to: TcpDestination,
    tls: Option<(ClientTls, PeerName)>,
    /// Open, and when it was used last.
    kept: Mutex<Option<(Io, Instant)>>,
}

impl Tcp {
    pub(super) fn new(to: TcpDestination, clients: &TlsClients) -> Result<Tcp, String> {
        let tls = match &to.tls {
            Some(TcpTls { name, verify }) => {
                let name = PeerName::of_host(name).map_err(|error| error.to_string())?;
                Some((clients.get(identity(*verify, Alpn::None)), name))
            }
            None => None,
        };
        Ok(Tcp {
            to,
            tls,
            kept: Mutex::default(),
        })
    }

    /// One attempt, unbounded in time.
    pub(super) async fn deliver(&self, records: &[Vec<u8>]) -> Result<(), Failure> {
        let mut kept = self.kept.lock().await;
        // Taken out: a connection that fails, or is cut short by the time-out, is not used again.
        let mut io = match kept.take() {
            Some((io, used)) => match self.reusable(io, used).await {
                Some(io) => io,
                None => self.open().await?,
            },
            None => self.open().await?,
        };
        let mut text = Vec::with_capacity(records.iter().map(|record| record.len() + 1).sum());
        for record in records {
            text.extend_from_slice(record);
            text.push(b'\n');
        }
        io.write_all(&text).await?;
        io.flush().await?;
        if self.to.keepalive.is_zero() {
            // The records are out; how the connection ends is of no account.
            let _ = io.shutdown().await;
        } else {
            *kept = Some((io, clock::now()));
        }
        Ok(())
    }

    /// The connection, unless it is too old or the server has closed it: what is written to a
    /// closed one is lost without an error.
    async fn reusable(&self, mut io: Io, used: Instant) -> Option<Io> {
        let fresh = clock::now().saturating_duration_since(used) < self.to.keepalive;
        let dead = poll_fn(|cx| Poll::Ready(io.is_dead(cx))).await;
        (fresh && !dead).then_some(io)
    }

    async fn open(&self) -> Result<Io, Failure> {
        let socket = TcpStream::connect((self.to.host.as_str(), self.to.port)).await?;
        socket.set_nodelay(true)?;
        let io = Io::from(socket);
        match &self.tls {
            None => Ok(io),
            Some((tls, name)) => {
                let done = tls::connect(io, tls, name).await;
                done.map_err(|error| Failure::Tls(error.to_string()))
            }
        }
    }
}

/// The largest payload of a UDP datagram over IPv4.
const DATAGRAM: usize = 65_507;
/// For so long a name that was resolved is not looked up again.
const RESOLVED: Duration = Duration::from_secs(10);

/// A UDP server and the socket for it.
pub(super) struct Udp {
    pub(super) to: UdpDestination,
    kept: Mutex<Option<(UdpSocket, SocketAddr, Instant)>>,
}

impl Udp {
    /// Nothing is resolved yet.
    pub(super) fn new(to: UdpDestination) -> Udp {
        Udp {
            to,
            kept: Mutex::default(),
        }
    }

    /// A datagram a record. Whether any arrives, nobody will know.
    pub(super) async fn deliver(&self, records: &[Vec<u8>]) -> Result<(), Failure> {
        let large = records.iter().map(Vec::len).find(|len| *len > DATAGRAM);
        if let Some(len) = large {
            return Err(Failure::TooLarge(len));
        }
        let mut kept = self.kept.lock().await;
        let (socket, address, since) = match kept.take() {
            Some(held) if clock::now().saturating_duration_since(held.2) < RESOLVED => held,
            _ => self.open().await?,
        };
        for record in records {
            socket.send_to(record, address).await?;
        }
        *kept = Some((socket, address, since));
        Ok(())
    }

    async fn open(&self) -> Result<(UdpSocket, SocketAddr, Instant), Failure> {
        let mut found = lookup_host((self.to.host.as_str(), self.to.port)).await?;
        let address = found.next();
        let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
        let any: IpAddr = match address.is_ipv4() {
            true => Ipv4Addr::UNSPECIFIED.into(),
            false => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Not connected: that nobody took the last datagram is no error of the next.
        let socket = UdpSocket::bind((any, 0)).await?;
        Ok((socket, address, clock::now()))
    }
}
