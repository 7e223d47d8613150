//! What was decided about a `User-Agent` lately: few are asked about over and over.
//!
//! Invariant: each worker has its own table of fixed size, so there is neither a lock nor an
//! allocation, and whatever clients send pushes out no more than other entries. An entry is a hash
//! of 62 bits, keyed anew in each process: to be taken for another one takes luck, and gains no
//! more than lying about the name does.

use std::cell::Cell;
use std::hash::BuildHasher;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

/// Entries of a worker; 4 KiB.
const ENTRIES: usize = 512;
/// Set in every entry.
const TAKEN: u64 = 1;
/// Set where the answer was yes.
const YES: u64 = 2;

thread_local! {
    static TABLE: [Cell<u64>; ENTRIES] = const { [const { Cell::new(0) }; ENTRIES] };
}

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::default);
static INSTANCES: AtomicU64 = AtomicU64::new(0);

/// One instance's share of the tables.
#[derive(Debug)]
pub(super) struct Memory(u64);

impl Memory {
    /// Knows nothing yet.
    pub(super) fn new() -> Memory {
        Memory(INSTANCES.fetch_add(1, Ordering::Relaxed))
    }

    /// The answer of `ask` about a text, remembered.
    pub(super) fn recall(&self, text: &[u8], ask: impl FnOnce() -> bool) -> bool {
        let hash = KEY.hash_one((self.0, text));
        let (place, name) = (hash as usize / 4 % ENTRIES, hash & !(TAKEN | YES) | TAKEN);
        TABLE.with(|table| {
            let Some(entry) = table.get(place) else {
                return ask();
            };
            if entry.get() & !YES == name {
                return entry.get() & YES != 0;
            }
            let answer = ask();
            entry.set(name | if answer { YES } else { 0 });
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_once_and_mixes_nothing_up() {
        let (one, other) = (Memory::new(), Memory::new());
        for answer in [true, false] {
            let text = [b'x', u8::from(answer)];
            assert_eq!(one.recall(&text, || answer), answer);
            assert_eq!(one.recall(&text, || !answer), answer, "remembered");
            assert_eq!(other.recall(&text, || !answer), !answer, "another instance");
        }
        for number in 0..20_000_u32 {
            let answer = number % 3 == 0;
            assert_eq!(one.recall(&number.to_be_bytes(), || answer), answer);
            assert_eq!(one.recall(&number.to_be_bytes(), || answer), answer);
        }
    }
}
