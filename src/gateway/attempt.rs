//! One attempt at an upstream: what every pair of protocols has in common.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::error::ProxyError;
use super::exchange::{Exchange, Target};
use super::live::{BUFFER, Live, Worker};
use super::pump::Waits;
use super::rewrite::{Lines, clean_response};
use crate::http1::{parse, write};
use crate::message::{BodyError, ConnInfo, Framing};
use crate::snapshot::Service;
use crate::tls::io::Io;
use crate::upstream::{Limit, Permit, UpstreamError, UpstreamErrorKind, connect, is_idempotent};
use crate::util::closed::{By, Mark};
use crate::util::sweep::Slot;

/// Request bytes kept for another attempt.
pub const KEEP: usize = 64 * 1024;

/// Times of the service in hand.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// For connecting.
    pub connect: Duration,
    /// Between two writes.
    pub write: Duration,
    /// Between two reads.
    pub read: Duration,
}

impl Times {
    /// Those of that service.
    pub fn of(service: &Service) -> Times {
        Times {
            connect: service.connect_timeout,
            write: service.write_timeout,
            read: service.read_timeout,
        }
    }
}

/// How the request body goes up.
#[derive(Clone, Copy, Debug)]
pub struct Sends {
    /// Its framing.
    pub framing: Framing,
    /// The client's own length is wrong.
    pub new_length: bool,
}

/// An HTTP/1.1 connection to the upstream for one attempt.
pub struct Link {
    /// The connection.
    pub io: Io,
    /// Where it leads.
    pub target: Target,
    /// Requests that it has served before.
    pub served: u32,
    /// Who is to be counted if it is not kept.
    pub mark: Mark,
}

impl Link {
    /// A failure of this attempt.
    pub fn error(&self, kind: UpstreamErrorKind, sent: bool) -> ProxyError {
        if kind == UpstreamErrorKind::Closed {
            self.mark.set(By::Upstream);
        }
        let reused = self.served > 0;
        ProxyError::Upstream(UpstreamError { kind, reused, sent })
    }

    /// Keeps the connection for another request; it is idle since `since`.
    pub fn checkin(self, worker: &Worker, since: Instant) {
        let Target {
            key, server_name, ..
        } = self.target;
        self.mark.keep();
        let mut pool = worker.pool.borrow_mut();
        pool.checkin(key, server_name.as_deref(), self.io, self.served + 1, since);
    }
}

/// Waits for the first answer about a name of which nobody has said yet where it leads.
pub async fn resolved(ex: &Exchange, slot: &Slot, times: Times) {
    if let Some(cluster) = ex.pending_cluster() {
        slot.within(times.connect, cluster.resolved()).await;
    }
}

/// A kept connection of that identity, else a new one.
pub async fn open(
    ex: &Exchange,
    slot: &Slot,
    worker: &Rc<Worker>,
    live: &Live,
    times: Times,
    target: Target,
    fresh: bool,
) -> Result<Link, ProxyError> {
    match kept(worker, target, fresh) {
        Ok(link) => Ok(link),
        // Boxed: connecting is rare, and its state is large.
        Err(target) => Box::pin(dial(ex, slot, worker, live, times, target)).await,
    }
}

/// A kept connection of that identity, where there is one and no `fresh` one is asked for.
pub fn kept(worker: &Worker, target: Target, fresh: bool) -> Result<Link, Target> {
    let name = target.server_name.as_deref();
    let found = match fresh {
        true => None,
        false => {
            let mut pool = worker.pool.borrow_mut();
            pool.checkout(&target.key, name, target.at)
        }
    };
    let Some(reused) = found else {
        return Err(target);
    };
    worker.metrics.upstream_reused.inc();
    Ok(Link {
        io: reused.io,
        target,
        served: reused.served,
        mark: Mark::new(),
    })
}

/// A new connection of that identity.
pub async fn dial(
    ex: &Exchange,
    slot: &Slot,
    worker: &Rc<Worker>,
    live: &Live,
    times: Times,
    target: Target,
) -> Result<Link, ProxyError> {
    let _waits = queue(&target)?;
    let full = Cell::new(false);
    let connecting = connect(ex, worker, live, &target, &full, true);
    let io = within_connect(ex, slot, times, &full, connecting).await?;
    Ok(Link {
        io,
        target,
        served: 0,
        mark: Mark::new(),
    })
}

/// A new connection. Bounded in time by [`within_connect`]. `starves` says that the request cannot
/// go on over another one.
pub async fn connect(
    ex: &Exchange,
    worker: &Worker,
    live: &Live,
    target: &Target,
    full: &Cell<bool>,
    starves: bool,
) -> Result<Io, UpstreamErrorKind> {
    let permit = room(worker, target, full, starves).await;
    let tls = ex
        .service(&live.snapshot)
        .and_then(|service| service.tls.as_ref());
    let tls = tls.map(|(tls, _)| (tls, target.server_name.as_deref().unwrap_or_default()));
    let io = connect::connect(target.key.address, tls).await?;
    worker.metrics.upstream_opened.inc();
    Ok(match permit {
        Some(permit) => io.holding(permit),
        None => io,
    })
}

