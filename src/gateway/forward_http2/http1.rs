//! HTTP/1.x clients of HTTP/2 upstreams: the body goes up through a pipe that the driver feeds,
//! the answer comes down through [`Sink`].

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio_util::io::poll_read_buf;

use super::{Http2Answer, Way};
use crate::gateway::attempt::{Sends, Times, Wait, broken};
use crate::gateway::client::{Client, Inbound};
use crate::gateway::drive_http1::{Busy, Next, answer_with, fail, write_head};
use crate::gateway::error::ProxyError;
use crate::gateway::exchange::{Exchange, whole_framing};
use crate::gateway::heads::{end_outcome, head_outcome};
use crate::gateway::live::{BUFFER, Live, Worker};
use crate::gateway::pump::Waits;
use crate::gateway::rewrite::clean_response;
use crate::gateway::sink::{Sink, SinkError};
use crate::gateway::upload::{Source, Upload};
use crate::http1::framing::Decoder;
use crate::http1::write::Encoder;
use crate::http2::Frame;
use crate::http2::pipe::{self, Sender};
use crate::message::{BodyError, Framing, Version};
use crate::plugin::{Outcome, Wishes};
use crate::upstream::UpstreamErrorKind;

/// Forwards the request and passes the answer back.
pub async fn forward(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    live: &Live,
    times: Times,
    inbound: Inbound,
) -> Next {
    let (mut feed, upload, sends) = prepare(&busy.ex, inbound);
    let conn = client.conn.clone();
    let slot = worker.sweep.slot();
    let mut way = Way {
        ex: &mut busy.ex,
        slot: &slot,
        worker,
        conn: &conn,
        live,
        times,
    };
    let arrived = way
        .attempts(&upload, sends, |cx| feed.poll(cx, client, worker))
        .await;
    let mut trip = Trip {
        client,
        worker,
        times,
        feed,
        upload,
        copy: None,
    };
    match arrived {
        Ok(answer) => trip.answered(busy, answer).await,
        Err(error) => trip.failed(busy, error).await,
    }
}

/// How the body goes up: in hand, or through a pipe.
fn prepare(ex: &Exchange, inbound: Inbound) -> (Feed, Upload, Sends) {
    let came = ex.request.framing;
    let limit = inbound.limit;
    if inbound.whole().is_some() && !came.is_none() || inbound.replaced {
        let new_length = inbound.replaced || came == Framing::Chunked;
        let (decoder, body) = inbound.into_parts();
        let sends = Sends {
            framing: whole_framing(body.len()),
            new_length,
        };
        return (Feed::done(decoder), Upload::whole(body), sends);
    }
    let sends = Sends {
        framing: came,
        new_length: false,
    };
    let (decoder, before) = inbound.into_parts();
    if came.is_none() {
        return (
            Feed::done(decoder),
            Upload::new(Source::Empty, limit),
            sends,
        );
    }
    let (sender, receiver) = pipe::pipe();
    if !before.is_empty() {
        sender.push(pipe::data(before));
    }
    let feed = Feed {
        decoder,
        sender: Some(sender),
        buf: BytesMut::new(),
    };
    (feed, Upload::new(Source::Pipe(receiver), limit), sends)
}

/// Reads the client's body into the pipe.
struct Feed {
    decoder: Decoder,
    sender: Option<Sender>,
    buf: BytesMut,
}

impl Feed {
    /// There is nothing to read.
    fn done(decoder: Decoder) -> Feed {
        Feed {
            decoder,
            sender: None,
            buf: BytesMut::new(),
        }
    }

    /// Moves what can be moved.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Client,
        worker: &Worker,
    ) -> Result<(), ProxyError> {
        let Some(sender) = &self.sender else {
            return match client.poll_gone(cx, worker) {
                true => Err(ProxyError::ClientGone),
                false => Ok(()),
            };
        };
        self.buf.extend_from_slice(&client.carry);
        client.carry.clear();
        loop {
            match sender.poll_room(cx) {
                Poll::Pending => return Ok(()),
                // The upstream takes no more of it, which an early answer may explain.
                Poll::Ready(Err(_)) => break,
                Poll::Ready(Ok(())) => {}
            }
            if let Some(data) = decode(&mut self.decoder, &mut self.buf)? {
                sender.push(pipe::data(data));
                continue;
            }
            if self.decoder.is_done() {
                sender.finish();
                client.carry.extend_from_slice(&self.buf);
                self.buf.clear();
                break;
            }
            self.buf.reserve(BUFFER);
            match poll_read_buf(Pin::new(&mut client.io), cx, &mut self.buf) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Err(ProxyError::ClientGone),
                Poll::Pending => return Ok(()),
            }
        }
        self.sender = None;
        Ok(())
    }

    /// What is left of the request once an answer of our own is due: nothing, or too much.
    fn rest(&self) -> Option<Inbound> {
        let nothing = || Inbound::new(Framing::None, false, u64::MAX);
        self.decoder.is_done().then(nothing)
    }
}

