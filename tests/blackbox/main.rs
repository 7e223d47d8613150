//! The built program, driven only through its contract: flags, files, signals, sockets.
//!
//! A module per theme; [`support`] starts the program and speaks to it. Each test starts what it
//! needs on ports of its own, so that all may run at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The program is another process, with a clock that nobody pauses.
#![allow(clippy::disallowed_methods)]

mod support;
mod systemd;

mod admin_token;
mod bad_files;
mod bad_requests;
mod balancing;
mod bodies;
mod breaker;
mod capacity;
mod check;
mod consul;
mod consul_odd;
mod consumers;
mod dns;
mod errors;
mod failures;
mod framing;
mod grpc;
mod health;
mod http2;
mod http2_abuse;
mod jwks;
mod kept;
mod logs;
mod openapi;
mod operation;
mod overload;
mod owner;
mod plugins;
mod plugins_auth;
mod plugins_headers;
mod plugins_prometheus;
mod plugins_transform;
mod posting;
mod proxying;
mod rate_limiting;
mod routes;
mod soak_reloads;
mod soak_targets;
mod startup;
mod tls;
mod tools;
mod upgrade;
mod websockets;
mod worked;
