//! A bounded table of counters under keys, in shards of their own locks.
//!
//! Keys are hashes of 128 bits that nobody outside can foresee, so they stand for what they were
//! made of. Invariant: memory is bounded whatever keys come; a counter that is in use is never
//! reset; nothing is allocated for a key that is there.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What a counter is found by; made by [`Table::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Key {
    /// One of so many places, all equally likely.
    pub fn spread(self, over: usize) -> usize {
        (self.0 >> 96) as usize % over.max(1)
    }
}

/// What was decided so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that were let through.
    pub allowed: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Of both, those that found the table full and were counted together with others.
    pub crowded: u64,
}

/// Counters under keys, several each.
#[derive(Debug)]
pub(super) struct Table<C> {
    hashers: [RandomState; 2],
    width: usize,
    /// Most keys of a shard.
    most: usize,
    /// Made when they are first used: a file may have thousands of instances with a key or two.
    shards: Box<[OnceLock<Box<Padded<C>>>]>,
}

const SHARDS: usize = 64;
/// How many keys are looked at for each new one, so that those that come and go use little more
/// room than those in use.
const STEPS: usize = 4;
/// The same when there is no room.
const STEPS_WHEN_FULL: usize = 32;

/// A shard in cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<C>(Mutex<Shard<C>>);

#[derive(Debug)]
struct Shard<C> {
    /// Open addressing with linear probing: a place in `keys` plus one, 0 for none. Its length is
    /// a power of two, at most three quarters of it are used.
    index: Vec<u32>,
    keys: Vec<u128>,
    /// `width` counters for each key, in the order of `keys`.
    counters: Vec<C>,
    width: usize,
    most: usize,
    /// Where the search for counters that are over goes on.
    hand: usize,
    /// The second in which a search through everything found nothing.
    searched: u64,
    /// What keys count with for which there is no room.
    shared: Vec<C>,
    tally: Tally,
}

impl<C: Copy + Default> Table<C> {
    /// A table of so many counters a key, for at most about so many keys.
    pub(super) fn new(width: usize, most: usize) -> Table<C> {
        Table {
            hashers: [RandomState::new(), RandomState::new()],
            width,
            most: most.div_ceil(SHARDS).clamp(1, u32::MAX as usize / 2),
            shards: (0..SHARDS).map(|_| OnceLock::new()).collect(),
        }
    }

    fn shard(&self) -> Box<Padded<C>> {
        Box::new(Padded(Mutex::new(Shard {
            index: vec![0; 16],
            keys: Vec::new(),
            counters: Vec::new(),
            width: self.width,
            most: self.most,
            hand: 0,
            searched: u64::MAX,
            shared: vec![C::default(); self.width],
            tally: Tally::default(),
        })))
    }

    /// The shards that are in use.
    fn made(&self) -> impl Iterator<Item = MutexGuard<'_, Shard<C>>> {
        let made = self.shards.iter().filter_map(OnceLock::get);
        made.map(|shard| lock(shard))
    }

    /// The key of something.
    pub(super) fn key(&self, of: impl Hash) -> Key {
        let [high, low] = &self.hashers;
        Key(u128::from(high.hash_one(&of)) << 64 | u128::from(low.hash_one(&of)))
    }

    /// How many keys have counters of their own.
    pub(super) fn len(&self) -> usize {
        self.made().map(|shard| shard.keys.len()).sum()
    }

    /// Memory that is reserved.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.made().map(|shard| shard.bytes()).sum::<usize>();
        size_of::<OnceLock<Box<Padded<C>>>>() * SHARDS + bytes
    }

    /// What was decided so far.
    pub(super) fn tally(&self) -> Tally {
        self.made().fold(Tally::default(), |sum, shard| {
            let own = shard.tally;
            Tally {
                allowed: sum.allowed + own.allowed,
                refused: sum.refused + own.refused,
                crowded: sum.crowded + own.crowded,
            }
        })
    }

    /// Runs on the counters of a key, with its shard locked; `run` says whether a request was let
    /// through, if one was decided on. `second` is now; `over` tells whether counters may give way
    /// to others.
    pub(super) fn with(
        &self,
        key: Key,
        second: u64,
        over: impl Fn(&[C]) -> bool,
        run: impl FnOnce(&mut [C]) -> Option<bool>,
    ) {
        let Some(shard) = self.shards.get((key.0 >> 64) as usize % SHARDS) else {
            return;
        };
        let mut shard = lock(shard.get_or_init(|| self.shard()));
        let (counters, own) = shard.counters(key.0, second, over);
        let allowed = run(counters);
        let tally = &mut shard.tally;
        tally.allowed += u64::from(allowed == Some(true));
        tally.refused += u64::from(allowed == Some(false));
        tally.crowded += u64::from(allowed.is_some() && !own);
    }
}

fn lock<C>(shard: &Padded<C>) -> MutexGuard<'_, Shard<C>> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes room for so many more by quarters: doubling would leave half of a large table unused.
fn room<T>(list: &mut Vec<T>, more: usize) {
    if list.len() + more > list.capacity() {
        list.reserve_exact((list.len() / 4).max(16).max(more));
    }
}

impl<C: Copy + Default> Shard<C> {
    /// The counters of a key, and whether they are its own.
    fn counters(
        &mut self,
        key: u128,
        second: u64,
        over: impl Fn(&[C]) -> bool,
    ) -> (&mut [C], bool) {
        let place = self.find(key).or_else(|| self.insert(key, second, over));
        match place {
            Some(place) => (&mut self.counters[place * self.width..][..self.width], true),
            None => (&mut self.shared, false),
        }
    }

    fn bytes(&self) -> usize {
        let counters = self.counters.capacity() + self.shared.capacity();
        size_of::<Padded<C>>()
            + self.index.capacity() * size_of::<u32>()
            + self.keys.capacity() * size_of::<u128>()
            + counters * size_of::<C>()
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

    /// A place for a new key: one that is over, else a further one, else none.
    fn insert(&mut self, key: u128, second: u64, over: impl Fn(&[C]) -> bool) -> Option<usize> {
        let full = self.keys.len() >= self.most;
        let place = match self.sweep(second, full, over) {
            Some(place) => {
                self.unlink(self.keys[place]);
                self.keys[place] = key;
                self.counters[place * self.width..][..self.width].fill(C::default());
                place
            }
            None if full => return None,
            None => {
                room(&mut self.keys, 1);
                self.keys.push(key);
                room(&mut self.counters, self.width);
                let counters = self.counters.len() + self.width;
                self.counters.resize(counters, C::default());
                self.keys.len() - 1
            }
        };
        if self.keys.len() * 4 > self.index.len() * 3 {
            self.reindex(self.index.len() * 2);
        } else {
            self.link(key, place);
        }
        Some(place)
    }

    /// A place whose counters are over. A full table is looked through as a whole, but in vain at
    /// most once a second.
    fn sweep(&mut self, second: u64, full: bool, over: impl Fn(&[C]) -> bool) -> Option<usize> {
        let steps = match full {
            false => STEPS,
            true if self.searched == second => STEPS_WHEN_FULL,
            true => self.keys.len(),
        };
        for _ in 0..steps.min(self.keys.len()) {
            self.hand = (self.hand + 1) % self.keys.len();
            if over(&self.counters[self.hand * self.width..][..self.width]) {
                return Some(self.hand);
            }
        }
        if full {
            self.searched = second;
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
        room(&mut self.index, length);
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
