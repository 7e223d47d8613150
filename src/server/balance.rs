//! Handing connections to the worker that has the fewest: the second way to accept, for few clients
//! with long connections.
//!
//! Where every worker accepts for itself, the kernel spreads connections by a hash, and of four
//! one worker may get three. Here one worker accepts for all. Each connection costs a wake-up of
//! another thread more, which only long ones are worth.
//!
//! Invariants: what was accepted reaches a worker, also while the gateway drains; a worker's load
//! is the number of its connections that are open or on their way to it, over all addresses.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use crate::server::limit::ConnPlace;
use crate::server::listener::Accepted;

/// The loads of all workers. Clones are the same.
#[derive(Clone, Debug)]
pub struct Loads(Arc<[AtomicUsize]>);

impl Loads {
    /// So many workers without connections.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// The worker with the lowest load, which has one connection more from now on. Among equals it
    /// is the first one behind `last`, so that short connections go round.
    fn take(&self, last: usize) -> (usize, Load) {
        let count = self.0.len();
        let behind = (1..=count).map(|step| (last + step) % count);
        let load = |worker: &usize| self.0[*worker].load(Ordering::Relaxed);
        let worker = behind.min_by_key(load).unwrap_or(0);
        self.0[worker].fetch_add(1, Ordering::Relaxed);
        let load = Load {
            loads: self.clone(),
            worker,
        };
        (worker, load)
    }
}

/// One connection of a worker, counted until it is dropped.
#[derive(Debug)]
pub struct Load {
    loads: Loads,
    worker: usize,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.loads.0[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection on its way to its worker.
#[derive(Debug)]
struct Handed {
    socket: StdStream,
    peer: SocketAddr,
    place: ConnPlace,
    load: Load,
}

/// Where the worker that accepts puts connections. Closed by dropping it.
#[derive(Debug)]
pub struct Outlet {
    loads: Loads,
    inboxes: Vec<UnboundedSender<Handed>>,
    last: usize,
}

/// Where a worker finds those that are meant for it. The limit of connections bounds it.
#[derive(Debug)]
pub struct Inbox(UnboundedReceiver<Handed>);

/// The ways from one listening socket to every worker.
pub fn ways(loads: &Loads) -> (Outlet, Vec<Inbox>) {
    let (inboxes, receivers) = loads.0.iter().map(|_| unbounded_channel()).unzip();
    let receivers: Vec<UnboundedReceiver<Handed>> = receivers;
    let outlet = Outlet {
        loads: loads.clone(),
        inboxes,
        // The first connection goes to the first worker.
        last: loads.0.len().saturating_sub(1),
    };
    (outlet, receivers.into_iter().map(Inbox).collect())
}

impl Outlet {
    /// Sends a connection to the worker with the lowest load.
    pub fn hand(&mut self, accepted: Accepted) {
        let Accepted {
            socket,
            peer,
            place,
            ..
        } = accepted;
        let socket = match socket.into_std() {
            Ok(socket) => socket,
            Err(reason) => return warn!(%peer, "a connection is lost: {reason}"),
        };
        let (worker, load) = self.loads.take(self.last);
        self.last = worker;
        let handed = Handed {
            socket,
            peer,
            place,
            load,
        };
        // A worker ends before its inbox only when all is over.
        let _ = self.inboxes[worker].send(handed);
    }
}

impl Inbox {
    /// Gives connections to `each` until the other end is closed and nothing is under way.
    pub async fn run(mut self, mut each: impl FnMut(Accepted)) {
        while let Some(handed) = self.0.recv().await {
            let Handed {
                socket,
                peer,
                place,
                load,
            } = handed;
            match TcpStream::from_std(socket) {
                Ok(socket) => each(Accepted {
                    socket,
                    peer,
                    place,
                    load: Some(load),
                }),
                Err(reason) => warn!(%peer, "a connection is lost: {reason}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::limit::ConnLimit;

    #[test]
    fn the_lowest_load_is_taken_and_equals_in_turn() {
        let loads = Loads::new(3);
        let mut last = 2;
        let mut held: Vec<(usize, Load)> = Vec::new();
        for expected in [0, 1, 2, 0, 1, 2] {
            let (worker, load) = loads.take(last);
            assert_eq!(worker, expected);
            last = worker;
            held.push((worker, load));
        }
        held.retain(|(worker, _)| *worker != 1);
        for expected in [1, 1, 2] {
            let (worker, load) = loads.take(last);
            assert_eq!(worker, expected);
            last = worker;
            held.push((worker, load));
        }
        drop(held);
        assert!(loads.0.iter().all(|load| load.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test]
    async fn what_is_under_way_arrives_after_the_outlet_has_closed() {
        let loads = Loads::new(2);
        let (mut outlet, inboxes) = ways(&loads);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(TcpStream::connect(address).await.unwrap());
            let (socket, peer) = listener.accept().await.unwrap();
            outlet.hand(Accepted {
                socket,
                peer,
                place: ConnLimit::new(9).try_take().unwrap(),
                load: None,
            });
        }
        drop(outlet);
        for inbox in inboxes {
            let mut arrived = Vec::new();
            inbox.run(|accepted| arrived.push(accepted)).await;
            assert_eq!(arrived.len(), 2);
        }
        assert!(loads.0.iter().all(|load| load.load(Ordering::Relaxed) == 0));
    }
}
