//! HTTP/1.1 on both sides: bytes in, events out (floor 2).
//!
//! [`parse`] reads heads, [`framing`] reads bodies, [`write`] writes both. Nothing in here does
//! IO, knows a route or decides a policy. Ambiguous input is an error and never repaired: two
//! readers of one connection must not come to different ends of a message.
//!
//! Must not know: sockets, routes, plugins.

pub mod framing;
pub mod limits;
pub mod parse;
pub mod write;
