//! Requests that are malformed or can be read in two ways: 400, a close, and nothing upstream.

use crate::support::client::show;
use crate::support::{Request, Upstream, gateway};

const CASES: &[(&str, &str)] = &[
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 4\r\n\r\nabcd",
    ),
    (
        "length and chunked",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked and length",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc",
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\nabc",
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\nabc",
    ),
    (
        "a length with a space",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 3\r\n\r\nabc",
    ),
    (
        "a huge length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked in 1.0",
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ),
    (
        "a coding with a vertical tab",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a space before the colon",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A : b\r\n\r\n",
    ),
    (
        "a coding with a space before the colon",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded line",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\r\n c\r\n\r\n",
    ),
    (
        "a folded line by tab",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\r\n\tc\r\n\r\n",
    ),
    (
        "a space before the first field",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    ),
    ("bare LF lines", "GET / HTTP/1.1\nHost: h\n\n"),
    ("one bare LF", "GET / HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n"),
    (
        "a bare CR in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\rc\r\n\r\n",
    ),
    (
        "a NUL in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\0c\r\n\r\n",
    ),
    (
        "a control byte in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\x01c\r\n\r\n",
    ),
    (
        "a DEL in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: b\x7fc\r\n\r\n",
    ),
    (
        "a NUL in a name",
        "GET / HTTP/1.1\r\nHost: h\r\nX\0A: b\r\n\r\n",
    ),
    ("no colon", "GET / HTTP/1.1\r\nHost: h\r\nX-A\r\n\r\n"),
    ("an empty name", "GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n"),
    (
        "a name with brackets",
        "GET / HTTP/1.1\r\nHost: h\r\nX(A): b\r\n\r\n",
    ),
    ("no host", "GET / HTTP/1.1\r\nX-A: b\r\n\r\n"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n"),
    (
        "a host with a path",
        "GET / HTTP/1.1\r\nHost: h/evil\r\n\r\n",
    ),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: a@h\r\n\r\n"),
    ("a host with a space", "GET / HTTP/1.1\r\nHost: a h\r\n\r\n"),
    (
        "a host with a bad port",
        "GET / HTTP/1.1\r\nHost: h:8x\r\n\r\n",
    ),
    ("no version", "GET /\r\nHost: h\r\n\r\n"),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n"),
    (
        "a space at the end of the line",
        "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
    ),
    ("a tab in the line", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n"),
    (
        "a target with a space",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "a target without a slash",
        "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "a target with a fragment byte of control",
        "GET /a\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    ("a lower-case version", "GET / http/1.1\r\nHost: h\r\n\r\n"),
    (
        "a version with letters",
        "GET / HTTP/a.b\r\nHost: h\r\n\r\n",
    ),
    (
        "a method with brackets",
        "G(T / HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "an encoded NUL in the path",
        "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "a percent sign alone",
        "GET /a% HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "a percent sign with one digit",
        "GET /a%4 HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "a percent sign with letters",
        "GET /a%zz HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "TLS to a plain port",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n",
    ),
];

#[test]
fn each_is_refused_and_reaches_nobody() {
    let upstream = Upstream::echo();
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let mut wrong = Vec::new();
    for (name, bytes) in CASES {
        let mut conn = gateway.connect();
        // What follows must not be taken for a request.
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        conn.send(format!("{bytes}{smuggled}"));
        let rest = conn.rest();
        let text = show(&rest);
        let answers = text.matches("HTTP/1.1 ").count();
        if !text.starts_with("HTTP/1.1 400 ") || answers != 1 {
            wrong.push(format!("{name}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(CASES.len() >= 50);
    let requests = upstream.requests();
    assert!(requests.is_empty(), "{requests:#?}");
}

/// The head is fine, so the upstream may see it; the body never ends there.
#[test]
fn broken_chunks_are_never_a_whole_request() {
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "0\r\nX: a\nb\r\n\r\n",
        "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n",
    ] {
        let upstream = Upstream::raw(|mut serving| {
            if serving.request().is_some() {
                serving.reply(200, &[], b"whole");
            }
        });
        let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
        let gateway = gateway(config).fill("up", &upstream).start();
        let mut conn = gateway.connect();
        conn.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        ));
        let rest = show(&conn.rest());
        assert!(rest.starts_with("HTTP/1.1 400 "), "{body:?}: {rest}");
        assert!(!rest.contains("whole"), "{body:?}");
    }
}

#[test]
fn unknown_versions_and_codings_are_named() {
    let upstream = Upstream::echo();
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    for (bytes, status) in [
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            501,
        ),
    ] {
        let mut conn = gateway.connect();
        conn.send(bytes);
        let response = conn.response("GET");
        assert!(
            [status, 400].contains(&response.status),
            "{bytes:?}: {response:?}"
        );
        assert!(conn.closes());
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_good_request_before_a_bad_one_is_answered() {
    let upstream = Upstream::saying("hello");
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let mut conn = gateway.connect();
    conn.send(
        [
            &Request::get("/").bytes()[..],
            b"GET / HTTP/1.1\nHost: h\n\n",
        ]
        .concat(),
    );
    assert_eq!(conn.response("GET").text(), "hello");
    conn.response("GET").is_error(400, "Bad request");
    assert!(conn.closes());
    upstream.only();
}

#[test]
fn what_is_only_odd_passes() {
    let upstream = Upstream::saying("hello");
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    for bytes in [
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhOsT:h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \t h \t \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX-Latin: caf\u{e9}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 003\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n003;x=y\r\nabc\r\n0\r\n\r\n",
    ] {
        let mut conn = gateway.connect();
        conn.send(bytes);
        let response = conn.response("GET");
        assert_eq!(response.text(), "hello", "{bytes:?}: {response:?}");
    }
}
