//! One request and its answer: the steps, without any IO.
//!
//! Both drivers call these in the same order: `begin`, `find_route`, `admit`, `gate`, then per
//! attempt `attempt` and `upstream_head` or `upstream_failed`, then `outcome`, `respond`, and
//! `end`, which writes the log whatever happened before. An exchange is reused; `begin` forgets
//! the one before.

mod attempts;
mod ending;
mod hashing;

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use self::attempts::Permits;
pub use self::attempts::Target;
use self::hashing::Hashed;
use super::error::ProxyError;
use super::live::{Live, Worker};
use super::rewrite::{self, Edge, Times};
use crate::message::uri;
use crate::message::{
    ConnInfo, Framing, Known, Origin, Reply, RequestBody, RequestHead, ResponseHead, Try, Version,
};
use crate::plugin::{
    BodyCx, Choices, Facts, Outcome, OutcomeCx, Place, RequestCx, ResponseCx, Wishes,
};
use crate::router::{Lookup, UpstreamPath};
use crate::snapshot::{Route, Service, Snapshot};
use crate::upstream::Picked;
use crate::util::clock;
use crate::util::ids::RouteIx;

/// How long the parts of an exchange took.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    gateway: Duration,
    upstream: Option<Duration>,
}

/// One request and its answer.
pub struct Exchange {
    /// What the client asks.
    pub request: RequestHead,
    /// What the client is told.
    pub response: ResponseHead,
    /// What is known of the request.
    pub facts: Facts,
    /// Bytes received from the client: head and body.
    pub bytes_in: u64,
    /// Bytes sent to the client: head and body.
    pub bytes_out: u64,
    /// Bytes of the response body among them.
    pub body_out: u64,
    /// Interim heads (1xx) that the client has not been sent yet: whatever is written to it next
    /// begins with them.
    pub interim: Vec<u8>,
    /// Protocol version of the upstream's answer, as `Via` writes it.
    pub upstream_version: &'static str,
    /// What upstreams are told of the client's connection.
    pub edge: Edge,
    choices: Choices,
    live: Option<Rc<Live>>,
    route: Option<RouteIx>,
    prefix_len: usize,
    origin: Origin,
    tries: Vec<Try>,
    upstream_uri: Vec<u8>,
    endpoint: Option<Picked>,
    hashed: Hashed,
    /// Its permits under the upstream's limits.
    permits: Permits,
    /// When the last attempt began.
    attempted: Option<Instant>,
    outcome_due: bool,
    /// The upstream's answer has begun, and only its end says how it went.
    verdict_due: bool,
    gated: Option<Instant>,
    /// When the client's body was waited for last.
    body_came: Option<Instant>,
    handed_over: Option<Instant>,
    head_in: Option<Instant>,
    /// From the head to the hand-over, and from there to the upstream's head. Kept, for times are
    /// subtracted slowly and these are asked for twice.
    took: Took,
    /// Somebody logs each attempt in detail.
    logged: bool,
    over: Option<Instant>,
    status: u16,
    running: bool,
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange {
            request: RequestHead::default(),
            response: ResponseHead::default(),
            facts: Facts::default(),
            bytes_in: 0,
            bytes_out: 0,
            body_out: 0,
            interim: Vec::new(),
            upstream_version: "1.1",
            edge: Edge::default(),
            choices: Choices::default(),
            live: None,
            route: None,
            prefix_len: 0,
            origin: ProxyError::Internal.origin(),
            tries: Vec::new(),
            upstream_uri: Vec::new(),
            endpoint: None,
            hashed: Hashed::default(),
            permits: Permits::default(),
            attempted: None,
            outcome_due: false,
            verdict_due: false,
            gated: None,
            body_came: None,
            handed_over: None,
            head_in: None,
            took: Took::default(),
            logged: false,
            over: None,
            status: 0,
            running: false,
        }
    }
}

