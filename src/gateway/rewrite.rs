//! Heads on their way through: what is taken out, what is put in (proxying: Kong's rules).
//!
//! The request's own lines are copied in runs; what must not go upstream is left out by kind, so
//! the head that logs see stays what the client sent. Both upstream protocols are fed from here
//! through [`Fields`], so there is one list of rules.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::exchange::Exchange;
use super::live::{HeaderSwitch, Policy};
use crate::message::headers::Field;
use crate::message::{ConnInfo, Framing, Headers, Known, Mask, RequestHead, ResponseHead};
use crate::plugin::Facts;

/// The product token in `Via` and `Server`.
pub const PRODUCT: &str = concat!("sluicegate/", env!("CARGO_PKG_VERSION"));

/// Where request fields are written to.
pub trait Fields {
    /// All fields of the head but those kinds.
    fn head(&mut self, headers: &Headers, skip: Mask);
    /// One field, its value in pieces.
    fn field(&mut self, name: &'static str, value: &[&[u8]]);
    /// What is said of the client's connection, where it is at hand; whether it was.
    fn connection(&mut self) -> bool {
        false
    }
}

/// Fields as HTTP/1.1 lines.
pub struct Lines<'a> {
    /// Where to.
    pub out: &'a mut Vec<u8>,
    /// Of the connection that the request came over.
    pub edge: &'a Edge,
}

impl Fields for Lines<'_> {
    fn head(&mut self, headers: &Headers, skip: Mask) {
        headers.write_except(skip, self.out);
    }

    fn field(&mut self, name: &'static str, value: &[&[u8]]) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        for piece in value {
            self.out.extend_from_slice(piece);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn connection(&mut self) -> bool {
        self.out.extend_from_slice(&self.edge.text);
        true
    }
}

/// What upstreams are told of a client's connection, as lines: the same for each of its requests,
/// so it is written once. Holds for a client that cannot speak for others and does not try to.
#[derive(Debug, Default)]
pub struct Edge {
    of: Option<(u64, SocketAddr)>,
    text: Vec<u8>,
}

impl Edge {
    /// Makes it that connection's.
    pub fn renew(&mut self, conn: &ConnInfo) {
        let of = Some((conn.number, conn.peer));
        if self.of == of {
            return;
        }
        self.of = of;
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let nothing = Edge::default();
        let mut lines = Lines {
            out: &mut text,
            edge: &nothing,
        };
        let (mut address, mut port) = (AddressText::default(), PortText::default());
        let client = address.write(conn.peer.ip());
        lines.field("X-Real-IP", &[client]);
        lines.field("X-Forwarded-For", &[client]);
        lines.field("X-Forwarded-Proto", &[conn.scheme().as_bytes()]);
        lines.field("X-Forwarded-Port", &[port.write(conn.listen_port)]);
        self.text = text;
    }
}

/// Fields that never travel: hop by hop (RFC 9110 §7.6.1), and those written anew.
const REQUEST_SKIP: Mask = Mask::of(&[
    Known::Connection,
    Known::Expect,
    Known::Host,
    Known::Http2Settings,
    Known::KeepAlive,
    Known::Proxy,
    Known::ProxyConnection,
    Known::Te,
    Known::Trailer,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Via,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedPath,
    Known::XForwardedPort,
    Known::XForwardedPrefix,
    Known::XForwardedProto,
    Known::XKongRequestId,
    Known::XRealIp,
]);

/// Fields of a client's head that only the gateway or a trusted edge may set.
const IDENTITY: [Known; 7] = [
    Known::XAnonymousConsumer,
    Known::XAuthenticatedGroups,
    Known::XConsumerCustomId,
    Known::XConsumerGroups,
    Known::XConsumerId,
    Known::XConsumerUsername,
    Known::XCredentialIdentifier,
];

/// Takes out what a client must not be able to say, and what `Connection` names.
pub fn clean_request(head: &mut RequestHead, trusted: bool) {
    if !trusted {
        for known in IDENTITY {
            head.headers.remove_known(known);
        }
    }
    if head.connection_names {
        remove_named(&mut head.headers);
    }
}

