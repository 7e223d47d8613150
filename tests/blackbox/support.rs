//! What the tests drive the gateway with: the program itself, clients and upstreams that say and
//! record exactly what is on the wire.
//!
//! Invariant: nothing waits for a guessed time. Every wait is for an event and bounded by
//! [`PATIENCE`].

use std::time::{Duration, Instant};

pub mod client;
pub mod consul;
pub mod dns;
pub mod fake_consul;
pub mod frames;
pub mod gateway;
pub mod grpc;
pub mod h2;
pub mod redis;
pub mod sign;
pub mod soak;
pub mod upstream;
pub mod x509;

pub use client::{Conn, Request, Response};
pub use gateway::{Gateway, Setup, command, gateway};
pub use upstream::Upstream;

/// How long any single event may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until the answer is yes; for what can only be polled, such as an admin page.
#[track_caller]
pub fn eventually(what: &str, mut yes: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !yes() {
        assert!(begin.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
