//! Which endpoint gets the next request: smooth weighted round robin, per worker.
//!
//! An earliest-deadline queue: each endpoint has a virtual time that moves on by 1/weight per
//! pick, and the earliest is next. Shares are exact over each full turn, spread evenly, and a
//! pick costs O(log n). Workers start at different points, so that few requests over many workers
//! do not all meet the first endpoint.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::cluster::{Cluster, Endpoint, EndpointSet};

/// One worker's view of one cluster.
#[derive(Debug)]
pub struct Balancer {
    cluster: Arc<Cluster>,
    held: Rc<Held>,
    queue: BinaryHeap<Reverse<Turn>>,
    start: u32,
    aside: Vec<Reverse<Turn>>,
}

/// This worker's hold on a list.
#[derive(Debug)]
struct Held(Arc<EndpointSet>);

/// An endpoint that was picked. Holds on to the list that it stands in through a count of this
/// worker's own: a count shared with other workers would be fought over at every request.
#[derive(Clone, Debug)]
pub struct Picked {
    held: Rc<Held>,
    ix: usize,
}

impl Deref for Picked {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.held.0.endpoints[self.ix]
    }
}

/// When an endpoint's turn comes: virtual time, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: u64,
    endpoint: u32,
}

/// One unit of virtual time; weights are 1-65535, so shares are exact to a millionth.
const UNIT: u64 = 1 << 36;

impl Balancer {
    /// A balancer of that cluster; `start` says how many picks later than another worker's its
    /// order begins.
    pub fn new(cluster: Arc<Cluster>, start: u32) -> Balancer {
        let held = Rc::new(Held(cluster.endpoints()));
        let mut balancer = Balancer {
            cluster,
            held,
            queue: BinaryHeap::new(),
            start,
            aside: Vec::new(),
        };
        balancer.rebuild();
        balancer
    }

    /// The cluster it balances over.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The endpoints as this worker sees them now.
    pub fn endpoints(&mut self) -> &Arc<EndpointSet> {
        if let Some(newer) = self.cluster.newer(&self.held.0) {
            self.held = Rc::new(Held(newer));
            self.rebuild();
        }
        &self.held.0
    }

    /// The next endpoint, one that `avoid` does not name if there is one; `None` when no
    /// endpoint has a weight.
    pub fn pick(&mut self, avoid: impl Fn(&Endpoint) -> bool) -> Option<Picked> {
        self.endpoints();
        let first = *self.queue.peek()?;
        let mut chosen = None;
        while let Some(turn) = self.queue.pop() {
            let wanted = self
                .endpoint(turn.0)
                .is_some_and(|endpoint| !avoid(endpoint));
            if wanted {
                chosen = Some(turn);
                break;
            }
            self.aside.push(turn);
        }
        self.queue.extend(self.aside.drain(..));
        let turn = chosen.unwrap_or(first).0;
        if chosen.is_none() {
            self.queue.retain(|other| *other != first);
        }
        let at = turn.at + UNIT / u64::from(self.endpoint(turn)?.weight().max(1));
        self.queue.push(Reverse(Turn { at, ..turn }));
        Some(Picked {
            held: self.held.clone(),
            ix: turn.endpoint as usize,
        })
    }

    fn endpoint(&self, turn: Turn) -> Option<&Arc<Endpoint>> {
        self.held.0.endpoints.get(turn.endpoint as usize)
    }

    /// Queues every endpoint with a weight. First turns lie half a step in, so that heavy ones
    /// come before light ones and equal ones in order.
    fn rebuild(&mut self) {
        self.queue.clear();
        for (ix, endpoint) in self.held.0.endpoints.iter().enumerate() {
            let weight = u64::from(endpoint.weight());
            if let Some(step) = UNIT.checked_div(weight) {
                let at = step / 2;
                self.queue.push(Reverse(Turn {
                    at,
                    endpoint: ix as u32,
                }));
            }
        }
        let turns = self.start.checked_rem(self.queue.len() as u32).unwrap_or(0);
        for _ in 0..turns {
            self.skip();
        }
    }

