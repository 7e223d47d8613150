//! Heads as peers send them: what is accepted, what is refused, and why.

mod oracle;
mod requests;
mod responses;

use super::*;
use crate::message::{Framing, Headers, Version};

/// What came of feeding a head: its length and a summary, nothing yet, or the fault.
type Outcome = Result<Option<(usize, String)>, ParseError>;

/// Feeds the pieces one after the other until there is an outcome.
fn feed<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    raw: fn(&mut Vec<u8>, &[u8]),
    mut step: impl FnMut(fn(&mut Vec<u8>, &[u8]), &[u8]) -> Outcome,
) -> Outcome {
    for piece in pieces {
        let outcome = step(raw, piece)?;
        if outcome.is_some() {
            return Ok(outcome);
        }
    }
    Ok(None)
}

fn feed_request<'a>(limits: &Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut head = RequestHead::default();
    let mut scan = 0;
    feed(pieces, append, |append, piece| {
        append(&mut head.headers.raw, piece);
        let end = request(&mut head, &mut scan, limits)?;
        Ok(end.map(|end| (end, request_summary(&head))))
    })
}

fn feed_response<'a>(method: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut head = ResponseHead::default();
    let mut scan = 0;
    feed(pieces, append, |append, piece| {
        append(&mut head.headers.raw, piece);
        let end = response(&mut head, &mut scan, method)?;
        Ok(end.map(|end| (end, response_summary(&head))))
    })
}

fn append(raw: &mut Vec<u8>, piece: &[u8]) {
    raw.extend_from_slice(piece);
}

/// Whole, cut once at every byte, and byte by byte: the outcome is always the same.
fn in_all_ways(text: &[u8], outcome: impl Fn(Vec<&[u8]>) -> Outcome) -> Outcome {
    let whole = outcome(vec![text]);
    for at in 0..=text.len() {
        let (front, back) = text.split_at(at);
        let cut = outcome(vec![front, back]);
        assert_eq!(
            cut,
            whole,
            "{:?} cut at {at}",
            String::from_utf8_lossy(text)
        );
    }
    let single = outcome(text.chunks(1).collect());
    assert_eq!(
        single,
        whole,
        "{:?} by bytes",
        String::from_utf8_lossy(text)
    );
    whole
}

/// `GET /a ?b @host 1.1 none keep`, flags, then every field as `name=value`.
fn request_summary(head: &RequestHead) -> String {
    let mut text = format!("{} {}", head.method(), head.raw_path());
    if !head.query().is_empty() {
        text += &format!(" {}", head.query());
    }
    if !head.host().is_empty() {
        text += &format!(" @{}", head.host());
    }
    text += &tail(head.version, head.framing, head.keep_alive);
    for (set, word) in [
        (head.expect_continue, " expect"),
        (head.upgrade_websocket, " websocket"),
        (head.te_trailers, " trailers"),
        (head.connection_names, " names"),
    ] {
        text += if set { word } else { "" };
    }
    text + &field_summary(&head.headers)
}

/// `200 [OK] 1.1 close drop`, flags, then every field as `name=value`.
fn response_summary(head: &ResponseHead) -> String {
    let reason = String::from_utf8_lossy(head.reason.of(&head.headers.raw)).into_owned();
    let mut text = format!("{} [{reason}]", head.status);
    text += &tail(head.version, head.framing, head.keep_alive);
    text += if head.connection_names { " names" } else { "" };
    text + &field_summary(&head.headers)
}

fn tail(version: Version, framing: Framing, keep_alive: bool) -> String {
    let framing = match framing {
        Framing::Length(length) => length.to_string(),
        other => format!("{other:?}").to_lowercase(),
    };
    let keep = if keep_alive { "keep" } else { "drop" };
    format!(" {} {framing} {keep}", version.short())
}

fn field_summary(headers: &Headers) -> String {
    headers.iter().fold(String::new(), |text, (name, value)| {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        format!("{text} | {name}={value}")
    })
}
