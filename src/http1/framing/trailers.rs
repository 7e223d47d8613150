//! The section behind the last chunk (RFC 9112 §7.1.2).
//!
//! Invariant: no field gets through that a receiver would have needed before the body, or that
//! says who the sender is (RFC 9110 §6.5.1).

use super::FramingError;
use crate::http1::limits::Limits;
use crate::http1::parse::fields;
use crate::message::{Headers, Known};

/// A trailer section as far as it was read.
#[derive(Debug, Default)]
pub struct Trailers {
    fields: Headers,
    scan: usize,
}

impl Trailers {
    /// Takes bytes up to the next LF; how many, and whether the section is complete.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), FramingError> {
        let taken = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        let mut raw = std::mem::take(&mut self.fields.raw);
        raw.extend_from_slice(&input[..taken]);
        let read = fields::section(&raw, 0, &mut self.fields, &mut self.scan, Limits::TRAILERS);
        self.fields.raw = raw;
        let done = read.map_err(FramingError::Trailer)?.is_some();
        if done {
            self.check()?;
        }
        Ok((taken, done))
    }

    /// The fields.
    pub fn fields(&self) -> &Headers {
        &self.fields
    }

    /// The fields, for keeps.
    pub fn into_fields(self) -> Headers {
        self.fields
    }

    fn check(&self) -> Result<(), FramingError> {
        let forbidden = |(known, name, _): (Known, &[u8], &[u8])| is_forbidden(known, name);
        match self.fields.iter_known().any(forbidden) {
            true => Err(FramingError::ForbiddenTrailer),
            false => Ok(()),
        }
    }
}

/// Fields of [`Known::Other`] that mean something only before a body, in lower case.
const FORBIDDEN: [&[u8]; 20] = [
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"expires",
    b"forwarded",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"range",
    b"retry-after",
    b"warning",
    b"www-authenticate",
];

/// Whether a field may not stand in a trailer section.
pub fn is_forbidden(known: Known, name: &[u8]) -> bool {
    match known {
        Known::Other => FORBIDDEN
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other)),
        // The rest of what the gateway knows is framing, routing, identity or control.
        Known::Server | Known::Via | Known::UserAgent | Known::XKongRequestId => false,
        _ => true,
    }
}
