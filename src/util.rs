//! Clock, ids, kept state, drain, addresses (floor 0).

pub mod ids;
pub mod keep;
