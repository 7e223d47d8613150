//! HTTP/2 on both sides, by hyper (floor 2): its connections, and the limits that it lacks.
//!
//! Everything runs on the thread of its worker: bodies are `!Send`, tasks are local. Must not
//! know: sockets, routes, plugins.

mod budget;
pub mod client;
mod guarded;
pub mod pipe;
pub mod reader;
pub mod server;
mod severable;
pub mod unary;

use std::future::Future;

use bytes::Bytes;

pub use hyper::body::Incoming;
pub use reader::Reader;

use crate::util::local;

/// A piece of a body: data or trailers.
pub type Frame = http_body::Frame<Bytes>;

/// Runs hyper's tasks on the thread that they were made on.
#[derive(Clone, Copy, Debug)]
pub struct LocalExec;

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        local::spawn(future);
    }
}
