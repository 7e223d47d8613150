//! Workers, listeners and connections (floor 6).

pub mod bind;
pub mod limit;
pub mod listener;
pub mod proxy_protocol;
