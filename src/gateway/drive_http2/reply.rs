//! The body of an answer as hyper takes it.
//!
//! Invariant: the exchange ends when hyper has taken the last frame, or drops the body before.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};

use super::stream::Stream;
use crate::http2::Frame;
use crate::http2::pipe::{self, Broken, Receiver};
use crate::util::local::Owned;

/// Largest frame handed to hyper: a client that stops reading holds no more than this and a
/// window.
pub const FRAME: usize = 16 * 1024;

/// The body of an answer.
pub enum ReplyBody {
    /// It is in hand.
    Whole {
        /// What is left of it.
        data: Bytes,
        /// What comes behind it.
        trailers: Option<HeaderMap>,
        /// Keeps the exchange until the end.
        stream: Box<Stream>,
    },
    /// A task brings it.
    Piped {
        /// Where it comes from.
        receiver: Receiver,
        /// Tells the task's exchange that everything was taken.
        taken: Rc<Cell<bool>>,
        /// Ends with the body.
        _task: Owned<()>,
    },
    /// There is none, and its client is gone.
    Broken {
        /// Ends with the body.
        _stream: Box<Stream>,
    },
}

impl ReplyBody {
    /// A body in hand.
    pub fn whole(data: Bytes, trailers: Option<HeaderMap>, stream: Box<Stream>) -> ReplyBody {
        ReplyBody::Whole {
            data,
            trailers,
            stream,
        }
    }

    /// No body, for nobody.
    pub fn broken(stream: Box<Stream>) -> ReplyBody {
        ReplyBody::Broken { _stream: stream }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, Broken>>> {
        match self.get_mut() {
            ReplyBody::Whole { data, trailers, .. } => Poll::Ready(if data.is_empty() {
                trailers.take().map(|fields| Ok(pipe::trailers(fields)))
            } else {
                let piece = data.split_to(data.len().min(FRAME));
                Some(Ok(pipe::data(piece)))
            }),
            ReplyBody::Piped { receiver, .. } => Pin::new(receiver).poll_frame(cx),
            ReplyBody::Broken { .. } => Poll::Ready(Some(Err(Broken))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Whole { data, trailers, .. } => data.is_empty() && trailers.is_none(),
            ReplyBody::Piped { receiver, .. } => receiver.is_taken(),
            ReplyBody::Broken { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        let whole = self.is_end_stream();
        match self {
            ReplyBody::Whole { stream, .. } => stream.taken.set(whole),
            ReplyBody::Piped { taken, .. } => taken.set(taken.get() || whole),
            ReplyBody::Broken { .. } => {}
        }
    }
}
