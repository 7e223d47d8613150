//! Responses, as a table.

use super::*;

fn outcome(method: &str, text: &str) -> Outcome {
    in_all_ways(text.as_bytes(), |pieces| feed_response(method, pieces))
}

fn accepted(method: &str, text: &str, summary: &str) {
    assert_eq!(
        outcome(method, text),
        Ok(Some((text.len(), summary.to_owned()))),
        "{text:?}"
    );
}

fn refused(text: &str, label: &str) {
    match outcome("GET", text) {
        Err(error) => assert_eq!(error.label(), label, "{text:?}"),
        other => panic!("{text:?} gave {other:?}"),
    }
}

#[test]
fn status_lines() {
    for (line, summary) in [
        ("HTTP/1.1 200 OK", "200 [OK] 1.1 close drop"),
        ("HTTP/1.1 200 ", "200 [] 1.1 close drop"),
        ("HTTP/1.1 200", "200 [] 1.1 close drop"),
        ("HTTP/1.0 200 OK", "200 [OK] 1.0 close drop"),
        (
            "HTTP/1.1 404 Not \t Found ",
            "404 [Not \t Found ] 1.1 close drop",
        ),
        ("HTTP/1.1 200 caf\u{e9}", "200 [caf\u{e9}] 1.1 close drop"),
        ("HTTP/1.1 999 x", "999 [x] 1.1 close drop"),
        ("HTTP/1.1 100 Continue", "100 [Continue] 1.1 none keep"),
        (
            "HTTP/1.1 101 Switching Protocols",
            "101 [Switching Protocols] 1.1 none keep",
        ),
        ("HTTP/1.1 103", "103 [] 1.1 none keep"),
        ("HTTP/1.1 204 No Content", "204 [No Content] 1.1 none keep"),
        (
            "HTTP/1.1 304 Not Modified",
            "304 [Not Modified] 1.1 none keep",
        ),
        (
            "HTTP/1.0 304 Not Modified",
            "304 [Not Modified] 1.0 none drop",
        ),
    ] {
        accepted("GET", &format!("{line}\r\n\r\n"), summary);
    }
}

#[test]
fn broken_status_lines() {
    for (line, label) in [
        ("HTTP/1.1", "status_line"),
        ("HTTP/1.1 ", "status_line"),
        ("HTTP/1.1 20", "status_line"),
        ("HTTP/1.1 2000 OK", "status_line"),
        ("HTTP/1.1 200OK", "status_line"),
        ("HTTP/1.1 099 x", "status_line"),
        ("HTTP/1.1 000", "status_line"),
        ("HTTP/1.1 +20 x", "status_line"),
        ("HTTP/1.1 2x0 x", "status_line"),
        ("HTTP/1.1  200 OK", "status_line"),
        ("HTTP/1.1\t200 OK", "status_line"),
        ("HTTP/1.1 200\tOK", "status_line"),
        ("http/1.1 200 OK", "status_line"),
        ("HTTP/11 200 OK", "status_line"),
        ("ICY 200 OK", "status_line"),
        ("\r\nHTTP/1.1 200 OK", "status_line"),
        ("<html>", "status_line"),
        ("HTTP/2.0 200 OK", "unsupported_version"),
        ("HTTP/0.9 200 OK", "unsupported_version"),
        ("HTTP/1.2 200 OK", "unsupported_version"),
        ("HTTP/1.1 200 O\0K", "control_byte"),
        ("HTTP/1.1 200 O\x7fK", "control_byte"),
        ("HTTP/1.1 200 O\rK", "bare_cr"),
        ("HTTP/1.1 200\rOK", "bare_cr"),
        ("HTTP/1.1 200 OK\nA: b", "bare_lf"),
        ("HTTP/1.1 200\nA: b", "bare_lf"),
    ] {
        refused(&format!("{line}\r\n\r\n"), label);
    }
}

