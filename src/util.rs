//! Clock, ids, kept state, drain, addresses (floor 0).
