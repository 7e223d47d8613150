//! How a cluster's endpoints are to be used: what the file says about them, as the data plane
//! reads it.
//!
//! Invariant: belongs to one configuration; what outlives it is in the cluster.

use std::time::Duration;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// By turns, in proportion to the weights.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// The one that answers fastest.
    Latency,
    /// The one that belongs to a value of the request.
    ConsistentHashing,
}

/// What the file says about a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// Positions of the hash ring.
    pub slots: u32,
    /// How long a new endpoint takes to get its whole share; zero: none.
    pub slow_start: Duration,
}

impl Default for Policy {
    /// What holds for a host that a service names itself.
    fn default() -> Policy {
        Policy {
            algorithm: Algorithm::RoundRobin,
            slots: 10_000,
            slow_start: Duration::ZERO,
        }
    }
}
