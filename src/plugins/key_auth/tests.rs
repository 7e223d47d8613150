//! Keys presented in every place, and what the upstream then sees.

use super::*;
use crate::plugin::testkit::{Answer, Kit, issues};

/// A file with consumers, keys and one configuration.
fn file(config: &str) -> String {
    format!(
        "consumers:
- username: alice
  custom_id: a1
  keyauth_credentials:
  - {{id: 11111111-1111-4111-8111-111111111111, key: k-alice}}
- username: bob
  keyauth_credentials:
  - {{key: k b+b}}
  - {{key: k-old, ttl: 10, created_at: 1000}}
- username: nobody
plugins:
- name: key-auth
  config: {config}
"
    )
}

fn send(config: &str, request: &str) -> Answer {
    clock::set_wall(2_000_000);
    Kit::new(&[&PLUGIN], &file(config)).send(request)
}

fn refused(config: &str, request: &str) -> (u16, String, String) {
    let answer = send(config, request);
    assert!(!answer.passed());
    let challenge = answer.header("WWW-Authenticate").unwrap().to_owned();
    (answer.status, answer.body, challenge)
}

fn message(words: &str) -> (u16, String, String) {
    (
        401,
        format!("{{\"message\":\"{words}\"}}"),
        "Key".to_owned(),
    )
}

#[test]
fn a_key_makes_a_consumer() {
    let forged = "GET / HTTP/1.1\nX-Anonymous-Consumer: true\nX-Consumer-ID: 1\napikey: k-alice";
    let answer = send("{}", forged);
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
    assert_eq!(answer.upstream("X-Consumer-Custom-ID"), Some("a1"));
    assert_eq!(answer.upstream("X-Consumer-ID").map(str::len), Some(36));
    assert_eq!(
        answer.upstream("X-Credential-Identifier"),
        Some("11111111-1111-4111-8111-111111111111")
    );
    assert_eq!(answer.upstream("X-Anonymous-Consumer"), None);
    assert_eq!(answer.upstream("apikey"), Some("k-alice"));
    assert_eq!(answer.facts.consumer, Some(ConsumerIx(0)));
    let bob = send(
        "{}",
        "GET /?apikey=k%20b%2Bb HTTP/1.1\nX-Consumer-Custom-ID: forged",
    );
    assert_eq!(bob.upstream("X-Consumer-Username"), Some("bob"));
    assert_eq!(bob.upstream("X-Consumer-Custom-ID"), None);
}

