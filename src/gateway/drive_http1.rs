//! A client connection over HTTP/1.x: the hot path, and the page to read first.
//!
//! One task drives both sockets. Idle, it holds no buffer and no exchange; while requests come it
//! keeps both. Each request walks the steps of [`Exchange`]; going up and coming back is
//! [`forward`].

use std::rc::Rc;

use super::client::{Client, ClientBody, DISCARD, Inbound, Waited};
use super::error::ProxyError;
use super::exchange::{Exchange, has_body};
use super::forward;
use super::live::Worker;
use super::pump::Pump;
use crate::http1::write;
use crate::message::{ConnInfo, Framing, Known, Mask, Reply, Version};
use crate::plugin::Wishes;
use crate::tls::io::Io;

/// How a connection's service ended.
pub enum Ended {
    /// It is over.
    Closed,
    /// It speaks HTTP/2 with prior knowledge: the socket and what was read of it.
    Http2(Box<(Io, ConnInfo, Vec<u8>)>),
}

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What comes after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next one on the same connection.
    Request,
    /// The connection closes; what the client still sends is read for a moment.
    Close,
    /// The connection is broken: no more reading either.
    Abort,
}

/// Serves a client connection until it ends. Dropping it drops the connection, and the request
/// in flight is logged as abandoned.
pub fn serve(io: Io, conn: ConnInfo, worker: Rc<Worker>) -> impl Future<Output = Ended> {
    // Made out here and not by an async function, which keeps what it is handed beside what it makes
    // of it: this is what a sleeping connection consists of.
    let mut client = Client {
        io,
        conn,
        slot: worker.sweep.slot(),
        carry: Vec::new(),
        served: false,
        requests: 0,
    };
    async move {
        let mut patience = worker.policy.header_timeout;
        let mut first = true;
        loop {
            if client.wait(&worker, patience).await != Waited::Data {
                return Ended::Closed;
            }
            if std::mem::take(&mut first)
                && client.conn.tls.is_none()
                && is_preface(&mut client, &worker).await
            {
                let Client {
                    io, conn, carry, ..
                } = client;
                return Ended::Http2(Box::new((io, conn, carry)));
            }
            // Boxed, so that a sleeping connection costs nothing of what a busy one needs.
            match Box::pin(busy(&mut client, &worker)).await {
                Next::Request => patience = worker.policy.idle_timeout,
                Next::Close => {
                    client.close().await;
                    return Ended::Closed;
                }
                Next::Abort => return Ended::Closed,
            }
        }
    }
}

/// Whether the connection begins as HTTP/2 does. Reads on only while it looks like it.
async fn is_preface(client: &mut Client, worker: &Worker) -> bool {
    loop {
        let length = client.carry.len().min(PREFACE.len());
        if client.carry[..length] != PREFACE[..length] {
            return false;
        }
        if length == PREFACE.len() {
            return true;
        }
        let begin = std::mem::take(&mut client.carry);
        let waited = client.wait(worker, worker.policy.header_timeout).await;
        let more = std::mem::replace(&mut client.carry, begin);
        client.carry.extend_from_slice(&more);
        if waited != Waited::Data {
            return false;
        }
    }
}

/// What a busy connection holds beside its socket.
pub struct Busy<'w> {
    /// The request in hand.
    pub ex: Box<Exchange>,
    /// The request's body on its way up.
    pub upload: Pump,
    /// The response's body on its way down.
    pub download: Pump,
    /// Plugins that wait for a copy of the response body.
    pub wishes: Option<Wishes>,
    worker: &'w Worker,
    conn: ConnInfo,
}

impl Drop for Busy<'_> {
    /// Whatever ended the connection, the exchange is logged and its memory kept.
    fn drop(&mut self) {
        self.ex.end(self.worker, &self.conn);
        self.worker.recycle_exchange(std::mem::take(&mut self.ex));
    }
}

/// Serves requests while they come one after another; `Request` when the client pauses.
async fn busy(client: &mut Client, worker: &Rc<Worker>) -> Next {
    let mut busy = Busy {
        ex: worker.exchange(),
        upload: Pump::default(),
        download: Pump::default(),
        wishes: None,
        worker,
        conn: client.conn.clone(),
    };
    loop {
        let next = one(client, &mut busy, worker).await;
        busy.ex.end(worker, &client.conn);
        if next != Next::Request {
            return next;
        }
        client.served = true;
        match client.linger(worker, busy.ex.over()).await {
            Waited::Data => {}
            Waited::Nothing => return Next::Request,
            Waited::Closed => return Next::Abort,
        }
    }
}

/// One request and its answer: the life of a request.
async fn one(client: &mut Client, busy: &mut Busy<'_>, worker: &Rc<Worker>) -> Next {
    let ex = &mut *busy.ex;
    ex.clear();
    client.requests += 1;
    ex.facts.nth = client.requests;
    let read = client.read_head(ex, worker).await;
    let began = match read {
        Ok(false) => return Next::Abort,
        Ok(true) => ex.begin(worker, &client.conn),
        Err(error) => {
            // What was read of the head may be anything; it only gets a clock and an id.
            let _ = ex.begin(worker, &client.conn);
            Err(error)
        }
    };
    let malformed = read.is_err();
    let framing = if malformed {
        Framing::None
    } else {
        ex.request.framing
    };
    let continue_due = ex.request.expect_continue && ex.request.version == Version::Http11;
    let mut inbound = Inbound::new(framing, continue_due, max_body(worker));
    let decision = match began {
        Ok(()) => decide(client, ex, worker, &mut inbound).await,
        Err(error) => Err(error),
    };
    match decision {
        Ok(None) => forward::forward(client, busy, worker, inbound).await,
        Ok(Some(reply)) => answer(client, busy, worker, inbound, &reply).await,
        Err(error) => fail(client, busy, worker, Some(inbound), error).await,
    }
}

