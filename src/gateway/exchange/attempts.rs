//! Attempts at the upstream: whom they go to, what they are told, whether another one follows.
//!
//! Invariant: every endpoint that an attempt begins with is released, whatever becomes of it.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Exchange, joining, millis};
use crate::gateway::error::ProxyError;
use crate::gateway::heads;
use crate::gateway::live::Worker;
use crate::gateway::rewrite::{self, Upward};
use crate::message::{BodyError, ConnInfo, Framing, Origin, Reply, Try, http_status};
use crate::plugin::Outcome;
use crate::upstream::{
    Cluster, Endpoint, Permit, Picked, PoolKey, Resolution, Retry, UpstreamError, UpstreamErrorKind,
};

/// What a request has taken of its upstream's limits.
#[derive(Debug, Default)]
pub(super) struct Permits {
    request: Option<Permit>,
    retry: Option<Permit>,
}

/// Where one attempt goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// What a connection must agree in.
    pub key: PoolKey,
    /// TLS server name; `None` for plain text.
    pub server_name: Option<Box<str>>,
    /// The endpoint.
    pub endpoint: Picked,
    /// When it was chosen.
    pub at: Instant,
}

impl Exchange {
    /// One attempt begins: an endpoint that has not failed this request, if there is one.
    pub fn attempt(&mut self) -> Result<Target, ProxyError> {
        let began = Instant::now();
        let live = self.live()?;
        let service = self.service(&live.snapshot).ok_or(ProxyError::NoService)?;
        let key = self.hash_key(&live, service);
        let tries = &self.tries;
        let tried = |endpoint: &Endpoint| tries.iter().any(|t| t.address == endpoint.address);
        let picked = live.balancer(service.cluster, |balancer| {
            let resolution = balancer.endpoints().resolution;
            if tries.is_empty() {
                self.permits.request = balancer.admit().map_err(ProxyError::Overflow)?;
            }
            balancer.pick(key, began, tried).ok_or(match resolution {
                // Names of targets are the balancer's affair.
                _ if service.upstream.is_some() => ProxyError::NoPeer,
                Resolution::NotFound => ProxyError::NameNotFound,
                Resolution::Failed | Resolution::Pending => ProxyError::NameFailed,
                Resolution::Known => ProxyError::NoPeer,
            })
        });
        let endpoint = picked.ok_or(ProxyError::Internal)??;
        // A moment that only a log would show.
        let at = if self.logged { Instant::now() } else { began };
        let since = began - self.facts.started;
        if self.handed_over.is_none() {
            self.handed_over = Some(began);
            self.took.gateway = since;
        }
        if let Some(deadline) = service.retry.deadline {
            let set = self
                .facts
                .head_timeout
                .map_or(deadline, |set| set.min(deadline));
            self.facts.head_timeout = Some(set);
        }
        self.attempted = Some(began);
        self.tries.push(Try {
            address: endpoint.address,
            failed: None,
            status: None,
            started_ms: self.facts.started_ms + millis(since),
            balancer_ns: (at - began).as_nanos() as u64,
        });
        endpoint.begin();
        self.endpoint = Some(endpoint.clone());
        let tls = service.tls.as_ref().map(|(_, identity)| *identity);
        let server_name = tls.map(|_| {
            let (host, _) = self.upstream_host(&endpoint);
            rewrite::without_port(host).trim_matches(['[', ']']).into()
        });
        Ok(Target {
            key: PoolKey {
                address: endpoint.address,
                tls,
            },
            server_name,
            endpoint,
            at,
        })
    }

    /// What an error of the gateway's own is answered with: a plugin that limits bodies has words
    /// for those that are too long.
    pub fn error_reply(&mut self, error: ProxyError) -> Reply {
        if error == ProxyError::Body(BodyError::TooLarge)
            && let Some(reply) = self.facts.oversize.take()
        {
            return *reply;
        }
        let live = self.live.as_ref();
        let service = live.and_then(|live| self.service(&live.snapshot));
        match (error, service) {
            (ProxyError::NameFailed, Some(service)) => {
                let (plain, host) = (error.reply(), &service.host);
                let words = format!("{} for '{host}' with: dns server error", plain.words());
                Reply::gateway(plain.status, words)
            }
            _ => error.reply(),
        }
    }

