//! How many client connections are open at most.
//!
//! Invariant: the number never passes the limit, except by connections that were already waiting
//! when the gateway began to drain. At the limit nothing is accepted; the kernel's queue holds
//! what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

/// The limit of the process over all workers. Clones are the same limit.
#[derive(Clone, Debug)]
pub struct ConnLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    open: AtomicUsize,
    freed: Notify,
}

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub struct ConnPlace(Arc<Shared>);

impl ConnLimit {
    /// A limit of `most` connections, at least one.
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self(Arc::new(Shared {
            most,
            open: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// The limit.
    pub fn most(&self) -> usize {
        self.0.most
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// A place, if one is free.
    pub fn try_take(&self) -> Option<ConnPlace> {
        let free = |open| (open < self.0.most).then_some(open + 1);
        let taken = self
            .0
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
        taken.is_ok().then(|| ConnPlace(Arc::clone(&self.0)))
    }

    /// Waits for a place. Dropping the future gives up waiting.
    pub async fn take(&self) -> ConnPlace {
        loop {
            // Listening starts before the look, so that a place freed in between is not missed.
            let mut freed = std::pin::pin!(self.0.freed.notified());
            freed.as_mut().enable();
            if let Some(place) = self.try_take() {
                return place;
            }
            freed.await;
        }
    }

    /// A place over the limit if it has to be.
    pub fn take_over(&self) -> ConnPlace {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        ConnPlace(Arc::clone(&self.0))
    }
}

impl Drop for ConnPlace {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == self.0.most {
            self.0.freed.notify_waiters();
        }
    }
}

/// Descriptors that are not connections: logs, listeners, epoll, Consul, DNS.
const RESERVED: u64 = 64;
/// Beyond this the memory ends before the descriptors do.
const ENOUGH: u64 = 1 << 20;

/// The limit that fits the process's descriptors, each client connection needing one more towards
/// its upstream. Raises the soft limit of descriptors to the hard one first.
pub fn default_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let granted = if setrlimit(Resource::Nofile, raised).is_ok() {
        raised
    } else {
        limit
    };
    fitting(granted.current)
}

fn fitting(descriptors: Option<u64>) -> usize {
    let pairs = descriptors.unwrap_or(u64::MAX).saturating_sub(RESERVED) / 2;
    usize::try_from(pairs.clamp(1, ENOUGH)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_place_is_waited_for_and_given_back() {
        let limit = ConnLimit::new(2);
        let (one, two) = (limit.try_take().unwrap(), limit.take().await);
        assert!(limit.try_take().is_none());
        let mut waits = waiting(limit.clone());
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(one);
        let _three = (&mut waits).await.unwrap();
        assert_eq!((limit.open(), limit.most()), (2, 2));
        drop(two);
        assert_eq!(limit.open(), 1);
    }

    fn waiting(limit: ConnLimit) -> tokio::task::JoinHandle<ConnPlace> {
        tokio::spawn(async move { limit.take().await })
    }

    #[tokio::test]
    async fn places_over_the_limit_come_back_first() {
        let limit = ConnLimit::new(0);
        assert_eq!(limit.most(), 1);
        let (one, over) = (limit.take_over(), limit.take_over());
        assert_eq!(limit.open(), 2);
        drop(one);
        assert!(limit.try_take().is_none());
        drop(over);
        assert!(limit.try_take().is_some());
    }

    #[test]
    fn the_default_leaves_descriptors_for_upstreams() {
        assert_eq!(fitting(Some(1024)), 480);
        assert_eq!(fitting(Some(10)), 1);
        assert_eq!(fitting(None), 1 << 20);
        assert!(default_limit() >= 1);
    }
}
