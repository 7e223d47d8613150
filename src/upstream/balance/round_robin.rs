//! Weighted round robin as an earliest-deadline queue.
//!
//! Each endpoint has a virtual time that moves on by 1/weight per pick, and the earliest is next.
//! Shares are exact over each full turn, spread evenly, and a pick costs O(log n). Workers start
//! at different points, so that few requests over many workers do not all meet the first endpoint.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::view::{Standing, View, WHOLE};

/// When an endpoint's turn comes: virtual time, then position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at: u64,
    ix: usize,
    step: Step,
}

/// How far a turn moves on, and for which weight that was worked out: dividing takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    weight: u64,
    by: u64,
}

impl Step {
    fn of(weight: u64) -> Step {
        Step {
            weight,
            by: UNIT / weight,
        }
    }
}

impl Turn {
    fn next(mut self, view: &View<'_>) -> Reverse<Turn> {
        let weight = view.weight(self.ix);
        if weight != self.step.weight {
            self.step = Step::of(weight);
        }
        self.at += self.step.by;
        Reverse(self)
    }
}

/// One unit of virtual time: weights are 1-65535, so shares are exact to a millionth.
const UNIT: u64 = (1 << 36) * WHOLE;
/// Virtual times start anew before they could overflow.
const LATE: u64 = 1 << 62;

/// One worker's turns.
#[derive(Debug, Default)]
pub(super) struct RoundRobin {
    queue: BinaryHeap<Reverse<Turn>>,
    aside: Vec<Reverse<Turn>>,
}

impl RoundRobin {
    /// Queues every endpoint with a weight. First turns lie half a step in, so that heavy ones
    /// come before light ones and equal ones in order; the first `start` are over.
    pub(super) fn rebuild(&mut self, view: &View<'_>, start: u32) {
        self.queue.clear();
        for ix in view.around(0) {
            // Those that are shut have turns, too, for when they come back.
            if view.endpoints.get(ix).is_some_and(|of| of.weight() > 0) {
                let step = Step::of(view.weight(ix));
                let at = step.by / 2;
                self.queue.push(Reverse(Turn { at, ix, step }));
            }
        }
        let turns = start.checked_rem(self.queue.len() as u32).unwrap_or(0);
        for _ in 0..turns {
            self.pick(view);
        }
    }

    /// The open endpoint whose turn it is. One that failed this request keeps its turn; one that
    /// gets no traffic loses it, or it would get them all at once when it comes back.
    pub(super) fn pick(&mut self, view: &View<'_>) -> Option<usize> {
        if let Some(turn) = self.first(view) {
            if turn.at > LATE {
                self.start_anew(turn.at);
            }
            return Some(turn.ix);
        }
        let mut chosen = None;
        while let Some(Reverse(turn)) = self.queue.pop() {
            match view.standing(turn.ix) {
                Standing::Open => {
                    chosen = Some(turn);
                    break;
                }
                Standing::Failed => self.aside.push(Reverse(turn)),
                Standing::Shut => self.aside.push(turn.next(view)),
            }
        }
        self.queue.extend(self.aside.drain(..));
        let turn = chosen?;
        self.queue.push(turn.next(view));
        if turn.at > LATE {
            self.start_anew(turn.at);
        }
        Some(turn.ix)
    }

    /// The next one where it is open, as it mostly is: its new turn is sifted down in its place.
    fn first(&mut self, view: &View<'_>) -> Option<Turn> {
        let mut next = self.queue.peek_mut()?;
        let Reverse(turn) = *next;
        let open = view.standing(turn.ix) == Standing::Open;
        open.then(|| {
            *next = turn.next(view);
            turn
        })
    }

    fn start_anew(&mut self, now: u64) {
        self.aside.extend(self.queue.drain());
        let back = self.aside.drain(..).map(|Reverse(turn)| {
            let at = turn.at.saturating_sub(now);
            Reverse(Turn { at, ..turn })
        });
        self.queue.extend(back);
    }

    #[cfg(test)]
    pub(super) fn age(&mut self, by: u64) {
        self.aside.extend(self.queue.drain());
        let older = self.aside.drain(..).map(|Reverse(turn)| {
            let at = turn.at + by;
            Reverse(Turn { at, ..turn })
        });
        self.queue.extend(older);
    }
}
