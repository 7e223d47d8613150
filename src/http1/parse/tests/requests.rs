//! Requests, as a table.

use super::*;

const H: &str = "Host: h\r\n";

fn outcome(text: &[u8]) -> Outcome {
    in_all_ways(text, |pieces| feed_request(&Limits::default(), pieces))
}

fn accepted(text: &str, summary: &str) {
    assert_eq!(
        outcome(text.as_bytes()),
        Ok(Some((text.len(), summary.to_owned()))),
        "{text:?}"
    );
}

fn refused(text: impl AsRef<[u8]>, label: &str) {
    let text = text.as_ref();
    let shown = String::from_utf8_lossy(text);
    match outcome(text) {
        Err(error) => assert_eq!(error.label(), label, "{shown:?}"),
        other => panic!("{shown:?} gave {other:?}"),
    }
}

#[test]
fn request_lines_and_targets() {
    for (line, summary) in [
        ("GET / HTTP/1.1", "GET / @h 1.1 none keep"),
        ("GET /a/b?c=d HTTP/1.1", "GET /a/b ?c=d @h 1.1 none keep"),
        ("GET /? HTTP/1.1", "GET / ? @h 1.1 none keep"),
        ("GET /a?b?c HTTP/1.1", "GET /a ?b?c @h 1.1 none keep"),
        ("get / HTTP/1.1", "get / @h 1.1 none keep"),
        (
            "M-SEARCH /!$'*+~ HTTP/1.1",
            "M-SEARCH /!$'*+~ @h 1.1 none keep",
        ),
        (
            "X /\"<>[]^`{|}\\ HTTP/1.1",
            "X /\"<>[]^`{|}\\ @h 1.1 none keep",
        ),
        (
            "GET //evil/..//%2e HTTP/1.1",
            "GET //evil/..//%2e @h 1.1 none keep",
        ),
        ("GET / HTTP/1.0", "GET / @h 1.0 none drop"),
        ("OPTIONS * HTTP/1.1", "OPTIONS * @h 1.1 none keep"),
        ("GET http://h/a?b HTTP/1.1", "GET /a ?b @h 1.1 none keep"),
        ("GET http://h HTTP/1.1", "GET / @h 1.1 none keep"),
        ("GET http://h?b HTTP/1.1", "GET / ?b @h 1.1 none keep"),
        (
            "GET HTTPS://H:443/a HTTP/1.1",
            "GET /a @H:443 1.1 none keep",
        ),
        ("GET http://h:80/ HTTP/1.1", "GET / @h:80 1.1 none keep"),
        ("GET http://h:/ HTTP/1.1", "GET / @h: 1.1 none keep"),
        ("OPTIONS http://h HTTP/1.1", "OPTIONS / @h 1.1 none keep"),
        ("CONNECT h:443 HTTP/1.1", "CONNECT  @h:443 1.1 none keep"),
        (
            "CONNECT [::1]:443 HTTP/1.1",
            "CONNECT  @[::1]:443 1.1 none keep",
        ),
    ] {
        accepted(
            &format!("{line}\r\n{H}\r\n"),
            &format!("{summary} | Host=h"),
        );
    }
}