impl Exchange {
    /// Forgets the last request; keeps the memory.
    pub fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        self.facts.clear();
        self.live = None;
        self.route = None;
        self.prefix_len = 0;
        self.tries.clear();
        self.upstream_uri.clear();
        (self.bytes_in, self.bytes_out, self.body_out) = (0, 0, 0);
        (self.gated, self.handed_over, self.body_came) = (None, None, None);
        (self.head_in, self.over, self.attempted) = (None, None, None);
        self.took = Took::default();
        self.hashed = Hashed::default();
        self.permits = Permits::default();
        self.verdict_due = false;
        self.status = 0;
        self.interim.clear();
    }

    /// Gives back memory that only an unusual request needed.
    pub fn shrink(&mut self) {
        self.clear();
        self.interim = Vec::new();
        self.request.headers.shrink();
        self.response.headers.shrink();
    }

    /// A head is complete: the clock starts, the client's address is known, the path is
    /// normalised. From here on `end` writes the log.
    pub fn begin(&mut self, worker: &Worker, conn: &ConnInfo) -> Result<(), ProxyError> {
        self.running = true;
        self.logged = worker.access.is_some();
        self.upstream_version = "1.1";
        self.origin = ProxyError::Internal.origin();
        self.facts.started = Instant::now();
        self.facts.started_ms = clock::unix_ms();
        self.facts.request_id = worker.request_id();
        self.facts.client_ip = client_ip(worker, conn, &self.request);
        let live = worker.live().ok_or(ProxyError::Internal)?;
        self.choices.reset(&live.snapshot.global);
        self.live = Some(live);
        if self.request.method() == "CONNECT" {
            return Err(ProxyError::MethodNotAllowed);
        }
        rewrite::clean_request(&mut self.request, conn.trusted);
        self.normalise_path()
    }

    fn normalise_path(&mut self) -> Result<(), ProxyError> {
        let path = uri::other_than(self.request.raw_path_bytes());
        let path = path.map_err(|_| ProxyError::BadPath)?;
        self.request.set_path(path);
        Ok(())
    }

    /// Finds the route.
    pub fn find_route(&mut self, conn: &ConnInfo) -> Result<(), ProxyError> {
        let live = self.live()?;
        let table = &live.snapshot.table;
        let found = table.find(&Lookup {
            method: self.request.method(),
            host: match table.asks_for_hosts() {
                true => self.request.host(),
                false => "",
            },
            tls: conn.tls.is_some(),
            sni: conn.sni(),
            path: self.request.path(),
            headers: &self.request.headers,
        });
        let found = found.ok_or(ProxyError::NoRoute)?;
        let route = live
            .snapshot
            .route(found.route)
            .ok_or(ProxyError::Internal)?;
        self.choices.reset(&route.plan);
        self.logged |= route.plan.has_log();
        self.route = Some(found.route);
        self.prefix_len = found.prefix_len;
        self.facts.captures = found.captures;
        Ok(())
    }

    /// Whether the request keeps to the route's protocols (before any plugin).
    pub fn check_protocol(&self, conn: &ConnInfo) -> Option<Reply> {
        let live = self.live.as_ref()?;
        let route = live.snapshot.route(self.route?)?;
        super::protocol::check(route, &self.request, conn)
    }

    /// The request phase of the route's plugins; an answer if one gave it.
    pub async fn admit(
        &mut self,
        conn: &ConnInfo,
        body: &mut dyn RequestBody,
    ) -> Result<Option<Reply>, ProxyError> {
        let live = self.live()?;
        let Some(route) = self.route.and_then(|ix| live.snapshot.route(ix)) else {
            return Ok(None);
        };
        let place = place(&live.snapshot, Some(route));
        let mut cx = RequestCx::new(
            &mut self.request,
            conn,
            &mut self.facts,
            &live.snapshot.identity,
            place,
            body,
        );
        let answer = route.plan.run_request(&mut cx, &mut self.choices).await;
        Ok(answer.map(|(reply, name)| {
            self.origin = Origin::Plugin(name);
            reply
        }))
    }

    /// The gates before the upstream; an answer if one refused. Without a service: the error.
    pub async fn gate(
        &mut self,
        conn: &ConnInfo,
        body: &mut dyn RequestBody,
    ) -> Result<Option<Reply>, ProxyError> {
        let live = self.live()?;
        let route = self
            .route
            .and_then(|ix| live.snapshot.route(ix))
            .ok_or(ProxyError::NoRoute)?;
        let service = live
            .snapshot
            .service_of(route)
            .ok_or(ProxyError::NoService)?;
        self.compute_uri(route, service);
        if !route.plan.has_gates() {
            self.outcome_due = route.plan.hears_outcome();
            return Ok(None);
        }
        let place = place(&live.snapshot, Some(route));
        let mut cx = RequestCx::new(
            &mut self.request,
            conn,
            &mut self.facts,
            &live.snapshot.identity,
            place,
            body,
        );
        let answer = route
            .plan
            .run_before_upstream(&mut cx, &mut self.choices)
            .await;
        self.outcome_due = answer.is_none() && route.plan.hears_outcome();
        self.gated = self.outcome_due.then(Instant::now);
        Ok(answer.map(|(reply, name)| {
            self.origin = Origin::Plugin(name);
            reply
        }))
    }

    /// Path and query as they go upstream.
    fn compute_uri(&mut self, route: &Route, service: &Service) {
        let uri = &mut self.upstream_uri;
        uri.clear();
        let given = self.facts.upstream_path.as_deref();
        match given {
            Some(path) => uri.extend_from_slice(path.as_bytes()),
            None => joining(route, service).write(uri, self.request.path(), self.prefix_len),
        }
        if !given.is_some_and(|path| path.contains('?')) {
            uri.extend_from_slice(self.request.query_bytes());
        }
    }

    /// Tells the endpoint and the plugins how it ended, once; an answer to give instead.
    pub fn outcome(&mut self, outcome: Outcome, replaceable: bool) -> Option<Reply> {
        self.verdict(outcome);
        if !std::mem::take(&mut self.outcome_due) {
            return None;
        }
        let live = self.live.clone()?;
        let route = live.snapshot.route(self.route?)?;
        let elapsed = self.gated.map(|gated| gated.elapsed()).unwrap_or_default();
        let place = place(&live.snapshot, Some(route));
        let mut cx = OutcomeCx::new(outcome, elapsed, &mut self.facts, place, replaceable);
        let (reply, name) = route.plan.run_outcome(&mut cx, &mut self.choices)?;
        self.origin = Origin::Plugin(name);
        Some(reply)
    }

    /// Puts an answer of our own into `response`; the caller sends its body.
    pub fn answer(&mut self, reply: &Reply) {
        self.response.clear();
        self.response.status = reply.status;
        for (name, value) in &reply.headers {
            self.response.headers.append(name, value.as_bytes());
        }
        if let Some(content_type) = reply.content_type() {
            self.response.headers.append("Content-Type", content_type);
        }
        if self.answers_grpc() {
            self.answer_grpc(reply);
        }
    }

    /// gRPC clients look at grpc-status alone and want HTTP 200 (contract).
    fn answer_grpc(&mut self, reply: &Reply) {
        let mut digits = rewrite::PortText::default();
        self.response.status = 200;
        let headers = &mut self.response.headers;
        headers.set("Content-Type", "application/grpc");
        headers.set("grpc-status", digits.write(reply.grpc_code()));
        headers.set("grpc-message", grpc_escape(reply.words()));
    }

    /// Whether an answer of our own takes gRPC's form.
    pub fn answers_grpc(&self) -> bool {
        self.request.version == Version::Http2 && self.request.is_grpc()
    }

    /// Who answers.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// The response phase of all plugins, then the gateway's own fields. The head is then as the
    /// client gets it, framing left aside.
    pub fn respond(&mut self, worker: &Worker, conn: &ConnInfo) -> Wishes {
        let Some(live) = self.live.clone() else {
            return Wishes::default();
        };
        let route = self.route.and_then(|ix| live.snapshot.route(ix));
        let plan = route.map_or(&live.snapshot.global, |route| &route.plan);
        let mut cx = ResponseCx::new(
            &mut self.response,
            &self.request,
            conn,
            &mut self.facts,
            &live.snapshot.identity,
            place(&live.snapshot, route),
            self.origin,
        );
        let wishes = plan.run_response(&mut cx, &mut self.choices);
        if self.head_in.is_some() {
            self.set_hash_cookie(&live);
        }
        self.status = self.response.status;
        let times = self.times();
        rewrite::finish_response(self, &worker.policy, &times);
        wishes
    }

    fn times(&self) -> Times {
        let Some(hand) = self.handed_over else {
            return Times {
                gateway_ms: millis(self.facts.started.elapsed()),
                ..Times::default()
            };
        };
        let upstream = self.took.upstream.unwrap_or_else(|| hand.elapsed());
        Times {
            handed_over: true,
            gateway_ms: millis(self.took.gateway),
            upstream_ms: Some(millis(upstream)),
            upstream_status: self.tries.last().and_then(|last| last.status),
        }
    }

    /// Hands a body that is held back to the plugins that asked for it; afterwards `body` and the
    /// head are what the client gets.
    pub async fn hand_body(&mut self, worker: &Worker, wishes: &Wishes, body: &mut Vec<u8>) {
        let answer = self.run_body(wishes, body, true).await;
        if let Some((reply, name)) = answer {
            self.origin = Origin::Plugin(name);
            self.answer(&reply);
            *body = reply.render(self.facts.request_id.as_str()).to_vec();
            self.status = self.response.status;
            let times = self.times();
            rewrite::finish_response(self, &worker.policy, &times);
        }
    }

    /// Hands the copy of a body that has left to the plugins that asked for one.
    pub async fn hand_copy(&mut self, wishes: &Wishes, body: &mut Vec<u8>) {
        self.run_body(wishes, body, false).await;
    }

    async fn run_body(
        &mut self,
        wishes: &Wishes,
        body: &mut Vec<u8>,
        held: bool,
    ) -> Option<(Reply, &'static str)> {
        let live = self.live.clone()?;
        let route = self.route.and_then(|ix| live.snapshot.route(ix));
        let plan = route.map_or(&live.snapshot.global, |route| &route.plan);
        let place = place(&live.snapshot, route);
        let (response, facts) = (&mut self.response, &mut self.facts);
        let mut cx = BodyCx {
            body,
            response,
            facts,
            place,
        };
        if held {
            plan.run_collected(wishes, &mut cx, &mut self.choices).await
        } else {
            plan.run_copied(wishes, &mut cx, &mut self.choices).await;
            None
        }
    }

    /// The service of the matched route.
    pub fn service<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a Service> {
        snapshot.service_of(snapshot.route(self.route?)?)
    }

    /// The configuration that this exchange began with.
    pub fn live(&self) -> Result<Rc<Live>, ProxyError> {
        self.live.clone().ok_or(ProxyError::Internal)
    }

    /// Attempts so far.
    pub fn attempts(&self) -> usize {
        self.tries.len()
    }

    /// When the plugins' time for the upstream's head is over.
    pub fn head_deadline(&self) -> Option<Instant> {
        let timeout = self.facts.head_timeout?;
        let from = self.body_came.or(self.gated).or(self.handed_over)?;
        Some(from + timeout)
    }

    /// The client's body was waited for, and moved then: the upstream's time begins anew.
    pub fn restart_head_time(&mut self, at: Instant) {
        self.body_came = Some(at);
    }
}