/// Removes the fields that `Connection` names, and nothing that framing or routing rest on.
fn remove_named(headers: &mut Headers) {
    let named: Vec<String> = headers
        .all_known(Known::Connection)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|token| String::from_utf8_lossy(token.trim_ascii()).to_ascii_lowercase())
        .filter(|token| {
            !matches!(
                token.as_str(),
                "close" | "keep-alive" | "upgrade" | "te" | ""
            )
        })
        .collect();
    for name in named {
        headers.remove(&name);
    }
}

/// What of a request the upstream is told beside the client's own fields.
pub struct Upward<'a> {
    /// The client's head, edited by plugins.
    pub head: &'a RequestHead,
    /// The client connection.
    pub conn: &'a ConnInfo,
    /// What is known of the request.
    pub facts: &'a Facts,
    /// Process settings.
    pub policy: &'a Policy,
    /// The prefix that was stripped from the path, if it was more than `/`.
    pub prefix: Option<&'a str>,
    /// How the body goes up.
    pub framing: Framing,
    /// The body was replaced: the client's own length is wrong.
    pub new_length: bool,
}

impl Upward<'_> {
    /// Writes every field but the host.
    pub fn write(&self, out: &mut impl Fields) {
        let mut skip = REQUEST_SKIP;
        if self.new_length || self.framing.length().is_none() {
            skip = skip.with(Known::ContentLength);
        }
        out.head(&self.head.headers, skip);
        if self.new_length {
            let length = self.framing.length().unwrap_or_default().to_string();
            out.field("Content-Length", &[length.as_bytes()]);
        }
        if self.head.te_trailers {
            out.field("TE", &[b"trailers"]);
        }
        self.write_forwarded(out);
        self.write_via(out);
        if self.policy.headers.request_id {
            out.field("X-Kong-Request-Id", &[self.facts.request_id.as_bytes()]);
        }
    }

    fn write_forwarded(&self, out: &mut impl Fields) {
        let trusted = self.conn.trusted;
        let chain = self.head.headers.known(Known::XForwardedFor);
        let chain = chain.filter(|given| !given.is_empty());
        // Most clients speak for themselves alone.
        if trusted || chain.is_some() || !out.connection() {
            self.write_origin(out, chain);
        }
        let host = lowered(name_of(self.head.host_bytes()));
        self.pass(out, "X-Forwarded-Host", Known::XForwardedHost, &host);
        let path = self.head.raw_path_bytes();
        self.pass(out, "X-Forwarded-Path", Known::XForwardedPath, path);
        let prefix = self.prefix.unwrap_or_default().as_bytes();
        self.pass(out, "X-Forwarded-Prefix", Known::XForwardedPrefix, prefix);
    }

    /// A field that trusted clients may set themselves.
    fn pass(&self, out: &mut impl Fields, name: &'static str, known: Known, own: &[u8]) {
        let given = match self.conn.trusted {
            true => self.head.headers.known(known),
            false => None,
        };
        let value = given.unwrap_or(own);
        if !value.is_empty() {
            out.field(name, &[value]);
        }
    }

    /// Where the request comes from. A chain of addresses is appended to, as Kong and nginx do, for
    /// untrusted peers too; only the first value of a repeated field is kept.
    fn write_origin(&self, out: &mut impl Fields, chain: Option<&[u8]>) {
        let (mut text, mut port) = (AddressText::default(), PortText::default());
        let client = text.write(self.facts.client_ip);
        out.field("X-Real-IP", &[client]);
        match chain {
            Some(given) => {
                let mut text = AddressText::default();
                let peer = text.write(self.conn.peer.ip());
                out.field("X-Forwarded-For", &[given, b", ", peer]);
            }
            None => out.field("X-Forwarded-For", &[client]),
        }
        let scheme = self.conn.scheme().as_bytes();
        self.pass(out, "X-Forwarded-Proto", Known::XForwardedProto, scheme);
        let port = port.write(self.conn.listen_port);
        self.pass(out, "X-Forwarded-Port", Known::XForwardedPort, port);
    }

    fn write_via(&self, out: &mut impl Fields) {
        let version = self.head.version.short().as_bytes();
        match self.head.headers.known(Known::Via) {
            Some(given) => {
                out.field("Via", &[given, b", ", version, b" ", PRODUCT.as_bytes()]);
            }
            None => out.field("Via", &[version, b" ", PRODUCT.as_bytes()]),
        }
    }
}

