//! A client connection over HTTP/1.x as the driver holds it: its socket, what was read too far,
//! its one deadline.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::error::ProxyError;
use super::exchange::Exchange;
use super::live::{BUFFER, Worker};
use crate::http1::framing::Decoder;
use crate::http1::parse;
use crate::message::{BodyError, ConnInfo, Framing, RequestBody};
use crate::tls::io::Io;
use crate::util::clock;
use crate::util::sweep::Slot;

/// A client connection.
pub struct Client {
    /// The socket.
    pub io: Io,
    /// What is known of it.
    pub conn: ConnInfo,
    /// Its deadline.
    pub slot: Slot,
    /// Bytes read behind the message in hand.
    pub carry: Vec<u8>,
    /// It has had an answer.
    pub served: bool,
    /// Requests that have begun on it.
    pub requests: u64,
}

/// What came of waiting for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited {
    /// There are bytes.
    Data,
    /// Nothing came in the time given.
    Nothing,
    /// The client left, or the process is going down.
    Closed,
}

/// Between two requests the connection keeps its memory so long; then it goes to sleep.
const LINGER: Duration = Duration::from_secs(1);
/// A body that nobody wants is read up to here, to keep the connection.
pub const DISCARD: u64 = 64 * 1024;
/// How long a closing connection is listened to, so that the client gets the answer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Client {
    /// Waits for the first byte of a request while holding no buffer: one is taken and given
    /// back inside each poll.
    pub async fn wait(&mut self, worker: &Worker, patience: Duration) -> Waited {
        self.wait_from(worker, clock::now(), patience).await
    }

    async fn wait_from(&mut self, worker: &Worker, from: Instant, patience: Duration) -> Waited {
        if !self.carry.is_empty() {
            return Waited::Data;
        }
        self.slot.set_from(from, patience);
        worker.metrics.idle.inc();
        let waited = poll_fn(|cx| self.poll_first(cx, worker)).await;
        worker.metrics.idle.dec();
        waited
    }

    fn poll_first(&mut self, cx: &mut Context<'_>, worker: &Worker) -> Poll<Waited> {
        // An empty carry may still have the memory of the last head.
        worker.recycle(std::mem::take(&mut self.carry));
        let mut buffer = worker.buffer();
        match poll_read_buf(Pin::new(&mut self.io), cx, &mut buffer) {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.carry = buffer;
                Poll::Ready(Waited::Data)
            }
            Poll::Ready(_) => {
                worker.recycle(buffer);
                Poll::Ready(Waited::Closed)
            }
            Poll::Pending => {
                worker.recycle(buffer);
                let over = match self.served {
                    // Whoever was accepted is answered once.
                    false => worker.drain.has_ended(),
                    true => worker.drain.closes_idle(),
                };
                if over {
                    return Poll::Ready(Waited::Closed);
                }
                self.slot.poll_expired(cx).map(|()| Waited::Nothing)
            }
        }
    }

    /// Waits a little for the next request, memory at hand, since the last one was over.
    pub async fn linger(&mut self, worker: &Worker, from: Instant) -> Waited {
        self.wait_from(worker, from, LINGER).await
    }

    /// Reads a request head into the exchange; what was read behind it is kept in `carry`.
    /// `Ok(false)`: the client left before the head was complete.
    pub async fn read_head(
        &mut self,
        ex: &mut Exchange,
        worker: &Worker,
    ) -> Result<bool, ProxyError> {
        let raw = &mut ex.request.headers.raw;
        raw.clear();
        std::mem::swap(raw, &mut self.carry);
        let limits = &worker.policy.limits;
        let mut scan = 0;
        let mut timed = false;
        poll_fn(|cx| {
            loop {
                if let Some(end) = parse::request(&mut ex.request, &mut scan, limits)? {
                    let raw = &mut ex.request.headers.raw;
                    self.carry.extend_from_slice(&raw[end..]);
                    raw.truncate(end);
                    ex.bytes_in = end as u64;
                    return Poll::Ready(Ok(true));
                }
                // Most heads come in one piece: only another one is worth a deadline.
                if !std::mem::replace(&mut timed, true) {
                    self.slot.set(worker.policy.header_timeout);
                }
                let raw = &mut ex.request.headers.raw;
                raw.reserve(BUFFER / 2);
                match poll_read_buf(Pin::new(&mut self.io), cx, raw) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(Ok(false)),
                    Poll::Pending => {
                        let late = self.slot.poll_expired(cx);
                        return late.map(|()| Err(ProxyError::SlowHead));
                    }
                }
            }
        })
        .await
    }

    /// Whether the client is gone, while it has nothing to send. A next request that comes early
    /// is kept, up to one buffer.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, worker: &Worker) -> bool {
        poll_gone(&mut self.io, &mut self.carry, cx, worker)
    }

    /// Sends bytes in the midst of an exchange; those that have left are taken from the front.
    /// Ready once all have, out of TLS too.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<bool> {
        while !bytes.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, bytes)) {
                Ok(count) if count > 0 => drop(bytes.drain(..count)),
                _ => return Poll::Ready(false),
            }
        }
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        flushed.map(|flushed| flushed.is_ok())
    }

    /// Sends bytes; `false` if the client does not take them in time.
    pub async fn send(&mut self, bytes: &[u8], patience: Duration) -> bool {
        let Client { io, slot, .. } = self;
        let sent = slot.within(patience, async {
            io.write_all(bytes).await?;
            io.flush().await
        });
        matches!(sent.await, Some(Ok(())))
    }

    /// Reads what is left of a request body and drops it; whether that was all, in bounds.
    pub async fn discard(&mut self, decoder: &mut Decoder, patience: Duration) -> bool {
        let mut left = DISCARD;
        self.slot.set(patience);
        poll_fn(|cx| self.poll_discard(cx, decoder, &mut left)).await
    }

    fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
        left: &mut u64,
    ) -> Poll<bool> {
        loop {
            while !decoder.is_done() && !self.carry.is_empty() {
                let Ok(found) = decoder.decode(&self.carry) else {
                    return Poll::Ready(false);
                };
                self.carry.drain(..found.consumed);
                *left = left.saturating_sub(found.consumed as u64);
                if found.consumed == 0 {
                    break;
                }
            }
            if decoder.is_done() || *left == 0 {
                return Poll::Ready(decoder.is_done());
            }
            self.carry.reserve(BUFFER);
            match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.carry) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => return self.slot.poll_expired(cx).map(|()| false),
            }
        }
    }

    /// Makes the end of the connection a reset, so that a cut answer cannot pass for a whole one.
    pub fn reset(&self) {
        if let Some(socket) = self.io.socket() {
            // Where it fails the connection is gone already.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Ends the connection so that the client still gets what was sent: no more is written, and
    /// what it sends is read and dropped for a moment, for unread bytes would reset it.
    pub async fn close(&mut self) {
        self.slot.set(CLOSE_TIMEOUT);
        self.carry.clear();
        self.carry.reserve(BUFFER);
        let mut shut = false;
        let mut left = 16 * DISCARD as usize;
        poll_fn(|cx| {
            if !shut {
                match Pin::new(&mut self.io).poll_shutdown(cx) {
                    Poll::Ready(_) => shut = true,
                    Poll::Pending => return self.slot.poll_expired(cx),
                }
            }
            loop {
                self.carry.clear();
                match poll_read_buf(Pin::new(&mut self.io), cx, &mut self.carry) {
                    Poll::Ready(Ok(count)) if count > 0 && count < left => left -= count,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.slot.poll_expired(cx),
                }
            }
        })
        .await;
    }
}

/// [`Client::poll_gone`] on the parts of a client.
fn poll_gone(io: &mut Io, carry: &mut Vec<u8>, cx: &mut Context<'_>, worker: &Worker) -> bool {
    while carry.len() < BUFFER {
        if carry.capacity() == 0 {
            *carry = worker.buffer();
        }
        match poll_read_buf(Pin::new(&mut *io), cx, carry) {
            Poll::Ready(Ok(count)) if count > 0 => {}
            Poll::Ready(_) => return true,
            Poll::Pending => return false,
        }
    }
    false
}

/// Waits for something that the client has no part in, unless it leaves meanwhile. What it sends
/// is kept in `carry`, up to one buffer.
pub async fn unless_gone<T>(
    io: &mut Io,
    carry: &mut Vec<u8>,
    worker: &Worker,
    waiting: impl Future<Output = Result<T, ProxyError>>,
) -> Result<T, ProxyError> {
    let mut waiting = pin!(waiting);
    poll_fn(|cx| match waiting.as_mut().poll(cx) {
        Poll::Pending if poll_gone(io, carry, cx, worker) => {
            Poll::Ready(Err(ProxyError::ClientGone))
        }
        polled => polled,
    })
    .await
}

/// What is known of a request's body before it goes up.
pub struct Inbound {
    decoder: Decoder,
    collected: Option<Vec<u8>>,
    reading: bool,
    /// The collected bytes are not the client's any more.
    pub replaced: bool,
    /// The lowest limit that anybody set.
    pub limit: u64,
    /// The client waits for `100 Continue`.
    pub continue_due: bool,
}

impl Inbound {
    /// Nothing was read yet.
    pub fn new(framing: Framing, continue_due: bool, limit: u64) -> Inbound {
        Inbound {
            decoder: Decoder::new(framing),
            collected: framing.is_none().then(Vec::new),
            reading: false,
            replaced: false,
            limit,
            continue_due: continue_due && !framing.is_none(),
        }
    }

    /// The whole body, if it was read.
    pub fn whole(&self) -> Option<&[u8]> {
        self.collected.as_deref().filter(|_| self.decoder.is_done())
    }

    /// The decoder, for what is left to read, and what was read before.
    pub fn into_parts(self) -> (Decoder, Vec<u8>) {
        (self.decoder, self.collected.unwrap_or_default())
    }
}

/// What a client that waits for it is told before its body is read (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The request body in the hands of plugins.
pub struct ClientBody<'a> {
    /// The client connection's parts.
    pub io: &'a mut Io,
    /// Bytes read behind the head.
    pub carry: &'a mut Vec<u8>,
    /// The connection's deadline.
    pub slot: &'a Slot,
    /// Longest pause.
    pub timeout: Duration,
    /// What is known of the body.
    pub state: &'a mut Inbound,
}

