//! The first line of a head: request line (RFC 9112 §3) or status line (§4).
//!
//! What is complete already stands in the head, so a line that arrives in pieces is not read
//! twice. Invariant: the outcome is the same for all ways of cutting the input.

use super::{ParseError, bytes, fields, target};
use crate::http1::limits::{self, Limits};
use crate::message::{RequestHead, ResponseHead, Span, Version};

/// ` HTTP/1.1` with its line end: what stands behind a target.
const VERSION_LEN: usize = 11;

/// Reads a request line; `Some` is the offset behind it.
pub fn request(
    text: &[u8],
    head: &mut RequestHead,
    scan: &mut usize,
    limits: Limits,
) -> Result<Option<usize>, ParseError> {
    if head.method.len == 0 && !method(text, head, scan)? {
        return Ok(None);
    }
    if head.target.len == 0 && !read_target(text, head, scan, limits)? {
        return Ok(None);
    }
    let at = end_of(head.target);
    let Some(version) = version(&text[at..])? else {
        return Ok(None);
    };
    head.version = version;
    Ok(Some(at + VERSION_LEN))
}

fn end_of(span: Span) -> usize {
    span.at as usize + span.len as usize
}

/// Up to two empty lines before a request are left over from a sloppy client (RFC 9112 §2.2).
fn skip_empty_lines(text: &[u8]) -> Result<usize, ParseError> {
    let mut at = 0;
    while at < 4 && text.get(at) == Some(&b'\r') {
        match text.get(at + 1) {
            Some(b'\n') => at += 2,
            Some(_) => return Err(ParseError::BareCr),
            None => break,
        }
    }
    Ok(at)
}

fn method(text: &[u8], head: &mut RequestHead, scan: &mut usize) -> Result<bool, ParseError> {
    let start = skip_empty_lines(text)?;
    let most = text.len().min(start + limits::METHOD + 1);
    let at = start + bytes::token_len(&text[start..most]);
    if at - start > limits::METHOD {
        return Err(ParseError::MethodTooLong);
    }
    match text[at..] {
        [] => return Ok(false),
        [b' ', ..] if at > start => {}
        [b'\r'] if at == start && start < 4 => return Ok(false),
        [b'\n', ..] => return Err(ParseError::BareLf),
        [b' ' | b'\r' | b'\t', ..] => return Err(ParseError::RequestLine),
        _ => return Err(ParseError::Method),
    }
    head.set_method(Span::new(start, at), text);
    *scan = at + 1;
    Ok(true)
}

fn read_target(
    text: &[u8],
    head: &mut RequestHead,
    scan: &mut usize,
    limits: Limits,
) -> Result<bool, ParseError> {
    let start = end_of(head.method) + 1;
    let most = text.len().min(start + limits.uri + 1);
    let at = *scan + bytes::target_len(&text[*scan..most]);
    *scan = at;
    if at - start > limits.uri {
        return Err(ParseError::UriTooLong);
    }
    match text.get(at) {
        None => Ok(false),
        Some(b' ') if at > start => {
            head.target = Span::new(start, at);
            target::classify(text, head)?;
            Ok(true)
        }
        Some(b' ' | b'\r' | b'\t') => Err(ParseError::RequestLine),
        Some(b'\n') => Err(ParseError::BareLf),
        Some(_) => Err(ParseError::Target),
    }
}

/// Reads what follows a target: a blank, the version, the line end.
fn version(text: &[u8]) -> Result<Option<Version>, ParseError> {
    match text.first_chunk::<VERSION_LEN>() {
        Some(b" HTTP/1.1\r\n") => Ok(Some(Version::Http11)),
        Some(b" HTTP/1.0\r\n") => Ok(Some(Version::Http10)),
        _ => other_version(text).map(|()| None),
    }
}

/// Finds the fault in a version that is not one of ours; none while it may still become one.
fn other_version(text: &[u8]) -> Result<(), ParseError> {
    for (at, &byte) in text.iter().take(VERSION_LEN).enumerate() {
        let good = match at {
            0..6 => byte == b" HTTP/"[at],
            6 | 8 => byte.is_ascii_digit(),
            7 => byte == b'.',
            9 => byte == b'\r',
            _ => byte == b'\n',
        };
        match byte {
            _ if good => {}
            b'\n' => return Err(ParseError::BareLf),
            _ if at == VERSION_LEN - 1 => return Err(ParseError::BareCr),
            _ => return Err(ParseError::Version),
        }
    }
    if text.len() < VERSION_LEN {
        return Ok(());
    }
    Err(ParseError::UnsupportedVersion)
}

/// `HTTP/1.1 200` without what follows.
const STATUS_LEN: usize = 12;

/// Reads a status line; `Some` is the offset behind it.
pub fn response(
    text: &[u8],
    head: &mut ResponseHead,
    scan: &mut usize,
    limits: Limits,
) -> Result<Option<usize>, ParseError> {
    if head.status == 0 && !status_line(text, head, scan, limits)? {
        return Ok(None);
    }
    Ok(Some(end_of(head.reason) + 2))
}

fn status_line(
    text: &[u8],
    head: &mut ResponseHead,
    scan: &mut usize,
    limits: Limits,
) -> Result<bool, ParseError> {
    let Some(status) = text.first_chunk::<STATUS_LEN>() else {
        return check_status(text).map(|()| false);
    };
    check_status(status)?;
    let start = match text.get(STATUS_LEN) {
        None => return Ok(false),
        Some(b' ') => STATUS_LEN + 1,
        Some(b'\r') => STATUS_LEN,
        Some(b'\n') => return Err(ParseError::BareLf),
        Some(_) => return Err(ParseError::StatusLine),
    };
    let Some(end) = reason(text, start, scan, limits)? else {
        return Ok(false);
    };
    head.version = if status[7] == b'0' {
        Version::Http10
    } else {
        Version::Http11
    };
    head.status = status[9..].iter().fold(0, |sum, &digit| {
        sum * 10 + u16::from(digit.wrapping_sub(b'0'))
    });
    head.reason = Span::new(start, end);
    Ok(true)
}

/// Reads the reason phrase up to its CR LF; `Some` is the offset of the CR.
fn reason(
    text: &[u8],
    start: usize,
    scan: &mut usize,
    limits: Limits,
) -> Result<Option<usize>, ParseError> {
    let from = (*scan).max(start);
    let most = text.len().min(start + limits.uri + 1);
    let at = from + bytes::value_len(&text[from..most]);
    *scan = at;
    if at - start > limits.uri {
        return Err(ParseError::HeadTooLarge);
    }
    match text[at..] {
        [b'\r', b'\n', ..] => Ok(Some(at)),
        [] | [b'\r'] => Ok(None),
        [byte, ..] => Err(fields::byte_error(byte)),
    }
}

/// Finds the fault in what should be the first bytes of a status line.
fn check_status(text: &[u8]) -> Result<(), ParseError> {
    for (at, &byte) in text.iter().enumerate() {
        let good = match at {
            0..5 => byte == b"HTTP/"[at],
            5 | 7 => byte.is_ascii_digit(),
            6 => byte == b'.',
            8 => byte == b' ',
            9 => matches!(byte, b'1'..=b'9'),
            _ => byte.is_ascii_digit(),
        };
        if !good {
            return Err(ParseError::StatusLine);
        }
        if at == 7 && !matches!(text[5..8], [b'1', b'.', b'0' | b'1']) {
            return Err(ParseError::UnsupportedVersion);
        }
    }
    Ok(())
}
