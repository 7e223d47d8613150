//! The body of a message that hyper received, told apart from a cut one.
//!
//! hyper ends a body well when its stream was reset with NO_ERROR or CANCEL. Invariant: here a
//! body ends well only if its sender ended it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;
use thiserror::Error;

use super::{Frame, Incoming};

/// The stream was reset, or its connection ended, before the body did.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("stream ended before its body")]
pub struct Cut;

/// Reads one body.
#[derive(Debug)]
pub struct Reader {
    incoming: Incoming,
    left: Option<u64>,
    whole: bool,
}

impl Reader {
    /// Reads a body of that declared length, if one was declared; h2 itself holds senders to it.
    pub fn new(incoming: Incoming, declared: Option<u64>) -> Reader {
        Reader {
            whole: incoming.is_end_stream(),
            left: declared,
            incoming,
        }
    }

    /// Says what length was declared, once that is known.
    pub fn declare(&mut self, length: u64) {
        self.left = Some(length);
    }

    /// Whether nothing more will come.
    pub fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// The next piece; none behind the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Cut>>> {
        match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.note(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            None if self.whole || self.incoming.is_end_stream() => Poll::Ready(None),
            None | Some(Err(_)) => Poll::Ready(Some(Err(Cut))),
        }
    }

    /// A reset behind the end hides it: so it is noted as soon as it can be seen.
    fn note(&mut self, frame: &Frame) {
        let data = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.left = self.left.map(|left| left.saturating_sub(data));
        self.whole |= frame.is_trailers() || self.left == Some(0) || self.incoming.is_end_stream();
    }
}
