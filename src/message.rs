//! Heads, headers, bodies, replies and records: one vocabulary for both protocols (floor 1).
//!
//! Must not know: sockets, routes, plugins, hyper.

pub mod authorization;
pub mod body;
pub mod cookie;
pub mod date;
pub mod head;
pub mod headers;
pub mod query;
pub mod record;
pub mod reply;
pub mod uri;

pub use body::{BodyError, BodyWish, RequestBody};
pub use head::{ConnInfo, Framing, RequestHead, ResponseHead, Span, TlsInfo, Version};
pub use headers::{Headers, Known, Mask};
pub use record::{Entity, Latencies, Record, Try};
pub use reply::{Blame, Origin, Reply, ReplyBody, http_status};
