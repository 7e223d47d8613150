//! Idle HTTP/1.1 connections of one worker: last in, first out, no locks.
//!
//! A connection may serve a request only when everything that made it equals what the request
//! asks for: address, TLS identity and server name, compared in full, never by a hash alone.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::capacity::Permit;
use crate::tls::io::Io;
use crate::util::closed::{self, By};

/// What a connection must agree in to be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolKey {
    /// Where it leads.
    pub address: SocketAddr,
    /// The TLS identity (verification, CA set, client certificate, protocol), as an index given
    /// out per distinct identity; `None` for plain text.
    pub tls: Option<u32>,
}

impl Hash for PoolKey {
    /// In two words, for it is done twice a request: what the address itself would feed is many.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let tls = self.tls.map_or(0, |tls| u64::from(tls) + 1);
        let port = u64::from(self.address.port());
        match self.address.ip() {
            IpAddr::V4(ip) => state.write_u64(u64::from(ip.to_bits()) << 16 | port),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                state.write_u64((bits >> 64) as u64 ^ port);
                state.write_u64(bits as u64);
            }
        }
        state.write_u64(tls);
    }
}

struct Idle {
    io: Io,
    server_name: Option<Box<str>>,
    since: Instant,
    served: u32,
}

/// A connection taken from the pool.
pub struct Reused {
    /// The connection.
    pub io: Io,
    /// Requests that it has served.
    pub served: u32,
}

/// One worker's idle connections.
pub struct Pool {
    idle: HashMap<PoolKey, Vec<Idle>, foldhash::fast::RandomState>,
    count: usize,
    max_idle: usize,
    idle_timeout: Duration,
}

/// Requests that one upstream connection serves at most (Kong's
/// `upstream_keepalive_max_requests`).
const MAX_SERVED: u32 = 10_000;

impl Pool {
    /// An empty pool that keeps so many connections, each so long.
    pub fn new(max_idle: usize, idle_timeout: Duration) -> Pool {
        Pool {
            idle: HashMap::default(),
            count: 0,
            max_idle,
            idle_timeout,
        }
    }

    /// A living connection of that identity, the one used last. Dead ones on the way are dropped.
    pub fn checkout(
        &mut self,
        key: &PoolKey,
        server_name: Option<&str>,
        now: Instant,
    ) -> Option<Reused> {
        let stack = self.idle.get_mut(key)?;
        let oldest = now.checked_sub(self.idle_timeout);
        let mut cx = Context::from_waker(Waker::noop());
        let mut at = stack.len();
        while at > 0 {
            at -= 1;
            if stack[at].server_name.as_deref() != server_name {
                continue;
            }
            let mut idle = stack.remove(at);
            self.count -= 1;
            let fresh = oldest.is_none_or(|oldest| idle.since > oldest);
            if !fresh {
                closed::count(By::Idle);
            } else if idle.io.is_dead(&mut cx) {
                closed::count(By::Upstream);
            } else {
                return Some(Reused {
                    io: idle.io,
                    served: idle.served,
                });
            }
        }
        None
    }

    /// Keeps a connection that has ended a request cleanly and has nothing buffered.
    /// It counts as idle since `since`.
    pub fn checkin(
        &mut self,
        key: PoolKey,
        server_name: Option<&str>,
        io: Io,
        served: u32,
        since: Instant,
    ) {
        if self.count >= self.max_idle || served >= MAX_SERVED || is_wanted(&io) {
            closed::count(By::Limit);
            return;
        }
        let server_name = server_name.map(Box::from);
        let idle = Idle {
            io,
            server_name,
            since,
            served,
        };
        self.idle.entry(key).or_default().push(idle);
        self.count += 1;
    }

    /// Drops one that somebody waits for in vain while it is idle; whether there was one.
    pub fn make_room(&mut self) -> bool {
        let place = |stack: &Vec<Idle>| stack.iter().position(|idle| is_wanted(&idle.io));
        let found = self.idle.values_mut().find_map(|stack| {
            let at = place(stack)?;
            Some(stack.remove(at))
        });
        if found.is_some() {
            self.count -= 1;
            closed::count(By::Limit);
        }
        found.is_some()
    }

    /// How many connections are idle.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none is idle.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Drops what is too old, was closed by its upstream, or keeps others waiting. Called about once
    /// a second.
    pub fn sweep(&mut self) {
        let oldest = Instant::now().checked_sub(self.idle_timeout);
        let mut cx = Context::from_waker(Waker::noop());
        for stack in self.idle.values_mut() {
            stack.retain_mut(|idle| {
                let over = if oldest.is_some_and(|oldest| idle.since <= oldest) {
                    Some(By::Idle)
                } else if is_wanted(&idle.io) {
                    Some(By::Limit)
                } else {
                    idle.io.is_dead(&mut cx).then_some(By::Upstream)
                };
                over.into_iter().for_each(closed::count);
                over.is_none()
            });
        }
        self.idle.retain(|_, stack| !stack.is_empty());
        self.count = self.idle.values().map(Vec::len).sum();
    }
}

/// Whether it stands under a limit that keeps requests waiting.
fn is_wanted(io: &Io) -> bool {
    io.held::<Permit>().is_some_and(Permit::is_wanted)
}
