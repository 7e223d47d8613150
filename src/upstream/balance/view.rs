//! The endpoints as one pick sees them: whom it may take, and with what weight.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::cluster::Endpoint;

/// What an endpoint is to one pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be taken.
    Open,
    /// It has failed this request.
    Failed,
    /// It gets no traffic.
    Shut,
}

/// The endpoints as one pick sees them.
pub(super) struct View<'a> {
    pub(super) endpoints: &'a [Arc<Endpoint>],
    /// Whose health keeps requests away; empty when nobody's does.
    pub(super) shut: &'a [bool],
    pub(super) avoid: Option<&'a dyn Fn(&Endpoint) -> bool>,
    pub(super) slow_start: Duration,
    pub(super) now: Instant,
}

/// Weights are counted in these, so that one that grows has steps.
pub(super) const WHOLE: u64 = 1000;

impl View<'_> {
    /// What an endpoint is to this pick.
    pub(super) fn standing(&self, ix: usize) -> Standing {
        match self.endpoints.get(ix) {
            _ if self.shut.get(ix) == Some(&true) => Standing::Shut,
            Some(endpoint) if endpoint.weight() > 0 => match self.avoid {
                Some(avoid) if avoid(endpoint) => Standing::Failed,
                _ => Standing::Open,
            },
            _ => Standing::Shut,
        }
    }

    /// The weight in parts of [`WHOLE`], smaller while it starts; at least 1.
    pub(super) fn weight(&self, ix: usize) -> u64 {
        let Some(endpoint) = self.endpoints.get(ix) else {
            return 1;
        };
        let share = match self.slow_start {
            Duration::ZERO => WHOLE,
            time => endpoint.share(self.now, time),
        };
        (u64::from(endpoint.weight()) * share).max(1)
    }

    /// Positions of all endpoints, beginning with `first`.
    pub(super) fn around(&self, first: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.endpoints.len();
        let first = if first < count { first } else { 0 };
        (first..count).chain(0..first)
    }

    /// The open endpoint with the smallest cost, the first of several; costs are looked at in
    /// order from `first`.
    pub(super) fn cheapest<C: PartialOrd>(
        &self,
        first: usize,
        mut cost: impl FnMut(usize, &Endpoint) -> C,
    ) -> Option<usize> {
        let mut best: Option<(C, usize)> = None;
        for ix in self.around(first) {
            if self.standing(ix) != Standing::Open {
                continue;
            }
            let Some(endpoint) = self.endpoints.get(ix) else {
                continue;
            };
            let cost = cost(ix, endpoint);
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, ix));
            }
        }
        best.map(|(_, ix)| ix)
    }
}
