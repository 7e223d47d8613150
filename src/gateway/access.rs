//! The access log: a finished exchange as one line.
//!
//! Invariant: an exchange is one line whatever the client sent: nothing of it can end the line or
//! a quoted field. `combined` and `json` allocate nothing once the buffer has its size.

use std::fmt::Display;
use std::io::Write;

use super::live::AccessLog;
use crate::message::{Entity, Headers, Known, Origin, Record};
use crate::remote::ship::Lines;
use crate::util::clock::Civil;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As Apache and nginx write it: `combined`.
    #[default]
    Combined,
    /// One flat JSON object.
    Json,
    /// The record of Kong's log plugins.
    Kong,
}

/// The access log as one worker sees it: lines in one format on their way to one target.
pub struct AccessLines {
    format: Format,
    lines: Lines,
}

impl AccessLines {
    /// Lines in `format` on their way to `lines`.
    pub fn new(format: Format, lines: Lines) -> AccessLines {
        AccessLines { format, lines }
    }
}

impl AccessLog for AccessLines {
    fn write(&self, record: &Record<'_>) {
        self.lines.write(|out| write_line(self.format, record, out));
    }
}

/// Appends the line of a finished exchange, its line break included.
pub fn write_line(format: Format, record: &Record<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Combined => combined(record, out),
        Format::Json => json(record, out),
        Format::Kong => record.write_json(out),
    }
    out.push(b'\n');
}

/// `ip - user [time] "request" status bytes "referer" "agent"`; the time is that of the request's
/// arrival (Apache's choice), the user is the consumer.
fn combined(record: &Record<'_>, out: &mut Vec<u8>) {
    let request = record.request;
    display(out, record.client_ip);
    out.extend_from_slice(b" - ");
    user(out, record.consumer);
    out.extend_from_slice(b" [");
    common_time(out, record.started_ms);
    out.extend_from_slice(b"] \"");
    if request.method().is_empty() {
        out.push(b'-');
    } else {
        escaped(out, request.method().as_bytes());
        out.push(b' ');
        escaped(out, request.target().as_bytes());
        out.push(b' ');
        out.extend_from_slice(request.version.long().as_bytes());
    }
    out.extend_from_slice(b"\" ");
    display(out, record.status);
    out.push(b' ');
    display(out, record.body_size);
    for value in [referer(&request.headers), agent(&request.headers)] {
        out.extend_from_slice(b" \"");
        escaped(out, value.filter(|value| !value.is_empty()).unwrap_or(b"-"));
        out.push(b'"');
    }
}

/// The consumer's name in a field that is not quoted: a blank in it would move all others.
fn user(out: &mut Vec<u8>, consumer: Option<&Entity>) {
    let name = consumer.map_or("-", Entity::label);
    for (ix, word) in name.split(' ').enumerate() {
        if ix > 0 {
            out.extend_from_slice(b"\\x20");
        }
        escaped(out, word.as_bytes());
    }
}

/// nginx's escaping: `\xHH` for quotes, backslashes, control bytes and all beyond ASCII.
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'x', high, low]);
            }
            _ => out.push(byte),
        }
    }
}

/// `10/Oct/2000:13:55:36 +0000`.
fn common_time(out: &mut Vec<u8>, unix_ms: u64) {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let at = Civil::of(unix_ms / 1000);
    number(out, at.day, 2);
    out.push(b'/');
    out.extend_from_slice(MONTHS[(at.month - 1) as usize].as_bytes());
    out.push(b'/');
    number(out, at.year, 4);
    for part in [at.hour, at.minute, at.second] {
        out.push(b':');
        number(out, part, 2);
    }
    out.extend_from_slice(b" +0000");
}

/// `2000-10-10T13:55:36.042Z`.
fn rfc3339(out: &mut Vec<u8>, unix_ms: u64) {
    let at = Civil::of(unix_ms / 1000);
    number(out, at.year, 4);
    for (before, part) in [
        (b'-', at.month),
        (b'-', at.day),
        (b'T', at.hour),
        (b':', at.minute),
        (b':', at.second),
    ] {
        out.push(before);
        number(out, part, 2);
    }
    out.push(b'.');
    number(out, unix_ms % 1000, 3);
    out.push(b'Z');
}

/// A number with zeros in front, `width` digits in all.
fn number(out: &mut Vec<u8>, n: u64, width: usize) {
    let at = out.len();
    out.resize(at + width, b'0');
    let mut n = n;
    for place in out[at..].iter_mut().rev() {
        *place = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

/// Writing into memory cannot fail.
fn display(out: &mut Vec<u8>, value: impl Display) {
    let _ = write!(out, "{value}");
}

fn referer(headers: &Headers) -> Option<&[u8]> {
    headers.get("referer")
}

fn agent(headers: &Headers) -> Option<&[u8]> {
    headers.known(Known::UserAgent)
}

/// Every key is in every line; what there is not is `null`.
fn json(record: &Record<'_>, out: &mut Vec<u8>) {
    let request = record.request;
    out.extend_from_slice(b"{\"time\":\"");
    rfc3339(out, record.started_ms);
    out.push(b'"');
    quoted(out, "client_ip", record.client_ip);
    text(out, "method", Some(request.method().as_bytes()));
    text(out, "host", Some(request.host().as_bytes()));
    text(out, "uri", Some(request.target().as_bytes()));
    text(out, "protocol", Some(request.version.long().as_bytes()));
    bare(out, "status", record.status);
    bare(out, "bytes", record.body_size);
    bare(out, "duration_ms", record.latencies.request);
    match record.latencies.upstream {
        Some(ms) => bare(out, "upstream_ms", ms),
        None => bare(out, "upstream_ms", "null"),
    }
    bare(out, "gateway_ms", record.latencies.gateway);
    for (key, entity) in [
        ("route", record.route),
        ("service", record.service),
        ("consumer", record.consumer),
    ] {
        text(out, key, entity.map(|entity| entity.label().as_bytes()));
    }
    match record.tries.last() {
        Some(last) => quoted(out, "upstream", last.address),
        None => bare(out, "upstream", "null"),
    }
    bare(out, "tries", record.tries.len());
    text(out, "source", Some(record.origin.label().as_bytes()));
    text(out, "cause", cause(record.origin).map(str::as_bytes));
    text(out, "request_id", Some(record.request_id.as_bytes()));
    text(out, "user_agent", agent(&request.headers));
    text(out, "referer", referer(&request.headers));
    out.push(b'}');
}

/// Which plugin answered, or why the gateway did.
fn cause(origin: Origin) -> Option<&'static str> {
    match origin {
        Origin::Upstream => None,
        Origin::Plugin(name) => Some(name),
        Origin::Gateway { label, .. } => Some(label),
    }
}

/// A further member of a JSON object.
fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A value that is JSON as it stands.
fn bare(out: &mut Vec<u8>, name: &str, value: impl Display) {
    key(out, name);
    display(out, value);
}

/// A value that is a string without anything to escape.
fn quoted(out: &mut Vec<u8>, name: &str, value: impl Display) {
    key(out, name);
    out.push(b'"');
    display(out, value);
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    key(out, name);
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// A JSON string of bytes that a client chose; what is not UTF-8 becomes U+FFFD.
fn string(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for chunk in value.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0..0x20 | 0x7f => drop(write!(out, "\\u{byte:04x}")),
                _ => out.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