#[test]
fn framing() {
    for (method, start, lines, rest) in [
        ("GET", "1.1 200", "Content-Length: 0", "1.1 none keep"),
        ("GET", "1.1 200", "Content-Length: 12", "1.1 12 keep"),
        ("GET", "1.0 200", "Content-Length: 12", "1.0 12 drop"),
        ("GET", "1.0 200", "Connection: keep-alive", "1.0 close drop"),
        (
            "GET",
            "1.0 200",
            "Connection: keep-alive\r\nContent-Length: 1",
            "1.0 1 keep",
        ),
        (
            "GET",
            "1.1 200",
            "Transfer-Encoding: Chunked",
            "1.1 chunked keep",
        ),
        (
            "GET",
            "1.1 200",
            "Connection: close\r\nTransfer-Encoding: chunked",
            "1.1 chunked drop",
        ),
        (
            "GET",
            "1.1 200",
            "Connection: x\r\nContent-Length: 1",
            "1.1 1 keep names",
        ),
        ("GET", "1.1 200", "Connection: close", "1.1 close drop"),
        ("GET", "1.1 500", "Content-Length: 1", "1.1 1 keep"),
        ("HEAD", "1.1 200", "Content-Length: 12", "1.1 none keep"),
        (
            "HEAD",
            "1.1 200",
            "Transfer-Encoding: chunked",
            "1.1 none keep",
        ),
        ("HEAD", "1.1 200", "A: b", "1.1 none keep"),
        ("GET", "1.1 304", "Content-Length: 12", "1.1 none keep"),
        (
            "GET",
            "1.1 304",
            "Transfer-Encoding: chunked",
            "1.1 none keep",
        ),
        ("GET", "1.1 204", "Content-Length: 0", "1.1 none keep"),
        ("GET", "1.1 204", "Content-Length: 5", "1.1 none drop"),
        (
            "GET",
            "1.1 204",
            "Transfer-Encoding: chunked",
            "1.1 none drop",
        ),
        ("CONNECT", "1.1 200", "Content-Length: 5", "1.1 none keep"),
        ("CONNECT", "1.1 400", "Content-Length: 5", "1.1 5 keep"),
        (
            "GET",
            "1.1 101",
            "Upgrade: websocket\r\nConnection: upgrade",
            "1.1 none keep",
        ),
        (
            "GET",
            "1.1 200",
            "Host: a\r\nHost: b\r\nContent-Length: 1",
            "1.1 1 keep",
        ),
    ] {
        let fields = lines.split("\r\n").fold(String::new(), |text, line| {
            let (name, value) = line.split_once(':').unwrap();
            format!("{text} | {name}={}", value.trim())
        });
        let status = &start[4..];
        accepted(
            method,
            &format!("HTTP/{start} R\r\n{lines}\r\n\r\n"),
            &format!("{status} [R] {rest}{fields}"),
        );
    }
}

#[test]
fn broken_heads() {
    for (start, lines, label) in [
        (
            "1.1 200",
            "Content-Length: 5\r\nContent-Length: 5",
            "length_repeated",
        ),
        (
            "1.1 200",
            "Content-Length: 5\r\nContent-Length: 6",
            "length_repeated",
        ),
        ("1.1 200", "Content-Length: 5, 5", "length_malformed"),
        ("1.1 200", "Content-Length: -1", "length_malformed"),
        ("1.1 304", "Content-Length: x", "length_malformed"),
        (
            "1.1 204",
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "length_and_coding",
        ),
        (
            "1.1 200",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "length_and_coding",
        ),
        (
            "1.1 200",
            "Transfer-Encoding: gzip, chunked",
            "coding_unknown",
        ),
        ("1.1 200", "Transfer-Encoding: gzip", "coding_unknown"),
        (
            "1.1 200",
            "Transfer-Encoding: chunked, gzip",
            "coding_malformed",
        ),
        ("1.0 200", "Transfer-Encoding: chunked", "coding_misplaced"),
        ("1.1 100", "Transfer-Encoding: chunked", "coding_misplaced"),
        ("1.1 103", "Content-Length: 0", "length_misplaced"),
        ("1.1 200", "Connection: content-length", "connection_names"),
        ("1.1 200", "Connection: a b", "connection_malformed"),
        ("1.1 200", "A : b", "space_before_colon"),
        ("1.1 200", "A: b\r\n c", "obs_fold"),
        ("1.1 200", " A: b", "obs_fold"),
        ("1.1 200", "A: b\nB: c", "bare_lf"),
        ("1.1 200", "A: b\rB: c", "bare_cr"),
        ("1.1 200", "A: \x01", "control_byte"),
        ("1.1 200", "<html>", "field_name"),
        ("1.1 200", ": b", "empty_name"),
    ] {
        refused(&format!("HTTP/{start} R\r\n{lines}\r\n\r\n"), label);
    }
}

#[test]
fn sizes_are_bounded() {
    let fields = "A: b\r\n".repeat(200);
    let feed = |text: String| feed_response("GET", [text.as_bytes()]).map(|found| found.is_some());
    assert_eq!(feed(format!("HTTP/1.1 200\r\n{fields}\r\n")), Ok(true));
    assert_eq!(
        feed(format!("HTTP/1.1 200\r\n{fields}A")),
        Err(ParseError::TooManyFields)
    );
    let long = "x".repeat(64 * 1024);
    assert_eq!(
        feed(format!("HTTP/1.1 200\r\nA: {long}")),
        Err(ParseError::HeadTooLarge)
    );
    assert_eq!(
        feed(format!("HTTP/1.1 200 {long}")),
        Err(ParseError::HeadTooLarge)
    );
    assert_eq!(
        feed(format!("HTTP/1.1 200\r\n{long}: x")),
        Err(ParseError::HeadTooLarge)
    );
}

#[test]
fn informational_answers_come_before_the_final_one() {
    let mut head = ResponseHead::default();
    let mut scan = 0;
    let first = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    head.headers.raw =
        format!("{first}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").into_bytes();
    let end = response(&mut head, &mut scan, "GET").unwrap().unwrap();
    assert_eq!((end, head.status, scan), (first.len(), 103, 0));
    head.headers.raw.drain(..end);
    assert!(response(&mut head, &mut scan, "GET").unwrap().is_some());
    assert_eq!(
        response_summary(&head),
        "200 [OK] 1.1 2 keep | Content-Length=2"
    );
}
