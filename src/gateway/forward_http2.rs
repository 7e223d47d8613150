//! Requests over HTTP/2 to their upstream: gRPC services, and those with `http2: true`.
//!
//! [`Way::attempts`] serves clients of both protocols; [`forward`] is the rest of the way for
//! HTTP/1.x clients.

mod http1;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::Response;

pub use http1::forward;

use super::attempt::{self, Patience, Sends, Times, Wait};
use super::error::ProxyError;
use super::exchange::{Exchange, Target};
use super::heads;
use super::live::{Live, Worker};
use super::upload::{Handle, Upload};
use crate::http2::client::{self, Ask, Demand, Failure, Lease};
use crate::http2::{Frame, Incoming, Reader};
use crate::message::{BodyError, ConnInfo};
use crate::upstream::{Permit, PoolKey, UpstreamError, UpstreamErrorKind, Wanted};
use crate::util::sweep::Slot;

/// One worker's connections over HTTP/2: by what they must agree in, server name included.
pub type Http2Pool = client::Pool<(PoolKey, Option<Box<str>>), Handle>;

/// An upstream that has answered with a head over HTTP/2.
pub struct Http2Answer {
    reader: Reader,
    lease: Lease<Handle>,
    upload: Upload,
}

impl Drop for Http2Answer {
    /// hyper resets a stream whose body fails, but asks for none while the upstream's window is
    /// full. Such a stream ends with its connection only.
    fn drop(&mut self) {
        if self.upload.is_stuck() {
            self.lease.retire();
        }
        self.upload.cancel();
    }
}

impl Http2Answer {
    /// The next piece of the body; none behind its end.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, UpstreamErrorKind>>> {
        self.reader
            .poll_next(cx)
            .map_err(|_| UpstreamErrorKind::Closed)
    }
}

impl From<Failure> for UpstreamErrorKind {
    fn from(failure: Failure) -> UpstreamErrorKind {
        match failure {
            Failure::Malformed => UpstreamErrorKind::Malformed,
            Failure::Unsent | Failure::Refused | Failure::Closed => UpstreamErrorKind::Closed,
        }
    }
}

/// What one request goes its way with.
pub struct Way<'a> {
    /// The exchange.
    pub ex: &'a mut Exchange,
    /// Its deadline.
    pub slot: &'a Slot,
    /// Where it runs.
    pub worker: &'a Rc<Worker>,
    /// The client connection.
    pub conn: &'a ConnInfo,
    /// The configuration that it began with.
    pub live: &'a Live,
    /// The service's times.
    pub times: Times,
}