/// `host` of `host:port`, brackets of IPv6 kept.
pub fn without_port(host: &str) -> &str {
    host.get(..name_of(host.as_bytes()).len()).unwrap_or(host)
}

fn name_of(host: &[u8]) -> &[u8] {
    // A port is digits: what stands before them is looked at, and nothing else.
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit());
    match host[..host.len() - digits.count()] {
        [ref name @ .., b':'] => name,
        _ => host,
    }
}

/// Lower case, without a copy where it is that already.
fn lowered(text: &[u8]) -> Cow<'_, [u8]> {
    // A fold, not `any`: without the early end it looks at many bytes at once.
    let capital = |any, byte: &u8| any | byte.is_ascii_uppercase();
    match text.iter().fold(false, capital) {
        true => text.to_ascii_lowercase().into(),
        false => text.into(),
    }
}

/// An address as text, without an allocation.
struct AddressText {
    text: [u8; 46],
    len: usize,
}

impl Default for AddressText {
    fn default() -> AddressText {
        AddressText {
            text: [0; 46],
            len: 0,
        }
    }
}

impl AddressText {
    fn write(&mut self, address: IpAddr) -> &[u8] {
        self.len = 0;
        if let IpAddr::V4(address) = address {
            self.write_v4(address.octets());
            return &self.text[..self.len];
        }
        // The longest address fits, so writing cannot fail.
        let _ = std::fmt::Write::write_fmt(self, format_args!("{address}"));
        &self.text[..self.len]
    }
}

impl AddressText {
    /// The usual case by hand: the general way costs ten times as much, twice a request.
    fn write_v4(&mut self, octets: [u8; 4]) {
        for (ix, octet) in octets.into_iter().enumerate() {
            if ix > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        self.text[self.len] = byte;
        self.len += 1;
    }
}

impl std::fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let place = self
            .text
            .get_mut(self.len..self.len + text.len())
            .ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

/// A number as text, without an allocation.
#[derive(Default)]
pub struct PortText([u8; 20]);

impl PortText {
    /// The digits.
    pub fn write(&mut self, number: impl Into<u64>) -> &[u8] {
        let mut number: u64 = number.into();
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[at..];
            }
        }
    }
}

/// Takes hop-by-hop fields out of an upstream's answer.
pub fn clean_response(head: &mut ResponseHead, te_trailers: bool, upgraded: bool) {
    if head.connection_names {
        remove_named(&mut head.headers);
    }
    let headers = &mut head.headers;
    headers.remove_known(Known::Connection);
    headers.remove_known(Known::KeepAlive);
    headers.remove_known(Known::ProxyConnection);
    headers.remove_known(Known::TransferEncoding);
    if !te_trailers {
        headers.remove_known(Known::Trailer);
    }
    if !upgraded {
        headers.remove_known(Known::Upgrade);
    }
}

