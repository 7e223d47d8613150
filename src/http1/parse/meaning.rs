//! What the fields of a complete head mean for the connection: framing (RFC 9112 §6), host (§3.2),
//! persistence (§9.3), upgrades.
//!
//! Invariant: a head that two readers could frame differently never gets out of here.

use super::target::{self, Authority};
use super::{ParseError, bytes};
use crate::message::headers::Mask;
use crate::message::{Framing, Headers, Known, RequestHead, ResponseHead, Version};

/// What the fields said, each looked at once.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    hosts: u32,
    length: Option<u64>,
    codings: Option<Codings>,
    connection: Connection,
    websocket: bool,
    expect_continue: bool,
    te_trailers: bool,
}

/// The fields that mean something to the connection.
const MEANING: Mask = Mask::of(&[
    Known::Host,
    Known::ContentLength,
    Known::TransferEncoding,
    Known::Connection,
    Known::Upgrade,
    Known::Expect,
    Known::Te,
]);

/// The codings named by all `Transfer-Encoding` lines together.
#[derive(Clone, Copy, Default)]
struct Codings {
    chunked: bool,
    others: bool,
}

/// The options named by all `Connection` lines together.
#[derive(Clone, Copy, Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    names: bool,
}

/// Sets what the fields of a request mean.
pub fn request(head: &mut RequestHead) -> Result<(), ParseError> {
    let facts = Facts::of(&head.headers)?;
    check_host(head, &facts)?;
    let framing = facts.framing(head.version)?.unwrap_or(Framing::None);
    let modern = head.version == Version::Http11;
    let upgrade_websocket = modern
        && facts.websocket
        && facts.connection.upgrade
        && framing.is_none()
        && head.method() == "GET";
    let (expect, te, connection) = (facts.expect_continue, facts.te_trailers, facts.connection);
    head.upgrade_websocket = upgrade_websocket;
    head.framing = framing;
    head.expect_continue = modern && expect;
    head.te_trailers = te;
    head.keep_alive = connection.keeps(head.version);
    head.connection_names = connection.names;
    Ok(())
}

/// Sets what the fields of a response to such a request mean.
pub fn response(head: &mut ResponseHead, request_method: &str) -> Result<(), ParseError> {
    let facts = Facts::of(&head.headers)?;
    let declared = facts.framing(head.version)?;
    let connection = facts.connection;
    let framing = match bodiless(head.status, request_method) {
        true => {
            check_informational(head.status, &facts)?;
            Framing::None
        }
        false => declared.unwrap_or(Framing::Close),
    };
    // A 204 that announces a body may be followed by one: its connection is not used again.
    let suspect = head.status == 204 && declared.is_some_and(|framing| !framing.is_none());
    head.keep_alive = connection.keeps(head.version) && framing != Framing::Close && !suspect;
    head.connection_names = connection.names;
    head.framing = framing;
    Ok(())
}

/// Whether such a response has no body whatever its fields say (RFC 9112 §6.3).
fn bodiless(status: u16, request_method: &str) -> bool {
    matches!(status, 100..200 | 204 | 304)
        || request_method == "HEAD"
        || request_method == "CONNECT" && matches!(status, 200..300)
}

fn check_informational(status: u16, facts: &Facts<'_>) -> Result<(), ParseError> {
    if status >= 200 {
        return Ok(());
    }
    if facts.codings.is_some() {
        return Err(ParseError::CodingMisplaced);
    }
    facts
        .length
        .map_or(Ok(()), |_| Err(ParseError::LengthMisplaced))
}