#[test]
fn refusals_say_why() {
    for (config, request, want) in [
        ("{}", "GET / HTTP/1.1", "No API key found in request"),
        (
            "{}",
            "GET / HTTP/1.1\napikey:",
            "No API key found in request",
        ),
        (
            "{}",
            "GET /?apikey= HTTP/1.1",
            "No API key found in request",
        ),
        ("{}", "GET /?apikey HTTP/1.1", "No API key found in request"),
        ("{}", "GET / HTTP/1.1\napikey: k-wrong", "Unauthorized"),
        ("{}", "GET / HTTP/1.1\napikey: k-old", "Unauthorized"),
        (
            "{}",
            "GET / HTTP/1.1\napikey: k-alice\nAPIKEY: k-alice",
            "Duplicate API key found",
        ),
        (
            "{}",
            "GET /?apikey=k-alice&apikey=1 HTTP/1.1",
            "Duplicate API key found",
        ),
        (
            "{key_names: [x-key]}",
            "GET / HTTP/1.1\nx-key: k-alice\nx_key: k-alice",
            "Duplicate API key found",
        ),
        (
            "{key_in_header: false}",
            "GET / HTTP/1.1\napikey: k-alice",
            "No API key found in request",
        ),
        (
            "{key_in_query: false}",
            "GET /?apikey=k-alice HTTP/1.1",
            "No API key found in request",
        ),
        // The first place that has the name decides.
        (
            "{}",
            "GET /?apikey=k-alice HTTP/1.1\napikey: k-wrong",
            "Unauthorized",
        ),
        (
            "{key_names: [a, b]}",
            "GET /?b=k-alice HTTP/1.1\na: k-wrong",
            "Unauthorized",
        ),
        ("{}", "OPTIONS / HTTP/1.1", "No API key found in request"),
    ] {
        assert_eq!(
            refused(config, request),
            message(want),
            "{config} {request}"
        );
    }
    let (_, _, challenge) = refused("{realm: 'my \"api\"'}", "GET / HTTP/1.1");
    assert_eq!(challenge, r#"Key realm="my \"api\"""#);
}

#[test]
fn names_are_tried_in_order_and_fold_dashes() {
    assert!(send("{key_names: [a, b]}", "GET /?b=k-alice HTTP/1.1").passed());
    assert!(
        send(
            "{key_names: [X_Api_Key]}",
            "GET / HTTP/1.1\nx-api-key: k-alice"
        )
        .passed()
    );
    assert!(
        send(
            "{key_names: [x-api-key]}",
            "GET / HTTP/1.1\nX_API_KEY: k-alice"
        )
        .passed()
    );
}

#[test]
fn keys_in_bodies_are_found_when_asked_for() {
    let urlencoded =
        "POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\na=1&apikey=k-alice";
    let json =
        "POST / HTTP/1.1\nContent-Type: application/json\n\n{\"a\":1,\"apikey\":\"k-alice\"}";
    let multipart = "POST / HTTP/1.1\nContent-Type: multipart/form-data; boundary=B\n\n--B\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nk-alice\r\n--B--";
    for (request, rest) in [
        (urlencoded, "a=1"),
        (json, "{\"a\":1}"),
        (multipart, "--B--"),
    ] {
        assert_eq!(refused("{}", request), message(NOTHING));
        let whole = send("{key_in_body: true}", request).sent.unwrap().body;
        assert_eq!(whole, request.split_once("\n\n").unwrap().1.as_bytes());
        let hidden = send("{key_in_body: true, hide_credentials: true}", request)
            .sent
            .unwrap()
            .body;
        assert_eq!(hidden, rest.as_bytes());
        let by_header = request.replacen("\n\n", "\napikey: k-alice\n\n", 1);
        let hidden = send("{key_in_body: true, hide_credentials: true}", &by_header)
            .sent
            .unwrap()
            .body;
        assert_eq!(hidden, rest.as_bytes());
    }
    let text = "POST / HTTP/1.1\nContent-Type: text/plain\n\napikey=k-alice";
    assert_eq!(refused("{key_in_body: true}", text), message(NOTHING));
    let twice = "POST / HTTP/1.1\nContent-Type: application/json\n\n{\"apikey\":[\"k-alice\"]}";
    assert_eq!(
        refused("{key_in_body: true}", twice),
        message("Duplicate API key found")
    );
}

#[test]
fn a_body_that_is_too_long_is_not_searched() {
    let body = "x".repeat(form::LIMIT + 1);
    let request =
        format!("POST / HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\n{body}");
    assert_eq!(send("{key_in_body: true}", &request).status, 413);
    let with_key = request.replacen('/', "/?apikey=k-alice", 1);
    assert!(send("{key_in_body: true}", &with_key).passed());
}

#[test]
fn hidden_keys_do_not_reach_the_upstream() {
    let answer = send(
        "{hide_credentials: true, key_names: [x-key]}",
        "GET /p?a=1&x-key=s&b HTTP/1.1\nX_Key: k-alice",
    );
    let sent = answer.sent.unwrap();
    assert_eq!(sent.head.query(), "?a=1&b");
    assert!(!sent.head.headers.contains("X_Key"));
    let answer = send("{hide_credentials: true}", "GET /p?apikey=k-alice HTTP/1.1");
    assert_eq!(answer.sent.unwrap().head.query(), "");
}

#[test]
fn times_of_keys_run_out() {
    let kit = Kit::new(&[&PLUGIN], &file("{}"));
    clock::set_wall(1_009_000);
    assert!(kit.send("GET / HTTP/1.1\napikey: k-old").passed());
    clock::set_wall(1_010_000);
    assert!(!kit.send("GET / HTTP/1.1\napikey: k-old").passed());
}

#[test]
fn anonymous_clients_are_let_in_as_such() {
    let config = "{anonymous: nobody}";
    for request in [
        "GET / HTTP/1.1\nX-Credential-Identifier: me",
        "GET / HTTP/1.1\napikey: k-wrong",
    ] {
        let answer = send(config, request);
        assert_eq!(answer.upstream("X-Consumer-Username"), Some("nobody"));
        assert_eq!(answer.upstream("X-Anonymous-Consumer"), Some("true"));
        assert_eq!(answer.upstream("X-Credential-Identifier"), None);
        assert_eq!(answer.facts.credential, None);
    }
    let answer = send(config, "GET / HTTP/1.1\napikey: k-alice");
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
}

#[test]
fn preflights_pass_where_they_may() {
    assert!(send("{run_on_preflight: false}", "OPTIONS / HTTP/1.1").passed());
    assert!(!send("{run_on_preflight: false}", "GET / HTTP/1.1").passed());
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        ("{key_names: []}", "key_names: length must be at least 1"),
        ("{key_names: null}", "key_names: required field missing"),
        (
            "{key_names: ['a b']}",
            "key_names[0]: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
        ),
        ("{key_in_body: 1}", "key_in_body: expected a boolean, got 1"),
        (
            "{hide_credentials: nope}",
            "hide_credentials: expected a boolean, got \"nope\"",
        ),
        ("{realm: ''}", "realm: length must be at least 1"),
        ("{keys: [a]}", "keys: unknown field"),
    ] {
        let found = issues(&[&PLUGIN], &file(config));
        assert!(found[0].starts_with("f:13:"), "{}", found[0]);
        assert!(
            found[0].ends_with(&format!("error: plugins[0].config.{want}")),
            "{}",
            found[0]
        );
    }
}

#[test]
fn wrong_credentials_are_refused_and_missing_keys_noticed() {
    let row = |row: &str| format!("consumers: [{{username: a, keyauth_credentials: [{row}]}}]");
    for (text, want) in [
        (
            "{key: 1}",
            "error: consumers[0].keyauth_credentials[0].key: expected a string, got a number",
        ),
        (
            "{key: ''}",
            "error: consumers[0].keyauth_credentials[0].key: invalid value",
        ),
        (
            "{key: a, ttl: -1}",
            "error: consumers[0].keyauth_credentials[0].ttl: value must be greater than -1",
        ),
        (
            "{ttl: 5}",
            "warning: consumers[0].keyauth_credentials[0]: no 'key': a random one is made, which no client knows",
        ),
        ("{key: a}, {key: a}", "already declared"),
    ] {
        let found = issues(&[&PLUGIN], &row(text));
        assert!(found[0].contains(want), "{}", found[0]);
    }
}
