//! Body frames into an HTTP/1.1 connection: requests of HTTP/2 clients on their way up, answers of
//! HTTP/2 upstreams on their way down.
//!
//! Invariant: a frame is asked for only when everything before it was written, so no more than one
//! is held.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::heads;
use super::pump::Waits;
use crate::http1::write::Encoder;
use crate::http2::Frame;
use crate::tls::io::Io;

/// What a sink met.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkError<E> {
    /// The connection takes nothing more.
    Closed,
    /// The body is not as long as announced.
    Malformed,
    /// The source failed.
    Source(E),
}

/// One body on its way into a connection.
pub struct Sink {
    /// Bytes to be written: the head first.
    pub out: Vec<u8>,
    at: usize,
    encoder: Encoder,
    finished: bool,
    flushed: bool,
    /// Trailers are passed on.
    pub trailers: bool,
    /// Bytes of the body.
    pub seen: u64,
    /// Bytes given to the connection, framing and head included.
    pub written: u64,
    /// Whom it waits for, after a pending poll.
    pub waits: Waits,
    /// Something moved since the flag was last cleared.
    pub moved: bool,
}

impl Sink {
    /// For a body framed so, behind what `out` holds.
    pub fn new(out: Vec<u8>, encoder: Encoder) -> Sink {
        Sink {
            out,
            at: 0,
            encoder,
            finished: false,
            flushed: false,
            trailers: true,
            seen: 0,
            written: 0,
            waits: Waits::Source,
            moved: false,
        }
    }

    /// Everything was written.
    pub fn is_done(&self) -> bool {
        self.flushed
    }

    /// Moves what can be moved. Ready when the whole body has left.
    pub fn poll<E>(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut Io,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame, E>>>,
    ) -> Poll<Result<(), SinkError<E>>> {
        loop {
            self.waits = Waits::Sink;
            if ready!(self.poll_write(cx, io)).is_err() {
                return Poll::Ready(Err(SinkError::Closed));
            }
            if self.finished {
                let flushed = ready!(Pin::new(&mut *io).poll_flush(cx));
                self.flushed = true;
                return Poll::Ready(flushed.map_err(|_| SinkError::Closed));
            }
            let Poll::Ready(frame) = next(cx) else {
                // What was written must not lie in a buffer while more is awaited.
                if let Poll::Ready(Err(_)) = Pin::new(&mut *io).poll_flush(cx) {
                    return Poll::Ready(Err(SinkError::Closed));
                }
                self.waits = Waits::Source;
                return Poll::Pending;
            };
            self.moved = true;
            let frame = frame.transpose().map_err(SinkError::Source)?;
            if self.encode(frame).is_none() {
                return Poll::Ready(Err(SinkError::Malformed));
            }
        }
    }

    /// Frames a piece of the body, or its end.
    fn encode(&mut self, frame: Option<Frame>) -> Option<()> {
        let mut trailers = None;
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.seen += data.len() as u64;
                return self.encoder.encode(&data, &mut self.out).ok();
            }
            Some(Err(other)) => trailers = other.into_trailers().ok().filter(|_| self.trailers),
            None => {}
        }
        let trailers = trailers.map(|fields| heads::trailer_lines(&fields));
        self.finished = true;
        self.encoder.finish(trailers.as_ref(), &mut self.out).ok()
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, io: &mut Io) -> Poll<std::io::Result<()>> {
        while self.at < self.out.len() {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &self.out[self.at..]))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.moved = true;
            self.at += count;
            self.written += count as u64;
        }
        self.out.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }
}