fn max_body(worker: &Worker) -> u64 {
    if worker.policy.max_body == 0 {
        u64::MAX
    } else {
        worker.policy.max_body
    }
}

/// Route, protocol, plugins, gates: an answer of our own, or on to the upstream.
async fn decide(
    client: &mut Client,
    ex: &mut Exchange,
    worker: &Worker,
    inbound: &mut Inbound,
) -> Result<Option<Reply>, ProxyError> {
    let Client {
        io,
        conn,
        slot,
        carry,
        ..
    } = client;
    ex.find_route(conn)?;
    if let Some(reply) = ex.check_protocol(conn) {
        return Ok(Some(reply));
    }
    let timeout = worker.policy.body_timeout;
    let mut body = ClientBody {
        io,
        carry,
        slot,
        timeout,
        state: inbound,
    };
    if let Some(reply) = ex.admit(conn, &mut body).await? {
        return Ok(Some(reply));
    }
    if let Some(reply) = ex.gate(conn, &mut body).await? {
        return Ok(Some(reply));
    }
    match ex.request.framing.length() {
        Some(length) if length > inbound.limit => Err(crate::message::BodyError::TooLarge.into()),
        _ => Ok(None),
    }
}

/// Answers an error of the gateway.
pub async fn fail(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Worker,
    inbound: Option<Inbound>,
    error: ProxyError,
) -> Next {
    if error == ProxyError::ClientGone {
        busy.ex.client_gone();
        return Next::Abort;
    }
    busy.ex.set_origin(error.origin());
    // Behind a head or body that cannot be understood, nothing on this connection can.
    let lost = matches!(
        error,
        ProxyError::BadHead(_)
            | ProxyError::SlowHead
            | ProxyError::Body(_)
            | ProxyError::BadPath
            | ProxyError::MethodNotAllowed
    );
    let inbound = inbound.filter(|_| !lost);
    let reply = busy.ex.error_reply(error);
    answer_with(client, busy, worker, inbound, &reply).await
}

/// Sends an answer of our own.
async fn answer(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Worker,
    inbound: Inbound,
    reply: &Reply,
) -> Next {
    answer_with(client, busy, worker, Some(inbound), reply).await
}

/// Sends an answer of our own. Without `inbound` the request's body cannot be skipped: the
/// connection closes.
pub async fn answer_with(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Worker,
    inbound: Option<Inbound>,
    reply: &Reply,
) -> Next {
    let ex = &mut *busy.ex;
    ex.answer(reply);
    let wishes = ex.respond(worker, &client.conn);
    let mut body = reply.render(ex.facts.request_id.as_str()).to_vec();
    if let Some(replaced) = wishes.replace.clone() {
        body = replaced;
    }
    if wishes.collect > 0 || wishes.tee > 0 {
        ex.hand_body(worker, &wishes, &mut body).await;
    }
    let keep = inbound
        .as_ref()
        .is_some_and(|inbound| can_skip(ex, inbound))
        && ex.request.keep_alive
        && worker.drain.keeps_connections();
    let sends = has_body(&ex.request, ex.response.status);
    let framing = Framing::Length(body.len() as u64);
    let out = &mut busy.download.out;
    out.clear();
    write_head(ex, out, if sends { Some(framing) } else { None }, keep);
    if !sends && ex.request.method() != "HEAD" {
        body.clear();
    }
    if sends {
        out.extend_from_slice(&body);
        ex.body_out = body.len() as u64;
    }
    ex.bytes_out = out.len() as u64;
    let out = std::mem::take(&mut busy.download.out);
    let sent = client.send(&out, worker.policy.body_timeout).await;
    busy.download.out = out;
    if !sent {
        return Next::Abort;
    }
    match inbound {
        Some(inbound) if keep => {
            let (mut decoder, _) = inbound.into_parts();
            let done = decoder.is_done()
                || client
                    .discard(&mut decoder, worker.policy.body_timeout)
                    .await;
            if done { Next::Request } else { Next::Close }
        }
        _ => Next::Close,
    }
}

/// Whether what is left of the request's body is small enough to be read and dropped.
fn can_skip(ex: &Exchange, inbound: &Inbound) -> bool {
    match ex.request.framing {
        Framing::None => true,
        Framing::Length(length) => length <= DISCARD && !inbound.continue_due,
        _ => !inbound.continue_due,
    }
}

const LENGTH: Mask = Mask::of(&[Known::ContentLength]);

/// Writes a response head. `framing` is what announces the body; `None` leaves the upstream's own
/// `Content-Length` in place (HEAD, 304).
pub fn write_head(ex: &mut Exchange, out: &mut Vec<u8>, framing: Option<Framing>, keep: bool) {
    out.append(&mut ex.interim);
    let response = &ex.response;
    let reason = response.reason.of(&response.headers.raw);
    write::status_line(out, response.status, reason);
    let skip = if framing.is_some() {
        LENGTH
    } else {
        Mask::NONE
    };
    response.headers.write_except(skip, out);
    if let Some(framing) = framing {
        match framing {
            Framing::None | Framing::Length(0) => out.extend_from_slice(b"Content-Length: 0\r\n"),
            framing => write::framing_field(out, framing),
        }
    }
    if !response.headers.has(Known::Date) {
        write::field(out, "Date", &crate::util::clock::date());
    }
    if !keep {
        if !response.headers.has(Known::Connection) {
            out.extend_from_slice(b"Connection: close\r\n");
        }
    } else if ex.request.version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
