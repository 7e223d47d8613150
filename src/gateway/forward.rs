//! Up to the upstream and back, for HTTP/1.x clients and HTTP/1.1 upstreams: attempts, the
//! response head, the bodies.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::attempt::{self, Interim, KEEP, Link, Patience, Sends, Times, Wait, poll_head};
use super::client::{CONTINUE, Client, Inbound, unless_gone};
use super::drive_http1::{Busy, Next, answer_with, fail, write_head};
use super::error::ProxyError;
use super::exchange::{Exchange, Target, whole_framing};
use super::forward_http2;
use super::live::{BUFFER, Live, Worker};
use super::pump::{Pump, PumpError, Waits};
use super::rewrite::clean_response;
use crate::http1::framing::Decoder;
use crate::http1::write::Encoder;
use crate::message::{BodyError, ConnInfo, Framing, Version};
use crate::plugin::{Outcome, Wishes};
use crate::tls::io::Io;
use crate::upstream::{UpstreamError, UpstreamErrorKind};
use crate::util::closed::By;

/// Forwards the request and passes the answer back.
pub async fn forward(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    inbound: Inbound,
) -> Next {
    let Ok(live) = busy.ex.live() else {
        return fail(client, busy, worker, None, ProxyError::Internal).await;
    };
    let Some(service) = busy.ex.service(&live.snapshot) else {
        return fail(client, busy, worker, None, ProxyError::NoService).await;
    };
    let times = Times::of(service);
    if inbound.continue_due && !client.send(CONTINUE, worker.policy.body_timeout).await {
        busy.ex.client_gone();
        return Next::Abort;
    }
    if service.http2 {
        // Boxed: the straight line pays nothing for it.
        let forwarding = forward_http2::forward(client, busy, worker, &live, times, inbound);
        return Box::pin(forwarding).await;
    }
    let sends = prepare(busy, client, inbound);
    match attempts(client, busy, worker, &live, times, sends).await {
        Ok((link, head)) => answered(client, busy, worker, times, link, head).await,
        Err(error) => failed(client, busy, worker, error).await,
    }
}

/// Readies the upload: the body is in hand, or streams from the client.
fn prepare(busy: &mut Busy<'_>, client: &mut Client, inbound: Inbound) -> Sends {
    let limit = inbound.limit;
    let came = busy.ex.request.framing;
    let upload = &mut busy.upload;
    if inbound.whole().is_some() && !came.is_none() || inbound.replaced {
        let new_length = inbound.replaced || came == Framing::Chunked;
        let (_, body) = inbound.into_parts();
        let framing = whole_framing(body.len());
        upload.start(framing, Encoder::new(framing));
        upload.keep(usize::MAX);
        upload.feed(&body);
        return Sends {
            framing,
            new_length,
        };
    }
    let (decoder, before) = inbound.into_parts();
    if came.is_none() {
        upload.start(came, Encoder::None);
        upload.keep(0);
    } else {
        upload.resume(decoder, Encoder::new(came));
        upload.limit(limit);
        upload.keep(KEEP);
        upload.keep_before(&before);
        upload.feed(&client.carry);
        client.carry.clear();
    }
    Sends {
        framing: came,
        new_length: false,
    }
}

