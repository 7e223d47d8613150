//! What runs beside the data plane: names, reloads, signals (floor 6).
//!
//! Must not know: server, gateway.

pub mod dns;
