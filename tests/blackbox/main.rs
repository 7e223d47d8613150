//! The built program, driven only through its contract: flags, files, signals, sockets.
//!
//! A module per theme; [`support`] starts the program and speaks to it. Each test starts what it
//! needs on ports of its own, so that all may run at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)]

mod support;

mod bad_requests;
mod check;
mod errors;
mod proxying;
mod startup;