/// Tries endpoints until one answers with a head, or none may be tried any more.
async fn attempts(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    live: &Live,
    times: Times,
    sends: Sends,
) -> Result<(Link, usize), ProxyError> {
    resolved(client, busy, worker, times).await?;
    let mut fresh = false;
    loop {
        let target = busy.ex.attempt()?;
        let opened = match attempt::kept(worker, target, fresh) {
            Ok(link) => Ok(link),
            Err(target) => dial(client, busy, worker, live, times, target).await,
        };
        let error = match opened {
            Ok(mut link) => {
                start_upload(busy, worker, &client.conn, &link.target, sends);
                match round_trip(client, busy, worker, times, &mut link).await {
                    Ok(head) => {
                        let replayable = busy.upload.kept().is_some();
                        if attempt::is_refused(&mut busy.ex, replayable, &mut fresh) {
                            continue;
                        }
                        return Ok((link, head));
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let replayable = busy.upload.kept().is_some();
        attempt::again(&mut busy.ex, error, replayable, &mut fresh)?;
    }
}

/// [`attempt::resolved`], unless the client leaves.
async fn resolved(
    client: &mut Client,
    busy: &Busy<'_>,
    worker: &Worker,
    times: Times,
) -> Result<(), ProxyError> {
    if busy.ex.pending_cluster().is_none() {
        return Ok(());
    }
    let Client {
        io, carry, slot, ..
    } = client;
    let waiting = async {
        attempt::resolved(&busy.ex, slot, times).await;
        Ok(())
    };
    unless_gone(io, carry, worker, waiting).await
}

/// [`attempt::dial`], unless the client leaves.
async fn dial(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    live: &Live,
    times: Times,
    target: Target,
) -> Result<Link, ProxyError> {
    let Client {
        io, carry, slot, ..
    } = &mut *client;
    let dialling = attempt::dial(&busy.ex, slot, worker, live, times, target);
    let opened = unless_gone(io, carry, worker, Box::pin(dialling)).await;
    // What came meanwhile of a body that is not read to its end belongs to that.
    if !busy.upload.is_read() {
        busy.upload.feed(&client.carry);
        client.carry.clear();
    }
    opened
}

/// Writes the request head into the upload, and what is kept of the body behind it.
fn start_upload(
    busy: &mut Busy<'_>,
    worker: &Worker,
    conn: &ConnInfo,
    target: &Target,
    sends: Sends,
) {
    busy.upload.restart(Encoder::new(sends.framing));
    let Busy { ex, upload, .. } = busy;
    attempt::request_head(ex, &mut upload.out, worker, conn, target, sends);
    let replayed = upload.replay();
    debug_assert!(replayed.is_ok(), "kept data fits its own framing");
}

/// Sends the request and reads the head of its answer; its length in `response.headers.raw`.
async fn round_trip(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Worker,
    times: Times,
    link: &mut Link,
) -> Result<usize, ProxyError> {
    // A kept connection was chosen a moment ago; making a new one may have taken longer.
    let mut began = (link.served > 0).then_some(link.target.at);
    let Busy { ex, upload, .. } = busy;
    ex.response.clear();
    let interim = match ex.request.version {
        Version::Http11 => Interim::PassOn,
        _ => Interim::Drop,
    };
    let mut scan = 0;
    let mut refused = false;
    let mut unflushed = false;
    let mut patience = Patience::default();
    poll_fn(|cx| {
        if !refused && !upload.is_done() {
            refused = poll_upload(cx, client, upload, &mut link.io)?;
        }
        if let Poll::Ready(read) = poll_head(cx, ex, &mut link.io, &mut scan, interim) {
            return Poll::Ready(read.map_err(|kind| link.error(kind, upload.written > 0)));
        }
        if unflushed || !ex.interim.is_empty() {
            match client.poll_send(cx, &mut ex.interim) {
                Poll::Ready(false) => return Poll::Ready(Err(ProxyError::ClientGone)),
                sent => unflushed = sent.is_pending(),
            }
        }
        if upload.is_done() && client.poll_gone(cx, worker) {
            return Poll::Ready(Err(ProxyError::ClientGone));
        }
        let now = if refused || upload.is_done() {
            Wait::Head
        } else {
            Wait::Upload(upload.waits)
        };
        let now_or_then = || began.take().unwrap_or_else(Instant::now);
        let moved = std::mem::take(&mut upload.moved).then(now_or_then);
        let longest = now.patience(times, worker);
        let late = patience.poll(cx, &client.slot, ex, (now, moved), longest);
        Poll::Ready(Err(match ready!(late) {
            Ok(kind) => link.error(kind, upload.written > 0),
            Err(slow) => slow.into(),
        }))
    })
    .await
}

/// Moves the request body on; `true` when the upstream takes no more of it, which an early answer
/// may explain.
fn poll_upload(
    cx: &mut Context<'_>,
    client: &mut Client,
    upload: &mut Pump,
    up: &mut Io,
) -> Result<bool, ProxyError> {
    match upload.poll(cx, &mut client.io, up) {
        Poll::Pending => Ok(false),
        Poll::Ready(Ok(())) => {
            upload.move_rest(&mut client.carry);
            Ok(false)
        }
        Poll::Ready(Err(PumpError::SinkClosed)) => Ok(true),
        Poll::Ready(Err(PumpError::SourceClosed)) => Err(ProxyError::ClientGone),
        Poll::Ready(Err(PumpError::Malformed)) => Err(BodyError::Malformed.into()),
        Poll::Ready(Err(PumpError::TooLarge)) => Err(BodyError::TooLarge.into()),
    }
}

/// All attempts failed: the plugins hear of it, and may have a better answer.
async fn failed(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    error: ProxyError,
) -> Next {
    let inbound = body_over(client, busy);
    match busy.ex.outcome(error.outcome(), true) {
        Some(reply) => answer_with(client, busy, worker, inbound, &reply).await,
        None => fail(client, busy, worker, inbound, error).await,
    }
}

/// What is left of the request body once an answer of our own is due: nothing, or too much.
fn body_over(client: &mut Client, busy: &mut Busy<'_>) -> Option<Inbound> {
    busy.upload.is_read().then(|| {
        busy.upload.move_rest(&mut client.carry);
        Inbound::new(Framing::None, false, u64::MAX)
    })
}

/// The upstream has answered with a head.
async fn answered(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    times: Times,
    mut link: Link,
    head: usize,
) -> Next {
    let ex = &mut *busy.ex;
    let upgraded = ex.response.status == 101;
    if upgraded && !ex.request.upgrade_websocket {
        let error = link.error(UpstreamErrorKind::Malformed, true);
        if let ProxyError::Upstream(failure) = error {
            busy.ex.upstream_failed(failure);
        }
        return failed(client, busy, worker, error).await;
    }
    ex.upstream_head();
    let te_trailers = ex.request.te_trailers;
    clean_response(&mut ex.response, te_trailers, upgraded);
    if let Some(reply) = ex.outcome(Outcome::Status(ex.response.status), !upgraded) {
        let inbound = body_over(client, busy);
        return answer_with(client, busy, worker, inbound, &reply).await;
    }
    let came = ex.response.framing;
    let reusable = ex.response.keep_alive;
    let wishes = ex.respond(worker, &client.conn);
    if upgraded {
        return super::upgrade::tunnel(client, busy, worker, times, link.io, head).await;
    }
    let mut down = Down {
        came,
        head,
        keep: false,
        close: false,
    };
    if !wishes.is_pass() && !came.is_none() {
        match wanted_body(client, busy, worker, times, &mut link, &mut down, wishes).await {
            Ok(()) => {}
            Err(next) => return next,
        }
    } else {
        down.start(busy, worker);
    }
    let relayed = relay(client, busy, worker, times, &mut link).await;
    if relayed == Relayed::Unsaid {
        busy.wishes = None;
        let error = attempt::broken(UpstreamErrorKind::Malformed);
        return fail(client, busy, worker, None, error).await;
    }
    if let Some(wishes) = busy.wishes.take()
        && let Some(mut copy) = busy.download.kept().map(<[u8]>::to_vec)
    {
        busy.ex.hand_copy(&wishes, &mut copy).await;
    }
    ended(client, busy, worker, link, &down, reusable, relayed)
}

/// How the response body goes down.
struct Down {
    came: Framing,
    head: usize,
    keep: bool,
    close: bool,
}

impl Down {
    /// Readies the download: head in front, then what came with it, then the rest.
    fn start(&mut self, busy: &mut Busy<'_>, worker: &Worker) {
        let Busy { ex, download, .. } = busy;
        let goes = self.goes(ex);
        download.start(self.came, Encoder::new(goes));
        self.begin(busy, worker, goes);
    }

    /// The same framing as it came, where the client understands it.
    fn goes(&self, ex: &Exchange) -> Framing {
        match self.came {
            Framing::Chunked | Framing::Close if ex.request.version == Version::Http10 => {
                Framing::Close
            }
            Framing::Close => Framing::Chunked,
            came => came,
        }
    }

    fn begin(&mut self, busy: &mut Busy<'_>, worker: &Worker, goes: Framing) {
        let Busy {
            ex,
            upload,
            download,
            ..
        } = busy;
        self.close = goes == Framing::Close;
        self.keep = ex.request.keep_alive
            && !self.close
            && upload.is_read()
            && worker.drain.keeps_connections();
        let own = self.came.is_none() || matches!(self.came, Framing::Length(_));
        let framing = if own { None } else { Some(goes) };
        write_head(ex, &mut download.out, framing, self.keep);
        ex.bytes_out = download.out.len() as u64;
        download.feed(&ex.response.headers.raw[self.head..]);
        if ex.request.te_trailers {
            download.pass_trailers();
        }
    }
}

/// Some plugin asked for the body: copies it while it streams, or holds it back for editing.
async fn wanted_body(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Rc<Worker>,
    times: Times,
    link: &mut Link,
    down: &mut Down,
    wishes: Wishes,
) -> Result<(), Next> {
    if wishes.collect == 0 && wishes.replace.is_none() {
        down.start(busy, worker);
        busy.download.keep(wishes.tee);
        busy.wishes = Some(wishes);
        return Ok(());
    }
    let mut decoder = Decoder::new(down.came);
    let mut body = Vec::new();
    let mut raw = busy.ex.response.headers.raw.split_off(down.head);
    let limit = if wishes.replace.is_some() {
        0
    } else {
        wishes.collect
    };
    let collected = collect(
        client,
        worker,
        times,
        &mut link.io,
        &mut decoder,
        &mut raw,
        &mut body,
        limit,
    );
    let complete = match collected.await {
        Ok(complete) => complete,
        Err(error) => return Err(fail(client, busy, worker, None, error).await),
    };
    if let Some(replacement) = &wishes.replace {
        body.clone_from(replacement);
    } else if !complete {
        resume(busy, worker, down, decoder, &raw, &body);
        return Ok(());
    }
    busy.ex.hand_body(worker, &wishes, &mut body).await;
    down.came = whole_framing(body.len());
    busy.download.start(down.came, Encoder::new(down.came));
    down.head = busy.ex.response.headers.raw.len();
    begin_whole(busy, worker, down, &body);
    Ok(())
}

/// The head and a body that is in hand.
fn begin_whole(busy: &mut Busy<'_>, worker: &Worker, down: &mut Down, body: &[u8]) {
    let Busy {
        ex,
        upload,
        download,
        ..
    } = busy;
    down.keep = ex.request.keep_alive && upload.is_read() && worker.drain.keeps_connections();
    write_head(ex, &mut download.out, Some(down.came), down.keep);
    ex.bytes_out = download.out.len() as u64;
    download.feed(body);
}

/// The body is longer than anybody wants to hold: it streams on from where it is.
fn resume(
    busy: &mut Busy<'_>,
    worker: &Worker,
    down: &mut Down,
    decoder: Decoder,
    raw: &[u8],
    body: &[u8],
) {
    let goes = down.goes(&busy.ex);
    busy.download.resume(decoder, Encoder::new(goes));
    down.head = busy.ex.response.headers.raw.len();
    down.begin(busy, worker, goes);
    busy.download.feed(raw);
    let fits = busy.download.prefix(body);
    debug_assert!(fits.is_ok(), "decoded data fits its own framing");
}

/// Reads a response body up to a limit; whether that was all of it.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of a connection are borrowed apart"
)]
async fn collect(
    client: &mut Client,
    worker: &Worker,
    times: Times,
    up: &mut Io,
    decoder: &mut Decoder,
    raw: &mut Vec<u8>,
    body: &mut Vec<u8>,
    limit: usize,
) -> Result<bool, ProxyError> {
    let broken = |kind| {
        ProxyError::Upstream(UpstreamError {
            kind,
            reused: false,
            sent: true,
        })
    };
    client.slot.set(times.read);
    poll_fn(|cx| {
        loop {
            while !decoder.is_done() && !raw.is_empty() && body.len() <= limit {
                let found = decoder
                    .decode(raw)
                    .map_err(|_| broken(UpstreamErrorKind::Malformed))?;
                body.extend_from_slice(&raw[found.data.clone()]);
                raw.drain(..found.consumed);
                if found.consumed == 0 {
                    break;
                }
            }
            if decoder.is_done() || body.len() > limit {
                return Poll::Ready(Ok(decoder.is_done() && body.len() <= limit));
            }
            raw.reserve(BUFFER);
            match poll_read_buf(Pin::new(&mut *up), cx, raw) {
                Poll::Ready(Ok(count)) if count > 0 => client.slot.set(times.read),
                Poll::Ready(_) => {
                    decoder
                        .eof()
                        .map_err(|_| broken(UpstreamErrorKind::Closed))?;
                    return Poll::Ready(Ok(true));
                }
                Poll::Pending => {
                    if client.poll_gone(cx, worker) {
                        return Poll::Ready(Err(ProxyError::ClientGone));
                    }
                    let late = client.slot.poll_expired(cx);
                    return late.map(|()| Err(broken(UpstreamErrorKind::ReadTimeout)));
                }
            }
        }
    })
    .await
}

/// How relaying the bodies ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relayed {
    Whole,
    ClientGone,
    Broken,
    /// The begin of the body was broken, and not even the head has been sent.
    Unsaid,
}

/// Passes the response body down, and what is left of the request body up.
async fn relay(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Worker,
    times: Times,
    link: &mut Link,
) -> Relayed {
    let Busy {
        upload, download, ..
    } = busy;
    let mut refused = false;
    let mut wait = None;
    poll_fn(|cx| {
        if !refused && !upload.is_done() {
            match poll_upload(cx, client, upload, &mut link.io) {
                Ok(stopped) => refused = stopped,
                Err(ProxyError::ClientGone) => return Poll::Ready(Relayed::ClientGone),
                Err(_) => return Poll::Ready(Relayed::Broken),
            }
        }
        match download.poll(cx, &mut link.io, &mut client.io) {
            Poll::Ready(Ok(())) => return Poll::Ready(Relayed::Whole),
            Poll::Ready(Err(PumpError::SinkClosed)) => return Poll::Ready(Relayed::ClientGone),
            Poll::Ready(Err(_)) if download.written == 0 => return Poll::Ready(Relayed::Unsaid),
            Poll::Ready(Err(_)) => return Poll::Ready(Relayed::Broken),
            Poll::Pending => {}
        }
        if upload.is_done() && client.poll_gone(cx, worker) {
            return Poll::Ready(Relayed::ClientGone);
        }
        let now = Wait::Download(download.waits);
        if std::mem::take(&mut download.moved) | std::mem::take(&mut upload.moved)
            || wait != Some(now)
        {
            wait = Some(now);
            client.slot.set(now.patience(times, worker));
        }
        client.slot.poll_expired(cx).map(|()| match now {
            Wait::Download(Waits::Sink) => Relayed::ClientGone,
            _ => Relayed::Broken,
        })
    })
    .await
}

/// The answer is out, or broken off: what becomes of both connections.
fn ended(
    client: &mut Client,
    busy: &mut Busy<'_>,
    worker: &Worker,
    link: Link,
    down: &Down,
    reusable: bool,
    relayed: Relayed,
) -> Next {
    let Busy {
        ex,
        upload,
        download,
        ..
    } = busy;
    ex.bytes_in += upload.seen;
    ex.body_out = download.seen;
    ex.bytes_out = download.written;
    let clean = upload.is_done() && download.is_done() && download.rest().is_empty();
    let next = match relayed {
        Relayed::Whole => {
            let over = ex.set_over();
            if !reusable || down.came == Framing::Close {
                link.mark.set(By::Upstream);
            } else if clean {
                link.checkin(worker, over);
            }
            if !upload.is_done() {
                upload.move_rest(&mut client.carry);
            }
            if down.keep && upload.is_read() {
                Next::Request
            } else {
                Next::Close
            }
        }
        Relayed::ClientGone => {
            ex.client_gone();
            Next::Abort
        }
        Relayed::Broken | Relayed::Unsaid => {
            // The head is out: a cut connection is the only honest way to say so.
            ex.set_origin(
                ProxyError::Upstream(UpstreamError {
                    kind: UpstreamErrorKind::Closed,
                    reused: false,
                    sent: true,
                })
                .origin(),
            );
            client.reset();
            Next::Abort
        }
    };
    download.settle();
    upload.settle();
    next
}
