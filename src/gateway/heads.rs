//! Heads between HTTP/2 and ours, so that nobody else sees two kinds (RFC 9113 §8.2, §8.3).
//!
//! Invariant: a request that came over HTTP/2 is held to the rules of one that came over HTTP/1.1;
//! what two readers could understand differently is refused, never repaired.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Scheme};
use http::{Method, StatusCode, Uri, request, response};

use super::attempt::Sends;
use super::exchange::{Exchange, Target};
use super::live::Worker;
use super::rewrite::Fields;
use crate::http1::framing::is_forbidden_trailer;
use crate::http1::limits::{self, Limits};
use crate::http1::parse::ParseError;
use crate::http1::parse::bytes::{target_len, trim};
use crate::http1::parse::target::Authority;
use crate::message::{
    ConnInfo, Framing, Headers, Known, Mask, RequestHead, ResponseHead, Span, Version,
};
use crate::plugin::Outcome;

/// Fields that HTTP/2 has no place for (RFC 9113 §8.2.2).
const CONNECTION: Mask = Mask::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
]);

/// Reads a request head that hyper received; `ended`: no body follows.
pub fn read_request(
    head: &mut RequestHead,
    parts: &request::Parts,
    ended: bool,
    limits: &Limits,
) -> Result<(), ParseError> {
    head.clear();
    head.version = Version::Http2;
    head.keep_alive = true;
    start_line(head, parts, limits)?;
    let begin = head.headers.raw.len();
    authority(head, parts)?;
    let mut facts = Facts::default();
    for (name, value) in &parts.headers {
        let known = Known::of(name.as_str().as_bytes());
        if facts.note(known, value.as_bytes())? {
            push_line(&mut head.headers, known, name.as_str(), &[value.as_bytes()]);
        }
        if head.headers.len() > limits.headers {
            return Err(ParseError::TooManyFields);
        }
    }
    cookies(head, parts);
    // The empty line that ends a head on the wire counts, as for HTTP/1.1.
    if head.headers.raw.len() - begin + 2 > limits.head {
        return Err(ParseError::HeadTooLarge);
    }
    head.te_trailers = facts.te_trailers;
    head.framing = match facts.length {
        Some(length) if length > 0 && ended => return Err(ParseError::LengthMisplaced),
        Some(length) if length > 0 => Framing::Length(length),
        _ if ended => Framing::None,
        Some(_) => Framing::None,
        None => Framing::Frames,
    };
    Ok(())
}

/// What the fields of a request say about its framing, each looked at once.
#[derive(Default)]
struct Facts {
    length: Option<u64>,
    te_trailers: bool,
}

impl Facts {
    /// Looks at a field; whether it is recorded as it came.
    fn note(&mut self, known: Known, value: &[u8]) -> Result<bool, ParseError> {
        match known {
            // Recorded with the authority, and joined.
            Known::Host | Known::Cookie => return Ok(false),
            Known::TransferEncoding => return Err(ParseError::CodingMisplaced),
            known if CONNECTION.has(known) => return Err(ParseError::ConnectionMalformed),
            Known::ContentLength => {
                if self.length.is_some() {
                    return Err(ParseError::LengthRepeated);
                }
                self.length = Some(length(value).ok_or(ParseError::LengthMalformed)?);
            }
            Known::Te => {
                if !value.eq_ignore_ascii_case(b"trailers") {
                    return Err(ParseError::ConnectionMalformed);
                }
                self.te_trailers = true;
            }
            _ => {}
        }
        Ok(true)
    }
}

/// 1 to 18 digits.
fn length(value: &[u8]) -> Option<u64> {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let add = |sum, digit: &u8| sum * 10 + u64::from(digit - b'0');
    digits.then(|| value.iter().fold(0, add))
}

/// Method and target, as the line that HTTP/1.1 has for them.
fn start_line(
    head: &mut RequestHead,
    parts: &request::Parts,
    limits: &Limits,
) -> Result<(), ParseError> {
    let method = parts.method.as_str();
    if method.len() > limits::METHOD {
        return Err(ParseError::MethodTooLong);
    }
    let connect = parts.method == Method::CONNECT;
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let authority = parts.uri.authority().map_or("", |given| given.as_str());
    let target = if connect { authority } else { path };
    if target.len() > limits.uri {
        return Err(ParseError::UriTooLong);
    }
    let asterisk = target == "*" && parts.method == Method::OPTIONS;
    let good = target.starts_with('/') || asterisk || connect;
    if !good || target_len(target.as_bytes()) != target.len() {
        return Err(ParseError::Target);
    }
    let raw = &mut head.headers.raw;
    raw.extend_from_slice(method.as_bytes());
    raw.push(b' ');
    let at = raw.len();
    raw.extend_from_slice(target.as_bytes());
    raw.extend_from_slice(b" HTTP/2.0\r\n");
    head.set_method(Span::new(0, method.len()), method.as_bytes());
    head.target = Span::new(at, at + target.len());
    if !connect {
        let query = target.find('?').unwrap_or(target.len());
        head.raw_path = Span::new(at, at + query);
        head.query = Span::new(at + query, at + target.len());
    }
    Ok(())
}

