//! Consistent hashing: a ring of `slots` positions, each of which belongs to one endpoint.
//!
//! Who a position belongs to is a weighted draw among the endpoints (rendezvous hashing), made of
//! nothing but the position, the endpoint's address and its weight. So an endpoint that leaves
//! gives up its own positions and no other moves, one that comes takes its share evenly from all,
//! a changed weight moves the difference, and every gateway with the same list draws the same.
//! Draws are made when a position is first asked for, and kept: then a pick is one look-up.
//!
//! While the owner gets no traffic or has failed the request, the position goes to whoever would
//! own it without it, so that the load of one that is away spreads over all others.

use std::sync::Arc;

use super::round_robin::RoundRobin;
use super::view::{Standing, View};
use crate::upstream::cluster::Endpoint;
use crate::upstream::hash::{KeyHash, mix};

/// One worker's ring.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    /// Per position its owner, or [`OPEN`].
    owners: Vec<u32>,
    /// What the draws know an endpoint by.
    names: Vec<u64>,
    /// For requests without a value.
    pub(super) others: RoundRobin,
}

/// Nobody has asked for this position yet.
const OPEN: u32 = u32::MAX;
/// Positions that a ring has at least (as in Kong).
const LEAST: usize = 1000;

impl Hashing {
    /// A ring of that many positions.
    pub(super) fn new(slots: u32) -> Self {
        Self {
            owners: vec![OPEN; LEAST.max(slots as usize)],
            ..Self::default()
        }
    }

    /// Forgets who owned what.
    pub(super) fn rebuild(&mut self, view: &View<'_>, start: u32) {
        self.owners.fill(OPEN);
        self.names.clear();
        self.names.extend(view.endpoints.iter().map(name));
        self.others.rebuild(view, start);
    }

    /// The endpoint for a value; without one, the next in turn.
    pub(super) fn pick(&mut self, view: &View<'_>, key: Option<u64>) -> Option<usize> {
        let Some(key) = key else {
            return self.others.pick(view);
        };
        let position = (key % self.owners.len() as u64) as usize;
        let owner = self.owner(view, position)?;
        match view.standing(owner) {
            Standing::Open => Some(owner),
            _ => draw(&self.names, view, position, |ix| {
                view.standing(ix) == Standing::Open
            }),
        }
    }

    /// Whether a value belongs to that endpoint.
    pub(super) fn owns(&mut self, view: &View<'_>, key: u64, ix: usize) -> bool {
        let position = (key % self.owners.len() as u64) as usize;
        self.owner(view, position) == Some(ix)
    }

    fn owner(&mut self, view: &View<'_>, position: usize) -> Option<usize> {
        match self.owners.get(position).copied() {
            Some(OPEN) | None => {
                let drawn = draw(&self.names, view, position, |_| true)?;
                if let Some(place) = self.owners.get_mut(position) {
                    *place = drawn as u32;
                }
                Some(drawn)
            }
            Some(owner) => Some(owner as usize),
        }
    }
}

fn name(endpoint: &Arc<Endpoint>) -> u64 {
    let address = endpoint.address;
    KeyHash::of(format!("{}::{}", address.ip(), address.port()).as_bytes())
}

/// The draw for one position: each endpoint waits a time that is exponential in its weight, and
/// the first to come wins. That makes shares follow the weights, and each pair's order its own.
fn draw(
    names: &[u64],
    view: &View<'_>,
    position: usize,
    may: impl Fn(usize) -> bool,
) -> Option<usize> {
    let salt = mix(position as u64 + 1);
    let mut first: Option<(f64, usize)> = None;
    for (ix, (name, endpoint)) in names.iter().zip(view.endpoints).enumerate() {
        let weight = f64::from(endpoint.weight());
        if weight == 0.0 || !may(ix) {
            continue;
        }
        let chance = ((mix(name ^ salt) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let comes = -chance.ln() / weight;
        if first.is_none_or(|(least, _)| comes < least) {
            first = Some((comes, ix));
        }
    }
    first.map(|(_, ix)| ix)
}
