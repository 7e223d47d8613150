//! The four forms of a request target (RFC 9112 §3.2) and the authorities in them and in `Host`.
//!
//! Invariant: the text handed in is visible ASCII without `#`; the spans set here are UTF-8.

use std::net::Ipv6Addr;

use super::{ParseError, bytes};
use crate::message::{RequestHead, Span};

/// Tells the form of the head's target and sets authority, path and query from it.
///
/// Asterisk-form (`OPTIONS *` only) leaves `*` as the path; authority-form (`CONNECT` only)
/// leaves path and query empty; absolute-form without a path has the path `/`.
pub fn classify(text: &[u8], head: &mut RequestHead) -> Result<(), ParseError> {
    let start = head.target.at as usize;
    let target = head.target.of(text);
    let method = head.method.of(text);
    if method == b"CONNECT" {
        return authority_form(target, head);
    }
    match target {
        [b'/', ..] => set_path(target, 0, start, head),
        b"*" if method == b"OPTIONS" => head.raw_path = head.target,
        _ => return absolute_form(target, start, head),
    }
    Ok(())
}

/// Sets path and query; `from` is where the path begins in `target`, which begins at `start`.
fn set_path(target: &[u8], from: usize, start: usize, head: &mut RequestHead) {
    let query = memchr::memchr(b'?', &target[from..]).map_or(target.len(), |at| from + at);
    head.raw_path = Span::new(start + from, start + query);
    head.query = Span::new(start + query, start + target.len());
}

fn authority_form(target: &[u8], head: &mut RequestHead) -> Result<(), ParseError> {
    match Authority::of(target) {
        Some(Authority { port: Some(_), .. }) => {
            head.authority = Some(head.target);
            Ok(())
        }
        _ => Err(ParseError::Target),
    }
}

fn absolute_form(target: &[u8], start: usize, head: &mut RequestHead) -> Result<(), ParseError> {
    let scheme = scheme_len(target).ok_or(ParseError::Target)?;
    let rest = &target[scheme..];
    let end = scheme + memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    if Authority::of(&target[scheme..end]).is_none() {
        return Err(ParseError::Target);
    }
    head.authority = Some(Span::new(start + scheme, start + end));
    set_path(target, end, start, head);
    if head.raw_path.len == 0 {
        // No path means `/`; the slash before the authority serves as its text.
        head.raw_path = Span::new(start + scheme - 1, start + scheme);
    }
    Ok(())
}

/// Length of `http://` or `https://` at the front.
fn scheme_len(target: &[u8]) -> Option<usize> {
    let is = |scheme: &[u8]| {
        target
            .get(..scheme.len())
            .is_some_and(|front| front.eq_ignore_ascii_case(scheme))
    };
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| is(scheme))
        .map(<[u8]>::len)
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without userinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// Name or address; brackets included.
    pub host: &'a [u8],
    /// Digits behind the colon, none allowed; `None` without a non-empty port.
    pub port: Option<&'a [u8]>,
}

impl<'a> Authority<'a> {
    /// Splits and checks an authority; the host may not be empty.
    pub fn of(text: &'a [u8]) -> Option<Authority<'a>> {
        let len = match text.first()? {
            b'[' => literal_len(text)?,
            _ => name_len(text)?,
        };
        let (host, rest) = text.split_at(len);
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] if is_port(digits) => Some(digits),
            _ => return None,
        };
        (!host.is_empty()).then_some(Authority { host, port })
    }

    /// Whether both name the same place for that scheme's default port.
    pub fn same(&self, other: &Authority<'_>, default: &[u8]) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

fn is_port(digits: &[u8]) -> bool {
    digits.len() <= 5
        && digits.iter().all(u8::is_ascii_digit)
        && digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
            <= 65_535
}

/// Length of a registered name or IPv4 address: anything up to a colon that RFC 3986 allows.
fn name_len(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes::host_len(&text[at..]);
        match text[at..] {
            [] | [b':', ..] => return Some(at),
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => at += 3,
            _ => return None,
        }
    }
}

/// Length of `[address]`. Zones and future address forms have no meaning here.
fn literal_len(text: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', text)?;
    let address = std::str::from_utf8(&text[1..close]).ok()?;
    address.parse::<Ipv6Addr>().ok()?;
    Some(close + 1)
}

/// The port that a target in absolute-form has when it names none.
pub fn default_port(target: &[u8]) -> &'static [u8] {
    match target {
        [_, _, _, _, b's' | b'S', ..] => b"443",
        _ => b"80",
    }
}
