//! Heads from bytes: strict (RFC 9112), in place, ranges out.
//!
//! Both functions read what stands in `headers.raw` and are called again with the same head and
//! the same `scan` when more bytes were appended to it. Complete lines are recorded as they come,
//! so a head that arrives byte by byte costs no more than linear time. A `scan` of 0 starts a new
//! message; a complete head leaves it at 0.
//!
//! Invariant: the outcome, the error included, is the same for all ways of cutting the input; a
//! fault is reported as soon as its byte is there.

pub(crate) mod bytes;
mod error;
pub(crate) mod fields;
mod meaning;
mod start;
pub(crate) mod target;

#[cfg(test)]
mod tests;

pub use error::ParseError;

use super::limits::Limits;
use crate::message::{RequestHead, ResponseHead};

/// Reads a request head from `head.headers.raw`; `Some` is its length, leading empty lines
/// included. `None`: more bytes are needed.
///
/// `CONNECT` is parsed (authority-form sets `authority`; path and query stay empty), and so is
/// `OPTIONS *` (the path is `*`); whether to serve them is up to the caller.
pub fn request(
    head: &mut RequestHead,
    scan: &mut usize,
    limits: &Limits,
) -> Result<Option<usize>, ParseError> {
    if *scan == 0 {
        head.restart();
    }
    let raw = std::mem::take(&mut head.headers.raw);
    let read = read_request(&raw, head, scan, limits.clamped());
    head.headers.raw = raw;
    let end = read?;
    if end.is_some() {
        *scan = 0;
        meaning::request(head)?;
    }
    Ok(end)
}

fn read_request(
    text: &[u8],
    head: &mut RequestHead,
    scan: &mut usize,
    limits: Limits,
) -> Result<Option<usize>, ParseError> {
    match start::request(text, head, scan, limits)? {
        Some(at) => fields::section(text, at, &mut head.headers, scan, limits),
        None => Ok(None),
    }
}

/// Reads a response head from `head.headers.raw`; `Some` is its length. `None`: more bytes are
/// needed. The method of the request decides whether a body follows.
///
/// A 1xx answer is a head of its own without a body: read it, drop `raw` up to its length, and
/// start again with a `scan` of 0. After 101 the bytes are no longer HTTP.
pub fn response(
    head: &mut ResponseHead,
    scan: &mut usize,
    request_method: &str,
) -> Result<Option<usize>, ParseError> {
    if *scan == 0 {
        head.restart();
    }
    let raw = std::mem::take(&mut head.headers.raw);
    let read = read_response(&raw, head, scan);
    head.headers.raw = raw;
    let end = read?;
    if end.is_some() {
        *scan = 0;
        meaning::response(head, request_method)?;
    }
    Ok(end)
}

fn read_response(
    text: &[u8],
    head: &mut ResponseHead,
    scan: &mut usize,
) -> Result<Option<usize>, ParseError> {
    match start::response(text, head, scan, Limits::RESPONSE)? {
        Some(at) => fields::section(text, at, &mut head.headers, scan, Limits::RESPONSE),
        None => Ok(None),
    }
}
