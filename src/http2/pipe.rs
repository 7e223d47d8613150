//! A bounded pipe of body frames between two tasks of one worker.
//!
//! The reading end is a body for hyper; the writing end is fed by whoever drives the other
//! connection. Invariant: a body ends well only where [`Sender::finish`] said so; a sender that is
//! dropped before breaks it off, so a cut body never passes for a whole one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, SizeHint};
use thiserror::Error;

use super::Frame;

/// Data that may lie in a pipe before its writer has to wait.
const ROOM: usize = 32 * 1024;

/// The writer stopped before the end.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("body broke off")]
pub struct Broken;

#[derive(Debug, Default)]
struct Shared {
    frames: VecDeque<Frame>,
    bytes: usize,
    end: End,
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Finished,
    Broken,
}

impl Shared {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.data_ref().map_or(0, Bytes::len);
        self.frames.push_back(frame);
        wake(&mut self.reader);
    }

    fn close(&mut self, end: End) {
        if self.end == End::Open {
            self.end = end;
            wake(&mut self.reader);
        }
    }

    fn is_taken(&self) -> bool {
        self.frames.is_empty() && self.end == End::Finished
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

fn keep(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

/// The writing end.
#[derive(Debug)]
pub struct Sender(Rc<RefCell<Shared>>);

/// The reading end.
#[derive(Debug)]
pub struct Receiver(Rc<RefCell<Shared>>);

/// A new pipe.
pub fn pipe() -> (Sender, Receiver) {
    let shared = Rc::new(RefCell::new(Shared::default()));
    (Sender(Rc::clone(&shared)), Receiver(shared))
}

impl Sender {
    /// Ready when more may be pushed; an error when nobody reads any more.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        let mut shared = self.0.borrow_mut();
        if shared.unread {
            return Poll::Ready(Err(Broken));
        }
        if shared.bytes < ROOM {
            return Poll::Ready(Ok(()));
        }
        keep(&mut shared.writer, cx);
        Poll::Pending
    }

    /// Ready when the reader has taken everything; an error when it left before.
    pub fn poll_taken(&self, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        let mut shared = self.0.borrow_mut();
        if shared.is_taken() {
            return Poll::Ready(Ok(()));
        }
        if shared.unread {
            return Poll::Ready(Err(Broken));
        }
        keep(&mut shared.writer, cx);
        Poll::Pending
    }

    /// Adds a frame, room or not: one frame more than there is room for is always taken.
    pub fn push(&self, frame: Frame) {
        self.0.borrow_mut().push(frame);
    }

    /// The body is complete.
    pub fn finish(&self) {
        self.0.borrow_mut().close(End::Finished);
    }

    /// Breaks the body off; what lies in the pipe is dropped.
    pub fn fail(&self) {
        let mut shared = self.0.borrow_mut();
        shared.frames.clear();
        shared.bytes = 0;
        shared.close(End::Broken);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.borrow_mut().close(End::Broken);
    }
}

impl Receiver {
    /// Everything was taken, the end included.
    pub fn is_taken(&self) -> bool {
        self.0.borrow().is_taken()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut shared = self.0.borrow_mut();
        shared.unread = true;
        wake(&mut shared.writer);
    }
}

impl Body for Receiver {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, Broken>>> {
        let mut shared = self.0.borrow_mut();
        if let Some(frame) = shared.frames.pop_front() {
            shared.bytes -= frame.data_ref().map_or(0, Bytes::len);
            wake(&mut shared.writer);
            return Poll::Ready(Some(Ok(frame)));
        }
        match shared.end {
            End::Finished => Poll::Ready(None),
            End::Broken => Poll::Ready(Some(Err(Broken))),
            End::Open => {
                keep(&mut shared.reader, cx);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_taken()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A frame of data.
pub fn data(bytes: impl Into<Bytes>) -> Frame {
    Frame::data(bytes.into())
}

/// A frame of trailers.
pub fn trailers(fields: HeaderMap) -> Frame {
    Frame::trailers(fields)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn noop() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn next(receiver: &mut Receiver) -> Poll<Option<Result<Frame, Broken>>> {
        Pin::new(receiver).poll_frame(&mut noop())
    }

    #[test]
    fn the_writer_waits_for_room_and_the_reader_for_data() {
        let (sender, mut receiver) = pipe();
        assert!(next(&mut receiver).is_pending());
        sender.push(data(vec![0; ROOM]));
        assert!(sender.poll_room(&noop()).is_pending());
        assert!(next(&mut receiver).is_ready());
        assert_eq!(sender.poll_room(&noop()), Poll::Ready(Ok(())));
    }

    #[test]
    fn only_a_finished_body_ends_well() {
        let (sender, mut receiver) = pipe();
        sender.push(data("a"));
        sender.finish();
        assert!(!receiver.is_end_stream());
        assert!(matches!(next(&mut receiver), Poll::Ready(Some(Ok(_)))));
        assert!(receiver.is_end_stream());
        drop(sender);
        assert!(matches!(next(&mut receiver), Poll::Ready(None)));

        let (sender, mut receiver) = pipe();
        drop(sender);
        assert!(matches!(
            next(&mut receiver),
            Poll::Ready(Some(Err(Broken)))
        ));
    }

    #[tokio::test(flavor = "local")]
    async fn a_writer_hears_that_the_reader_left() {
        let (sender, receiver) = pipe();
        sender.push(data(vec![0; ROOM]));
        let task =
            crate::util::local::spawn(async move { poll_fn(|cx| sender.poll_room(cx)).await });
        tokio::task::yield_now().await;
        drop(receiver);
        assert_eq!(task.await.unwrap(), Err(Broken));
    }
}
