//! Heads as peers send them: what is accepted, what is refused, and why.

use super::*;
use crate::message::{Framing, Known, Version};

/// Reads a request that is all there.
fn read(text: &str) -> Result<RequestHead, ParseError> {
    let mut head = RequestHead::default();
    head.headers.raw = text.as_bytes().to_vec();
    let mut scan = 0;
    match request(&mut head, &mut scan, &Limits::default())? {
        Some(_) => Ok(head),
        None => panic!("incomplete: {text:?}"),
    }
}

#[test]
fn an_ordinary_request_is_understood() {
    let head = read("GET /a/b?c=d HTTP/1.1\r\nHost: x.y:80\r\nAccept:*/*\r\nX-A:  b c \t\r\n\r\n")
        .unwrap();
    assert_eq!(head.method(), "GET");
    assert_eq!(head.target(), "/a/b?c=d");
    assert_eq!(head.raw_path(), "/a/b");
    assert_eq!(head.query(), "?c=d");
    assert_eq!(head.host(), "x.y:80");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.framing, Framing::None);
    assert!(head.keep_alive);
    assert_eq!(head.headers.known(Known::Accept), Some(&b"*/*"[..]));
    assert_eq!(head.headers.get("x-a"), Some(&b"b c"[..]));
}