#[test]
fn broken_request_lines() {
    for (line, label) in [
        ("GET", "request_line"),
        ("GET /", "request_line"),
        ("GET / ", "version"),
        ("GET  / HTTP/1.1", "request_line"),
        ("GET /  HTTP/1.1", "version"),
        ("GET\t/ HTTP/1.1", "request_line"),
        ("GET /\tHTTP/1.1", "request_line"),
        (" GET / HTTP/1.1", "request_line"),
        ("GET / HTTP/1.1 ", "version"),
        ("GET / HTTP/1.1x", "version"),
        ("GET / http/1.1", "version"),
        ("GET / HTTP/1", "version"),
        ("GET / HTTP/1.10", "version"),
        ("GET / HTTP/11.1", "version"),
        ("GET / HTTP/01.1", "version"),
        ("GET / HTTP/+1.1", "version"),
        ("GET / HTTP/1,1", "version"),
        ("GET / HTTPS/1.1", "version"),
        ("GET / /HTTP/1.1", "version"),
        ("GET / HTTP/0.9", "unsupported_version"),
        ("GET / HTTP/1.2", "unsupported_version"),
        ("GET / HTTP/2.0", "unsupported_version"),
        ("GET / HTTP/3.0", "unsupported_version"),
        ("PRI * HTTP/2.0", "target"),
        ("GET * HTTP/1.1", "target"),
        ("OPTIONS ** HTTP/1.1", "target"),
        ("GET /a#b HTTP/1.1", "target"),
        ("GET #b HTTP/1.1", "target"),
        ("GET ?a HTTP/1.1", "target"),
        ("GET a HTTP/1.1", "target"),
        ("GET h:80 HTTP/1.1", "target"),
        ("GET ftp://h/ HTTP/1.1", "target"),
        ("GET http:/h HTTP/1.1", "target"),
        ("GET http:// HTTP/1.1", "target"),
        ("GET http:///a HTTP/1.1", "target"),
        ("GET http://:80/ HTTP/1.1", "target"),
        ("GET http://u@h/ HTTP/1.1", "target"),
        ("GET http://u:p@h/ HTTP/1.1", "target"),
        ("GET http://h:80x/ HTTP/1.1", "target"),
        ("GET http://h\\@h/ HTTP/1.1", "target"),
        ("GET http://[::1/ HTTP/1.1", "target"),
        ("GET /caf\u{e9} HTTP/1.1", "target"),
        ("GET /\x7f HTTP/1.1", "target"),
        ("GET /\0 HTTP/1.1", "target"),
        ("GET /\x1b[0m HTTP/1.1", "target"),
        ("CONNECT / HTTP/1.1", "target"),
        ("CONNECT h HTTP/1.1", "target"),
        ("CONNECT h: HTTP/1.1", "target"),
        ("CONNECT http://h:443/ HTTP/1.1", "target"),
        ("G{T / HTTP/1.1", "method"),
        ("G\u{e9}T / HTTP/1.1", "method"),
        ("G:T / HTTP/1.1", "method"),
        ("\0GET / HTTP/1.1", "method"),
        ("\u{feff}GET / HTTP/1.1", "method"),
        ("\x16\x03\x01\x02\0\x01\0", "method"),
        ("GET /\rX HTTP/1.1", "request_line"),
        ("GET / HTTP/1.1\rX", "bare_cr"),
        ("GET / HTTP/1.1\nX", "bare_lf"),
        ("GET /\n", "bare_lf"),
        ("GET\n/ HTTP/1.1", "bare_lf"),
        ("\nGET / HTTP/1.1", "bare_lf"),
        ("\rGET / HTTP/1.1", "bare_cr"),
        ("\r\n\nGET / HTTP/1.1", "bare_lf"),
        ("\r\n\r\n\r\nGET / HTTP/1.1", "request_line"),
    ] {
        refused(format!("{line}\r\n{H}\r\n"), label);
    }
}

#[test]
fn up_to_two_empty_lines_may_lead() {
    for lead in ["\r\n", "\r\n\r\n"] {
        accepted(
            &format!("{lead}GET /a HTTP/1.1\r\n{H}\r\n"),
            "GET /a @h 1.1 none keep | Host=h",
        );
    }
}

#[test]
fn what_follows_a_head_is_left_alone() {
    for behind in ["x", "\r\n", "\0\n\r", "GET / HTTP/1.1\r\n\r\n"] {
        let head = format!("GET / HTTP/1.1\r\n{H}\r\n");
        let text = format!("{head}{behind}");
        let expected = (head.len(), "GET / @h 1.1 none keep | Host=h".to_owned());
        let found = feed_request(&Limits::default(), [text.as_bytes()]);
        assert_eq!(found, Ok(Some(expected)));
    }
}

#[test]
fn a_head_that_goes_on_is_waited_for() {
    for text in [
        "",
        "\r",
        "\r\n",
        "\r\n\r\n",
        "G",
        "GET ",
        "GET /",
        "GET / H",
        "GET / HTTP/1.1\r",
        "GET / HTTP/9.9\r",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nA",
        "GET / HTTP/1.1\r\nA:",
        "GET / HTTP/1.1\r\nA: b\r",
        "GET / HTTP/1.1\r\nA: b\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\r",
    ] {
        assert_eq!(outcome(text.as_bytes()), Ok(None), "{text:?}");
    }
}

