//! How a cluster's endpoints are to be used: what the file says about them, as the data plane
//! reads it.
//!
//! Invariant: belongs to one configuration; what outlives it is in the cluster.

use std::time::Duration;

use super::capacity::Capacity;
use super::cluster::{Endpoint, EndpointSet};
use super::health::Checks;
use super::outlier::Outliers;
use super::probe::Probing;

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
#[derive(Clone, Debug)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// Positions of the hash ring.
    pub slots: u32,
    /// How long a new endpoint takes to get its whole share; zero: none.
    pub slow_start: Duration,
    /// What makes an endpoint unhealthy, and healthy again.
    pub checks: Checks,
    /// How endpoints are probed, where they are.
    pub probing: Option<Probing>,
    /// Who is taken out for doing worse than the others, where anybody is.
    pub outliers: Option<Outliers>,
    /// How much may be under way at once, where that is limited.
    pub capacity: Option<Capacity>,
}

/// What the health of its endpoints makes of a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Weight of all endpoints.
    pub total: u64,
    /// Weight of those that may get requests.
    pub available: u64,
    /// Whether requests may be sent at all.
    pub is_usable: bool,
    /// So few are well that nobody is asked for their health.
    pub panics: bool,
}

impl Policy {
    /// Whether an endpoint's health keeps requests from it.
    pub fn shuts(&self, endpoint: &Endpoint) -> bool {
        let health = endpoint.health();
        let sick = !health.is_healthy() && (self.checks.is_on() || health.is_held());
        sick || self.outliers.is_some() && endpoint.is_ejected()
    }

    /// What is left of a list.
    pub fn standing(&self, set: &EndpointSet) -> Standing {
        let weight = |endpoint: &Endpoint| u64::from(endpoint.weight());
        let (mut total, mut available, mut held) = (0, 0, 0);
        for endpoint in &set.endpoints {
            total += weight(endpoint);
            if !self.shuts(endpoint) {
                available += weight(endpoint);
            }
            if endpoint.health().is_held() {
                held += weight(endpoint);
            }
        }
        let percent = |of: f64| of * total as f64 / 100.0;
        let enough = available as f64 > percent(self.checks.threshold);
        let panics = (available as f64) < percent(self.checks.panic_threshold) && held < total;
        Standing {
            total,
            available,
            // A threshold of 100 asks for all of them, not for more than there are.
            is_usable: panics || available > 0 && (enough || available == total),
            panics,
        }
    }
}

impl Default for Policy {
    /// What holds for a host that a service names itself.
    fn default() -> Policy {
        Policy {
            algorithm: Algorithm::RoundRobin,
            slots: 10_000,
            slow_start: Duration::ZERO,
            checks: Checks::default(),
            probing: None,
            outliers: None,
            capacity: None,
        }
    }
}
