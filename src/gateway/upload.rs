//! A request body that comes in frames: read by plugins, kept for another attempt, sent by
//! whichever protocol the upstream speaks.
//!
//! Invariant: every byte that left the source was counted against the limit, and is either kept or
//! the body cannot be sent again.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::time::Instant;

use super::attempt::KEEP;
use super::pump::Waits;
use crate::http2::pipe::{self, Receiver};
use crate::http2::{Frame, Reader};
use crate::message::{BodyError, RequestBody};
use crate::util::sweep::Slot;

/// Where a body comes from.
pub enum Source {
    /// There is none.
    Empty,
    /// An HTTP/2 client's stream.
    Stream(Reader),
    /// A driver that reads an HTTP/1.x client.
    Pipe(Receiver),
}

/// The body of one request. Clones are the same body.
#[derive(Clone)]
pub struct Upload(Rc<RefCell<Inner>>);

struct Inner {
    source: Source,
    /// Pieces that another attempt begins with; `None` once there were too many.
    kept: Option<Vec<Bytes>>,
    kept_len: usize,
    /// The next of them to hand out.
    at: usize,
    trailers: Option<HeaderMap>,
    /// The source has ended.
    ended: bool,
    /// The end was handed out.
    done: bool,
    error: Option<BodyError>,
    limit: u64,
    seen: u64,
    waits: Waits,
    /// When something was handed out that nobody has asked for yet.
    moved: Option<Instant>,
    /// Which attempt may read.
    turn: u32,
    /// Handles that are alive.
    handles: usize,
    reader: Option<Waker>,
}

impl Upload {
    /// A body that nobody has read of, of at most so many bytes.
    pub fn new(source: Source, limit: u64) -> Upload {
        let ended = match &source {
            Source::Empty => true,
            Source::Stream(reader) => reader.is_end(),
            Source::Pipe(_) => false,
        };
        Upload(Rc::new(RefCell::new(Inner {
            source,
            kept: Some(Vec::new()),
            kept_len: 0,
            at: 0,
            trailers: None,
            ended,
            done: ended,
            error: None,
            limit,
            seen: 0,
            waits: Waits::Source,
            moved: None,
            turn: 0,
            handles: 0,
            reader: None,
        })))
    }

    /// A body that is in hand.
    pub fn whole(body: Vec<u8>) -> Upload {
        let upload = Upload::new(Source::Empty, u64::MAX);
        upload.replace(body.into());
        upload
    }

    /// Sends these bytes instead of what came.
    pub fn replace(&self, body: Bytes) {
        let mut inner = self.0.borrow_mut();
        inner.done = body.is_empty();
        inner.trailers = None;
        inner.kept_len = body.len();
        inner.kept = Some(if body.is_empty() {
            Vec::new()
        } else {
            vec![body]
        });
        inner.at = 0;
    }

    /// Lowers the limit.
    pub fn limit(&self, bytes: u64) {
        let mut inner = self.0.borrow_mut();
        inner.limit = inner.limit.min(bytes);
    }

    /// The lowest limit that anybody set.
    pub fn limited_to(&self) -> u64 {
        self.0.borrow().limit
    }

    /// Bytes that came.
    pub fn seen(&self) -> u64 {
        self.0.borrow().seen
    }

    /// All of it was read from its source.
    pub fn is_read(&self) -> bool {
        self.0.borrow().ended
    }

    /// All of it was handed out.
    pub fn is_done(&self) -> bool {
        self.0.borrow().done
    }

    /// It can be sent once more from its begin.
    pub fn is_replayable(&self) -> bool {
        self.0.borrow().kept.is_some()
    }

    /// Why it broke off.
    pub fn error(&self) -> Option<BodyError> {
        self.0.borrow().error
    }

    /// Whom it waits for.
    pub fn waits(&self) -> Waits {
        self.0.borrow().waits
    }

    /// When something was handed out last, if it was since the last call.
    pub fn take_moved(&self) -> Option<Instant> {
        self.0.borrow_mut().moved.take()
    }

    /// Begins an attempt: kept pieces go first, and readers of earlier attempts fail.
    pub fn restart(&self) -> Handle {
        let mut inner = self.0.borrow_mut();
        inner.next_turn();
        inner.error = None;
        inner.at = 0;
        let nothing = inner.kept.as_ref().is_some_and(Vec::is_empty) && inner.trailers.is_none();
        inner.done = inner.ended && nothing;
        inner.handles += 1;
        Handle {
            turn: inner.turn,
            upload: self.clone(),
        }
    }

    /// A handle holds a piece that its upstream does not take, and so asks for no other: not even
    /// to hear that it is cancelled.
    pub fn is_stuck(&self) -> bool {
        let inner = self.0.borrow();
        inner.handles > 0 && inner.waits == Waits::Sink
    }

    /// Nobody wants it any more: whoever still sends it fails.
    pub fn cancel(&self) {
        self.0.borrow_mut().next_turn();
    }

    /// The next piece; none behind the end.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        let mut inner = self.0.borrow_mut();
        let next = inner.poll_next(cx);
        inner.waits = if next.is_pending() {
            Waits::Source
        } else {
            inner.moved = Some(Instant::now());
            Waits::Sink
        };
        if let Poll::Ready(Some(Err(error))) = next {
            inner.error = Some(error);
        }
        next
    }

    /// Reads the body to its end, up to so many bytes, keeping all of it.
    fn poll_whole(&self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<Bytes, BodyError>> {
        let mut inner = self.0.borrow_mut();
        let limit = inner.limit.min(limit as u64);
        while !inner.ended {
            match ready!(inner.poll_source(cx, usize::MAX)) {
                Some(Err(error)) => {
                    inner.error = Some(error);
                    return Poll::Ready(Err(error));
                }
                Some(Ok(_)) if inner.seen > limit => {
                    inner.error = Some(BodyError::TooLarge);
                    return Poll::Ready(Err(BodyError::TooLarge));
                }
                _ => inner.moved = Some(Instant::now()),
            }
        }
        Poll::Ready(Ok(inner.join()))
    }
}

