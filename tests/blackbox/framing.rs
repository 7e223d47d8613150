//! Message framing, case by case: whatever can be read in two ways is answered with an error and a
//! close before a byte of it reaches an upstream (RFC 9112, RFC 9110).

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::client::show;
use crate::support::{Gateway, Upstream, gateway};

/// What follows each case, and must not be taken for a request.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Heads that are refused as they are.
#[derive(Default)]
struct Cases(Vec<(String, Vec<u8>)>);

impl Cases {
    fn add(&mut self, what: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((what.into(), bytes.into()));
    }

    /// A POST with these lines behind its host.
    fn post(&mut self, what: &str, lines: &str) {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        self.add(what, head + "0\r\n\r\n");
    }

    /// A GET with one more line, of any bytes.
    fn line(&mut self, what: String, line: &[u8]) {
        let head = b"GET / HTTP/1.1\r\nHost: h\r\n";
        self.add(what, [head, line, b"\r\n\r\n"].concat());
    }
}

/// Lengths that are no decimal number, or more than one.
const LENGTHS: &[&str] = &[
    "",
    "+3",
    "-3",
    "- 3",
    "3 3",
    "3, 3",
    "3,4",
    "3,",
    ",3",
    "3;",
    "3.0",
    "3e0",
    "0x3",
    "3x",
    "x3",
    "three",
    "\"3\"",
    "(3)",
    "3\t3",
    "\x0b3",
    "3\x0c",
    "\u{663}",
    "18446744073709551616",
    "99999999999999999999999999",
    "0, 0",
    "00 ",
    "3\u{a0}",
];

/// Codings that are not `chunked` alone, in whatever disguise.
const CODINGS: &[&str] = &[
    "",
    "identity",
    "gzip",
    "xchunked",
    "chunkedx",
    "chunked, chunked",
    "chunked,gzip",
    "gzip, chunked",
    "identity, chunked",
    "chunked, identity",
    "chunked;q=1",
    "chunked ;x",
    "\"chunked\"",
    "'chunked'",
    "(chunked)",
    "chunked\x0b",
    "\x0bchunked",
    "\x0cchunked",
    "chunked\x0c",
    "chun ked",
    "chunked chunked",
    "chunked,",
    ",chunked",
    ", chunked",
    "chunked\u{a0}",
    "\u{212a}chunked",
    "chunKED, x",
    "deflate;chunked",
];

fn lengths_and_codings(cases: &mut Cases) {
    for length in LENGTHS.iter().filter(|length| **length != "00 ") {
        cases.post(
            &format!("length {length:?}"),
            &format!("Content-Length: {length}\r\n"),
        );
    }
    for coding in CODINGS {
        let line = format!("Transfer-Encoding: {coding}\r\n");
        cases.post(&format!("coding {coding:?}"), &line);
    }
    for (first, second) in [("3", "3"), ("3", "4"), ("0", "3"), ("3", ""), ("", "3")] {
        let lines = format!("Content-Length: {first}\r\nContent-Length: {second}\r\n");
        // The same number twice is as good as once for some: not here.
        cases.post(&format!("lengths {first:?} and {second:?}"), &lines);
    }
    for length in ["0", "3", "5", "-1", ""] {
        for coding in [
            "chunked", "Chunked", "identity", "x", " chunked", "chunked ",
        ] {
            let (cl, te) = (
                format!("Content-Length: {length}\r\n"),
                format!("Transfer-Encoding: {coding}\r\n"),
            );
            let what = format!("length {length:?}, coding {coding:?}");
            cases.post(&what, &(cl.clone() + &te));
            cases.post(&format!("{what}, the other way round"), &(te + &cl));
        }
    }
    for name in ["Transfer-Encoding", "Content-Length"] {
        let value = if name.starts_with('T') {
            "chunked"
        } else {
            "5"
        };
        for disguise in [
            format!("{name} : {value}"),
            format!("{name}\t: {value}"),
            format!(" {name}: {value}"),
            format!("\t{name}: {value}"),
            format!("{name}\x0b: {value}"),
            format!("{name}\0: {value}"),
            format!("{name}\r: {value}"),
            format!("{name}:\r\n {value}"),
            format!("{name}:\r {value}"),
            format!("{name}:\n{value}"),
            format!("X: y\n{name}: {value}"),
            format!("X: y\r{name}: {value}"),
            format!("{name}: {value}\0"),
            format!("{name};: {value}"),
            format!("({name}): {value}"),
        ] {
            cases.post(&format!("{disguise:?}"), &format!("{disguise}\r\n"));
        }
    }
    let old = |line: &str| format!("POST / HTTP/1.0\r\nHost: h\r\n{line}\r\n\r\n0\r\n\r\n");
    cases.add("chunked in 1.0", old("Transfer-Encoding: chunked"));
    cases.add(
        "chunked and kept in 1.0",
        old("Connection: keep-alive\r\nTransfer-Encoding: chunked"),
    );
}

