//! Opening listening sockets: one per worker, all on one address.
//!
//! Invariant: the sockets of one address share it by `SO_REUSEPORT`, but not with another process:
//! the first is bound without that option, so a taken port is `EADDRINUSE` here and not a port
//! that two gateways share unawares.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use thiserror::Error;

/// The kernel cuts this to `net.core.somaxconn`.
pub const DEFAULT_BACKLOG: u32 = 4096;

/// An address could not be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// The address as asked for.
    pub address: SocketAddr,
    /// Why.
    pub error: io::Error,
}

/// Listening sockets on one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the real port where 0 was asked for.
    pub address: SocketAddr,
    /// One per worker, non-blocking.
    pub sockets: Vec<TcpListener>,
}

/// Listens on `address` with one socket per worker (at least one). `[::]` is IPv6 only: name
/// `0.0.0.0` too for both, as in nginx.
pub fn bind(address: SocketAddr, backlog: u32, workers: usize) -> Result<Bound, BindError> {
    sockets(address, backlog, workers).map_err(|error| BindError { address, error })
}

fn sockets(address: SocketAddr, backlog: u32, workers: usize) -> io::Result<Bound> {
    let first = open(address)?;
    first.bind(&address.into())?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let opened: Vec<Socket> = match join(&first, address, workers) {
        Ok(others) => std::iter::once(first).chain(others).collect(),
        // Some kernels (gVisor's) look at the option as it was when the first was bound. The port
        // is ours, so it can be let go for a moment.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            drop(first);
            (0..workers)
                .map(|_| sharing(address))
                .collect::<io::Result<Vec<_>>>()?
        }
        Err(error) => return Err(error),
    };
    // Only now, so that no connection waits at the first while the others are being made.
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    opened
        .iter()
        .try_for_each(|socket| socket.listen(backlog))?;
    let sockets = opened.into_iter().map(TcpListener::from).collect();
    Ok(Bound { address, sockets })
}

/// Makes sockets that another process listened with enough for so many workers, and as they would
/// be if they were opened here, but for the length of their queues: [`queue`].
pub fn complete(
    mut sockets: Vec<TcpListener>,
    asked: SocketAddr,
    workers: usize,
) -> Result<Bound, BindError> {
    let mut fill = || {
        let none = || io::Error::other("no socket was handed over");
        let address = sockets.first().ok_or_else(none)?.local_addr()?;
        while sockets.len() < workers {
            // Not one of its own: what the kernel puts into its queue before this process serves
            // would be lost if it never does.
            sockets.push(sockets[0].try_clone()?);
        }
        for socket in sockets.iter().map(SockRef::from) {
            prepare(&socket)?;
        }
        Ok(address)
    };
    match fill() {
        Ok(address) => Ok(Bound { address, sockets }),
        Err(error) => Err(BindError {
            address: asked,
            error,
        }),
    }
}

/// Sets how many connections may wait at a socket that listens already.
pub fn queue(socket: &TcpListener, backlog: u32) -> io::Result<()> {
    SockRef::from(socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Opens the address of a bound socket to others of this process, and makes these.
fn join(first: &Socket, address: SocketAddr, workers: usize) -> io::Result<Vec<Socket>> {
    first.set_reuse_port(true)?;
    (1..workers).map(|_| sharing(address)).collect()
}

/// A socket bound to an address that others may share.
fn sharing(address: SocketAddr) -> io::Result<Socket> {
    let socket = open(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket with everything that accepted connections inherit from it, so that accepting one
/// takes no system call more: no delay, and a probe of silent peers after a minute.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A port whose last owner has just closed connections can be bound again at once.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    prepare(&socket)?;
    Ok(socket)
}

fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let probe = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    socket.set_tcp_keepalive(&probe)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn loopback() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn all_workers_share_the_real_port() {
        let bound = bind(loopback(), DEFAULT_BACKLOG, 4).unwrap();
        assert_ne!(bound.address.port(), 0);
        assert_eq!(bound.sockets.len(), 4);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.address);
        }
        // The kernel spreads by a hash of the addresses: of many, each socket gets some.
        let opened: Vec<_> = (0..200)
            .map(|_| TcpStream::connect(bound.address).unwrap())
            .collect();
        let waiting = |socket: &TcpListener| (0..).take_while(|_| socket.accept().is_ok()).count();
        let spread: Vec<_> = bound.sockets.iter().map(waiting).collect();
        assert_eq!(spread.iter().sum::<usize>(), opened.len());
        assert!(spread.iter().all(|got| *got > 0), "{spread:?}");
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        for workers in [1, 2] {
            let bound = bind(loopback(), DEFAULT_BACKLOG, workers).unwrap();
            let error = bind(bound.address, DEFAULT_BACKLOG, 2).unwrap_err();
            assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("cannot listen on {}: ", bound.address))
            );
            drop(bound.sockets);
            assert!(bind(bound.address, DEFAULT_BACKLOG, 2).is_ok());
        }
    }

    #[test]
    fn accepted_connections_inherit_their_options() {
        let bound = bind(loopback(), 16, 1).unwrap();
        let _client = TcpStream::connect(bound.address).unwrap();
        let (accepted, _) = bound.sockets[0].accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert!(socket2::SockRef::from(&accepted).keepalive().unwrap());
    }

    #[test]
    fn both_families_can_have_one_port() {
        let Ok(v6) = bind("[::]:0".parse().unwrap(), 16, 2) else {
            return;
        };
        let v4 = SocketAddr::from(([0, 0, 0, 0], v6.address.port()));
        assert!(bind(v4, 16, 2).is_ok());
    }
}
