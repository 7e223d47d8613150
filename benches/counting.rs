//! An allocator that counts what the current thread asks for and holds. The one place with `unsafe`.
#![allow(unsafe_code, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// An allocator, counted: the system's, or another.
pub struct Counting<A = System>(pub A);

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

/// Allocations and reallocations of this thread so far.
#[allow(dead_code)]
pub fn count() -> u64 {
    COUNT.with(Cell::get)
}

/// Bytes that this thread holds; wrong where memory changes threads.
#[allow(dead_code)]
pub fn held() -> usize {
    HELD.with(Cell::get)
}

/// The most that it held since the last call.
#[allow(dead_code)]
pub fn most() -> usize {
    MOST.with(|most| most.replace(held()))
}

fn add(bytes: usize) {
    COUNT.with(|count| count.set(count.get() + 1));
    let held = HELD.with(|held| {
        held.set(held.get().wrapping_add(bytes));
        held.get()
    });
    MOST.with(|most| most.set(most.get().max(held)));
}

fn sub(bytes: usize) {
    HELD.with(|held| held.set(held.get().saturating_sub(bytes)));
}

// SAFETY: every call goes to the allocator within unchanged; the counter neither allocates nor
// has a destructor, so it may be used in here.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        sub(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        sub(layout.size());
        add(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { self.0.realloc(pointer, layout, size) }
    }
}