impl Way<'_> {
    /// Tries endpoints until one answers with a head, or none may be tried any more. `feed` is
    /// called in each turn: it moves the client's bytes into the upload, where nobody else does.
    pub async fn attempts(
        &mut self,
        upload: &Upload,
        sends: Sends,
        mut feed: impl FnMut(&mut Context<'_>) -> Result<(), ProxyError>,
    ) -> Result<Http2Answer, ProxyError> {
        attempt::resolved(self.ex, self.slot, self.times).await;
        self.ex.upstream_version = "2";
        let mut fresh = false;
        loop {
            let target = self.ex.attempt()?;
            let error = match self.lease_while(&target, &mut feed).await {
                Ok(lease) => {
                    let trip = self.round_trip(lease, &target, upload, sends, &mut feed);
                    match trip.await {
                        Ok(answer) => {
                            let replayable = upload.is_replayable();
                            if attempt::is_refused(self.ex, replayable, &mut fresh) {
                                continue;
                            }
                            return Ok(answer);
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            attempt::again(self.ex, error, upload.is_replayable(), &mut fresh)?;
        }
    }

    /// [`Way::lease`], unless `feed` finds that the client has left.
    async fn lease_while(
        &self,
        target: &Target,
        feed: &mut impl FnMut(&mut Context<'_>) -> Result<(), ProxyError>,
    ) -> Result<Lease<Handle>, ProxyError> {
        let mut leasing = pin!(self.lease(target));
        poll_fn(|cx| match leasing.as_mut().poll(cx) {
            Poll::Pending => match feed(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            leased => leased,
        })
        .await
    }

    async fn lease(&self, target: &Target) -> Result<Lease<Handle>, ProxyError> {
        let Way {
            ex,
            slot,
            worker,
            live,
            times,
            ..
        } = self;
        let key = (target.key, target.server_name.clone());
        if let Some(lease) = worker.http2.lease_open(&key) {
            worker.metrics.upstream_reused.inc();
            return Ok(lease);
        }
        let _waits = attempt::queue(target)?;
        let full = Cell::new(false);
        let connecting = async {
            let starves = !worker.http2.has(&key);
            let io = attempt::connect(ex, worker, live, target, &full, starves).await?;
            // What is spoken under TLS is agreed on there (RFC 9113 §3.2).
            if io.is_tls() && io.alpn() != Some(b"h2") {
                return Err(UpstreamErrorKind::Tls);
            }
            let ask = io.held().map(|permit: &Permit| ask(permit.wanted()));
            Ok((io, ask))
        };
        let slots = || worker.sweep.slot();
        let leasing = worker
            .http2
            .lease(&key, slots, &worker.drain, &full, connecting);
        let lease = attempt::within_connect(ex, slot, *times, &full, leasing).await?;
        if lease.served() > 0 {
            worker.metrics.upstream_reused.inc();
        }
        Ok(lease)
    }

    /// Sends the request and waits for the head of its answer.
    async fn round_trip(
        &mut self,
        lease: Lease<Handle>,
        target: &Target,
        upload: &Upload,
        sends: Sends,
        feed: &mut impl FnMut(&mut Context<'_>) -> Result<(), ProxyError>,
    ) -> Result<Http2Answer, ProxyError> {
        let reused = lease.served() > 0;
        let body = upload.restart();
        let request = heads::request_of(self.ex, self.worker, self.conn, target, sends, body);
        let request = request.ok_or(ProxyError::BadPath)?;
        let mut sending = pin!(lease.send(request));
        let Way {
            ex,
            slot,
            worker,
            times,
            ..
        } = self;
        let upstream = |kind, sent| ProxyError::Upstream(UpstreamError { kind, reused, sent });
        let mut patience = Patience::default();
        let answered = poll_fn(|cx| {
            feed(cx)?;
            if let Poll::Ready(answered) = sending.as_mut().poll(cx) {
                return Poll::Ready(answered.map_err(|failure| match upload.error() {
                    Some(BodyError::Closed) => ProxyError::ClientGone,
                    Some(error) => error.into(),
                    None => {
                        let untouched = matches!(failure, Failure::Unsent | Failure::Refused);
                        upstream(failure.into(), !untouched)
                    }
                }));
            }
            let now = if upload.is_done() {
                Wait::Head
            } else {
                Wait::Upload(upload.waits())
            };
            // hyper's task moves the body: whether it did is seen late here, but seen.
            let moved = upload.take_moved();
            let longest = now.patience(*times, worker);
            let late = patience.poll(cx, slot, ex, (now, moved), longest);
            Poll::Ready(Err(match ready!(late) {
                Ok(kind) => upstream(kind, true),
                Err(slow) => slow.into(),
            }))
        })
        .await?;
        self.received(answered, lease, upload)
            .ok_or(upstream(UpstreamErrorKind::Malformed, true))
    }

    /// Notes the head.
    fn received(
        &mut self,
        answered: Response<Incoming>,
        lease: Lease<Handle>,
        upload: &Upload,
    ) -> Option<Http2Answer> {
        let (parts, incoming) = answered.into_parts();
        let mut reader = Reader::new(incoming, None);
        let method = self.ex.upstream_method().to_owned();
        let ended = reader.is_end();
        heads::read_response(&mut self.ex.response, &parts, &method, ended)?;
        if let Some(length) = self.ex.response.framing.length() {
            reader.declare(length);
        }
        Some(Http2Answer {
            reader,
            lease,
            upload: upload.clone(),
        })
    }
}

/// What a connection asks before it keeps its place.
fn ask(wanted: Wanted) -> Ask {
    Box::new(move || {
        if wanted.by_the_starving() {
            Demand::Starving
        } else if wanted.by_any() {
            Demand::Waiting
        } else {
            Demand::None
        }
    })
}

#[cfg(test)]
mod tests;
