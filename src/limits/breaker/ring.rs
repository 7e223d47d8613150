//! Counts of the last moments: ten slices of a window, each overwritten when its time comes round
//! again.
//!
//! Invariant: no lock and no timer. A slice says itself which moment it counts, so whoever comes
//! first in a new one begins it anew, and a slice that nobody touched since is seen to be old.

use std::sync::atomic::{AtomicU64, Ordering};

/// In so many slices a window is cut.
pub(super) const SLICES: u64 = 10;

/// Low half: how many. High half: in which slice of time.
const COUNT: u64 = u32::MAX as u64;

/// One counter a slice.
#[derive(Debug, Default)]
pub(super) struct Ring([AtomicU64; SLICES as usize]);

impl Ring {
    /// Counts one in a slice of time.
    pub(super) fn add(&self, slice: u32) {
        let cell = self.cell(slice);
        let mut held = cell.load(Ordering::Acquire);
        loop {
            let began = (held >> 32) as u32;
            if began == slice {
                // Whoever is held up here for a whole window counts in a later slice.
                cell.fetch_add(1, Ordering::AcqRel);
                return;
            }
            if age(slice, began) < 0 {
                // Held up for a window before: what it would count is forgotten already.
                return;
            }
            let fresh = u64::from(slice) << 32 | 1;
            match cell.compare_exchange(held, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => held = now,
            }
        }
    }

    /// Takes one back that was counted in that slice, unless it is forgotten.
    pub(super) fn take_back(&self, slice: u32) {
        let less = |held: u64| {
            let counted = (held >> 32) as u32 == slice && held & COUNT > 0;
            counted.then(|| held - 1)
        };
        // An error means that the slice is over.
        let _ = self
            .cell(slice)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// How many there were in the window that ends with this slice.
    pub(super) fn sum(&self, slice: u32) -> u64 {
        let cells = self.0.iter().map(|cell| cell.load(Ordering::Acquire));
        cells
            .filter(|held| age(slice, (held >> 32) as u32) < SLICES as i32)
            .map(|held| held & COUNT)
            .sum()
    }

    fn cell(&self, slice: u32) -> &AtomicU64 {
        &self.0[(slice % SLICES as u32) as usize]
    }
}

/// By how many slices `now` is later than `then`; both may have wrapped.
fn age(now: u32, then: u32) -> i32 {
    now.wrapping_sub(then) as i32
}
