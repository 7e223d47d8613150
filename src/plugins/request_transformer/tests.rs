//! What becomes of requests.

use super::*;
use crate::plugin::testkit::{Answer, Kit, config_issues};

fn send(config: &str, request: &str) -> Answer {
    Kit::of(&PLUGIN, config).send(request)
}

/// Query and body as sent upstream.
fn sent(config: &str, request: &str) -> (String, String) {
    let sent = send(config, request).sent.unwrap();
    let body = String::from_utf8(sent.body).unwrap();
    (sent.head.query().to_owned(), body)
}

#[test]
fn nothing_configured_changes_nothing() {
    let request = "POST /a?b=%20 HTTP/1.1\nHost: h\nContent-Type: application/json\n\n{ }";
    assert_eq!(sent("{}", request), ("?b=%20".to_owned(), "{ }".to_owned()));
}

#[test]
fn headers_and_query_are_edited() {
    let config = "{remove: {headers: ['X-Gone:any'], querystring: ['gone:$(']}, \
        rename: {headers: ['X-Old:X-New'], querystring: ['old:new']}, \
        replace: {headers: ['X-There:1', 'X-Absent:1'], querystring: ['there:1', 'absent:1']}, \
        add: {headers: ['X-Added:a:b', 'X-There:2'], querystring: ['added:a:b', 'there:2']}, \
        append: {headers: ['X-Added:c'], querystring: ['added:c']}}";
    let answer = send(
        config,
        "GET /?gone=1&old=2&there=3 HTTP/1.1\nX-Gone: 1\nX-Old: 2\nX-There: 3",
    );
    let head = answer.sent.unwrap().head;
    let lines: Vec<String> = head
        .headers
        .iter()
        .map(|(n, v)| {
            format!(
                "{}: {}",
                String::from_utf8_lossy(n),
                String::from_utf8_lossy(v)
            )
        })
        .collect();
    assert_eq!(
        lines,
        ["X-New: 2", "X-There: 1", "X-Added: a:b", "X-Added: c"]
    );
    assert_eq!(head.query(), "?new=2&there=1&added=a%3Ab&added=c");
}

#[test]
fn places_see_the_request_before_any_edit() {
    let config = "{remove: {headers: [x-key], querystring: [q]}, \
        replace: {headers: ['x-a:new'], uri: '/u/$(query_params.q)'}, \
        add: {headers: ['x-was:$(headers[\"x-a\"])', 'x-key2:$(headers[''x-key''])'], \
              querystring: ['k:$(headers[''x-key''])', 'd:$(headers.none or \"d\")', 'h:$(headers.host)']}}";
    let answer = send(
        config,
        "GET /?q=20 HTTP/1.1\nHost: h.test\nX-Key: s\nX-A: old",
    );
    assert_eq!(answer.upstream("x-a"), Some("new"));
    assert_eq!(answer.upstream("x-was"), Some("old"));
    assert_eq!(answer.upstream("x-key2"), Some("s"));
    assert_eq!(answer.upstream("x-key"), None);
    let query = answer.sent.as_ref().unwrap().head.query().to_owned();
    assert_eq!(query, "?k=s&d=d&h=h.test");
    assert_eq!(answer.facts.upstream_path.as_deref(), Some("/u/20"));
}

#[test]
fn host_changes_through_replace_alone() {
    let answer = send(
        "{replace: {headers: ['Host: $(headers.x) ']}}",
        "GET / HTTP/1.1\nHost: a\nX: b.test",
    );
    assert_eq!(answer.facts.upstream_host.as_deref(), Some("b.test"));
    assert_eq!(answer.upstream("host"), Some("a"));
    let answer = send("{add: {headers: ['host:b']}}", "GET / HTTP/1.1\nHost: a");
    assert_eq!(answer.facts.upstream_host, None);
}

