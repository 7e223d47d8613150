//! The endpoint that answers fastest for its weight and its load.
//!
//! The cost of an endpoint is its average time to answer (see [`crate::upstream::latency`]) times
//! the requests that it would then work on, divided by its weight. All workers feed one average
//! and see one load. An endpoint that nothing is known of counts as the mean of the others. A pick
//! looks at every endpoint: O(n).

use super::view::{Standing, View};

/// Where a worker looks first.
#[derive(Debug, Default)]
pub(super) struct Latency {
    next: usize,
}

impl Latency {
    pub(super) fn new(start: usize) -> Self {
        Self { next: start }
    }

    /// The open endpoint with the smallest cost.
    pub(super) fn pick(&mut self, view: &View<'_>) -> Option<usize> {
        let usual = mean(view);
        let ix = view.cheapest(self.next, |ix, endpoint| {
            let took = endpoint.latency(view.now).unwrap_or(usual);
            f64::from(took) * f64::from(endpoint.in_flight() + 1) / view.weight(ix) as f64
        })?;
        self.next = ix + 1;
        Some(ix)
    }
}

/// The mean of what is known of the open endpoints; where nothing is, any number will do.
fn mean(view: &View<'_>) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0);
    for (ix, endpoint) in view.endpoints.iter().enumerate() {
        if view.standing(ix) == Standing::Open
            && let Some(took) = endpoint.latency(view.now)
        {
            sum += took;
            count += 1.0;
        }
    }
    if count > 0.0 { sum / count } else { 1.0 }
}