#[test]
fn field_lines() {
    for (lines, fields) in [
        ("A: b\r\n", "A=b"),
        ("A:b\r\n", "A=b"),
        ("A:\r\n", "A="),
        ("A: \t \r\n", "A="),
        ("a:\t b \t c \t\r\n", "a=b \t c"),
        ("A: :b:\r\n", "A=:b:"),
        ("A_b: 1\r\n", "A_b=1"),
        ("!#$%&'*+-.^_`|~09: 1\r\n", "!#$%&'*+-.^_`|~09=1"),
        ("A: caf\u{e9}\r\n", "A=caf\u{e9}"),
        ("A: 1\r\nA: 2\r\n", "A=1 | A=2"),
        (
            "A: 12345678901234567890\r\nB: \"x\"\r\n",
            "A=12345678901234567890 | B=\"x\"",
        ),
    ] {
        accepted(
            &format!("GET / HTTP/1.1\r\n{H}{lines}\r\n"),
            &format!("GET / @h 1.1 none keep | Host=h | {fields}"),
        );
    }
}

#[test]
fn broken_field_lines() {
    for (lines, label) in [
        ("A : b\r\n", "space_before_colon"),
        ("A\t: b\r\n", "space_before_colon"),
        (": b\r\n", "empty_name"),
        (" A: b\r\n", "obs_fold"),
        ("A: b\r\n c\r\n", "obs_fold"),
        ("A: b\r\n\tc\r\n", "obs_fold"),
        ("A: b\r\n \r\n", "obs_fold"),
        ("A\r\n", "field_name"),
        ("A b: c\r\n", "space_before_colon"),
        ("A(: c\r\n", "field_name"),
        ("A\u{e9}: c\r\n", "field_name"),
        ("\"A\": c\r\n", "field_name"),
        ("A@b: c\r\n", "field_name"),
        ("A\0: c\r\n", "field_name"),
        ("A: \0\r\n", "control_byte"),
        ("A: b\x01c\r\n", "control_byte"),
        ("A: b\x0bc\r\n", "control_byte"),
        ("A: b\x7f\r\n", "control_byte"),
        ("A: b\x1b[0m\r\n", "control_byte"),
        ("A: b\rc\r\n", "bare_cr"),
        ("A: b\r\r\n", "bare_cr"),
        ("A: b\nB: c\r\n", "bare_lf"),
        ("A: b\n\r\n", "bare_lf"),
        ("A: b\r\n\n", "bare_lf"),
        ("A: b\r\n\rX", "bare_cr"),
        ("\n", "bare_lf"),
        ("A\n: b\r\n", "bare_lf"),
    ] {
        refused(format!("GET / HTTP/1.1\r\n{H}{lines}\r\n"), label);
        if !lines.starts_with(['\r', '\n']) {
            refused(format!("GET / HTTP/1.1\r\n{lines}{H}\r\n"), label);
        }
    }
}

#[test]
fn hosts() {
    for (host, shown) in [
        ("a.example", " @a.example"),
        ("A.Example:8080", " @A.Example:8080"),
        ("a:", " @a:"),
        ("a:0", " @a:0"),
        ("a:65535", " @a:65535"),
        ("127.0.0.1:1", " @127.0.0.1:1"),
        ("[::1]", " @[::1]"),
        ("[2001:db8::7]:80", " @[2001:db8::7]:80"),
        ("[::ffff:1.2.3.4]", " @[::ffff:1.2.3.4]"),
        ("a_b-c~d", " @a_b-c~d"),
        ("a%20b", " @a%20b"),
        ("a!$&'()*+;=b", " @a!$&'()*+;=b"),
    ] {
        accepted(
            &format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            &format!("GET /{shown} 1.1 none keep | Host={host}"),
        );
    }
    accepted("GET / HTTP/1.0\r\n\r\n", "GET / 1.0 none drop");
    accepted(
        "GET / HTTP/1.0\r\nHost:\r\n\r\n",
        "GET / 1.0 none drop | Host=",
    );
    accepted(
        "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
        "OPTIONS * 1.1 none keep | Host=",
    );
    accepted("GET http://h/ HTTP/1.0\r\n\r\n", "GET / @h 1.0 none drop");
    accepted(
        "CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n",
        "CONNECT  @a:1 1.1 none keep | Host=b",
    );
}