impl ClientBody<'_> {
    fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.state.continue_due {
            // Nothing else is in the socket's buffer at this point, so it is taken whole.
            let sent = ready!(Pin::new(&mut *self.io).poll_write(cx, CONTINUE));
            let flushed = ready!(Pin::new(&mut *self.io).poll_flush(cx));
            if !matches!((sent, flushed), (Ok(count), Ok(())) if count == CONTINUE.len()) {
                return Poll::Ready(Err(BodyError::Closed));
            }
            self.state.continue_due = false;
        }
        Poll::Ready(Ok(()))
    }

    fn decode(&mut self, limit: usize) -> Result<(), BodyError> {
        let body = self.state.collected.get_or_insert_default();
        let mut at = 0;
        while at < self.carry.len() && !self.state.decoder.is_done() {
            let found = self.state.decoder.decode(&self.carry[at..]);
            let found = found.map_err(|_| BodyError::Malformed)?;
            body.extend_from_slice(&self.carry[at + found.data.start..at + found.data.end]);
            at += found.consumed;
            if body.len() > limit {
                return Err(BodyError::TooLarge);
            }
            if found.consumed == 0 {
                break;
            }
        }
        self.carry.drain(..at);
        Ok(())
    }
}

impl RequestBody for ClientBody<'_> {
    fn poll_collect(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<Result<(), BodyError>> {
        let limit = limit.min(usize::try_from(self.state.limit).unwrap_or(usize::MAX));
        if self.state.decoder.is_done() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_continue(cx))?;
        if !std::mem::replace(&mut self.state.reading, true) {
            self.slot.set(self.timeout);
        }
        loop {
            self.decode(limit)?;
            if self.state.decoder.is_done() {
                return Poll::Ready(Ok(()));
            }
            self.carry.reserve(BUFFER);
            match poll_read_buf(Pin::new(&mut *self.io), cx, self.carry) {
                Poll::Ready(Ok(count)) if count > 0 => self.slot.set(self.timeout),
                Poll::Ready(_) => return Poll::Ready(Err(BodyError::Closed)),
                Poll::Pending => {
                    return self.slot.poll_expired(cx).map(|()| Err(BodyError::Timeout));
                }
            }
        }
    }

    fn collected(&self) -> Option<&[u8]> {
        self.state.whole()
    }

    fn replace(&mut self, body: Vec<u8>) {
        if self.state.decoder.is_done() {
            self.state.collected = Some(body);
            self.state.replaced = true;
        }
    }

    fn limit(&mut self, bytes: u64) {
        self.state.limit = self.state.limit.min(bytes);
    }
}
