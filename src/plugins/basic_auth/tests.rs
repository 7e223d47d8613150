//! Passwords, plain and stored, and what the upstream then sees.

use super::*;
use crate::plugin::testkit::{Answer, Kit, issues};

/// `sha1("s3cret" + id of alice)`.
const STORED: &str = "872f9d7fb927ceb94de13ccb1172206acc2bbb79";
const ALICE: &str = "0f5a5d0e-9a9e-4d4e-8c0f-2a8f5a9a1c11";

fn file(config: &str) -> String {
    format!(
        "consumers:
- username: alice
  id: {ALICE}
  custom_id: a1
  basicauth_credentials: [{{username: al, password: s3cret}}]
- username: bob
  basicauth_credentials: [{{username: bob, password: 'pä:ss '}}, {{username: bö, password: x}}]
- username: nobody
plugins:
- name: basic-auth
  config: {config}
"
    )
}

fn send(config: &str, request: &str) -> Answer {
    Kit::new(&[&PLUGIN], &file(config)).send(request)
}

/// `al:s3cret`, `al:wrong`, `bob:pä:ss `, `bö:x`, `eve:s3cret`.
const GOOD: &str = "Basic YWw6czNjcmV0";
const WRONG: &str = "Basic YWw6d3Jvbmc=";
const BOB: &str = "Basic Ym9iOnDDpDpzcyA=";
const UMLAUT: &str = "basic YsO2Ong=";
const UNKNOWN: &str = "Basic ZXZlOnMzY3JldA==";

fn get(lines: &[(&str, &str)]) -> String {
    let mut request = "GET / HTTP/1.1".to_owned();
    for (name, value) in lines {
        request += &format!("\n{name}: {value}");
    }
    request
}

#[test]
fn a_password_makes_a_consumer() {
    let answer = send(
        "{}",
        &get(&[
            ("Authorization", GOOD),
            ("X-Anonymous-Consumer", "true"),
            ("X-Consumer-ID", "1"),
        ]),
    );
    assert_eq!(answer.upstream("X-Consumer-ID"), Some(ALICE));
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
    assert_eq!(answer.upstream("X-Consumer-Custom-ID"), Some("a1"));
    assert_eq!(answer.upstream("X-Credential-Identifier"), Some("al"));
    assert_eq!(answer.upstream("X-Anonymous-Consumer"), None);
    assert_eq!(answer.upstream("Authorization"), Some(GOOD));
    assert!(send("{}", &get(&[("Authorization", BOB)])).passed());
    assert!(send("{}", &get(&[("Authorization", UMLAUT)])).passed());
}

