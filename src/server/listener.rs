//! Accepting connections on one worker: its own, or in [`super::balance`] those of all.
//!
//! Invariant: no error makes the loop spin or end: what concerns one connection is skipped, what
//! concerns the process (descriptors, memory) is waited out and logged once in a while. When the
//! gateway drains, the connections that already wait are taken first, then the socket is closed.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tracing::warn;

use crate::server::balance::Load;
use crate::server::limit::{ConnLimit, ConnPlace};
use crate::util::clock;
use crate::util::drain::Drain;

/// A client connection as it comes out of the kernel's queue.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, non-blocking and registered with this worker.
    pub socket: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// To be kept as long as the connection is open.
    pub place: ConnPlace,
    /// That too, where connections are handed to the worker that has the fewest.
    pub load: Option<Load>,
}

/// One worker's listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: AsyncFd<StdListener>,
    address: SocketAddr,
    limit: ConnLimit,
    complained: Seldom,
}

impl Listener {
    /// Takes over a listening socket, which must be non-blocking. To be called on the worker.
    pub fn new(socket: StdListener, limit: ConnLimit) -> io::Result<Self> {
        let address = socket.local_addr()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for descriptors that may change; a listener's does not"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self {
            socket,
            address,
            limit,
            complained: Seldom::default(),
        })
    }

    /// The address listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands connections to `each` until the gateway drains, then those that already wait, and
    /// closes the socket. Dropping the future closes it at once.
    pub async fn run(mut self, drain: &Drain, mut each: impl FnMut(Accepted)) {
        let mut watch = drain.watch();
        while drain.accepts() {
            tokio::select! {
                accepted = self.accept() => each(accepted),
                () = watch.not_accepting() => break,
            }
        }
        // What waits is the other process's, where there is one.
        while !drain.is_handed()
            && let Some(accepted) = self.waiting()
        {
            each(accepted);
        }
    }

    /// The next connection. Waits for it before it takes a place, so that an idle listener does
    /// not hold one. Dropping the future loses no connection.
    pub async fn accept(&mut self) -> Accepted {
        let mut patience = Patience::default();
        loop {
            match self.try_accept().await {
                Ok(accepted) => return accepted,
                Err(error) if concerns_one_connection(error) => {}
                Err(error) => {
                    if self.complained.is_due() {
                        let (address, reason) = (self.address, io::Error::from(error));
                        warn!(%address, "cannot accept connections at present: {reason}");
                    }
                    sleep(patience.next()).await;
                }
            }
        }
    }

    async fn try_accept(&mut self) -> Result<Accepted, Errno> {
        let mut ready = self.socket.readable().await.map_err(errno)?;
        let place = match self.limit.try_take() {
            Some(place) => place,
            None => {
                if self.complained.is_due() {
                    let (address, most) = (self.address, self.limit.most());
                    warn!(%address, "{most} connections are open (max_connections): new ones wait");
                }
                self.limit.take().await
            }
        };
        let accepted = accept(self.socket.get_ref());
        if let Err(Errno::WOULDBLOCK) = accepted {
            ready.clear_ready();
        }
        let (socket, peer) = accepted?;
        Ok(Accepted {
            socket: register(socket)?,
            peer,
            place,
            load: None,
        })
    }

    /// A connection that already waits in the kernel's queue, limit or not.
    fn waiting(&self) -> Option<Accepted> {
        loop {
            let (socket, peer) = match accept(self.socket.get_ref()) {
                Ok(accepted) => accepted,
                Err(Errno::WOULDBLOCK) => return None,
                Err(error) if concerns_one_connection(error) => continue,
                Err(_) => return None,
            };
            let socket = register(socket).ok()?;
            return Some(Accepted {
                socket,
                peer,
                place: self.limit.take_over(),
                load: None,
            });
        }
    }
}

/// One system call: the address comes with it, and the socket is already non-blocking. Nodelay
/// and keep-alive are inherited from the listening socket.
fn accept(socket: &StdListener) -> Result<(StdStream, SocketAddr), Errno> {
    let (accepted, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.ok_or(Errno::CONNABORTED)?;
    let peer = SocketAddr::try_from(peer).map_err(|_| Errno::CONNABORTED)?;
    Ok((accepted.into(), canonical(peer)))
}

/// IPv4 peers of a socket for both families look like IPv4 peers.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn register(socket: StdStream) -> Result<TcpStream, Errno> {
    TcpStream::from_std(socket).map_err(errno)
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Errors that say something about one connection, which is gone then, or nothing at all
/// (accept(2): Linux reports the network errors of the new connection here).
fn concerns_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::WOULDBLOCK
            | Errno::INTR
            | Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::TIMEDOUT
    )
}

/// Growing pauses between attempts: 10 ms to 1 s.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_millis(10) * (1 << self.0.min(7));
        self.0 += 1;
        pause.min(Duration::from_secs(1))
    }
}

/// Lets one complaint through every ten seconds.
#[derive(Debug, Default)]
struct Seldom(Option<Instant>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let now = clock::now();
        let due = self
            .0
            .is_none_or(|last| now - last >= Duration::from_secs(10));
        if due {
            self.0 = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests;
