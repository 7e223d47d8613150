//! A bounded table of counters under keys, in shards of their own locks.
//!
//! Keys are hashes of 128 bits that nobody outside can foresee, so they stand for what they were
//! made of. Invariant: memory is bounded whatever keys come; a counter that is in use is never
//! reset; nothing is allocated for a key that is there.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};

/// What a counter is found by; made by [`Table::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u128);

/// How often something happened since a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counter {
    /// When its window began, in seconds since 1970.
    pub(super) start: u64,
    /// How often since then.
    pub(super) used: u64,
}

/// Counters under keys, several each.
#[derive(Debug)]
pub(super) struct Table {
    hashers: [RandomState; 2],
    shards: Box<[Padded]>,
}

const SHARDS: usize = 64;

/// A shard in cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

#[derive(Debug)]
pub(super) struct Shard {
    /// Open addressing with linear probing: a place in `keys` plus one, 0 for none. Its length is
    /// a power of two, at least twice that of `keys`.
    index: Vec<u32>,
    keys: Vec<u128>,
    /// `width` counters for each key, in the order of `keys`.
    counters: Vec<Counter>,
    width: usize,
    most: usize,
    /// Where the search for counters that are over goes on.
    hand: usize,
    /// What keys count with for which there is no room.
    shared: Vec<Counter>,
}

impl Table {
    /// A table of so many counters a key, for at most about so many keys.
    pub(super) fn new(width: usize, most: usize) -> Table {
        let shard = || Shard {
            index: vec![0; 16],
            keys: Vec::new(),
            counters: Vec::new(),
            width,
            most: most.div_ceil(SHARDS).clamp(1, u32::MAX as usize / 2),
            hand: 0,
            shared: vec![Counter::default(); width],
        };
        Table {
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Padded(Mutex::new(shard()))).collect(),
        }
    }

    /// The key of something.
    pub(super) fn key(&self, of: impl Hash) -> Key {
        let [high, low] = &self.hashers;
        Key(u128::from(high.hash_one(&of)) << 64 | u128::from(low.hash_one(&of)))
    }

    /// How many keys have counters of their own.
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Padded| lock(shard).keys.len();
        self.shards.iter().map(len).sum()
    }

    /// Runs on the counters of a key, with its shard locked. Counters are over when they are older
    /// than `starts`.
    pub(super) fn with<T: Default>(
        &self,
        key: Key,
        starts: &[u64],
        run: impl FnOnce(&mut [Counter]) -> T,
    ) -> T {
        match self.shards.get((key.0 >> 64) as usize % SHARDS) {
            Some(shard) => run(lock(shard).counters(key.0, starts)),
            None => T::default(),
        }
    }
}

fn lock(shard: &Padded) -> std::sync::MutexGuard<'_, Shard> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn counters(&mut self, key: u128, starts: &[u64]) -> &mut [Counter] {
        let place = self.find(key).or_else(|| self.insert(key, starts));
        match place {
            Some(place) => &mut self.counters[place * self.width..][..self.width],
            None => &mut self.shared,
        }
    }

    fn mask(&self) -> usize {
        self.index.len() - 1
    }

    fn find(&self, key: u128) -> Option<usize> {
        let mut at = key as usize & self.mask();
        loop {
            match self.index[at] {
                0 => return None,
                place if self.keys[place as usize - 1] == key => return Some(place as usize - 1),
                _ => at = (at + 1) & self.mask(),
            }
        }
    }

    /// A place for a new key: one that is over, else a further one, else none. The search takes a
    /// few steps a key, so that keys that come and go use little more room than those in use.
    fn insert(&mut self, key: u128, starts: &[u64]) -> Option<usize> {
        let full = self.keys.len() >= self.most;
        let place = match self.sweep(starts, if full { 32 } else { 4 }) {
            Some(place) => {
                self.unlink(self.keys[place]);
                self.keys[place] = key;
                self.counters[place * self.width..][..self.width].fill(Counter::default());
                place
            }
            None if full => return None,
            None => {
                self.keys.push(key);
                let counters = self.counters.len() + self.width;
                self.counters.resize(counters, Counter::default());
                self.keys.len() - 1
            }
        };
        if self.keys.len() * 2 > self.index.len() {
            self.reindex(self.index.len() * 2);
        } else {
            self.link(key, place);
        }
        Some(place)
    }

    fn sweep(&mut self, starts: &[u64], steps: usize) -> Option<usize> {
        for _ in 0..steps.min(self.keys.len()) {
            self.hand = (self.hand + 1) % self.keys.len();
            let counters = &self.counters[self.hand * self.width..][..self.width];
            let mut pairs = counters.iter().zip(starts);
            if pairs.all(|(counter, start)| counter.start < *start) {
                return Some(self.hand);
            }
        }
        None
    }

    fn link(&mut self, key: u128, place: usize) {
        let mut at = key as usize & self.mask();
        while self.index[at] != 0 {
            at = (at + 1) & self.mask();
        }
        self.index[at] = place as u32 + 1;
    }

    fn reindex(&mut self, length: usize) {
        self.index.clear();
        self.index.resize(length, 0);
        for place in 0..self.keys.len() {
            self.link(self.keys[place], place);
        }
    }

    /// Takes a key out of the index and moves those behind it up, so that no search stops short.
    fn unlink(&mut self, key: u128) {
        let mask = self.mask();
        let mut hole = key as usize & mask;
        while self.index[hole] != 0 && self.keys[self.index[hole] as usize - 1] != key {
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let place = self.index[at];
            if place == 0 {
                break;
            }
            let home = self.keys[place as usize - 1] as usize & mask;
            // It may move up unless its home lies between the hole and itself.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = place;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }
}
