//! One exchange: the life of a request (floor 5).
//!
//! [`drive_http1`] is the page to read first. Must not know: listeners, reload, YAML.

pub mod access;
pub mod attempt;
pub mod client;
pub mod drive_http1;
pub mod drive_http2;
pub mod error;
pub mod exchange;
pub mod forward;
pub mod forward_http2;
pub mod heads;
pub mod live;
pub mod protocol;
pub mod pump;
pub mod rewrite;
pub mod sink;
#[cfg(test)]
mod testkit;
pub mod upgrade;
pub mod upload;

pub use error::ProxyError;
pub use exchange::Exchange;
pub use live::{AccessLog, HeaderSwitch, Live, Policy, Worker};
