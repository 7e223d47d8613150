//! Workers, listeners and connections (floor 6).
//!
//! Must not know: the control side.

pub mod activation;
pub mod balance;
pub mod bind;
pub mod conn;
pub mod handover;
pub mod limit;
pub mod listener;
pub mod per_address;
pub mod proxy_protocol;
pub mod worker;