/// `:authority`, or `Host` where there is none; where there are both they must agree.
fn authority(head: &mut RequestHead, parts: &request::Parts) -> Result<(), ParseError> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(ParseError::HostRepeated);
    }
    let asked = parts.uri.authority().map(|given| given.as_str().as_bytes());
    let named = asked.or(host).ok_or(ParseError::HostMissing)?;
    let place = Authority::of(named).ok_or(ParseError::HostMalformed)?;
    if let Some(host) = host {
        let other = Authority::of(host).ok_or(ParseError::HostMalformed)?;
        let https = parts.uri.scheme() == Some(&Scheme::HTTPS);
        let default: &[u8] = if https { b"443" } else { b"80" };
        if !place.same(&other, default) {
            return Err(ParseError::HostDiffers);
        }
    }
    let value = push_line(&mut head.headers, Known::Host, "host", &[named]);
    head.authority = asked.is_some().then_some(value);
    Ok(())
}

/// A cookie may come in crumbs (RFC 9113 §8.2.3).
fn cookies(head: &mut RequestHead, parts: &request::Parts) {
    let mut pieces = Vec::new();
    for crumb in parts.headers.get_all(http::header::COOKIE) {
        if !pieces.is_empty() {
            pieces.push(b"; ".as_slice());
        }
        pieces.push(crumb.as_bytes());
    }
    if !pieces.is_empty() {
        push_line(&mut head.headers, Known::Cookie, "cookie", &pieces);
    }
}

/// Records a field as a received line; where its value stands.
fn push_line(headers: &mut Headers, known: Known, name: &str, value: &[&[u8]]) -> Span {
    let start = headers.raw.len();
    headers.raw.extend_from_slice(name.as_bytes());
    headers.raw.extend_from_slice(b": ");
    let from = headers.raw.len();
    for piece in value {
        headers.raw.extend_from_slice(piece);
    }
    let to = headers.raw.len();
    headers.raw.extend_from_slice(b"\r\n");
    // Blanks around a value are no part of it, here as there.
    let lead = headers.raw[from..to]
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count();
    let length = trim(&headers.raw[from..to]).len();
    let from = if length == 0 { to } else { from + lead };
    let end = headers.raw.len() as u32;
    let name_len = name.len() as u16;
    headers.push_known(
        known,
        start as u32,
        name_len,
        from as u32,
        length as u32,
        end,
    );
    Span::new(from, from + length)
}

/// Reads a response head that hyper received; `None` where it is none that may be passed on.
pub fn read_response(
    head: &mut ResponseHead,
    parts: &response::Parts,
    method: &str,
    ended: bool,
) -> Option<()> {
    head.clear();
    head.version = Version::Http2;
    head.keep_alive = true;
    head.status = parts.status.as_u16();
    let mut declared = None;
    for (name, value) in &parts.headers {
        let known = Known::of(name.as_str().as_bytes());
        if known == Known::ContentLength {
            let length = length(value.as_bytes())?;
            if declared.replace(length).is_some() {
                return None;
            }
        }
        push_line(&mut head.headers, known, name.as_str(), &[value.as_bytes()]);
    }
    let bodiless = method == "HEAD" || matches!(head.status, 204 | 304);
    head.framing = match declared {
        _ if bodiless || ended => Framing::None,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Frames,
    };
    (head.status >= 200).then_some(())
}

