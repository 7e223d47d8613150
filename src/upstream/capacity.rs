//! How much an upstream may have under way at once (what Envoy calls circuit breaking).
//!
//! Invariant: the counters are the whole process's and outlive a reload, the limits belong to a
//! configuration. Whatever is taken is given back when it is dropped.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::cluster::Cluster;

/// What the file allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// Connections, busy and idle.
    pub connections: Option<u32>,
    /// Requests, from the choice of an endpoint to the end of the answer.
    pub requests: Option<u32>,
    /// Requests that wait for a connection.
    pub pending: u32,
    /// Requests that are tried again, in percent of all requests under way.
    pub retry_percent: Option<f64>,
}

/// Retries that a budget always allows: a share of few requests would be none (as in Envoy).
const FEW_RETRIES: u32 = 3;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max_connections`
    Connections,
    /// `max_requests`
    Requests,
    /// `max_pending`
    Pending,
    /// `retry_budget`
    Retries,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 4] = [
        Limit::Connections,
        Limit::Requests,
        Limit::Pending,
        Limit::Retries,
    ];

    /// Its name in the file.
    pub fn label(self) -> &'static str {
        match self {
            Limit::Connections => "max_connections",
            Limit::Requests => "max_requests",
            Limit::Pending => "max_pending",
            Limit::Retries => "retry_budget",
        }
    }
}

/// What is under way, and how often a limit was hit.
#[derive(Debug, Default)]
pub struct Load {
    taken: [AtomicU32; 4],
    refused: [AtomicU64; 4],
    /// Requests that wait for a connection to end.
    waiting: AtomicU32,
    /// Those of them whose worker has none.
    starving: AtomicU32,
    freed: Notify,
}

impl Load {
    /// How many are under way.
    pub fn taken(&self, limit: Limit) -> u32 {
        self.taken[limit as usize].load(Ordering::Relaxed)
    }

    /// How often the limit was hit.
    pub fn refused(&self, limit: Limit) -> u64 {
        self.refused[limit as usize].load(Ordering::Relaxed)
    }

    fn give_back(&self, limit: Limit) {
        self.taken[limit as usize].fetch_sub(1, Ordering::AcqRel);
        if limit == Limit::Connections {
            self.freed.notify_one();
        }
    }

    fn refuse(&self, limit: Limit) -> Limit {
        self.refused[limit as usize].fetch_add(1, Ordering::Relaxed);
        limit
    }
}

/// A share of what a limit allows; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    cluster: Arc<Cluster>,
    limit: Limit,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.cluster.load().give_back(self.limit);
    }
}

impl Permit {
    /// Whether somebody waits for what this one holds: an idle connection is better closed then.
    pub fn is_wanted(&self) -> bool {
        self.limit == Limit::Connections && self.cluster.is_crowded()
    }

    /// What can be asked while the permit is held elsewhere.
    pub fn wanted(&self) -> Wanted {
        Wanted(Arc::clone(&self.cluster))
    }
}

/// Tells whether a connection's place is wanted.
#[derive(Clone, Debug)]
pub struct Wanted(Arc<Cluster>);

impl Wanted {
    /// Whether somebody waits for it.
    pub fn by_any(&self) -> bool {
        self.0.is_crowded()
    }

    /// Whether somebody does whose worker has no connection to go on with.
    pub fn by_the_starving(&self) -> bool {
        self.0.load().starving.load(Ordering::Acquire) > 0
    }
}

/// Counts until dropped.
struct Counted<'a>(&'a AtomicU32);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicU32) -> Counted<'a> {
        count.fetch_add(1, Ordering::AcqRel);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Cluster {
    /// Whether requests wait for a connection to end.
    pub fn is_crowded(&self) -> bool {
        self.load().waiting.load(Ordering::Acquire) > 0
    }

    /// A permit for a request. None is needed where nothing depends on how many there are.
    pub fn admit(self: &Arc<Self>, of: &Capacity) -> Result<Option<Permit>, Limit> {
        let counted = of.requests.or(of.retry_percent.map(|_| u32::MAX));
        counted
            .map(|most| self.take(Limit::Requests, most))
            .transpose()
    }

    /// A permit among those that wait for a connection.
    pub fn queue(self: &Arc<Self>, of: &Capacity) -> Result<Permit, Limit> {
        self.take(Limit::Pending, of.pending)
    }

    /// A permit for a request that is tried again.
    pub fn retry(self: &Arc<Self>, of: &Capacity) -> Result<Option<Permit>, Limit> {
        let Some(percent) = of.retry_percent else {
            return Ok(None);
        };
        let share = f64::from(self.load().taken(Limit::Requests)) * percent / 100.0;
        let most = (share as u32).max(FEW_RETRIES);
        self.take(Limit::Retries, most).map(Some)
    }

    /// A permit for a connection, as soon as there is one. `make_room` is called when there is none:
    /// it may end a connection that nobody uses. `starves` says that the caller has no other one.
    pub async fn connection(
        self: &Arc<Self>,
        most: u32,
        starves: bool,
        make_room: impl Fn(),
    ) -> Permit {
        if let Some(permit) = self.try_take(Limit::Connections, most) {
            return permit;
        }
        let load = self.load();
        load.refuse(Limit::Connections);
        let _waiting = Counted::new(&load.waiting);
        let _starving = starves.then(|| Counted::new(&load.starving));
        loop {
            // Listens first: what is freed between looking and waiting is not missed.
            let mut freed = pin!(load.freed.notified());
            freed.as_mut().enable();
            make_room();
            if let Some(permit) = self.try_take(Limit::Connections, most) {
                return permit;
            }
            freed.await;
        }
    }

    fn take(self: &Arc<Self>, limit: Limit, most: u32) -> Result<Permit, Limit> {
        self.try_take(limit, most)
            .ok_or_else(|| self.load().refuse(limit))
    }

    fn try_take(self: &Arc<Self>, limit: Limit, most: u32) -> Option<Permit> {
        let one_more = |taken| (taken < most).then(|| taken + 1);
        let taken = &self.load().taken[limit as usize];
        taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Permit {
            cluster: Arc::clone(self),
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::upstream::ClusterKey;

    fn cluster() -> Arc<Cluster> {
        Arc::new(Cluster::new(ClusterKey::Upstream("u".into())))
    }

    fn capacity(requests: u32, retry_percent: f64) -> Capacity {
        Capacity {
            connections: Some(2),
            requests: Some(requests),
            pending: 1,
            retry_percent: Some(retry_percent),
        }
    }

    #[test]
    fn permits_come_back() {
        let (cluster, capacity) = (cluster(), capacity(2, 0.0));
        let (one, two) = (cluster.admit(&capacity), cluster.admit(&capacity));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(cluster.admit(&capacity).unwrap_err(), Limit::Requests);
        drop(one);
        assert!(cluster.admit(&capacity).is_ok());
        assert_eq!(cluster.load().refused(Limit::Requests), 1);
    }

    #[test]
    fn a_budget_is_a_share_but_never_nothing() {
        let (cluster, capacity) = (cluster(), capacity(100, 20.0));
        let requests: Vec<_> = (0..50).map(|_| cluster.admit(&capacity).unwrap()).collect();
        let retries: Vec<_> = (0..).map_while(|_| cluster.retry(&capacity).ok()).collect();
        assert_eq!(retries.len(), 10);
        drop((requests, retries));
        let few: Vec<_> = (0..).map_while(|_| cluster.retry(&capacity).ok()).collect();
        assert_eq!(few.len(), 3);
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_connection() {
        let cluster = cluster();
        let first = cluster.connection(1, true, || {}).await;
        assert!(!first.is_wanted());
        let idle = RefCell::new(Some(first));
        let looks = RefCell::new(0);
        let waiting = cluster.connection(1, true, || {
            *looks.borrow_mut() += 1;
            let kept = idle.borrow_mut().take();
            assert!(kept.is_none_or(|permit| permit.is_wanted()));
        });
        let second = waiting.await;
        assert_eq!(*looks.borrow(), 1);
        assert!(!cluster.is_crowded());
        let other = cluster.clone();
        let third = tokio::spawn(async move { other.connection(1, true, || {}).await });
        while !cluster.is_crowded() {
            tokio::task::yield_now().await;
        }
        drop(second);
        assert!(third.await.is_ok());
        assert_eq!(cluster.load().taken(Limit::Connections), 0);
    }
}