fn bytes_in_fields(cases: &mut Cases) {
    for byte in (0..0x20).chain([0x7f]).filter(|byte| *byte != b'\t') {
        cases.line(
            format!("{byte:#04x} in a value"),
            &[b'X', b':', b' ', b'a', byte, b'b'],
        );
    }
    let separators = b" \"(),/:;<=>?@[\\]{}";
    for byte in (0..0x20)
        .chain(separators.iter().copied())
        .chain([0x7f, 0x80, 0xff])
    {
        // A colon ends the name.
        if byte != b':' {
            cases.line(
                format!("{byte:#04x} in a name"),
                &[b'X', byte, b'Y', b':', b' ', b'a'],
            );
        }
    }
    for line in [
        "X",
        ": a",
        "X a",
        " ",
        "\t",
        "X: a\n",
        "\nX: a",
        "X: a\n\nY: b",
    ] {
        cases.line(format!("line {line:?}"), line.as_bytes());
    }
}

fn request_lines(cases: &mut Cases) {
    let with = |line: &str| format!("{line}\r\nHost: h\r\n\r\n").into_bytes();
    for line in [
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.1\t",
        "GET / HTTP/1",
        "GET / HTTP/1.",
        "GET / HTTP/.1",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/1.01",
        "GET / HTTP/11",
        "GET / HTTP/1,1",
        "GET / HTTP/-1.1",
        "GET / HTTP/0.9",
        "GET / HTTP/2.0",
        "GET / HTTP/3.0",
        "GET / HTTP/9.9",
        "GET / http/1.1",
        "GET / Http/1.1",
        "GET / HTTP /1.1",
        "GET / HTTP/ 1.1",
        "GET / XTTP/1.1",
        "GET / HTTPS/1.1",
        "GET /",
        "GET",
        "",
        "GET HTTP/1.1",
        "GET ? HTTP/1.1",
        "GET a HTTP/1.1",
        "GET a/b HTTP/1.1",
        "GET * HTTP/1.1",
        "POST * HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET //\\ HTTP/1.1\r",
        "GET /a b HTTP/1.1",
        "GET /% HTTP/1.1",
        "GET /%a HTTP/1.1",
        "GET /%zz HTTP/1.1",
        "GET /%00 HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "G\x01T / HTTP/1.1",
        "GET / HTTP/1.1\rX: y",
        "\0GET / HTTP/1.1",
    ] {
        cases.add(format!("request line {line:?}"), with(line));
    }
    for byte in b"\"(),/:;<=>?@[\\]{}" {
        let line = [b"G", &[*byte][..], b"T / HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        cases.add(format!("{:?} in the method", char::from(*byte)), line);
    }
}

fn hosts(cases: &mut Cases) {
    cases.add("no host", "GET / HTTP/1.1\r\n\r\n");
    for host in [
        "h/x", "h?x", "h#x", "a@h", "a:b@h", "h h", "h,i", "h:x", "h:80x", "h:-1", "h:65536",
        "h:99999", "h:80:80", "[", "[]", "[::1", "::1]", "[::g]", "[::1]x", "[::1]:x", "h\\x",
        "h\"x", "h<x", "h>x", "h{x", "h\x01", "h\x7f", "h%", "h%zz", "http://h", "//h",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        cases.add(format!("host {host:?}"), head);
    }
    for second in ["h", "i", "", "h "] {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\nHost: {second}\r\n\r\n");
        cases.add(format!("a second host {second:?}"), head);
    }
}

/// Sends bytes and returns everything that comes until the gateway closes. One that goes on instead
/// says nothing more for a while.
fn said(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(gateway.proxy()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    // It may have refused and closed before the end.
    let _ = tcp.write_all(bytes);
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match tcp.read(&mut piece) {
            Ok(1..) if answer.len() > 64 * 1024 => break,
            Ok(count @ 1..) => answer.extend_from_slice(&piece[..count]),
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => {
                answer.extend_from_slice(format!("({error})").as_bytes());
                break;
            }
        }
    }
    show(&answer)
}

fn proxy(upstream: &Upstream) -> Gateway {
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    gateway(config).fill("up", upstream).start()
}

#[test]
fn ambiguous_heads_reach_nobody() {
    let mut cases = Cases::default();
    lengths_and_codings(&mut cases);
    bytes_in_fields(&mut cases);
    request_lines(&mut cases);
    hosts(&mut cases);
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let (mut wrong, mut known) = (String::new(), 0);
    for (what, bytes) in &cases.0 {
        let text = said(&gateway, &[bytes, SMUGGLED.as_bytes()].concat());
        let answers = text.matches("HTTP/1.1 ").count();
        let status = text.get(9..12).unwrap_or_default();
        if answers != 1 || !["400", "405", "501", "505"].contains(&status) {
            writeln!(wrong, "{what}: {text}").unwrap();
        }
        let seen = upstream.requests();
        if seen.len() > known {
            writeln!(
                wrong,
                "{what}: the upstream got {:?}",
                seen[known..].to_vec()
            )
            .unwrap();
            known = seen.len();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cases.0.len() >= 200, "{}", cases.0.len());
}

/// What an upstream gets of a body in broken chunks is never a whole request.
#[test]
fn broken_chunks_end_with_an_error() {
    let upstream = Upstream::raw(|mut serving| {
        if serving.request().is_some() {
            serving.reply(200, &[], b"whole");
        }
    });
    let gateway = proxy(&upstream);
    let mut bodies: Vec<String> = [
        "x",
        "-3",
        "+3",
        "0x3",
        "3 ",
        " 3",
        "3\t",
        "\t3",
        "3,",
        "3.0",
        "3h",
        "",
        ";a",
        "3\0",
        "\x0b3",
        "3\x0b",
        "fffffffffffffffff",
        "10000000000000000",
        "3;a=\x01",
        "3;a=\x7f",
        "3;\0",
        "3;a\rb",
        "\u{663}",
        "3 3",
        "3\r",
        "3\r3",
    ]
    .iter()
    .map(|size| format!("{size}\r\nabc\r\n0\r\n\r\n"))
    .collect();
    let whole = [
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\r\r\n0\r\n\r\n",
        "3\r\nabc\r\n00x\r\n\r\n",
        "3\r\nabc\r\n-0\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: a\nY: b\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nX(: y\r\n\r\n",
    ];
    bodies.extend(whole.map(str::to_owned));
    let mut wrong = String::new();
    for body in &bodies {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let text = said(&gateway, format!("{head}{body}{SMUGGLED}").as_bytes());
        let one = text.matches("HTTP/1.1 ").count() == 1;
        if !text.starts_with("HTTP/1.1 400 ") || !one || text.contains("whole") {
            writeln!(wrong, "{body:?}: {text}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let smuggled = upstream
        .requests()
        .into_iter()
        .find(|seen| seen.target() != "/");
    assert!(smuggled.is_none(), "{smuggled:?}");
}

/// Fields that speak of one connection stay there, and a trailer cannot speak of framing.
#[test]
fn what_is_of_one_connection_is_not_passed_on() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send(
        "POST /a HTTP/1.1\r\nHost: h\r\nConnection: X-Secret, keep-alive\r\nX-Secret: s\r\n\
         Keep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
         TE: gzip\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\n\
         X-T: t\r\n\r\n",
    );
    let answer = conn.response("POST");
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    let seen = upstream.only();
    for gone in [
        "X-Secret",
        "Keep-Alive",
        "Proxy-Connection",
        "Upgrade",
        "HTTP2-Settings",
        "TE",
    ] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    let connection = seen.header("Connection");
    assert_eq!(connection, Some("keep-alive"));
    assert_eq!(seen.values("Host"), [upstream.to_string()]);
    for field in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Authorization",
        "X-Forwarded-For",
    ] {
        let trailer = seen
            .trailers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(field));
        assert_eq!(trailer, None, "{field}");
    }
}

/// An upstream whose answer can be read in two ways is not believed.
#[test]
fn ambiguous_answers_are_not_passed_on() {
    let mut wrong = String::new();
    let heads = [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3x\r\n",
        "Content-Length: \r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 3\r\n",
        " X: y\r\n",
        "X: a\r\n b\r\n",
        "X: a\rb\r\n",
        "X: a\0b\r\n",
        "X\0: a\r\n",
        "X\r\n",
        ": a\r\n",
        "X: a\nContent-Length: 3\r\n",
        "X: a\r\nSet-Cookie: a\x01b\r\n",
    ];
    let lines = [
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/2.0 200 OK",
        "HTTP/1.1  200 OK",
        "200 OK",
        "HTTP/1.1",
        "HTTP/1.1 099 OK",
        "http/1.1 200 OK",
    ];
    let mut answers: Vec<String> = heads
        .iter()
        .map(|head| format!("HTTP/1.1 200 OK\r\n{head}\r\nxyz"))
        .collect();
    answers.extend(lines.map(|line| format!("{line}\r\nContent-Length: 3\r\n\r\nxyz")));
    for answer in answers {
        let bytes = answer.clone();
        let upstream = Upstream::raw(move |mut serving| {
            if serving.request().is_some() {
                serving.write(&bytes);
                serving.left();
            }
        });
        let gateway = proxy(&upstream);
        let response = gateway.get("/");
        // No letter of it may stand in the id of a request, which is hexadecimal.
        if response.status != 502 || response.text().contains("xyz") {
            writeln!(wrong, "{answer:?}: {response:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