/// The head of an answer to an HTTP/2 client. `length`: of a body that is in hand.
pub fn response_of<B>(ex: &Exchange, length: Option<usize>, body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(ex.response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let skip = if length.is_some() {
        CONNECTION.with(Known::ContentLength)
    } else {
        CONNECTION
    };
    let fields = response.headers_mut();
    add_fields(fields, &ex.response.headers, skip);
    if let Some(length) = length {
        fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !ex.response.headers.has(Known::Date)
        && let Ok(date) = HeaderValue::from_bytes(&crate::util::clock::date())
    {
        fields.insert(http::header::DATE, date);
    }
    response
}

fn add_fields(map: &mut HeaderMap, headers: &Headers, skip: Mask) {
    for (known, name, value) in headers.iter_known() {
        if skip.has(known) {
            continue;
        }
        match (usual(known), HeaderValue::from_bytes(value)) {
            (Some(name), Ok(mut value)) => {
                // No two are equal: they would only drive others out of the compression's memory.
                value.set_sensitive(known == Known::XKongRequestId);
                let _ = map.try_append(name, value);
            }
            _ => add_field(map, name, value),
        }
    }
}

/// The name of a field that most answers have, without a look at its text.
fn usual(known: Known) -> Option<HeaderName> {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");
    Some(match known {
        Known::ContentLength => http::header::CONTENT_LENGTH,
        Known::ContentType => http::header::CONTENT_TYPE,
        Known::Date => http::header::DATE,
        Known::Server => http::header::SERVER,
        Known::SetCookie => http::header::SET_COOKIE,
        Known::Vary => http::header::VARY,
        Known::Via => http::header::VIA,
        Known::XKongRequestId => REQUEST_ID,
        _ => return None,
    })
}

/// Text that no field can have was refused when it was received; what plugins make of it is
/// dropped here if it is none.
fn add_field(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    let name = HeaderName::from_bytes(name);
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
        // Full at 2^15 fields: no head comes near it.
        let _ = map.try_append(name, value);
    }
}

/// Request fields into a map.
struct MapFields<'a>(&'a mut HeaderMap);

impl Fields for MapFields<'_> {
    fn head(&mut self, headers: &Headers, skip: Mask) {
        add_fields(self.0, headers, skip);
    }

    fn field(&mut self, name: &'static str, value: &[&[u8]]) {
        match value {
            [one] => add_field(self.0, name.as_bytes(), one),
            pieces => add_field(self.0, name.as_bytes(), &pieces.concat()),
        }
    }
}

/// The request as an HTTP/2 upstream is told it; `None` where its address cannot be said.
pub fn request_of<B>(
    ex: &Exchange,
    worker: &Worker,
    conn: &ConnInfo,
    target: &Target,
    sends: Sends,
    body: B,
) -> Option<http::Request<B>> {
    let host = match ex.upstream_host(&target.endpoint) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let scheme = if target.key.tls.is_some() {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(path_and_query(ex.upstream_uri())?)
        .build()
        .ok()?;
    let mut request = http::Request::new(body);
    *request.method_mut() = Method::from_bytes(ex.upstream_method().as_bytes()).ok()?;
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    ex.upward(worker, conn, sends.framing, sends.new_length)
        .write(&mut MapFields(request.headers_mut()));
    Some(request)
}

/// A path as hyper takes it: bytes that it refuses are ones that a URI has encoded only.
fn path_and_query(text: &[u8]) -> Option<PathAndQuery> {
    if let Ok(path) = PathAndQuery::try_from(text) {
        return Some(path);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte) {
            encoded.push(byte as char);
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded.parse().ok()
}

/// Trailers of an HTTP/2 message as HTTP/1.1 has them: without those that it forbids.
pub fn trailer_lines(fields: &HeaderMap) -> Headers {
    let mut headers = Headers::default();
    for (name, value) in fields {
        let text = name.as_str();
        if !is_forbidden_trailer(Known::of(text.as_bytes()), text.as_bytes()) {
            headers.append(text, value.as_bytes());
        }
    }
    headers
}

/// Trailers of an HTTP/1.1 message as HTTP/2 has them.
pub fn trailer_map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    add_fields(&mut map, headers, CONNECTION);
    map
}

/// What gRPC says in a head or in trailers.
pub fn grpc_status(value: Option<&[u8]>) -> Option<u32> {
    std::str::from_utf8(value?).ok()?.trim().parse().ok()
}

/// What the head alone says of how the exchange ended; `None` while gRPC's trailers are awaited.
pub fn head_outcome(head: &ResponseHead) -> Option<Outcome> {
    if head.status != 200 || !head.is_grpc() {
        return Some(Outcome::Status(head.status));
    }
    let status = grpc_status(head.headers.get("grpc-status"));
    let status = status.or(head.framing.is_none().then_some(GRPC_UNKNOWN));
    status.map(Outcome::Grpc)
}

/// gRPC's code for an answer without a status.
const GRPC_UNKNOWN: u32 = 2;

/// What the end of a body says of it.
pub fn end_outcome(trailers: Option<&HeaderMap>) -> Outcome {
    let value = trailers.and_then(|fields| fields.get("grpc-status"));
    let status = grpc_status(value.map(HeaderValue::as_bytes));
    Outcome::Grpc(status.unwrap_or(GRPC_UNKNOWN))
}

#[cfg(test)]
mod tests;