#[test]
fn broken_hosts() {
    for (lines, label) in [
        ("", "host_missing"),
        ("Hos: h\r\n", "host_missing"),
        ("Host: h\r\nHost: h\r\n", "host_repeated"),
        ("Host: h\r\nhost:\r\n", "host_repeated"),
        ("Host:\r\n", "host_malformed"),
        ("Host: a b\r\n", "host_malformed"),
        ("Host: a/b\r\n", "host_malformed"),
        ("Host: a?b\r\n", "host_malformed"),
        ("Host: a#b\r\n", "host_malformed"),
        ("Host: u@h\r\n", "host_malformed"),
        ("Host: http://h\r\n", "host_malformed"),
        ("Host: a\\b\r\n", "host_malformed"),
        ("Host: a:b\r\n", "host_malformed"),
        ("Host: a:1:2\r\n", "host_malformed"),
        ("Host: a:+1\r\n", "host_malformed"),
        ("Host: a:65536\r\n", "host_malformed"),
        ("Host: a:000001\r\n", "host_malformed"),
        ("Host: :80\r\n", "host_malformed"),
        ("Host: ::1\r\n", "host_malformed"),
        ("Host: [::1\r\n", "host_malformed"),
        ("Host: [::1]x\r\n", "host_malformed"),
        ("Host: [::1%25eth0]\r\n", "host_malformed"),
        ("Host: [v1.x]\r\n", "host_malformed"),
        ("Host: []\r\n", "host_malformed"),
        ("Host: a%2\r\n", "host_malformed"),
        ("Host: a%zz\r\n", "host_malformed"),
        ("Host: caf\u{e9}\r\n", "host_malformed"),
        ("Host: a\tb\r\n", "host_malformed"),
    ] {
        refused(format!("GET / HTTP/1.1\r\n{lines}\r\n"), label);
    }
    refused(
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        "host_repeated",
    );
    for (target, host) in [
        ("http://h", "g"),
        ("http://h", "h:81"),
        ("http://h:443", "h"),
        ("https://h:80", "h"),
        ("http://h", "h:443"),
    ] {
        refused(
            format!("GET {target}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            "host_differs",
        );
    }
    refused("GET http://h/ HTTP/1.1\r\nHost:\r\n\r\n", "host_malformed");
    refused("GET http://h/ HTTP/1.1\r\n\r\n", "host_missing");
}

#[test]
fn framing() {
    for (lines, framing) in [
        ("Content-Length: 0", "none"),
        ("Content-Length: 000", "none"),
        ("Content-Length: 5", "5"),
        ("content-length:\t007 ", "7"),
        ("Content-Length: 999999999999999999", "999999999999999999"),
        ("Transfer-Encoding: chunked", "chunked"),
        ("transfer-encoding:ChunKED\t", "chunked"),
    ] {
        let (name, value) = lines.split_once(':').unwrap();
        accepted(
            &format!("POST / HTTP/1.1\r\n{H}{lines}\r\n\r\n"),
            &format!(
                "POST / @h 1.1 {framing} keep | Host=h | {name}={}",
                value.trim()
            ),
        );
    }
}

#[test]
fn broken_framing() {
    for (lines, label) in [
        ("Content-Length:\r\n", "length_malformed"),
        ("Content-Length: +5\r\n", "length_malformed"),
        ("Content-Length: -5\r\n", "length_malformed"),
        ("Content-Length: 0x5\r\n", "length_malformed"),
        ("Content-Length: 5 5\r\n", "length_malformed"),
        ("Content-Length: 5, 5\r\n", "length_malformed"),
        ("Content-Length: 5,\r\n", "length_malformed"),
        ("Content-Length: 5;\r\n", "length_malformed"),
        ("Content-Length: 5.0\r\n", "length_malformed"),
        ("Content-Length: \u{665}\r\n", "length_malformed"),
        (
            "Content-Length: 1000000000000000000\r\n",
            "length_malformed",
        ),
        (
            "Content-Length: 0000000000000000001\r\n",
            "length_malformed",
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "length_repeated",
        ),
        (
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            "length_repeated",
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "length_and_coding",
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "length_and_coding",
        ),
        (
            "Transfer-Encoding: gzip\r\nContent-Length: 0\r\n",
            "length_and_coding",
        ),
        ("Transfer-Encoding:\r\n", "coding_malformed"),
        ("Transfer-Encoding: ,\r\n", "coding_malformed"),
        ("Transfer-Encoding: chunked,\r\n", "coding_malformed"),
        ("Transfer-Encoding: , chunked\r\n", "coding_malformed"),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            "coding_malformed",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "coding_malformed",
        ),
        ("Transfer-Encoding: chunked, gzip\r\n", "coding_malformed"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "coding_malformed",
        ),
        ("Transfer-Encoding: chunked;a=b\r\n", "coding_malformed"),
        ("Transfer-Encoding: chunked;\r\n", "coding_malformed"),
        ("Transfer-Encoding: \"chunked\"\r\n", "coding_malformed"),
        ("Transfer-Encoding: chun ked\r\n", "coding_malformed"),
        ("Transfer-Encoding: gzip;q=\"a,b\"\r\n", "coding_malformed"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "control_byte"),
        ("Transfer-Encoding : chunked\r\n", "space_before_colon"),
        ("Transfer-Encoding:\r\n chunked\r\n", "obs_fold"),
        ("Transfer-Encoding: xchunked\r\n", "coding_unknown"),
        ("Transfer-Encoding: identity\r\n", "coding_unknown"),
        ("Transfer-Encoding: gzip\r\n", "coding_unknown"),
        ("Transfer-Encoding: gzip, chunked\r\n", "coding_unknown"),
        (
            "Transfer-Encoding: gzip; a = b, chunked\r\n",
            "coding_unknown",
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "coding_unknown",
        ),
    ] {
        refused(format!("POST / HTTP/1.1\r\n{H}{lines}\r\n"), label);
    }
    refused(
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "coding_misplaced",
    );
}