#[test]
fn every_refusal_is_the_same() {
    for value in [
        None,
        Some(WRONG),
        Some(UNKNOWN),
        Some("Basic YWw6"),
        Some("Basic YWw="),
        Some("Basic OnMzY3JldA=="),
        Some("Basic !"),
        Some("Basic"),
        Some("Bearer YWw6czNjcmV0"),
        Some(""),
    ] {
        let lines = value.map(|value| ("Authorization", value));
        let answer = send("{}", &get(lines.as_slice()));
        assert!(!answer.passed(), "{value:?}");
        assert_eq!(
            (answer.status, &*answer.body),
            (401, r#"{"message":"Unauthorized"}"#)
        );
        assert_eq!(
            answer.header("WWW-Authenticate"),
            Some("Basic realm=\"service\"")
        );
    }
    for (config, challenge) in [
        ("{realm: my api}", "Basic realm=\"my api\""),
        ("{realm: null}", "Basic"),
    ] {
        let answer = send(config, "GET / HTTP/1.1");
        assert_eq!(answer.header("WWW-Authenticate"), Some(challenge));
    }
}

#[test]
fn the_first_known_username_decides() {
    for (proxy, own, passes) in [
        (GOOD, WRONG, true),
        (WRONG, GOOD, false),
        (UNKNOWN, GOOD, true),
        ("Basic !", GOOD, true),
        ("hmac x", GOOD, true),
        (UNKNOWN, WRONG, false),
    ] {
        let request = get(&[("Proxy-Authorization", proxy), ("Authorization", own)]);
        assert_eq!(send("{}", &request).passed(), passes, "{proxy} {own}");
    }
}

#[test]
fn what_was_looked_at_may_be_hidden() {
    let hidden = |proxy: &str, own: &str| {
        let request = get(&[("Proxy-Authorization", proxy), ("Authorization", own)]);
        let answer = send("{hide_credentials: true}", &request);
        let left = |name| answer.upstream(name).map(str::to_owned);
        (left("Proxy-Authorization"), left("Authorization"))
    };
    let own = |text: &str| Some(text.to_owned());
    assert_eq!(hidden(GOOD, "Basic other"), (None, own("Basic other")));
    assert_eq!(hidden(UNKNOWN, GOOD), (None, None));
    assert_eq!(hidden("Bearer x", GOOD), (own("Bearer x"), None));
}

#[test]
fn anonymous_clients_are_let_in_as_such() {
    let config = "{anonymous: nobody, hide_credentials: true}";
    for value in ["", WRONG, UNKNOWN, "Basic !"] {
        let answer = send(config, &get(&[("Authorization", value)]));
        assert_eq!(answer.upstream("X-Consumer-Username"), Some("nobody"));
        assert_eq!(answer.upstream("X-Anonymous-Consumer"), Some("true"));
        assert_eq!(answer.upstream("X-Credential-Identifier"), None);
        assert_eq!(answer.facts.credential, None);
        assert!(
            !answer
                .upstream("Authorization")
                .unwrap_or_default()
                .contains("Basic")
        );
    }
    let answer = send(config, &get(&[("Authorization", GOOD)]));
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
}

#[test]
fn stored_passwords_are_hashes() {
    let stored = |text: &str| format!("_transform: false\n{}", file("{}").replace("s3cret", text));
    let others = |file: String| {
        file.replace("'pä:ss '", STORED)
            .replace("password: x", &format!("password: {STORED}"))
    };
    for text in [STORED.to_owned(), STORED.to_uppercase()] {
        let kit = Kit::new(&[&PLUGIN], &others(stored(&text)));
        assert!(kit.send(&get(&[("Authorization", GOOD)])).passed());
        assert!(!kit.send(&get(&[("Authorization", WRONG)])).passed());
        // The hash itself opens nothing.
        let as_password = Basic64::of(&format!("al:{text}"));
        assert!(!kit.send(&get(&[("Authorization", &as_password)])).passed());
    }
    let found = issues(&[&PLUGIN], &stored("s3cret"));
    assert!(
        found[0].contains(
            "error: consumers[0].basicauth_credentials[0].password: expected 40 hexadecimal digits"
        ),
        "{found:?}"
    );
    assert!(found[1].contains("_transform: false"), "{found:?}");
    assert!(!found.concat().contains("s3cret"), "{found:?}");
}

struct Basic64;

impl Basic64 {
    fn of(text: &str) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = "Basic ".to_owned();
        for group in text.as_bytes().chunks(3) {
            let word = group
                .iter()
                .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - group.len()));
            for at in 0..=group.len() {
                out.push(DIGITS[(word >> (18 - 6 * at) & 63) as usize].into());
            }
        }
        out
    }
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{hide_credentials: nope}",
            "hide_credentials: expected a boolean",
        ),
        (
            "{hide_credentials: null}",
            "hide_credentials: required field missing",
        ),
        ("{anonymous: 5}", "anonymous: expected a string"),
        ("{realm: ''}", "realm: length must be at least 1"),
        ("{realms: a}", "realms: unknown field"),
    ] {
        let found = issues(&[&PLUGIN], &file(config));
        assert!(found[0].starts_with("f:11:"), "{found:?}");
        let want = format!("error: plugins[0].config.{want}");
        assert!(found[0].contains(&want), "{found:?}");
    }
}

#[test]
fn wrong_credentials_are_refused() {
    for (row, want) in [
        (
            "{username: u}",
            "error: consumers[0].basicauth_credentials[0].password: required field missing",
        ),
        (
            "{password: p}",
            "error: consumers[0].basicauth_credentials[0].username: required field missing",
        ),
        ("{username: u, password: 5}", "password: expected a string"),
        (
            "{username: 'a:b', password: p}",
            "warning: consumers[0].basicauth_credentials[0].username: no client",
        ),
        (
            "{username: u, password: p}, {username: u, password: q}",
            "already declared",
        ),
    ] {
        let text = format!("consumers: [{{username: a, basicauth_credentials: [{row}]}}]");
        let found = issues(&[&PLUGIN], &text);
        assert!(found[0].contains(want), "{found:?}");
    }
    let orphan = "basicauth_credentials: [{username: u, password: p, consumer: eve}]";
    let found = issues(&[&PLUGIN], orphan);
    assert!(
        found[0].contains("invalid reference 'consumer: eve'"),
        "{found:?}"
    );
}