/// The next run of data in a buffer.
fn decode(decoder: &mut Decoder, buf: &mut BytesMut) -> Result<Option<Bytes>, ProxyError> {
    while !decoder.is_done() && !buf.is_empty() {
        let found = decoder.decode(buf).map_err(|_| BodyError::Malformed)?;
        let piece = buf.split_to(found.consumed);
        if !found.data.is_empty() {
            return Ok(Some(piece.freeze().slice(found.data)));
        }
        if found.consumed == 0 {
            break;
        }
    }
    Ok(None)
}

/// How passing a body on ended.
enum Relayed {
    Whole,
    ClientGone,
    Broken,
}

/// The way back.
struct Trip<'a> {
    client: &'a mut Client,
    worker: &'a Rc<Worker>,
    times: Times,
    feed: Feed,
    upload: Upload,
    copy: Option<(Wishes, Vec<u8>)>,
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        self.upload.cancel();
    }
}

impl Trip<'_> {
    /// All attempts failed: the plugins hear of it, and may have a better answer.
    async fn failed(&mut self, busy: &mut Busy<'_>, error: ProxyError) -> Next {
        let inbound = self.feed.rest();
        match busy.ex.outcome(error.outcome(), true) {
            Some(reply) => answer_with(self.client, busy, self.worker, inbound, &reply).await,
            None => fail(self.client, busy, self.worker, inbound, error).await,
        }
    }

    /// The upstream has answered with a head.
    async fn answered(&mut self, busy: &mut Busy<'_>, mut answer: Http2Answer) -> Next {
        let ex = &mut *busy.ex;
        ex.upstream_head();
        let te_trailers = ex.request.te_trailers;
        clean_response(&mut ex.response, te_trailers, false);
        if let Some(outcome) = head_outcome(&ex.response)
            && let Some(reply) = ex.outcome(outcome, true)
        {
            let inbound = self.feed.rest();
            return answer_with(self.client, busy, self.worker, inbound, &reply).await;
        }
        let came = ex.response.framing;
        let mut wishes = ex.respond(self.worker, &self.client.conn);
        if ex.response.is_grpc() {
            wishes = Wishes::default();
        }
        if came.is_none() || wishes.is_pass() {
            return self.send(busy, Some(&mut answer), came, None).await;
        }
        if wishes.collect == 0 && wishes.replace.is_none() {
            self.copy = Some((wishes, Vec::new()));
            return self.send(busy, Some(&mut answer), came, None).await;
        }
        let held = match &wishes.replace {
            Some(replacement) => Ok((replacement.clone(), true)),
            None => self.collect(&mut answer, wishes.collect).await,
        };
        match held {
            Ok((body, false)) => self.send(busy, Some(&mut answer), came, Some(body)).await,
            Ok((mut body, true)) => {
                busy.ex.hand_body(self.worker, &wishes, &mut body).await;
                let framing = Framing::Length(body.len() as u64);
                self.send(busy, None, framing, Some(body)).await
            }
            Err(error) => fail(self.client, busy, self.worker, None, error).await,
        }
    }

    /// Reads a body up to a limit before its head leaves; whether that was all of it.
    async fn collect(
        &mut self,
        answer: &mut Http2Answer,
        limit: usize,
    ) -> Result<(Vec<u8>, bool), ProxyError> {
        let mut body = Vec::new();
        let read = self.times.read;
        self.client.slot.set(read);
        let whole = poll_fn(|cx| {
            loop {
                self.feed.poll(cx, self.client, self.worker)?;
                let Poll::Ready(frame) = answer.poll_next(cx) else {
                    let late = self.client.slot.poll_expired(cx);
                    return late.map(|()| Err(broken(UpstreamErrorKind::ReadTimeout)));
                };
                self.client.slot.set(read);
                match frame.transpose().map_err(broken)?.map(Frame::into_data) {
                    Some(Ok(data)) => body.extend_from_slice(&data),
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

    /// Sends head and body: what is in hand, then what the upstream still sends.
    async fn send(
        &mut self,
        busy: &mut Busy<'_>,
        answer: Option<&mut Http2Answer>,
        came: Framing,
        before: Option<Vec<u8>>,
    ) -> Next {
        let ex = &mut *busy.ex;
        let goes = match came {
            Framing::Frames if ex.request.version == Version::Http10 => Framing::Close,
            Framing::Frames => Framing::Chunked,
            came => came,
        };
        let keep = ex.request.keep_alive
            && goes != Framing::Close
            && self.feed.decoder.is_done()
            && self.worker.drain.keeps_connections();
        // A length of the upstream's own is in the head already.
        let own = answer.is_some() && goes.length().is_some();
        let mut out = std::mem::take(&mut busy.download.out);
        out.clear();
        write_head(ex, &mut out, (!own).then_some(goes), keep);
        ex.bytes_out = out.len() as u64;
        let mut sink = Sink::new(out, Encoder::new(goes));
        sink.trailers = ex.request.te_trailers;
        let before = before.filter(|body| !body.is_empty()).map(Bytes::from);
        let answer = answer.filter(|_| !ex.drops_body());
        let relayed = self.relay(ex, answer, &mut sink, before).await;
        if let Some((wishes, mut copy)) = self.copy.take().filter(|_| sink.is_done()) {
            ex.hand_copy(&wishes, &mut copy).await;
        }
        ex.bytes_in += self.upload.seen();
        ex.body_out = sink.seen;
        ex.bytes_out = sink.written;
        busy.download.out = std::mem::take(&mut sink.out);
        self.ended(busy, relayed, keep)
    }

    fn ended(&mut self, busy: &mut Busy<'_>, relayed: Relayed, keep: bool) -> Next {
        match relayed {
            Relayed::Whole if keep => Next::Request,
            Relayed::Whole => Next::Close,
            Relayed::ClientGone => {
                busy.ex.client_gone();
                Next::Abort
            }
            Relayed::Broken => {
                // The head is out: a cut connection is the only honest way to say so.
                let label = UpstreamErrorKind::Closed.label();
                busy.ex.outcome(Outcome::Failed(label), false);
                busy.ex
                    .set_origin(broken(UpstreamErrorKind::Closed).origin());
                self.client.reset();
                Next::Abort
            }
        }
    }

    async fn relay(
        &mut self,
        ex: &mut Exchange,
        mut answer: Option<&mut Http2Answer>,
        sink: &mut Sink,
        mut before: Option<Bytes>,
    ) -> Relayed {
        let Trip {
            client,
            worker,
            times,
            feed,
            upload,
            copy,
        } = self;
        let mut wait = None;
        poll_fn(|cx| {
            match feed.poll(cx, client, worker) {
                Err(ProxyError::ClientGone) => return Poll::Ready(Relayed::ClientGone),
                Err(_) => return Poll::Ready(Relayed::Broken),
                Ok(()) => {}
            }
            let next = |cx: &mut Context<'_>| match (before.take(), &mut answer) {
                (Some(data), _) => Poll::Ready(Some(Ok(pipe::data(data)))),
                (None, None) => Poll::Ready(None),
                (None, Some(answer)) => {
                    let next = answer.poll_next(cx);
                    if let Poll::Ready(next) = &next {
                        note(ex, copy, next.as_ref());
                    }
                    next
                }
            };
            match sink.poll(cx, &mut client.io, next) {
                Poll::Ready(Ok(())) => return Poll::Ready(Relayed::Whole),
                Poll::Ready(Err(SinkError::Closed)) => return Poll::Ready(Relayed::ClientGone),
                Poll::Ready(Err(_)) => return Poll::Ready(Relayed::Broken),
                Poll::Pending => {}
            }
            let now = Wait::Download(sink.waits);
            if std::mem::take(&mut sink.moved) | upload.take_moved().is_some() || wait != Some(now)
            {
                wait = Some(now);
                client.slot.set(now.patience(*times, worker));
            }
            client.slot.poll_expired(cx).map(|()| match sink.waits {
                Waits::Sink => Relayed::ClientGone,
                Waits::Source => Relayed::Broken,
            })
        })
        .await
    }
}

/// Keeps a copy of what passes, and tells the outcome at the end.
fn note(
    ex: &mut Exchange,
    copy: &mut Option<(Wishes, Vec<u8>)>,
    next: Option<&Result<Frame, UpstreamErrorKind>>,
) {
    let trailers = match next {
        Some(Ok(frame)) => {
            if let Some(data) = frame.data_ref() {
                let fits =
                    |(wishes, copy): &(Wishes, Vec<u8>)| copy.len() + data.len() <= wishes.tee;
                *copy = copy.take().filter(fits);
                if let Some((_, copy)) = copy {
                    copy.extend_from_slice(data);
                }
                return;
            }
            frame.trailers_ref()
        }
        Some(Err(_)) => return,
        None => None,
    };
    if ex.response.is_grpc() || trailers.is_some() {
        ex.outcome(end_outcome(trailers), false);
    }
}