/// A permit among the requests that wait for a connection, where they are limited.
pub fn queue(target: &Target) -> Result<Option<Permit>, ProxyError> {
    let queued = target
        .endpoint
        .capacity()
        .map(|(cluster, of)| cluster.queue(of));
    queued.transpose().map_err(ProxyError::Overflow)
}

/// Waits until there may be one more connection; meanwhile `full` is true.
async fn room(
    worker: &Worker,
    target: &Target,
    full: &Cell<bool>,
    starves: bool,
) -> Option<Permit> {
    let (cluster, capacity) = target.endpoint.capacity()?;
    let most = capacity.connections?;
    full.set(true);
    let make_room = || {
        worker.pool.borrow_mut().make_room();
        worker.http2.make_room();
    };
    let permit = cluster.connection(most, starves, make_room).await;
    full.set(false);
    Some(permit)
}

/// Bounds connecting by the service's time and by what a plugin left of the exchange's. Where
/// `full` says that no connection might be made, nobody is to blame for it.
pub async fn within_connect<T>(
    ex: &Exchange,
    slot: &Slot,
    times: Times,
    full: &Cell<bool>,
    connecting: impl Future<Output = Result<T, UpstreamErrorKind>>,
) -> Result<T, ProxyError> {
    let patience = ex.head_deadline().map_or(times.connect, |deadline| {
        times
            .connect
            .min(deadline.saturating_duration_since(Instant::now()))
    });
    let kind = match slot.within(patience, connecting).await {
        Some(Ok(connected)) => return Ok(connected),
        Some(Err(kind)) => kind,
        None if full.get() => return Err(ProxyError::Overflow(Limit::Connections)),
        None if patience < times.connect => UpstreamErrorKind::Deadline,
        None => UpstreamErrorKind::ConnectTimeout,
    };
    Err(ProxyError::Upstream(UpstreamError::unconnected(kind)))
}

/// Notes that an attempt failed: `Ok` when there may be another. `fresh` says that the last one
/// failed on a kept connection just as it was used again; that one does not count, once.
pub fn again(
    ex: &mut Exchange,
    error: ProxyError,
    replayable: bool,
    fresh: &mut bool,
) -> Result<(), ProxyError> {
    let ProxyError::Upstream(failure) = error else {
        return Err(error);
    };
    let stale = failure.reused && !*fresh && failure.kind == UpstreamErrorKind::Closed;
    if stale && replayable && (is_idempotent(ex.upstream_method()) || !failure.sent) {
        ex.forget_attempt();
        *fresh = true;
        return Ok(());
    }
    ex.upstream_failed(failure);
    *fresh = false;
    if replayable && ex.may_retry(failure) {
        Ok(())
    } else {
        Err(error)
    }
}

/// Whether an answer is given up because the service's `retry_on` wants another attempt.
pub fn is_refused(ex: &mut Exchange, replayable: bool, fresh: &mut bool) -> bool {
    let refused = replayable && ex.may_retry_answer();
    if refused {
        ex.give_answer_up();
        *fresh = false;
    }
    refused
}

/// Writes a request head as HTTP/1.1.
pub fn request_head(
    ex: &mut Exchange,
    out: &mut Vec<u8>,
    worker: &Worker,
    conn: &ConnInfo,
    target: &Target,
    sends: Sends,
) {
    ex.edge.renew(conn);
    write::request_line(out, ex.upstream_method(), ex.upstream_uri());
    let (host, port) = ex.upstream_host(&target.endpoint);
    out.extend_from_slice(b"Host: ");
    out.extend_from_slice(host.as_bytes());
    if let Some(port) = port {
        out.push(b':');
        write::number(out, port.into());
    }
    out.extend_from_slice(b"\r\n");
    let edge = &ex.edge;
    ex.upward(worker, conn, sends.framing, sends.new_length)
        .write(&mut Lines { out, edge });
    if sends.framing.length().is_none() {
        write::framing_field(out, Framing::Chunked);
    }
    out.extend_from_slice(match ex.request.upgrade_websocket {
        true => b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n".as_slice(),
        false => b"Connection: keep-alive\r\n\r\n",
    });
}