#[test]
fn connections_and_upgrades() {
    let websocket = "Upgrade: WebSocket\r\nConnection: Upgrade";
    for (start, lines, rest) in [
        ("GET / HTTP/1.1", "Connection: close", "1.1 none drop"),
        (
            "GET / HTTP/1.1",
            "Connection: CLOSE, keep-alive",
            "1.1 none drop",
        ),
        ("GET / HTTP/1.1", "Connection: keep-alive", "1.1 none keep"),
        ("GET / HTTP/1.1", "Connection:", "1.1 none keep"),
        ("GET / HTTP/1.1", "Connection: , ,te ,", "1.1 none keep"),
        ("GET / HTTP/1.1", "Connection: x-hop", "1.1 none keep names"),
        (
            "GET / HTTP/1.1",
            "Connection: a\r\nConnection: close",
            "1.1 none drop names",
        ),
        ("GET / HTTP/1.0", "Connection: Keep-Alive", "1.0 none keep"),
        (
            "GET / HTTP/1.0",
            "Connection: keep-alive, close",
            "1.0 none drop",
        ),
        ("GET / HTTP/1.1", "Proxy-Connection: close", "1.1 none keep"),
        ("GET / HTTP/1.1", "TE: trailers", "1.1 none keep trailers"),
        (
            "GET / HTTP/1.1",
            "TE: gzip;q=0.5 , Trailers",
            "1.1 none keep trailers",
        ),
        ("GET / HTTP/1.1", "TE: trailer", "1.1 none keep"),
        (
            "GET / HTTP/1.1",
            "Expect: 100-Continue",
            "1.1 none keep expect",
        ),
        ("GET / HTTP/1.0", "Expect: 100-continue", "1.0 none drop"),
        ("GET / HTTP/1.1", "Expect: 100", "1.1 none keep"),
        ("GET / HTTP/1.1", websocket, "1.1 none keep websocket"),
        (
            "GET / HTTP/1.1",
            "upgrade: h2c, websocket\r\nconnection: x, upgrade",
            "1.1 none keep websocket names",
        ),
        ("GET / HTTP/1.1", "Upgrade: websocket", "1.1 none keep"),
        (
            "GET / HTTP/1.1",
            "Upgrade: h2c\r\nConnection: upgrade",
            "1.1 none keep",
        ),
        ("GET / HTTP/1.0", websocket, "1.0 none drop"),
        ("POST / HTTP/1.1", websocket, "1.1 none keep"),
        (
            "GET / HTTP/1.1",
            "Content-Length: 1\r\nUpgrade: websocket\r\nConnection: upgrade",
            "1.1 1 keep",
        ),
    ] {
        let fields = lines.split("\r\n").fold(String::new(), |text, line| {
            let (name, value) = line.split_once(':').unwrap();
            format!("{text} | {name}={}", value.trim())
        });
        let method = start.split(' ').next().unwrap();
        accepted(
            &format!("{start}\r\n{H}{lines}\r\n\r\n"),
            &format!("{method} / @h {rest} | Host=h{fields}"),
        );
    }
}