    fn skip(&mut self) {
        if let Some(Reverse(turn)) = self.queue.pop() {
            let weight = self.endpoint(turn).map_or(1, |endpoint| endpoint.weight());
            let at = turn.at + UNIT / u64::from(weight.max(1));
            self.queue.push(Reverse(Turn { at, ..turn }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::super::cluster::{ClusterKey, EndpointSpec, Resolution};
    use super::*;

    fn balancer(weights: &[u32], start: u32) -> Balancer {
        let cluster = Arc::new(Cluster::new(ClusterKey::Upstream("u".into())));
        set(&cluster, weights);
        Balancer::new(cluster, start)
    }

    fn set(cluster: &Cluster, weights: &[u32]) {
        let spec = |(ix, weight): (usize, &u32)| EndpointSpec {
            address: SocketAddr::from(([127, 0, 0, 1], ix as u16 + 1)),
            host: "h".into(),
            target: format!("h:{ix}"),
            weight: *weight,
        };
        let specs: Vec<_> = weights.iter().enumerate().map(spec).collect();
        cluster.set_endpoints(&specs, Resolution::Known);
    }

    fn picks(balancer: &mut Balancer, count: usize) -> Vec<u16> {
        let port = |endpoint: Picked| endpoint.address.port();
        (0..count)
            .filter_map(|_| balancer.pick(|_| false).map(port))
            .collect()
    }

    #[test]
    fn equal_weights_take_turns_and_workers_start_apart() {
        assert_eq!(picks(&mut balancer(&[1, 1, 1], 0), 6), [1, 2, 3, 1, 2, 3]);
        assert_eq!(picks(&mut balancer(&[1, 1, 1], 1), 6), [2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn heavy_endpoints_are_spread() {
        let order = picks(&mut balancer(&[5, 1, 1], 0), 7);
        assert!(
            order
                .windows(4)
                .all(|window| window.iter().any(|port| *port != 1)),
            "{order:?}"
        );
    }

    #[test]
    fn weight_zero_gets_nothing() {
        assert_eq!(picks(&mut balancer(&[0, 1], 0), 3), [2, 2, 2]);
        assert!(balancer(&[0, 0], 0).pick(|_| false).is_none());
        assert!(balancer(&[], 3).pick(|_| false).is_none());
    }

    #[test]
    fn avoided_endpoints_come_back_only_when_nothing_else_is_left() {
        let mut balancer = balancer(&[1, 1, 1], 0);
        let tried = |endpoint: &Endpoint| endpoint.address.port() != 3;
        assert_eq!(balancer.pick(tried).unwrap().address.port(), 3);
        assert!(balancer.pick(|_| true).is_some());
        let later = picks(&mut balancer, 30)
            .iter()
            .filter(|port| **port == 3)
            .count();
        assert!((9..=10).contains(&later), "its early turn counts: {later}");
    }

    #[test]
    fn a_changed_list_is_used_at_once() {
        let mut balancer = balancer(&[1], 0);
        picks(&mut balancer, 3);
        set(&balancer.cluster().clone(), &[0, 1]);
        assert_eq!(picks(&mut balancer, 2), [2, 2]);
    }

    proptest! {
        #[test]
        fn shares_follow_weights(
            weights in proptest::collection::vec(0u32..40, 1..8),
            start in 0u32..9,
            turns in 1usize..4,
        ) {
            let total: u32 = weights.iter().sum();
            prop_assume!(total > 0);
            let found = picks(&mut balancer(&weights, start), total as usize * turns);
            for (ix, weight) in weights.iter().enumerate() {
                let count = found.iter().filter(|port| **port as usize == ix + 1).count();
                let due = *weight as usize * turns;
                prop_assert!(count.abs_diff(due) <= 1, "{weights:?} {ix}: {count} of {due}");
            }
        }
    }
}