impl Inner {
    fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, BodyError>>> {
        if let Some(piece) = self.kept.as_ref().and_then(|kept| kept.get(self.at)) {
            self.at += 1;
            let piece = piece.clone();
            self.done = self.is_handed_out();
            return Poll::Ready(Some(Ok(pipe::data(piece))));
        }
        if self.ended {
            let trailers = self.trailers.clone().filter(|_| !self.done);
            self.done = true;
            return Poll::Ready(trailers.map(|fields| Ok(pipe::trailers(fields))));
        }
        let frame = ready!(self.poll_source(cx, KEEP));
        if self.kept.is_some() {
            self.at = self.kept.as_ref().map_or(0, Vec::len);
        }
        self.done = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || self.is_handed_out(),
            Some(Err(_)) => false,
            None => true,
        };
        Poll::Ready(frame)
    }

    fn is_handed_out(&self) -> bool {
        let all = self.kept.as_ref().is_none_or(|kept| self.at >= kept.len());
        self.ended && all && self.trailers.is_none()
    }

    /// The next frame of the source, counted, and kept while it fits.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        keep: usize,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        let read = match &mut self.source {
            Source::Empty => Poll::Ready(None),
            Source::Stream(reader) => reader.poll_next(cx).map_err(|_| BodyError::Closed),
            Source::Pipe(receiver) => Pin::new(receiver)
                .poll_frame(cx)
                .map_err(|_| BodyError::Closed),
        };
        let Some(frame) = ready!(read) else {
            self.ended = true;
            return Poll::Ready(None);
        };
        let frame = frame?;
        match frame.data_ref() {
            Some(data) => {
                let data = data.clone();
                self.seen += data.len() as u64;
                self.keep(data, keep);
                if self.seen > self.limit {
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                self.ended = match &self.source {
                    Source::Stream(reader) => reader.is_end(),
                    Source::Pipe(receiver) => receiver.is_taken(),
                    Source::Empty => true,
                };
            }
            None => {
                self.trailers = frame.trailers_ref().cloned();
                self.ended = true;
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn keep(&mut self, data: Bytes, most: usize) {
        self.kept_len += data.len();
        match &mut self.kept {
            Some(kept) if self.kept_len <= most => kept.push(data),
            kept => *kept = None,
        }
    }

    /// The kept pieces as one.
    fn join(&mut self) -> Bytes {
        let kept = self.kept.get_or_insert_default();
        match kept.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let whole = Bytes::from(many.concat());
                *kept = vec![whole.clone()];
                whole
            }
        }
    }
}

/// The body in the hands of one attempt over HTTP/2.
pub struct Handle {
    upload: Upload,
    turn: u32,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.upload.0.borrow_mut().handles -= 1;
    }
}

impl Body for Handle {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, BodyError>>> {
        {
            let mut inner = self.upload.0.borrow_mut();
            if inner.turn != self.turn {
                return Poll::Ready(Some(Err(BodyError::Closed)));
            }
            inner.reader = Some(cx.waker().clone());
        }
        self.upload.poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        let inner = self.upload.0.borrow();
        inner.turn == self.turn && inner.done
    }
}

/// The body in the hands of plugins, with the deadline of their reading.
pub struct Reading<'a> {
    /// The body.
    pub upload: &'a Upload,
    /// The exchange's deadline.
    pub slot: &'a Slot,
    /// Longest pause.
    pub timeout: Duration,
    whole: Option<Bytes>,
    /// The bytes are not the client's any more.
    pub replaced: bool,
    armed: bool,
}

impl<'a> Reading<'a> {
    /// Nothing was read yet.
    pub fn new(upload: &'a Upload, slot: &'a Slot, timeout: Duration) -> Reading<'a> {
        Reading {
            upload,
            slot,
            timeout,
            whole: None,
            replaced: false,
            armed: false,
        }
    }

    /// The length of the body, if it was read.
    pub fn whole_len(&self) -> Option<usize> {
        self.whole.as_ref().map(Bytes::len)
    }
}

impl RequestBody for Reading<'_> {
    fn poll_collect(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<(), BodyError>> {
        if self.whole.is_some() {
            return Poll::Ready(Ok(()));
        }
        match self.upload.poll_whole(cx, limit) {
            Poll::Ready(read) => {
                self.whole = Some(read?);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                if self.upload.take_moved().is_some() || !self.armed {
                    self.armed = true;
                    self.slot.set(self.timeout);
                }
                let late = self.slot.poll_expired(cx);
                late.map(|()| Err(BodyError::Timeout))
            }
        }
    }

    fn collected(&self) -> Option<&[u8]> {
        self.whole.as_deref()
    }

    fn replace(&mut self, body: Vec<u8>) {
        if self.whole.is_some() {
            let body = Bytes::from(body);
            self.upload.replace(body.clone());
            self.whole = Some(body);
            self.replaced = true;
        }
    }

    fn limit(&mut self, bytes: u64) {
        self.upload.limit(bytes);
    }
}

#[cfg(test)]
mod tests;