#[test]
fn broken_connections() {
    for (value, label) in [
        ("close;x", "connection_malformed"),
        ("a b", "connection_malformed"),
        ("\"close\"", "connection_malformed"),
        ("caf\u{e9}", "connection_malformed"),
        ("host", "connection_names"),
        ("close, Content-Length", "connection_names"),
        ("Transfer-Encoding", "connection_names"),
        ("connection", "connection_names"),
        ("content-type", "connection_names"),
        ("Authorization", "connection_names"),
        ("cookie", "connection_names"),
        ("Cache-Control", "connection_names"),
    ] {
        refused(
            format!("GET / HTTP/1.1\r\n{H}Connection: {value}\r\n\r\n"),
            label,
        );
    }
}

#[test]
fn limits_hold_for_incomplete_heads_too() {
    let limits = Limits {
        uri: 10,
        head: 30,
        headers: 3,
    };
    let try_all = |text: &str| in_all_ways(text.as_bytes(), |pieces| feed_request(&limits, pieces));
    let good = "GET / HTTP/1.1\r\n";
    for (text, fault) in [
        (format!("{good}{H}A: 34567890\r\nB: 6\r\n\r\n"), None),
        (
            format!("{good}{H}A: 345678901\r\nB: 6\r\n\r\n"),
            Some("head_too_large"),
        ),
        (format!("{good}{H}A: 34567890123456789"), None),
        (
            format!("{good}{H}A: 345678901234567890"),
            Some("head_too_large"),
        ),
        (format!("{good}{H}A: 3456789012345678\r"), None),
        (format!("{good}{H}A: 34567890123456\r\n\r"), None),
        (
            format!("{good}{H}A: 345678901234567\r\n\r"),
            Some("head_too_large"),
        ),
        (format!("{good}{H}A:\r\nB:\r\n\r\n"), None),
        (format!("{good}{H}A:\r\nB:\r\nC:"), Some("too_many_fields")),
        (format!("{good}{H}A:\r\nB:\r\nC"), Some("too_many_fields")),
        ("GET /345678901 HTTP/1.1\r\n".to_owned(), None),
        (
            "GET /3456789012 HTTP/1.1\r\n".to_owned(),
            Some("uri_too_long"),
        ),
        ("GET /3456789012".to_owned(), Some("uri_too_long")),
        ("GET /345678901".to_owned(), None),
        ("M".repeat(64), None),
        ("M".repeat(65), Some("method_too_long")),
    ] {
        assert_eq!(
            try_all(&text).err().map(ParseError::label),
            fault,
            "{text:?}"
        );
    }
}

#[test]
fn faults_have_the_status_that_clients_expect() {
    for (error, status) in [
        (ParseError::ObsFold, 400),
        (ParseError::LengthAndCoding, 400),
        (ParseError::UriTooLong, 414),
        (ParseError::HeadTooLarge, 431),
        (ParseError::TooManyFields, 431),
        (ParseError::CodingUnknown, 501),
        (ParseError::MethodTooLong, 501),
        (ParseError::UnsupportedVersion, 505),
    ] {
        assert_eq!(error.status(), status);
    }
}

#[test]
fn a_head_is_reused_without_a_trace() {
    let mut head = RequestHead::default();
    let mut scan = 0;
    let first =
        "POST http://h/a?b HTTP/1.0\r\nHost: h\r\nConnection: x\r\nContent-Length: 3\r\n\r\n";
    let second = format!("GET / HTTP/1.1\r\n{H}\r\n");
    head.headers.raw = format!("{first}{second}").into_bytes();
    let end = request(&mut head, &mut scan, &Limits::default())
        .unwrap()
        .unwrap();
    assert_eq!((end, scan), (first.len(), 0));
    head.headers.raw.drain(..end);
    assert!(
        request(&mut head, &mut scan, &Limits::default())
            .unwrap()
            .is_some()
    );
    assert_eq!(request_summary(&head), "GET / @h 1.1 none keep | Host=h");
}
