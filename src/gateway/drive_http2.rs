//! A client connection over HTTP/2: one task per stream, each walking the steps of [`Exchange`]
//! just as [`super::drive_http1`] does.
//!
//! Reading order: [`serve`], [`exchange`], then [`forward`]; how an answer leaves is [`relay`] and
//! [`reply`].

mod over_http1;
mod relay;
mod reply;
mod stream;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response};

use self::relay::Answer;
use self::reply::ReplyBody;
use self::stream::Stream;
use super::attempt::{Sends, Times};
use super::error::ProxyError;
use super::exchange::{Exchange, has_body, whole_framing};
use super::forward_http2;
use super::heads;
use super::live::Worker;
use super::rewrite::clean_response;
use super::upload::{Reading, Source, Upload};
use crate::http2::server::{self, Settings, Token};
use crate::http2::{Incoming, Reader};
use crate::message::{BodyError, ConnInfo, Framing, Reply};
use crate::plugin::Wishes;
use crate::tls::io::Io;

/// Serves a client connection until it ends; `pre` was read of it already. Dropping the future
/// drops the connection, and its requests in flight are logged as abandoned.
pub fn serve(
    io: Io,
    pre: Vec<u8>,
    conn: ConnInfo,
    worker: Rc<Worker>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    // Boxed, so that whoever may also serve HTTP/1.x does not carry it along.
    Box::pin(run(io, pre, conn, worker))
}

async fn run(io: Io, pre: Vec<u8>, conn: ConnInfo, worker: Rc<Worker>) {
    let policy = &worker.policy;
    // hyper counts 32 bytes more per field than there are on the wire: its limit is the loose one.
    let list = u32::try_from(policy.limits.head.saturating_mul(2)).unwrap_or(u32::MAX);
    let settings = Settings {
        header_list: list,
        first: policy.header_timeout,
        idle: policy.idle_timeout,
        patience: policy.body_timeout,
    };
    let slot = worker.sweep.slot();
    let drain = worker.drain.clone();
    let conn = Rc::new(conn);
    let requests = Cell::new(0);
    let handle = move |request, token| {
        requests.set(requests.get() + 1);
        let (conn, worker) = (Rc::clone(&conn), Rc::clone(&worker));
        // Boxed: hyper moves it about, and it is large.
        Box::pin(exchange(request, token, requests.get(), conn, worker))
    };
    server::serve(io, pre, settings, &slot, &drain, handle).await;
}

/// One request and its answer. The returned future is what hyper drops when the client resets the
/// stream.
async fn exchange(
    request: Request<Incoming>,
    token: Rc<Token>,
    nth: u64,
    conn: Rc<ConnInfo>,
    worker: Rc<Worker>,
) -> Response<ReplyBody> {
    let (parts, incoming) = request.into_parts();
    let mut ex = worker.exchange();
    ex.clear();
    ex.facts.nth = nth;
    let reader = Reader::new(incoming, None);
    let ended = reader.is_end();
    let read = heads::read_request(&mut ex.request, &parts, ended, &worker.policy.limits);
    ex.bytes_in = ex.request.headers.raw.len() as u64;
    let began = ex.begin(&worker, &conn);
    let limit = match worker.policy.max_body {
        0 => u64::MAX,
        most => most,
    };
    let upload = Upload::new(Source::Stream(reader), limit);
    let mut stream = Stream::new(ex, upload, token, conn, worker);
    let began = read.map_err(ProxyError::from).and(began);
    let decision = match began {
        Ok(()) => decide(&mut stream).await,
        Err(error) => Err(error),
    };
    match decision {
        Ok(Decision::Forward(sends)) => forward(stream, sends).await,
        Ok(Decision::Answer(reply)) => answer(stream, &reply).await,
        Err(error) => fail(stream, error).await,
    }
}

/// What is to be done with a request.
enum Decision {
    Answer(Reply),
    Forward(Sends),
}

/// Route, protocol, plugins, gates: an answer of our own, or on to the upstream.
async fn decide(stream: &mut Stream) -> Result<Decision, ProxyError> {
    let Stream {
        ex,
        upload,
        slot,
        conn,
        worker,
        ..
    } = stream;
    ex.find_route(conn)?;
    if let Some(reply) = ex.check_protocol(conn) {
        return Ok(Decision::Answer(reply));
    }
    let mut body = Reading::new(upload, slot, worker.policy.body_timeout);
    if let Some(reply) = ex.admit(conn, &mut body).await? {
        return Ok(Decision::Answer(reply));
    }
    if let Some(reply) = ex.gate(conn, &mut body).await? {
        return Ok(Decision::Answer(reply));
    }
    match ex.request.framing.length() {
        Some(length) if length > upload.limited_to() => Err(BodyError::TooLarge.into()),
        _ => Ok(Decision::Forward(sends(ex, &body))),
    }
}

/// How the body goes up: as it came, unless a plugin has read or replaced it.
fn sends(ex: &Exchange, body: &Reading<'_>) -> Sends {
    let came = ex.request.framing;
    match body.whole_len() {
        Some(length) if body.replaced || !came.is_none() => Sends {
            framing: whole_framing(length),
            new_length: body.replaced || came == Framing::Frames,
        },
        _ => Sends {
            framing: came,
            new_length: false,
        },
    }
}