#[test]
fn bodies_are_edited_by_their_type() {
    let config = "{remove: {body: [gone]}, rename: {body: ['old:new']}, replace: {body: ['there:1']}, \
        add: {body: ['added:x\"y']}, append: {body: ['l:2']}}";
    for (kind, before, after) in [
        (
            "application/json; charset=utf-8",
            r#"{"gone":1,"old":2.50,"there":[3],"l":"1"}"#,
            r#"{"new":2.50,"there":"1","l":["1","2"],"added":"x\"y"}"#,
        ),
        ("application/json", "", r#"{"added":"x\"y","l":["2"]}"#),
        ("application/json", "[1]", "[1]"),
        ("application/json", "{broken", "{broken"),
        (
            "application/x-www-form-urlencoded",
            "gone=1&old=+2&there=3&l=1",
            "new=+2&there=1&l=1&added=x%22y&l=2",
        ),
        ("application/x-www-form-urlencoded", "", "added=x%22y&l=2"),
        ("text/plain", "gone=1", "gone=1"),
        ("application/grpc", "gone=1", "gone=1"),
    ] {
        let request = format!("POST / HTTP/1.1\nContent-Type: {kind}\n\n{before}");
        assert_eq!(sent(config, &request).1, after, "{kind} {before}");
    }
    let marked = "\u{feff}{\"gone\":1}";
    let request = format!("POST / HTTP/1.1\nContent-Type: application/json\n\n{marked}");
    let after = r#"{"added":"x\"y","l":["2"]}"#;
    assert_eq!(
        sent(config, &request).1,
        after,
        "a byte order mark hides nothing"
    );
    let request = "POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\nContent-Encoding: gzip\n\ngone=1&a=b";
    assert_eq!(
        sent(config, request).1,
        "a=b&added=x%22y&l=2",
        "it is a text, whatever it says"
    );
    let part = "--B\r\nContent-Disposition: form-data; name=\"gone\"\r\n\r\n1\r\n";
    let request = format!(
        "POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=B\n\n{part}--B--\r\n"
    );
    let added = "--B\r\nContent-Disposition: form-data; name=\"added\"\r\n\r\nx\"y\r\n--B--\r\n";
    assert_eq!(sent(config, &request).1, added);
}

#[test]
fn compressed_bodies_pass_unchanged() {
    let fields = "Content-Type: application/x-www-form-urlencoded\nContent-Encoding: gzip";
    let kit = Kit::of(&PLUGIN, "{http_method: GET, add: {body: ['a:b']}}");
    let answer = kit.send_bytes(&format!("POST / HTTP/1.1\n{fields}"), b"\x1f\x8b\x08");
    let sent = answer.sent.unwrap();
    assert_eq!(
        (sent.body, sent.head.query()),
        (b"\x1f\x8b\x08".to_vec(), "")
    );
}

#[test]
fn the_body_stage_sees_what_the_header_stage_left() {
    let config =
        "{http_method: POST, add: {headers: ['Content-Type:application/json'], body: ['a:b']}}";
    let answer = send(config, "GET / HTTP/1.1");
    assert_eq!(answer.facts.upstream_method.as_deref(), Some("POST"));
    assert_eq!(answer.sent.unwrap().body, br#"{"a":"b"}"#);
}

#[test]
fn a_form_moves_into_the_query_with_the_method() {
    let form = "POST /?hello=world HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\nname=m+n&x";
    for method in ["GET", "HEAD", "TRACE"] {
        let config = format!("{{http_method: {method}, add: {{querystring: ['name:no', 'q:1']}}}}");
        let (query, body) = sent(&config, form);
        assert_eq!(
            (query.as_str(), body.as_str()),
            ("?hello=world&name=m+n&x&q=1", "")
        );
    }
    let (query, body) = sent("{http_method: DELETE}", form);
    assert_eq!(
        (query.as_str(), body.as_str()),
        ("?hello=world", "name=m+n&x")
    );
    let json = "POST / HTTP/1.1\nContent-Type: application/json\n\n{}";
    assert_eq!(sent("{http_method: GET}", json).1, "{}");
}

#[test]
fn a_method_with_a_body_says_that_there_is_none() {
    let answer = send("{http_method: POST}", "GET / HTTP/1.1");
    assert_eq!(answer.upstream("content-length"), Some("0"));
    let answer = send("{http_method: DELETE}", "GET / HTTP/1.1");
    assert_eq!(answer.upstream("content-length"), None);
}

#[test]
fn the_path_is_escaped_and_normal() {
    for (uri, target, want, query) in [
        ("/t\u{e9}st", "/", "/t%C3%A9st", ""),
        ("/a?x=1", "/?y=2", "/a", "?x=1&y=2"),
        ("/a?x=1", "/", "/a", "?x=1"),
        (
            "/b/$(query_params.p)",
            "/?p=../../etc",
            "/etc",
            "?p=../../etc",
        ),
        (
            "/b/$(query_params.p)",
            "/?p=a%3Fb%20c",
            "/b/a%3Fb%20c",
            "?p=a%3Fb%20c",
        ),
    ] {
        let config = format!("{{replace: {{uri: '{uri}'}}}}");
        let answer = send(&config, &format!("GET {target} HTTP/1.1"));
        assert_eq!(answer.facts.upstream_path.as_deref(), Some(want), "{uri}");
        assert_eq!(answer.sent.unwrap().head.query(), query, "{uri}");
    }
    let config = "{replace: {uri: '$(query_params.p)'}}";
    let answer = send(config, "GET /?p=/x HTTP/1.1");
    assert_eq!(answer.facts.upstream_path.as_deref(), Some("/x"));
    assert_eq!(send(config, "GET /?p=x HTTP/1.1").status, 500);
    assert_eq!(send(config, "GET /?p=/%00 HTTP/1.1").status, 400);
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let long = "x".repeat(form::LIMIT);
    let request =
        format!("POST / HTTP/1.1\nContent-Type: application/json\n\n{{\"a\":\"{long}\"}}");
    let answer = send("{remove: {body: [b]}}", &request);
    assert!(!answer.passed());
    assert_eq!(answer.status, 413);
    assert!(
        send("{remove: {headers: [b]}}", &request).passed(),
        "nobody reads it"
    );
}

#[test]
fn wrong_values_are_refused() {
    const HINT: &str = "a place is `$(headers.x)`, `$(query_params.x)`, `$(uri_captures.x)`, `$(uri_captures[1])` or `$(consumer.username)`; defaults follow by `or`";
    for (config, path, message, hint) in [
        (
            "{http_method: hello}",
            "3:25: error: plugins[0].config.http_method",
            "invalid value: hello",
            "",
        ),
        (
            "{http_method: CONNECT}",
            "3:25: error: plugins[0].config.http_method",
            "CONNECT is not supported",
            "",
        ),
        (
            "{add: {querystring: ['a:']}}",
            "3:32: error: plugins[0].config.add.querystring[0]",
            "key 'a' has no value",
            "",
        ),
        (
            "{add: {body: [a]}}",
            "3:25: error: plugins[0].config.add.body[0]",
            "key 'a' has no value",
            "",
        ),
        (
            "{add: {headers: [X-A]}}",
            "3:28: error: plugins[0].config.add.headers[0]",
            "key 'X-A' has no value",
            "",
        ),
        (
            "{add: {headers: ['a b:c']}}",
            "3:28: error: plugins[0].config.add.headers[0]",
            "'a b' is not a valid header",
            "",
        ),
        (
            "{rename: {headers: ['a:b c']}}",
            "3:31: error: plugins[0].config.rename.headers[0]",
            "'b c' is not a valid header",
            "",
        ),
        (
            "{remove: {querystring: [':a']}}",
            "3:35: error: plugins[0].config.remove.querystring[0]",
            "the name is missing",
            "",
        ),
        (
            "{replace: {headers: ['content-length:5']}}",
            "3:32: error: plugins[0].config.replace.headers[0]",
            "content-length cannot be edited",
            "the gateway writes it as the body needs it",
        ),
        (
            "{replace: {uri: x}}",
            "3:27: error: plugins[0].config.replace.uri",
            "should start with: /",
            "",
        ),
        (
            "{replace: {uri: '/a%zz'}}",
            "3:27: error: plugins[0].config.replace.uri",
            "this is no path",
            "",
        ),
        (
            "{replace: {uri: '/$(10 * uri_captures.user1)'}}",
            "3:27: error: plugins[0].config.replace.uri",
            "not supported in a template: `* uri_captures.user1)`, at character 7",
            HINT,
        ),
        (
            "{add: {headers: ['x-a:$(foo(headers.x))']}}",
            "3:28: error: plugins[0].config.add.headers[0]",
            "not supported in a template: `foo(headers.x))`, at character 7",
            HINT,
        ),
        (
            "{add: {body: ['é:$(shared.x)']}}",
            "3:25: error: plugins[0].config.add.body[0]",
            "no plugin here fills `shared`, at character 5",
            HINT,
        ),
        (
            "{append: {header: []}}",
            "3:21: error: plugins[0].config.append.header",
            "unknown field",
            "did you mean `headers`?",
        ),
        (
            "{add: {headers: ['Host:b']}}",
            "3:28: warning: plugins[0].config.add.headers[0]",
            "Host changes only through replace: this does nothing",
            "",
        ),
        (
            "{rename: {headers: ['a:host']}}",
            "3:31: warning: plugins[0].config.rename.headers[0]",
            "Host changes only through replace: this does nothing",
            "",
        ),
        (
            "{add: {headers: ['X-Forwarded-Proto:https']}}",
            "3:28: warning: plugins[0].config.add.headers[0]",
            "X-Forwarded-Proto is written by the gateway itself: this does nothing",
            "",
        ),
        (
            "{add: {headers: ['X-A:']}}",
            "3:28: warning: plugins[0].config.add.headers[0]",
            "key 'X-A' has no value: this does nothing",
            "",
        ),
    ] {
        let found = config_issues(&PLUGIN, config);
        assert_eq!(found[0], format!("f:{path}: {message}"), "{config}");
        let told = found
            .get(1)
            .map(|line| line.trim().trim_start_matches("hint: "));
        assert_eq!(told.unwrap_or_default(), hint, "{config}");
    }
}
