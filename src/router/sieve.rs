//! Many expressions behind one literal start, asked at once which of them match.
//!
//! Invariant: what comes out are exactly the entries of the list whose expression matches. Where
//! no joint automaton can be built (too large), there is no sieve and they are tried one by one.

use regex::{RegexSet, RegexSetBuilder};

use super::criteria::Map;
use super::pattern::PathRegex;

/// Shorter lists are tried one by one.
pub(super) const MIN_LIST: usize = 8;
/// So many expressions share an automaton: more would outgrow its cache of states.
const SHARE: usize = 128;
/// The size that the regex crate grants to one expression, granted to each set.
const MAX_BYTES: usize = 10 << 20;

/// The joint automata of one list.
#[derive(Debug)]
pub(super) struct Sieve {
    sets: Vec<(RegexSet, Vec<Vec<u32>>)>,
}

impl Sieve {
    /// Joins the expressions of a list of ranks.
    pub(super) fn join<'r>(list: &[u32], regex: impl Fn(u32) -> &'r PathRegex) -> Option<Self> {
        let mut ranks_of: Map<&str, Vec<u32>> = Map::default();
        let mut texts = Vec::new();
        for &rank in list {
            let ranks = ranks_of.entry(regex(rank).regex.as_str()).or_default();
            if ranks.is_empty() {
                texts.push(regex(rank).regex.as_str());
            }
            ranks.push(rank);
        }
        let mut sets = Vec::new();
        for share in texts.chunks(SHARE) {
            let set = RegexSetBuilder::new(share)
                .size_limit(MAX_BYTES)
                .build()
                .ok()?;
            let ranks = share.iter().filter_map(|text| ranks_of.remove(text));
            sets.push((set, ranks.collect()));
        }
        Some(Self { sets })
    }

    /// Adds the ranks whose expression matches, in no order.
    pub(super) fn sift(&self, path: &str, found: &mut Vec<u32>) {
        for (set, ranks) in &self.sets {
            for at in &set.matches(path) {
                found.extend_from_slice(&ranks[at]);
            }
        }
    }
}