    /// A stale kept connection is tried again at the same endpoint: not an attempt of its own.
    pub fn forget_attempt(&mut self) {
        self.tries.pop();
        if let Some(endpoint) = self.endpoint.take() {
            endpoint.forgotten(Instant::now());
            endpoint.end(false);
        }
    }

    /// The cluster to wait for when its first resolution is still open.
    pub fn pending_cluster(&self) -> Option<Arc<Cluster>> {
        let live = self.live.as_ref()?;
        let service = self.service(&live.snapshot)?;
        let cluster = live.snapshot.clusters.get(service.cluster)?;
        cluster.is_pending().then(|| cluster.clone())
    }

    /// The request as the upstream is told it, all but the request line and `Host`.
    pub fn upward<'a>(
        &'a self,
        worker: &'a Worker,
        conn: &'a ConnInfo,
        framing: Framing,
        new_length: bool,
    ) -> Upward<'a> {
        Upward {
            head: &self.request,
            conn,
            facts: &self.facts,
            policy: &worker.policy,
            prefix: self.stripped_prefix(),
            framing,
            new_length,
        }
    }

    pub(super) fn stripped_prefix(&self) -> Option<&str> {
        let live = self.live.as_ref()?;
        let route = live.snapshot.route(self.route?)?;
        let service = live.snapshot.service_of(route)?;
        joining(route, service).forwarded_prefix(self.request.path(), self.prefix_len)
    }

    /// Path and query as they go upstream: text.
    pub fn upstream_uri(&self) -> &[u8] {
        &self.upstream_uri
    }

    /// The method as it goes upstream.
    pub fn upstream_method(&self) -> &str {
        self.facts
            .upstream_method
            .as_deref()
            .unwrap_or(self.request.method())
    }

    /// `Host` for an endpoint (Kong: a plugin's, else preserve_host, else host_header, else the
    /// target's host), and a port to put behind it.
    pub fn upstream_host<'a>(&'a self, endpoint: &'a Endpoint) -> (&'a str, Option<u16>) {
        if let Some(host) = &self.facts.upstream_host {
            return (host, None);
        }
        let Some(live) = &self.live else {
            return ("", None);
        };
        let Some(route) = self.route.and_then(|ix| live.snapshot.route(ix)) else {
            return ("", None);
        };
        if route.preserve_host {
            let host = self.request.host();
            if !host.is_empty() {
                return (host, None);
            }
        }
        let Some(service) = live.snapshot.service_of(route) else {
            return ("", None);
        };
        let usual = if service.tls.is_some() { 443 } else { 80 };
        let Some(host) = live.snapshot.host_header(service) else {
            return (endpoint.authority(usual), None);
        };
        let port = endpoint.address.port();
        let lacks_port = port != usual && rewrite::without_port(host) == host;
        (host, lacks_port.then_some(port))
    }

    /// A final response head is in `response`.
    pub fn upstream_head(&mut self) {
        let now = Instant::now();
        self.head_in = Some(now);
        self.took.upstream = self.handed_over.map(|hand| now - hand);
        self.origin = Origin::Upstream;
        let status = self.status_of_head();
        if let Some(endpoint) = &self.endpoint {
            let began = self.upstream_since(now);
            match status {
                Some(status) => endpoint.answered(status, began, now),
                None => endpoint.began_answer(began, now),
            }
            self.verdict_due = status.is_none();
        }
        if let Some(last) = self.tries.last_mut() {
            last.status = Some(self.response.status);
        }
        if self.facts.upstream_method.is_some() {
            self.fit_to_method();
        }
    }

    /// How the endpoint did, as an HTTP status; nothing while gRPC's trailers are awaited.
    fn status_of_head(&self) -> Option<u16> {
        match heads::head_outcome(&self.response)? {
            Outcome::Grpc(status) => Some(http_status(status)),
            _ => Some(self.response.status),
        }
    }

    /// What the end of an answer says of the endpoint, where its head said nothing.
    pub(super) fn verdict(&mut self, outcome: Outcome) {
        let Some(endpoint) = self.endpoint.as_ref().filter(|_| self.verdict_due) else {
            return;
        };
        self.verdict_due = false;
        let outcome = match outcome {
            Outcome::Grpc(status) => Ok(http_status(status)),
            Outcome::Failed(_) => Err(UpstreamErrorKind::Closed),
            Outcome::Status(status) => Ok(status),
            Outcome::Abandoned => return,
        };
        endpoint.ended(outcome, Instant::now());
    }

    /// The upstream answered another method than the client used: a client's `HEAD` gets no body,
    /// and nobody waits for one that the upstream's `HEAD` announces.
    pub(super) fn fit_to_method(&mut self) {
        if self.drops_body() {
            // The body that comes is read by nobody, so the connection ends with it.
            self.response.framing = Framing::None;
            self.response.keep_alive = false;
        } else if self.request.method() != "HEAD" && self.upstream_method() == "HEAD" {
            self.response.headers.set("Content-Length", "0");
        }
    }

    /// Whether the upstream sends a body that the client's method has no room for.
    pub fn drops_body(&self) -> bool {
        self.request.method() == "HEAD" && self.upstream_method() != "HEAD"
    }

    /// An attempt failed before a response head.
    pub fn upstream_failed(&mut self, error: UpstreamError) {
        if let Some(last) = self.tries.last_mut() {
            last.failed = Some(error.kind.label());
            last.status = Some(if error.kind.is_timeout() { 504 } else { 502 });
        }
        if let Some(endpoint) = self.endpoint.take() {
            let now = Instant::now();
            endpoint.failed(error.kind, self.upstream_since(now), now);
            endpoint.end(true);
        }
    }

    /// Since when the upstream is waited for: the attempt, or the last piece of the client's body
    /// that was waited for.
    pub(super) fn upstream_since(&self, now: Instant) -> Instant {
        self.attempted.max(self.body_came).unwrap_or(now)
    }

    /// Whether one more attempt is allowed by count and kind.
    pub fn may_retry(&mut self, error: UpstreamError) -> bool {
        self.may_try_again(|retry| retry.after_failure(error, self.upstream_method()))
            && self.within_budget()
    }

    /// Whether the head in hand is one to try again for, and another attempt is allowed.
    pub fn may_retry_answer(&mut self) -> bool {
        let head = &self.response;
        let wanted = self.may_try_again(|retry| {
            let grpc = head.is_grpc().then(|| head.headers.get("grpc-status"));
            let grpc = grpc.and_then(heads::grpc_status);
            retry.after_answer(head.status, grpc, self.upstream_method())
        });
        wanted && self.within_budget()
    }

    pub(super) fn may_try_again(&self, allowed: impl FnOnce(&Retry) -> bool) -> bool {
        let Some(live) = &self.live else { return false };
        self.service(&live.snapshot).is_some_and(|service| {
            self.tries.len() <= service.retry.count as usize && allowed(&service.retry)
        })
    }

    /// Takes part of the upstream's retry budget, once for all further attempts of a request.
    pub(super) fn within_budget(&mut self) -> bool {
        let Some(live) = self.live.as_ref().filter(|_| self.permits.retry.is_none()) else {
            return self.permits.retry.is_some();
        };
        let cluster = self.service(&live.snapshot).map(|service| service.cluster);
        let taken = cluster.and_then(|ix| live.balancer(ix, |balancer| balancer.retry()));
        match taken {
            Some(Ok(place)) => self.permits.retry = place,
            Some(Err(_)) => return false,
            None => {}
        }
        true
    }

    /// The head in hand is given up for another attempt.
    pub fn give_answer_up(&mut self) {
        let status = self.response.status;
        let judged = self.status_of_head().unwrap_or(status);
        if let Some(last) = self.tries.last_mut() {
            last.status = Some(status);
        }
        if let Some(endpoint) = self.endpoint.take() {
            let now = Instant::now();
            endpoint.answered(judged, self.upstream_since(now), now);
            endpoint.end(false);
        }
    }
}
