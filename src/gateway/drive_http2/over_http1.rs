//! A request of an HTTP/2 client over an HTTP/1.1 connection to its upstream.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::reply::FRAME;
use super::stream::Stream;
use crate::gateway::attempt::{self, Interim, Link, Patience, Sends, Times, Wait, poll_head};
use crate::gateway::error::ProxyError;
use crate::gateway::heads;
use crate::gateway::live::{Live, Worker};
use crate::gateway::sink::{Sink, SinkError};
use crate::gateway::upload::Upload;
use crate::http1::framing::Decoder;
use crate::http1::write::Encoder;
use crate::http2::Frame;
use crate::http2::pipe;
use crate::message::BodyError;
use crate::upstream::UpstreamErrorKind;
use crate::util::closed::By;

/// An upstream that has answered with a head, and what is still to pass between it and the client.
pub struct Http1Answer {
    link: Link,
    sink: Sink,
    /// It takes no more of the request.
    refused: bool,
    decoder: Decoder,
    buf: BytesMut,
    trailers: Option<Frame>,
    keeps: bool,
}

/// Tries endpoints until one answers with a head, or none may be tried any more.
pub async fn attempts(
    stream: &mut Stream,
    live: &Live,
    times: Times,
    sends: Sends,
) -> Result<Http1Answer, ProxyError> {
    attempt::resolved(&stream.ex, &stream.slot, times).await;
    let mut fresh = false;
    loop {
        let target = stream.ex.attempt()?;
        let Stream {
            ex,
            slot,
            worker,
            conn,
            upload,
            ..
        } = stream;
        let worker: &Rc<Worker> = worker;
        let opening = attempt::open(ex, slot, worker, live, times, target, fresh);
        let error = match opening.await {
            Ok(link) => {
                let mut out = worker.buffer();
                let target = &link.target;
                attempt::request_head(ex, &mut out, worker, conn, target, sends);
                // The reader of an earlier attempt is gone with its sink.
                drop(upload.restart());
                let sink = Sink::new(out, Encoder::new(sends.framing));
                match round_trip(stream, link, sink, times).await {
                    Ok(answer) => {
                        let replayable = stream.upload.is_replayable();
                        if attempt::is_refused(&mut stream.ex, replayable, &mut fresh) {
                            continue;
                        }
                        return Ok(answer);
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let replayable = stream.upload.is_replayable();
        attempt::again(&mut stream.ex, error, replayable, &mut fresh)?;
    }
}

/// Sends the request and reads the head of its answer.
async fn round_trip(
    stream: &mut Stream,
    mut link: Link,
    mut sink: Sink,
    times: Times,
) -> Result<Http1Answer, ProxyError> {
    let Stream {
        ex,
        upload,
        slot,
        worker,
        ..
    } = stream;
    ex.response.clear();
    let mut scan = 0;
    let mut refused = false;
    let mut patience = Patience::default();
    let head = poll_fn(|cx| {
        if !refused && !sink.is_done() {
            refused = poll_upload(cx, &mut sink, &mut link, upload)?;
        }
        if let Poll::Ready(read) = poll_head(cx, ex, &mut link.io, &mut scan, Interim::Drop) {
            return Poll::Ready(read.map_err(|kind| link.error(kind, sink.written > 0)));
        }
        let now = if refused || sink.is_done() {
            Wait::Head
        } else {
            Wait::Upload(sink.waits)
        };
        let moved = std::mem::take(&mut sink.moved).then(Instant::now);
        let longest = now.patience(times, worker);
        let late = patience.poll(cx, slot, ex, (now, moved), longest);
        Poll::Ready(Err(match ready!(late) {
            Ok(kind) => link.error(kind, sink.written > 0),
            Err(slow) => slow.into(),
        }))
    })
    .await?;
    if ex.response.status == 101 {
        return Err(link.error(UpstreamErrorKind::Malformed, true));
    }
    let raw = &mut ex.response.headers.raw;
    let buf = BytesMut::from(&raw[head..]);
    raw.truncate(head);
    Ok(Http1Answer {
        link,
        sink,
        refused,
        decoder: Decoder::new(ex.response.framing),
        buf,
        trailers: None,
        keeps: ex.response.keep_alive,
    })
}

/// Moves the request body on; `true` when the upstream takes no more of it, which an early answer
/// may explain.
fn poll_upload(
    cx: &mut Context<'_>,
    sink: &mut Sink,
    link: &mut Link,
    upload: &Upload,
) -> Result<bool, ProxyError> {
    match sink.poll(cx, &mut link.io, |cx| upload.poll_next(cx)) {
        Poll::Pending | Poll::Ready(Ok(())) => Ok(false),
        Poll::Ready(Err(SinkError::Closed)) => Ok(true),
        Poll::Ready(Err(SinkError::Malformed)) => Err(BodyError::Malformed.into()),
        Poll::Ready(Err(SinkError::Source(BodyError::Closed))) => Err(ProxyError::ClientGone),
        Poll::Ready(Err(SinkError::Source(error))) => Err(error.into()),
    }
}

impl Http1Answer {
    /// Moves on what is left of the request body; whether something moved.
    pub fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        upload: &Upload,
    ) -> Result<bool, ProxyError> {
        if !self.refused && !self.sink.is_done() {
            self.refused = poll_upload(cx, &mut self.sink, &mut self.link, upload)?;
        }
        Ok(std::mem::take(&mut self.sink.moved))
    }

    /// The whole body, where it has come with the head, and the whole request has left.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let length = self.decoder.announced();
        if length == 0 || length != self.buf.len() as u64 || !self.sink.is_done() {
            return None;
        }
        match self.decoder.decode(&self.buf) {
            Ok(found) if found.done => Some(self.buf.split_to(found.consumed).freeze()),
            _ => None,
        }
    }

    /// The next piece of the answer's body; none behind its end.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, UpstreamErrorKind>>> {
        loop {
            match self.decode() {
                Err(kind) => return Poll::Ready(Some(Err(kind))),
                Ok(Some(data)) => return Poll::Ready(Some(Ok(pipe::data(data)))),
                Ok(None) if self.decoder.is_done() => {
                    return Poll::Ready(self.trailers.take().map(Ok));
                }
                Ok(None) => {}
            }
            self.buf.reserve(FRAME);
            // No more than a frame at once, however large the buffer has become.
            match ready!(poll_read_buf(
                Pin::new(&mut self.link.io),
                cx,
                &mut self.buf
            )) {
                Ok(count) if count > 0 => {}
                Ok(_) if self.decoder.eof().is_ok() => return Poll::Ready(None),
                _ => return Poll::Ready(Some(Err(UpstreamErrorKind::Closed))),
            }
        }
    }

    /// The next run of data in the buffer.
    fn decode(&mut self) -> Result<Option<Bytes>, UpstreamErrorKind> {
        while !self.decoder.is_done() && !self.buf.is_empty() {
            let found = self.decoder.decode(&self.buf);
            let found = found.map_err(|_| UpstreamErrorKind::Malformed)?;
            let piece = self.buf.split_to(found.consumed);
            if found.done
                && let Some(fields) = self.decoder.take_trailers()
            {
                self.trailers = Some(pipe::trailers(heads::trailer_map(&fields)));
            }
            if !found.data.is_empty() {
                return Ok(Some(piece.freeze().slice(found.data)));
            }
            if found.consumed == 0 {
                break;
            }
        }
        Ok(None)
    }

    /// The answer was read to its end: keeps the connection where both sides have finished.
    pub fn settle(self, worker: &Worker) {
        let clean = self.sink.is_done() && self.decoder.is_done() && self.buf.is_empty();
        worker.recycle(self.sink.out);
        if !self.keeps {
            self.link.mark.set(By::Upstream);
        } else if clean {
            self.link.checkin(worker, Instant::now());
        }
    }
}
