//! sluicegate: an API gateway that runs a Kong-style declarative file.
//!
//! The house has floors; imports go down only (`tests/house` keeps it so). See ARCHITECTURE.md.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod gateway;
pub mod http1;
pub mod http2;
pub mod identity;
pub mod limits;
pub mod message;
pub mod plugin;
pub mod plugins;
pub mod remote;
pub mod router;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod util;
