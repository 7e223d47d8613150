//! Windows, buckets and breakers: pure state machines (floor 2).
//!
//! Invariant: time is a parameter; nothing here reads a clock.
//! Must not know: plugins, HTTP.

pub mod breaker;
pub mod period;
mod table;
pub mod window;

pub use breaker::Breaker;
pub use period::Period;
pub use window::{Taken, Windows};
