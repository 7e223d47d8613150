//! The body of an upstream's answer on its way to an HTTP/2 client.
//!
//! A task of its own reads the upstream and feeds a bounded pipe, because hyper does not poll a
//! body while the client's window is full: time-outs and the rest of the request body would stand
//! still with it. The task ends with the body that hyper holds.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;

use super::over_http1::Http1Answer;
use super::reply::{FRAME, ReplyBody};
use super::stream::Stream;
use crate::gateway::attempt::{Times, Wait, broken};
use crate::gateway::error::ProxyError;
use crate::gateway::forward_http2::Http2Answer;
use crate::gateway::heads;
use crate::gateway::heads::end_outcome;
use crate::gateway::pump::Waits;
use crate::gateway::upload::Upload;
use crate::http2::Frame;
use crate::http2::pipe::{self, Sender};
use crate::plugin::{Outcome, Wishes};
use crate::upstream::UpstreamErrorKind;
use crate::util::local;

/// An upstream that has answered with a head.
pub enum Answer {
    /// Over HTTP/1.1.
    Http1(Box<Http1Answer>),
    /// Over HTTP/2.
    Http2(Http2Answer),
}

impl Answer {
    /// Moves on what is left of the request body; whether something moved.
    fn poll_upload(&mut self, cx: &mut Context<'_>, upload: &Upload) -> Result<bool, ProxyError> {
        match self {
            Answer::Http1(answer) => answer.poll_upload(cx, upload),
            Answer::Http2(_) => Ok(upload.take_moved().is_some()),
        }
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, UpstreamErrorKind>>> {
        match self {
            Answer::Http1(answer) => answer.poll_next(cx),
            Answer::Http2(answer) => answer.poll_next(cx),
        }
    }
}

/// The answer was read to its end.
pub fn settle(stream: &mut Stream, answer: Answer) {
    if let Answer::Http1(answer) = answer {
        answer.settle(&stream.worker);
    }
}

/// Starts the task and answers with its pipe; `before` was read of the body already.
pub fn start(
    mut stream: Box<Stream>,
    answer: Answer,
    times: Times,
    wishes: Wishes,
    before: Vec<u8>,
) -> Response<ReplyBody> {
    let (sender, receiver) = pipe::pipe();
    let head = heads::response_of(&stream.ex, None, ());
    stream.ex.bytes_out = stream.ex.response.headers.text_len() as u64;
    let taken = Rc::clone(&stream.taken);
    let copy = (wishes.tee > 0).then(Vec::new);
    let mut relay = Relay {
        stream,
        answer,
        sender,
        times,
        wishes,
        copy,
    };
    let mut before = Bytes::from(before);
    while !before.is_empty() {
        relay.pass(pipe::data(before.split_to(before.len().min(FRAME))));
    }
    let task = local::spawn_owned(relay.run());
    head.map(|()| ReplyBody::Piped {
        receiver,
        taken,
        _task: task,
    })
}

/// How passing a body on ended.
enum Relayed {
    Whole,
    ClientGone,
    Broken,
}

/// The task.
struct Relay {
    stream: Box<Stream>,
    answer: Answer,
    sender: Sender,
    times: Times,
    wishes: Wishes,
    /// The copy that plugins wait for.
    copy: Option<Vec<u8>>,
}

impl Relay {
    async fn run(mut self) {
        let relayed = self.relay().await;
        if let Some(mut copy) = self
            .copy
            .take()
            .filter(|_| matches!(relayed, Relayed::Whole))
        {
            self.stream.ex.hand_copy(&self.wishes, &mut copy).await;
        }
        match relayed {
            Relayed::Whole => {
                settle(&mut self.stream, self.answer);
                self.stream.upload.cancel();
                self.sender.finish();
                taken(&self.stream, &self.sender).await;
            }
            Relayed::ClientGone => self.sender.fail(),
            Relayed::Broken => {
                self.sender.fail();
                let ex = &mut self.stream.ex;
                ex.outcome(Outcome::Failed(UpstreamErrorKind::Closed.label()), false);
                ex.set_origin(broken(UpstreamErrorKind::Closed).origin());
                self.stream.end();
            }
        }
    }