/// Forwards the request and passes the answer back.
async fn forward(mut stream: Box<Stream>, sends: Sends) -> Response<ReplyBody> {
    let Ok(live) = stream.ex.live() else {
        return fail(stream, ProxyError::Internal).await;
    };
    let Some(service) = stream.ex.service(&live.snapshot) else {
        return fail(stream, ProxyError::NoService).await;
    };
    let times = Times::of(service);
    let answered = if service.http2 {
        let Stream {
            ex,
            upload,
            slot,
            conn,
            worker,
            ..
        } = &mut *stream;
        let mut way = forward_http2::Way {
            ex,
            slot,
            worker,
            conn,
            live: &live,
            times,
        };
        // Boxed, so that a stream to an HTTP/1.1 upstream does not carry it along.
        let arrived = Box::pin(way.attempts(upload, sends, |_| Ok(()))).await;
        arrived.map(Answer::Http2)
    } else {
        let arrived = over_http1::attempts(&mut stream, &live, times, sends).await;
        arrived.map(|answer| Answer::Http1(Box::new(answer)))
    };
    match answered {
        Ok(answer) => pass_back(stream, answer, times).await,
        Err(error) => failed(stream, error).await,
    }
}

/// All attempts failed: the plugins hear of it, and may have a better answer.
async fn failed(mut stream: Box<Stream>, error: ProxyError) -> Response<ReplyBody> {
    match stream.ex.outcome(error.outcome(), true) {
        Some(reply) => answer(stream, &reply).await,
        None => fail(stream, error).await,
    }
}

/// Answers an error of the gateway.
async fn fail(mut stream: Box<Stream>, error: ProxyError) -> Response<ReplyBody> {
    stream.ex.set_origin(error.origin());
    if error == ProxyError::ClientGone {
        // Nobody is there to read it; hyper drops the stream next.
        let mut response = Response::new(ReplyBody::broken(stream));
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        return response;
    }
    let reply = stream.ex.error_reply(error);
    answer(stream, &reply).await
}

/// Sends an answer of our own.
async fn answer(mut stream: Box<Stream>, reply: &Reply) -> Response<ReplyBody> {
    let Stream {
        ex, conn, worker, ..
    } = &mut *stream;
    ex.answer(reply);
    let wishes = ex.respond(worker, conn);
    let mut body = reply.render(ex.facts.request_id.as_str()).to_vec();
    if ex.answers_grpc() {
        return whole(stream, None, Vec::new());
    }
    if let Some(replaced) = wishes.replace.clone() {
        body = replaced;
    }
    if wishes.collect > 0 || wishes.tee > 0 {
        ex.hand_body(worker, &wishes, &mut body).await;
    }
    let length = has_length(ex).then_some(body.len());
    if !has_body(&ex.request, ex.response.status) {
        body.clear();
    }
    whole(stream, length, body)
}

/// Whether an answer that has been made here may say its length (RFC 9110 §8.6).
fn has_length(ex: &Exchange) -> bool {
    !matches!(ex.response.status, 100..=199 | 204 | 304)
}

/// An answer whose body is in hand. Without a length the head keeps the one that it has.
fn whole(
    mut stream: Box<Stream>,
    length: Option<usize>,
    body: impl Into<Bytes>,
) -> Response<ReplyBody> {
    let body = body.into();
    stream.ex.body_out = body.len() as u64;
    stream.ex.bytes_out = stream.ex.response.headers.text_len() as u64 + body.len() as u64;
    stream.upload.cancel();
    stream.token.park();
    let head = heads::response_of(&stream.ex, length, ());
    head.map(|()| ReplyBody::whole(body, None, stream))
}

/// The upstream has answered with a head.
async fn pass_back(
    mut stream: Box<Stream>,
    mut answer: Answer,
    times: Times,
) -> Response<ReplyBody> {
    let ex = &mut stream.ex;
    ex.upstream_head();
    let te_trailers = ex.request.te_trailers;
    clean_response(&mut ex.response, te_trailers, false);
    if let Some(outcome) = heads::head_outcome(&ex.response)
        && let Some(reply) = ex.outcome(outcome, true)
    {
        return self::answer(stream, &reply).await;
    }
    let came = ex.response.framing;
    let mut wishes = ex.respond(&stream.worker, &stream.conn);
    if ex.response.is_grpc() {
        // Its messages have frames of their own, and its trailers belong to them.
        wishes = Wishes::default();
    }
    if came.is_none() {
        relay::settle(&mut stream, answer);
        return whole(stream, None, Vec::new());
    }
    if wishes.is_pass()
        && let Answer::Http1(came) = &mut answer
        && let Some(body) = came.take_whole()
    {
        // It has come with its head: nothing is left to wait for, so no task is needed.
        relay::settle(&mut stream, answer);
        return whole(stream, None, body);
    }
    if wishes.collect == 0 && wishes.replace.is_none() {
        return relay::start(stream, answer, times, wishes, Vec::new());
    }
    let held = match &wishes.replace {
        Some(replacement) => Ok((replacement.clone(), true)),
        None => relay::collect(&mut stream, &mut answer, times, wishes.collect).await,
    };
    match held {
        Ok((body, true)) => {
            relay::settle(&mut stream, answer);
            edited(stream, &wishes, body).await
        }
        // Longer than anybody wants to hold.
        Ok((body, false)) => relay::start(stream, answer, times, Wishes::default(), body),
        Err(error) => fail(stream, error).await,
    }
}

/// Sends a body that was held back, as plugins make it.
async fn edited(
    mut stream: Box<Stream>,
    wishes: &Wishes,
    mut body: Vec<u8>,
) -> Response<ReplyBody> {
    let Stream { ex, worker, .. } = &mut *stream;
    ex.hand_body(worker, wishes, &mut body).await;
    if ex.answers_grpc() && ex.response.headers.contains("grpc-status") {
        body.clear();
    }
    let length = has_length(ex).then_some(body.len());
    whole(stream, length, body)
}

#[cfg(test)]
mod tests;