/// Adds the gateway's own fields to an answer, after the plugins: proxied or not decides which.
pub fn finish_response(ex: &mut Exchange, policy: &Policy, times: &Times) {
    let switch = policy.headers;
    let headers = &mut ex.response.headers;
    if switch.request_id {
        headers.remove_known(Known::XKongRequestId);
    }
    let id = ex.facts.request_id.as_bytes();
    if let Some(ms) = times.upstream_ms
        && times.handed_over
        && switch == HeaderSwitch::default()
        && ex.upstream_version == "1.1"
        && headers.has(Known::Server)
        && !headers.has(Known::Via)
    {
        return append_usual(headers, ms, times.gateway_ms, id);
    }
    if switch.via && times.handed_over {
        append_via(headers, ex.upstream_version);
    }
    if switch.server && !headers.has(Known::Server) {
        headers.append_own(Known::Server, "Server", &[PRODUCT.as_bytes()]);
    }
    append_latencies(headers, times, switch);
    if switch.upstream_status
        && let Some(status) = times.upstream_status
    {
        let mut text = PortText::default();
        headers.set("X-Kong-Upstream-Status", text.write(status));
    }
    if switch.request_id {
        headers.append_own(Known::XKongRequestId, "X-Kong-Request-Id", &[id]);
    }
}

/// What almost every answer gets, in one piece: the same as field by field, at a third of the cost.
fn append_usual(headers: &mut Headers, upstream_ms: u64, gateway_ms: u64, id: &[u8]) {
    const VIA: &str = concat!("1.1 sluicegate/", env!("CARGO_PKG_VERSION"));
    const UP_TO_UPSTREAM: &str = concat!(
        "Via: 1.1 sluicegate/",
        env!("CARGO_PKG_VERSION"),
        "\r\nX-Kong-Upstream-Latency: "
    );
    let (mut upstream, mut gateway) = (PortText::default(), PortText::default());
    let (upstream, gateway) = (upstream.write(upstream_ms), gateway.write(gateway_ms));
    let fields = [
        Field {
            known: Known::Via,
            name: "Via",
            value_len: VIA.len(),
        },
        Field::other("X-Kong-Upstream-Latency", upstream.len()),
        Field::other("X-Kong-Proxy-Latency", gateway.len()),
        Field {
            known: Known::XKongRequestId,
            name: "X-Kong-Request-Id",
            value_len: id.len(),
        },
    ];
    headers.append_block(&fields, |out| {
        out.extend_from_slice(UP_TO_UPSTREAM.as_bytes());
        out.extend_from_slice(upstream);
        out.extend_from_slice(b"\r\nX-Kong-Proxy-Latency: ");
        out.extend_from_slice(gateway);
        out.extend_from_slice(b"\r\nX-Kong-Request-Id: ");
        out.extend_from_slice(id);
        out.extend_from_slice(b"\r\n");
    });
}

/// Where the time of a request went, as far as its answer tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// An attempt was made.
    pub handed_over: bool,
    /// From the first byte to the hand-over, in milliseconds; to the answer without one.
    pub gateway_ms: u64,
    /// Waiting for the upstream's head.
    pub upstream_ms: Option<u64>,
    /// The upstream's status.
    pub upstream_status: Option<u16>,
}

fn append_via(headers: &mut Headers, version: &'static str) {
    let via = [version.as_bytes(), b" ", PRODUCT.as_bytes()];
    match headers.known(Known::Via).map(<[u8]>::to_vec) {
        Some(given) => {
            headers.remove_known(Known::Via);
            headers.append_parts("Via", &[&given, b", ", via[0], via[1], via[2]]);
        }
        None => headers.append_own(Known::Via, "Via", &via),
    }
}

fn append_latencies(headers: &mut Headers, times: &Times, switch: HeaderSwitch) {
    let mut text = PortText::default();
    if !times.handed_over {
        if switch.response_latency {
            headers.append_own(
                Known::Other,
                "X-Kong-Response-Latency",
                &[text.write(times.gateway_ms)],
            );
        }
        return;
    }
    if switch.upstream_latency
        && let Some(ms) = times.upstream_ms
    {
        headers.append_own(Known::Other, "X-Kong-Upstream-Latency", &[text.write(ms)]);
    }
    if switch.proxy_latency {
        headers.append_own(
            Known::Other,
            "X-Kong-Proxy-Latency",
            &[text.write(times.gateway_ms)],
        );
    }
}