    /// Passes frames on until the end.
    async fn relay(&mut self) -> Relayed {
        let mut wait = None;
        poll_fn(|cx| {
            let mut moved = match self.answer.poll_upload(cx, &self.stream.upload) {
                Ok(moved) => moved,
                Err(ProxyError::ClientGone) => return Poll::Ready(Relayed::ClientGone),
                Err(_) => return Poll::Ready(Relayed::Broken),
            };
            let waits = loop {
                match self.sender.poll_room(cx) {
                    Poll::Pending => break Waits::Sink,
                    Poll::Ready(Err(_)) => return Poll::Ready(Relayed::ClientGone),
                    Poll::Ready(Ok(())) => {}
                }
                match self.answer.poll_next(cx) {
                    Poll::Pending => break Waits::Source,
                    Poll::Ready(None) => {
                        self.say_end(None);
                        return Poll::Ready(Relayed::Whole);
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Relayed::Broken),
                    Poll::Ready(Some(Ok(frame))) => {
                        if frame.is_trailers() {
                            self.say_end(frame.trailers_ref());
                        }
                        self.pass(frame);
                        moved = true;
                    }
                }
            };
            let now = Wait::Download(waits);
            let Stream {
                slot,
                worker,
                token,
                ..
            } = &*self.stream;
            if moved || wait != Some(now) {
                wait = Some(now);
                slot.set(now.patience(self.times, worker));
            }
            slot.poll_expired(cx).map(|()| match waits {
                Waits::Sink => {
                    token.park();
                    Relayed::ClientGone
                }
                Waits::Source => Relayed::Broken,
            })
        })
        .await
    }

    /// Tells plugins that wait for gRPC's status what trailers say, or that there are none.
    fn say_end(&mut self, trailers: Option<&http::HeaderMap>) {
        let is_end = trailers.is_some() || self.stream.ex.response.is_grpc();
        if is_end {
            self.stream.ex.outcome(end_outcome(trailers), false);
        }
    }

    fn pass(&mut self, frame: Frame) {
        if let Some(data) = frame.data_ref() {
            let ex = &mut self.stream.ex;
            ex.body_out += data.len() as u64;
            ex.bytes_out += data.len() as u64;
            let tee = self.wishes.tee;
            self.copy = self
                .copy
                .take()
                .filter(|copy| copy.len() + data.len() <= tee);
            if let Some(copy) = &mut self.copy {
                copy.extend_from_slice(data);
            }
        }
        self.sender.push(frame);
    }
}

/// Waits until the client's side has taken everything, or for so long takes nothing that it never
/// will.
async fn taken(stream: &Stream, sender: &Sender) {
    let patience = stream.worker.policy.body_timeout;
    match stream
        .slot
        .within(patience, poll_fn(|cx| sender.poll_taken(cx)))
        .await
    {
        Some(Ok(())) => stream.taken.set(true),
        Some(Err(_)) => {}
        None => {
            stream.token.park();
            sender.fail();
        }
    }
}

/// Reads a body up to a limit before its head leaves; whether that was all of it.
pub async fn collect(
    stream: &mut Stream,
    answer: &mut Answer,
    times: Times,
    limit: usize,
) -> Result<(Vec<u8>, bool), ProxyError> {
    let mut body = Vec::new();
    let Stream { upload, slot, .. } = stream;
    slot.set(times.read);
    let whole = poll_fn(|cx| {
        loop {
            if answer.poll_upload(cx, upload)? {
                slot.set(times.read);
            }
            let Poll::Ready(frame) = answer.poll_next(cx) else {
                let late = slot.poll_expired(cx);
                return late.map(|()| Err(broken(UpstreamErrorKind::ReadTimeout)));
            };
            slot.set(times.read);
            match frame.transpose().map_err(broken)?.map(Frame::into_data) {
                Some(Ok(data)) => body.extend_from_slice(&data),
                // Trailers of a body that is edited say nothing of what is sent.
                Some(Err(_)) => {}
                None => return Poll::Ready(Ok(true)),
            }
            if body.len() > limit {
                return Poll::Ready(Ok(false));
            }
        }
    })
    .await?;
    Ok((body, whole))
}
