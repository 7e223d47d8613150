//! The world outside that is no upstream: log files, shared counters (floor 3).
//!
//! Work runs on the control runtime; the data plane holds handles that never wait.
//!
//! Must not know: requests, plugins, the snapshot.

pub mod consul;
pub mod jwks;
pub mod redis;
pub mod ship;
mod web;
