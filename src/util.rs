//! Clock, ids, kept state, drain, addresses (floor 0).

pub mod background;
pub mod base64;
pub mod cidr;
pub mod clock;
pub mod closed;
pub mod codes;
pub mod drain;
pub mod handles;
pub mod ids;
pub mod keep;
pub mod lanes;
pub mod local;
pub mod sweep;