/// Reads the head of the final answer. Interim ones (1xx) are kept for a client that may be sent
/// them, else dropped. Its length in `response.headers.raw`.
pub fn poll_head(
    cx: &mut Context<'_>,
    ex: &mut Exchange,
    up: &mut Io,
    scan: &mut usize,
    interim: Interim,
) -> Poll<Result<usize, UpstreamErrorKind>> {
    loop {
        let raw = &mut ex.response.headers.raw;
        if raw.len() == raw.capacity() {
            raw.reserve(BUFFER);
        }
        match poll_read_buf(Pin::new(&mut *up), cx, raw) {
            Poll::Ready(Ok(count)) if count > 0 => {}
            Poll::Ready(_) => return Poll::Ready(Err(UpstreamErrorKind::Closed)),
            Poll::Pending => return Poll::Pending,
        }
        loop {
            let method = ex
                .facts
                .upstream_method
                .as_deref()
                .unwrap_or(ex.request.method());
            match parse::response(&mut ex.response, scan, method) {
                Ok(None) => break,
                Ok(Some(end)) if ex.response.status >= 200 || ex.response.status == 101 => {
                    return Poll::Ready(Ok(end));
                }
                Ok(Some(end)) => {
                    if interim == Interim::PassOn {
                        keep_interim(ex);
                    }
                    ex.response.headers.raw.drain(..end);
                    if ex.response.headers.raw.is_empty() {
                        break;
                    }
                }
                Err(_) => return Poll::Ready(Err(UpstreamErrorKind::Malformed)),
            }
        }
    }
}

/// What becomes of interim answers (RFC 9110 §15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interim {
    /// The client is sent them.
    PassOn,
    /// It cannot be: its version has none, or hyper cannot send them.
    Drop,
}

/// Interim heads kept for a client that takes none, in bytes. More are dropped.
const INTERIM: usize = 64 * 1024;

fn keep_interim(ex: &mut Exchange) {
    let Exchange {
        response, interim, ..
    } = ex;
    // 100 answers an expectation, and that is answered here.
    if response.status == 100 || interim.len() > INTERIM {
        return;
    }
    clean_response(response, false, false);
    let reason = response.reason.of(&response.headers.raw);
    write::status_line(interim, response.status, reason);
    response.headers.write(interim);
    interim.extend_from_slice(b"\r\n");
}

/// Whom an exchange waits for, and so how long, and who is to blame when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The request body on its way up.
    Upload(Waits),
    /// The upstream's head.
    Head,
    /// The response body on its way down.
    Download(Waits),
}

impl Wait {
    /// How long nothing may move.
    pub fn patience(self, times: Times, worker: &Worker) -> Duration {
        match self {
            Wait::Upload(Waits::Source) | Wait::Download(Waits::Sink) => worker.policy.body_timeout,
            Wait::Upload(Waits::Sink) => times.write,
            Wait::Head | Wait::Download(Waits::Source) => times.read,
        }
    }

    /// Who was too slow: the client, or the upstream and how.
    pub fn timed_out(self) -> Result<UpstreamErrorKind, BodyError> {
        match self {
            Wait::Upload(Waits::Source) => Err(BodyError::Timeout),
            Wait::Upload(Waits::Sink) => Ok(UpstreamErrorKind::WriteTimeout),
            Wait::Head | Wait::Download(_) => Ok(UpstreamErrorKind::ReadTimeout),
        }
    }
}

/// When waiting for the upstream's head is over: after the service's times, or after the plugins'
/// one, which begins anew when the client's own body was waited for.
#[derive(Debug, Default)]
pub struct Patience {
    wait: Option<Wait>,
    /// When nothing has moved for too long.
    until: Option<Instant>,
}

impl Patience {
    /// Waits on: for whom, and when something moved last if it did since the last call. In the end,
    /// who was too slow.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        slot: &Slot,
        ex: &mut Exchange,
        (now, moved): (Wait, Option<Instant>),
        longest: Duration,
    ) -> Poll<Result<UpstreamErrorKind, BodyError>> {
        const BODY: Wait = Wait::Upload(Waits::Source);
        if moved.is_some() || self.wait != Some(now) {
            let at = moved.unwrap_or_else(Instant::now);
            if self.wait.replace(now) == Some(BODY) {
                ex.restart_head_time(at);
            }
            self.set(slot, at + longest, ex.head_deadline());
        }
        loop {
            ready!(slot.poll_expired(cx));
            let at = Instant::now();
            let over = ex.head_deadline().is_some_and(|own| at >= own);
            match (now.timed_out(), self.until) {
                (_, Some(until)) if over && now == BODY && at < until => {
                    // Not the upstream's fault. Looked at again soon: another task may move the
                    // body, and this one would not hear of it.
                    let own = ex.facts.head_timeout.map(|timeout| at + timeout);
                    self.set(slot, until, own);
                }
                (Ok(_), _) if over => return Poll::Ready(Ok(UpstreamErrorKind::Deadline)),
                (late, _) => return Poll::Ready(late),
            }
        }
    }

    fn set(&mut self, slot: &Slot, until: Instant, own: Option<Instant>) {
        self.until = Some(until);
        slot.set_at(own.map_or(until, |own| until.min(own)));
    }
}

/// The upstream broke off behind its head.
pub fn broken(kind: UpstreamErrorKind) -> ProxyError {
    ProxyError::Upstream(UpstreamError {
        kind,
        reused: false,
        sent: true,
    })
}
