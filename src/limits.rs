//! Windows, buckets and their tables: pure state machines (floor 2).
//!
//! Invariant: time is a parameter; nothing here reads a clock.
//! Must not know: plugins, HTTP.

pub mod breaker;
pub mod bucket;
mod local;
pub mod period;
pub mod sliding;
mod table;
mod wide;
pub mod window;

pub use breaker::Breaker;
pub use local::{Counts, Local, Shape};
pub use period::Period;
pub use table::{Key, Tally};

/// Most periods that can be counted at once.
pub const MOST: usize = Period::ALL.len();

/// What became of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// It is let through and was counted.
    pub allowed: bool,
    /// Per limit, how many more would be let through after it.
    pub remaining: [u64; MOST],
    /// Per limit, seconds until its count gives way, at least 1.
    pub reset: [u64; MOST],
}
