//! The endpoint with the fewest requests in flight for its weight, those of all workers counted.
//!
//! A pick looks at every endpoint: O(n). Among equals the one behind the last choice is next, or
//! the first of the list would get every request of a quiet time.

use super::view::View;

/// Where a worker looks first.
#[derive(Debug, Default)]
pub(super) struct LeastConnections {
    next: usize,
}

impl LeastConnections {
    pub(super) fn new(start: usize) -> Self {
        Self { next: start }
    }

    /// The open endpoint with the smallest (in flight + 1) / weight.
    pub(super) fn pick(&mut self, view: &View<'_>) -> Option<usize> {
        let load = |ix, endpoint: &crate::upstream::Endpoint| Load {
            requests: u64::from(endpoint.in_flight()) + 1,
            weight: view.weight(ix),
        };
        let ix = view.cheapest(self.next, load)?;
        self.next = ix + 1;
        Some(ix)
    }
}

/// A quotient, compared without dividing.
struct Load {
    requests: u64,
    weight: u64,
}

impl PartialEq for Load {
    fn eq(&self, other: &Load) -> bool {
        self.partial_cmp(other)
            .is_some_and(std::cmp::Ordering::is_eq)
    }
}

impl PartialOrd for Load {
    fn partial_cmp(&self, other: &Load) -> Option<std::cmp::Ordering> {
        let ours = u128::from(self.requests) * u128::from(other.weight);
        let theirs = u128::from(other.requests) * u128::from(self.weight);
        ours.partial_cmp(&theirs)
    }
}
