//! Bodies as plugins may touch them: on request only, bounded, and never otherwise.

use std::task::{Context, Poll};

use thiserror::Error;

/// Why a request body could not be had.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("request body is larger than allowed")]
    TooLarge,
    /// Its framing is broken.
    #[error("request body is malformed")]
    Malformed,
    /// The client closed or reset the connection before the end.
    #[error("client left before the end of its body")]
    Closed,
    /// The client sent nothing for longer than allowed.
    #[error("client is too slow with its body")]
    Timeout,
}

/// The body of the request in hand. Nothing is read before somebody asks.
pub trait RequestBody {
    /// Reads the whole body, up to `limit` bytes; ready again at once when it is in already.
    ///
    /// Dropping a caller in between keeps what was read.
    fn poll_collect(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<(), BodyError>>;

    /// The body, once [`RequestBody::poll_collect`] was ready; empty without a body.
    fn collected(&self) -> Option<&[u8]>;

    /// Sends these bytes instead. Only after a successful [`RequestBody::poll_collect`].
    fn replace(&mut self, body: Vec<u8>);

    /// While the body streams, ends it with [`BodyError::TooLarge`] behind so many bytes. The
    /// lowest limit holds.
    fn limit(&mut self, bytes: u64);
}

/// What a plugin wants of the response body, said after it saw the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BodyWish {
    /// Nothing: it streams through.
    #[default]
    Pass,
    /// A copy of up to so many bytes; longer bodies are not handed over.
    Tee(usize),
    /// The whole body before the head goes out, up to so many bytes; a longer one streams
    /// through untouched.
    Collect(usize),
    /// These bytes instead of the body.
    Replace(Vec<u8>),
}