impl<'a> Facts<'a> {
    fn of(headers: &'a Headers) -> Result<Facts<'a>, ParseError> {
        let mut facts = Facts::default();
        for (known, value) in headers.iter_of(MEANING) {
            match known {
                Known::Host => {
                    facts.host = Some(value);
                    facts.hosts += 1;
                }
                Known::ContentLength => facts.length(value)?,
                Known::TransferEncoding => facts.codings.get_or_insert_default().add(value)?,
                Known::Connection => facts.connection.add(value)?,
                Known::Upgrade => facts.websocket |= lists(value, b"websocket"),
                Known::Expect => {
                    facts.expect_continue |= value.eq_ignore_ascii_case(b"100-continue");
                }
                Known::Te => facts.te_trailers |= lists(value, b"trailers"),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn length(&mut self, value: &[u8]) -> Result<(), ParseError> {
        if self.length.is_some() {
            return Err(ParseError::LengthRepeated);
        }
        if !(1..=18).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
            return Err(ParseError::LengthMalformed);
        }
        let number = value
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        self.length = Some(number);
        Ok(())
    }

    /// The framing that the fields declare, if any.
    fn framing(&self, version: Version) -> Result<Option<Framing>, ParseError> {
        match (self.codings, self.length) {
            (None, None) => Ok(None),
            (None, Some(0)) => Ok(Some(Framing::None)),
            (None, Some(length)) => Ok(Some(Framing::Length(length))),
            (Some(_), Some(_)) => Err(ParseError::LengthAndCoding),
            (Some(_), None) if version != Version::Http11 => Err(ParseError::CodingMisplaced),
            (Some(codings), None) if codings.others => Err(ParseError::CodingUnknown),
            (Some(_), None) => Ok(Some(Framing::Chunked)),
        }
    }
}

impl Codings {
    /// Adds a line's codings. Nothing may follow `chunked`, and no element may be empty.
    fn add(&mut self, value: &[u8]) -> Result<(), ParseError> {
        for coding in value.split(|&byte| byte == b',').map(bytes::trim) {
            if self.chunked || !is_coding(coding) {
                return Err(ParseError::CodingMalformed);
            }
            self.chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.others |= !self.chunked;
        }
        Ok(())
    }
}

/// A token with parameters (RFC 9110 §10.1.4); quoted ones are not worth their ambiguity, and
/// `chunked` has none.
fn is_coding(coding: &[u8]) -> bool {
    let mut parts = coding.split(|&byte| byte == b';').map(bytes::trim);
    let name = parts.next().unwrap_or_default();
    let plain = name.len() == coding.len();
    bytes::is_token(name)
        && (plain || !name.eq_ignore_ascii_case(b"chunked"))
        && parts.all(is_parameter)
}

fn is_parameter(text: &[u8]) -> bool {
    memchr::memchr(b'=', text).is_some_and(|at| {
        bytes::is_token(bytes::trim(&text[..at])) && bytes::is_token(bytes::trim(&text[at + 1..]))
    })
}

impl Connection {
    fn add(&mut self, value: &[u8]) -> Result<(), ParseError> {
        if value == b"keep-alive" {
            self.keep_alive = true;
            return Ok(());
        }
        for option in value.split(|&byte| byte == b',').map(bytes::trim) {
            match option.len() {
                0 => {}
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                2 if option.eq_ignore_ascii_case(b"te") => {}
                _ => self.name(option)?,
            }
        }
        Ok(())
    }

    fn name(&mut self, option: &[u8]) -> Result<(), ParseError> {
        if !bytes::is_token(option) {
            return Err(ParseError::ConnectionMalformed);
        }
        if is_end_to_end(option) {
            return Err(ParseError::ConnectionNames);
        }
        self.names = true;
        Ok(())
    }

    fn keeps(self, version: Version) -> bool {
        !self.close && (self.keep_alive || version == Version::Http11)
    }
}

/// Fields that a sender may not declare hop by hop (RFC 9110 §7.6.1): removing them would change
/// what the message is, where it goes or who sent it.
fn is_end_to_end(name: &[u8]) -> bool {
    match Known::of(name) {
        Known::Host
        | Known::ContentLength
        | Known::TransferEncoding
        | Known::ContentType
        | Known::Connection
        | Known::Authorization
        | Known::Cookie
        | Known::SetCookie => true,
        Known::Other => [&b"cache-control"[..], b"content-encoding", b"content-range"]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other)),
        _ => false,
    }
}

/// Whether a comma list has that element, whatever its case.
fn lists(value: &[u8], element: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|part| bytes::trim(part).eq_ignore_ascii_case(element))
}

/// One valid `Host` in HTTP/1.1, at most one in HTTP/1.0; the target's authority may not differ
/// from it. An empty one says that the target has no authority (RFC 9112 §3.2), which is possible
/// for `OPTIONS *` only and was never forbidden in HTTP/1.0.
fn check_host(head: &RequestHead, facts: &Facts<'_>) -> Result<(), ParseError> {
    let modern = head.version == Version::Http11;
    let target = head.target.of(&head.headers.raw);
    if facts.hosts > 1 {
        return Err(ParseError::HostRepeated);
    }
    let Some(host) = facts.host else {
        return if modern {
            Err(ParseError::HostMissing)
        } else {
            Ok(())
        };
    };
    if host.is_empty() && head.authority.is_none() && (!modern || target == b"*") {
        return Ok(());
    }
    let named = Authority::of(host).ok_or(ParseError::HostMalformed)?;
    let asked = head
        .authority
        .and_then(|span| Authority::of(span.of(&head.headers.raw)));
    match asked {
        // CONNECT is answered without a look at either.
        Some(_) if head.raw_path.len == 0 => Ok(()),
        Some(asked) if !asked.same(&named, target::default_port(target)) => {
            Err(ParseError::HostDiffers)
        }
        _ => Ok(()),
    }
}
