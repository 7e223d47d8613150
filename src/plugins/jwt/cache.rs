//! Tokens whose signature was verified, so that the next request need not do it again.
//!
//! Invariant: a hit is an exact match of the whole text; memory is bounded whatever comes. Only
//! verified tokens get in, so nobody without a valid one can push others out. A set is locked for
//! the time of a few comparisons.

use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;

const SETS: usize = 512;
const WAYS: usize = 4;
/// Longest token that is remembered, in bytes: 8 MiB at the very most.
const LONGEST: usize = 4096;

/// Values under tokens.
pub(super) struct Cache<V> {
    hasher: RandomState,
    sets: Box<[Mutex<Set<V>>]>,
}

/// A few tokens whose hashes agree in their last bits.
struct Set<V> {
    ways: [Option<Entry<V>>; WAYS],
    /// Which way gives place next.
    next: usize,
}

struct Entry<V> {
    hash: u64,
    token: Box<str>,
    value: V,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new() -> Cache<V> {
        let empty = || {
            Mutex::new(Set {
                ways: [const { None }; WAYS],
                next: 0,
            })
        };
        Cache {
            hasher: RandomState::default(),
            sets: (0..SETS).map(|_| empty()).collect(),
        }
    }

    /// What is remembered of this token.
    pub(super) fn get(&self, token: &str) -> Option<V> {
        self.with_set(token, |set, hash| {
            let entry = set
                .ways
                .iter()
                .flatten()
                .find(|entry| entry.is(hash, token))?;
            Some(entry.value.clone())
        })
    }

    /// Remembers a token, in place of another one if there is no room.
    pub(super) fn put(&self, token: &str, value: V) {
        if token.len() > LONGEST {
            return;
        }
        self.with_set(token, |set, hash| {
            let fits = |way: &Option<Entry<V>>| way.as_ref().is_none_or(|e| e.is(hash, token));
            let at = set.ways.iter().position(fits).unwrap_or_else(|| {
                set.next = (set.next + 1) % WAYS;
                set.next
            });
            set.ways[at] = Some(Entry {
                hash,
                token: token.into(),
                value,
            });
        });
    }

    fn with_set<T: Default>(&self, token: &str, run: impl FnOnce(&mut Set<V>, u64) -> T) -> T {
        let hash = self.hasher.hash_one(token);
        match self.sets.get(hash as usize % SETS) {
            Some(set) => run(
                &mut set.lock().unwrap_or_else(PoisonError::into_inner),
                hash,
            ),
            None => T::default(),
        }
    }
}

impl<V> Entry<V> {
    fn is(&self, hash: u64, token: &str) -> bool {
        self.hash == hash && *self.token == *token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_found() {
        let cache = Cache::new();
        cache.put("a.b.c", 1);
        cache.put("a.b.c", 2);
        assert_eq!(cache.get("a.b.c"), Some(2));
        assert_eq!(cache.get("a.b.d"), None);
        cache.put(&"x".repeat(LONGEST + 1), 3);
        assert_eq!(cache.get(&"x".repeat(LONGEST + 1)), None);
    }

    #[test]
    fn memory_is_bounded_and_values_never_mix() {
        let cache = Cache::new();
        for number in 0..20_000 {
            cache.put(&number.to_string(), number);
        }
        let found = (0..20_000).filter(|number| match cache.get(&number.to_string()) {
            Some(value) => {
                assert_eq!(value, *number);
                true
            }
            None => false,
        });
        assert_eq!(found.count(), SETS * WAYS);
    }
}