fn place<'a>(snapshot: &'a Snapshot, route: Option<&'a Route>) -> Place<'a> {
    let service = route.and_then(|route| snapshot.service_of(route));
    Place {
        route: route.map(|route| &route.entity),
        service: service.map(|service| &service.entity),
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// The client's address: the peer's, unless a trusted peer names another.
fn client_ip(worker: &Worker, conn: &ConnInfo, head: &RequestHead) -> IpAddr {
    let peer = conn.peer.ip();
    if !conn.trusted {
        return peer;
    }
    let named = worker
        .real_ip(head)
        .and_then(|value| std::str::from_utf8(value).ok());
    let Some(named) = named else { return peer };
    let mut found = None;
    for entry in named.rsplit(',').map(str::trim) {
        let Some(address) = parse_address(entry) else {
            break;
        };
        found = Some(address);
        if !worker.policy.real_ip_recursive || !worker.policy.trusted.contains(address) {
            break;
        }
    }
    found.unwrap_or(peer)
}

/// An address with or without a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let socket = || {
        text.parse::<std::net::SocketAddr>()
            .ok()
            .map(|socket| socket.ip())
    };
    text.trim_matches(['[', ']']).parse().ok().or_else(socket)
}

/// Percent-encodes what gRPC does not allow in `grpc-message`.
fn grpc_escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for byte in words.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// How a route's paths become its service's.
fn joining<'a>(route: &Route, service: &'a Service) -> UpstreamPath<'a> {
    UpstreamPath {
        base: &service.path,
        strip: route.strip_path,
        handling: route.path_handling,
    }
}

/// Whether an answer to this request may carry a body (RFC 9110 §6.4.1).
pub fn has_body(head: &RequestHead, status: u16) -> bool {
    head.method() != "HEAD" && !matches!(status, 100..=199 | 204 | 304)
}

/// Framing of a request body that was read and perhaps replaced.
pub fn whole_framing(length: usize) -> Framing {
    if length == 0 {
        Framing::None
    } else {
        Framing::Length(length as u64)
    }
}

/// Whether the client names a content length itself.
pub fn names_length(head: &RequestHead) -> bool {
    head.headers.has(Known::ContentLength)
}
