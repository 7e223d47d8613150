//! Signatures of every kind, beside an own reading of what they cover.

use aws_lc_rs::{hmac, rand};

use super::*;
use crate::plugin::testkit::{Answer, Kit, issues};

/// Thursday, 22 June 2017, 17:15:21.
const NOW: u64 = 1_498_151_721;
const DATE: &str = "Thu, 22 Jun 2017 17:15:21 GMT";

fn file(config: &str) -> String {
    format!(
        "consumers:
- username: alice
  custom_id: a1
  hmacauth_credentials: [{{username: alice123, secret: secret}}]
- username: nobody
plugins:
- name: hmac-auth
  config: {config}
"
    )
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * at) & 63) as usize];
            text.push(if at > group.len() { '=' } else { digit.into() });
        }
    }
    text
}

/// The field for a text that is put together by hand.
fn signed(algorithm: &str, headers: &str, text: &str) -> String {
    let hash = match algorithm {
        "hmac-sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        "hmac-sha384" => hmac::HMAC_SHA384,
        "hmac-sha512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let tag = hmac::sign(&hmac::Key::new(hash, b"secret"), text.as_bytes());
    field("alice123", algorithm, headers, &base64(tag.as_ref()))
}

fn field(username: &str, algorithm: &str, headers: &str, signature: &str) -> String {
    format!(
        "Authorization: hmac username=\"{username}\", algorithm=\"{algorithm}\", headers=\"{headers}\", signature=\"{signature}\""
    )
}

fn send(config: &str, request: &str) -> Answer {
    clock::set_wall(NOW * 1000);
    Kit::new(&[&PLUGIN], &file(config)).send(request)
}

fn get(lines: &[&str]) -> String {
    format!("GET /requests HTTP/1.1\n{}", lines.join("\n"))
}

#[track_caller]
fn is_refused(config: &str, request: &str, words: &str) {
    let answer = send(config, request);
    assert!(!answer.passed(), "{request}");
    assert_eq!(
        answer.body,
        format!("{{\"message\":\"{words}\"}}"),
        "{request}"
    );
    assert_eq!(
        (answer.status, answer.header("WWW-Authenticate")),
        (401, Some("hmac"))
    );
}

#[track_caller]
fn passes(config: &str, request: &str) {
    let answer = send(config, request);
    assert!(answer.passed(), "{}: {request}", answer.body);
}

/// The worked examples of Kong's documentation.
#[test]
fn documented_signatures() {
    let date = format!("Date: {DATE}");
    let plain = field(
        "alice123",
        "hmac-sha256",
        "date request-line",
        "ujWCGHeec9Xd6UD2zlyxiNMCiXnDOWeVFMu5VeRUxtw=",
    );
    let answer = send("{}", &get(&[&date, &plain]));
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
    assert_eq!(answer.upstream("X-Consumer-Custom-ID"), Some("a1"));
    assert_eq!(answer.upstream("X-Credential-Identifier"), Some("alice123"));
    assert!(answer.upstream("Authorization").is_some());
    let with_body = field(
        "alice123",
        "hmac-sha256",
        "date request-line digest",
        "gaweQbATuaGmLrUr3HE0DzU1keWGCt3H96M28sSHTG8=",
    );
    let request = get(&[
        "Date: Thu, 22 Jun 2017 21:12:36 GMT",
        "Digest: SHA-256=SBH7QEtqnYUpEcIhDbmStNd1MxtHg2+feBfWc1105MA=",
        &with_body,
        "\nA small body",
    ]);
    passes("{validate_request_body: true, clock_skew: 20000}", &request);
    let other = request.replace("small", "large");
    passes("{clock_skew: 20000}", &other);
    is_refused(
        "{validate_request_body: true, clock_skew: 20000}",
        &other,
        MISMATCH,
    );
}

#[test]
fn every_algorithm_and_every_kind_of_line() {
    let date = format!("Date: {DATE}");
    let texts = [
        ("date", format!("date: {DATE}")),
        (
            "@request-target",
            "@request-target: get /a//b/../%7e?q=%20".to_owned(),
        ),
        ("request-line", "GET /a//b/../%7e?q=%20 HTTP/1.1".to_owned()),
        ("X-None", "X-None:".to_owned()),
        ("x-empty", "x-empty: ".to_owned()),
        ("x-two", "x-two: 1, 2".to_owned()),
        ("Host", "Host: h.test".to_owned()),
        ("host  date", format!("host: h.test\ndate: {DATE}")),
    ];
    for algorithm in signed::NAMES {
        for (headers, text) in &texts {
            let field = signed(algorithm, headers, text);
            let lines = [
                &date,
                "Host: h.test",
                "X-Two: 1",
                "x-two: 2",
                "X-Empty:",
                &field,
            ];
            let request = get(&lines).replace("/requests", "/a//b/../%7e?q=%20");
            passes("{}", &request);
            is_refused(
                "{}",
                &request.replace("q=%20", "q=+"),
                match *headers {
                    "@request-target" | "request-line" => MISMATCH,
                    _ => continue,
                },
            );
        }
    }
}

#[test]
fn refusals_say_why() {
    let date = format!("Date: {DATE}");
    let good = signed("hmac-sha256", "date", &format!("date: {DATE}"));
    passes("{}", &get(&[&date, &good]));
    is_refused("{}", &get(&[&date]), "Unauthorized");
    // The date comes before everything else.
    for wrong in ["X: 1", "Date: now", "Date: Thu, 22 Jun 2017 17:20:22 GMT"] {
        is_refused("{}", &get(&[wrong, &good]), NO_DATE);
        is_refused("{}", &get(&[wrong, "Authorization: x"]), NO_DATE);
    }
    for (wrong, words) in [
        ("Authorization: Basic YTpi", UNVERIFIABLE),
        ("Authorization: hmac", UNVERIFIABLE),
        (&*good.replace("alice123", "bob"), UNVERIFIABLE),
        (&*good.replace("sha256", "sha224"), UNVERIFIABLE),
        (&*good.replace("hmac-sha256", "HMAC-SHA256"), UNVERIFIABLE),
        (&*good.replace("\"date\"", "\"\""), UNVERIFIABLE),
        (&*good.replace("sha256", "sha512"), MISMATCH),
        (&*good.replace("\"date\"", "\"Date\""), MISMATCH),
        (&*good.replace("\"date\"", "\"date date\""), MISMATCH),
        (&*good.replace("signature=\"", "signature=\"!"), MISMATCH),
        (
            &*field("alice123", "hmac-sha256", "date", "c2hvcnQ="),
            MISMATCH,
        ),
    ] {
        is_refused("{}", &get(&[&date, wrong]), words);
    }
    is_refused(
        "{algorithms: [hmac-sha1]}",
        &get(&[&date, &good]),
        UNVERIFIABLE,
    );
    let answer = send("{realm: r}", &get(&[&date]));
    assert_eq!(answer.header("WWW-Authenticate"), Some("hmac realm=\"r\""));
}

#[test]
fn a_list_may_not_be_endless() {
    let date = format!("Date: {DATE}");
    for (count, words) in [(128, None), (129, Some(MISMATCH))] {
        let list = vec!["x"; count].join(" ");
        let text = vec!["x:"; count].join("\n");
        let request = get(&[&date, &signed("hmac-sha1", &list, &text)]);
        match words {
            Some(words) => is_refused("{}", &request, words),
            None => passes("{}", &request),
        }
    }
}

#[test]
fn either_date_may_be_the_right_one() {
    let good = signed("hmac-sha256", "x-date", &format!("x-date: {DATE}"));
    let x_date = format!("X-Date: {DATE}");
    let late = "Date: Thu, 22 Jun 2017 18:00:00 GMT";
    passes("{}", &get(&[&x_date, &good]));
    passes("{}", &get(&[&x_date, late, &good]));
    let date = format!("Date: {DATE}");
    let other = signed("hmac-sha256", "date", &format!("date: {DATE}"));
    passes("{}", &get(&["X-Date: never", &date, &other]));
    // To the second, before and behind.
    for (config, date, is_fine) in [
        ("{}", "Thu, 22 Jun 2017 17:20:21 GMT", true),
        ("{}", "Thu, 22 Jun 2017 17:20:22 GMT", false),
        ("{}", "Thu, 22 Jun 2017 17:10:21 GMT", true),
        ("{}", "Thu, 22 Jun 2017 17:10:20 GMT", false),
        ("{clock_skew: 0.5}", DATE, true),
        ("{clock_skew: 0.5}", "Thu, 22 Jun 2017 17:15:22 GMT", false),
        ("{}", "Thursday, 22-Jun-17 17:15:21 GMT", true),
        ("{}", "Thu Jun 22 17:15:21 2017", true),
    ] {
        let field = signed("hmac-sha1", "date", &format!("date: {date}"));
        let request = get(&[&format!("Date: {date}"), &field]);
        assert_eq!(send(config, &request).passed(), is_fine, "{config} {date}");
    }
}

#[test]
fn enforced_headers_must_be_signed() {
    let date = format!("Date: {DATE}");
    let line = format!("date: {DATE}");
    let config = "{enforce_headers: [Date, '@request-target']}";
    is_refused(
        config,
        &get(&[&date, &signed("hmac-sha1", "date", &line)]),
        UNVERIFIABLE,
    );
    let text = format!("{line}\n@request-target: get /requests");
    passes(
        config,
        &get(&[&date, &signed("hmac-sha1", "date @request-target", &text)]),
    );
}

#[test]
fn bodies_are_what_their_digest_says() {
    let date = format!("Date: {DATE}");
    let good = signed("hmac-sha256", "date", &format!("date: {DATE}"));
    let config = "{validate_request_body: true}";
    let of_hello = format!("Digest: SHA-256={}", base64(&signed::sha256(b"hello")));
    let of_nothing = format!("Digest: SHA-256={}", base64(&signed::sha256(b"")));
    let md5 = "Digest: MD5=XUFAKrxLKna5cZ2REBfFkg==";
    for (digest, body, is_fine) in [
        (&*of_hello, "hello", true),
        (&*of_hello.replace("SHA", "sha"), "hello", true),
        (
            &*of_hello.replace("Digest: ", "Digest: md5=x, "),
            "hello",
            true,
        ),
        (&*of_hello, "Hello", false),
        (&*of_hello, "", false),
        (&*of_nothing, "", true),
        (&*of_nothing, "hello", false),
        ("X: 1", "", true),
        ("X: 1", "hello", false),
        (md5, "hello", false),
        ("Digest: SHA-256=", "hello", false),
        ("Digest:", "", false),
        (&*format!("{of_hello}\n{of_nothing}"), "hello", false),
    ] {
        let request = get(&[&date, &good, digest, "", body]);
        if is_fine {
            let sent = send(config, &request).sent.unwrap();
            assert_eq!(sent.body, body.as_bytes());
        } else {
            is_refused(config, &request, MISMATCH);
        }
    }
    let long = "x".repeat(LIMIT + 1);
    assert_eq!(send(config, &get(&[&date, &good, "", &long])).status, 413);
    // Nobody makes us read a body without a signature.
    let wrong = good.replace("\"date\"", "\"x\"");
    is_refused(config, &get(&[&date, &wrong, "", &long]), MISMATCH);
}

#[test]
fn proxy_authorization_comes_first_and_both_may_be_hidden() {
    let date = format!("Date: {DATE}");
    let good = signed("hmac-sha256", "date", &format!("date: {DATE}"));
    let proxy = format!("Proxy-{good}");
    let basic = "Authorization: Basic YTpi";
    let request = get(&[&date, basic, &proxy]);
    let answer = send("{hide_credentials: true}", &request);
    assert_eq!(answer.upstream("Proxy-Authorization"), None);
    assert_eq!(answer.upstream("Authorization"), Some("Basic YTpi"));
    // What is no signature there lets the other one count.
    let request = get(&[&date, &good, "Proxy-Authorization: hmac x"]);
    let answer = send("{hide_credentials: true}", &request);
    assert_eq!(answer.upstream("Proxy-Authorization"), None);
    assert_eq!(answer.upstream("Authorization"), None);
    // One that is wrong decides.
    let wrong = proxy.replace("alice123", "bob");
    is_refused("{}", &get(&[&date, &good, &wrong]), UNVERIFIABLE);
}

#[test]
fn anonymous_clients_are_let_in_as_such() {
    let date = format!("Date: {DATE}");
    let good = signed("hmac-sha256", "date", &format!("date: {DATE}"));
    let config = "{anonymous: nobody, hide_credentials: true, validate_request_body: true}";
    let body = [&date, &good, "", "unsaid"];
    for request in [get(&[]), get(&[&good]), get(&body)] {
        let answer = send(config, &request);
        assert_eq!(answer.upstream("X-Consumer-Username"), Some("nobody"));
        assert_eq!(answer.upstream("X-Anonymous-Consumer"), Some("true"));
        assert_eq!(answer.upstream("Authorization"), None);
    }
    let answer = send(config, &get(&[&date, &good]));
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
    assert_eq!(answer.upstream("X-Anonymous-Consumer"), None);
}

#[test]
fn random_secrets_and_bytes_agree_with_the_text_as_a_whole() {
    let mut random = [0; 64];
    rand::fill(&mut random).unwrap();
    for length in 0..random.len() {
        let value: String = random[..length]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let field = signed(
            "hmac-sha512",
            "x-v date",
            &format!("x-v: {value}\ndate: {DATE}"),
        );
        passes(
            "{}",
            &get(&[&format!("X-V: {value}"), &format!("Date: {DATE}"), &field]),
        );
    }
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{clock_skew: 0}",
            "clock_skew: value must be greater than 0",
        ),
        ("{clock_skew: soon}", "clock_skew: expected a number"),
        ("{algorithms: []}", "algorithms: length must be at least 1"),
        (
            "{algorithms: [md5]}",
            "algorithms[0]: expected one of: hmac-sha1, hmac-sha256",
        ),
        (
            "{enforce_headers: ['a b']}",
            "enforce_headers[0]: bad header name 'a b'",
        ),
        (
            "{enforce_headers: date}",
            "enforce_headers: expected an array",
        ),
        (
            "{validate_request_body: 1}",
            "validate_request_body: expected a boolean",
        ),
        ("{realm: ''}", "realm: length must be at least 1"),
        ("{skew: 1}", "skew: unknown field"),
    ] {
        let found = issues(&[&PLUGIN], &file(config));
        let errors: Vec<&String> = found
            .iter()
            .filter(|line| line.contains(" error: "))
            .collect();
        assert!(errors[0].starts_with("f:8:"), "{found:?}");
        let want = format!("error: plugins[0].config.{want}");
        assert!(errors[0].contains(&want), "{found:?}");
    }
}

#[test]
fn what_anybody_may_change_is_warned_of() {
    let warnings = |config: &str| {
        let found = issues(&[&PLUGIN], &file(config));
        found
            .iter()
            .filter(|line| line.contains("warning: plugins[0].config"))
            .count()
    };
    for (config, count) in [
        ("{}", 1),
        ("{enforce_headers: [Date]}", 0),
        ("{enforce_headers: [x-date, request-line]}", 0),
        ("{enforce_headers: [date], validate_request_body: true}", 1),
        (
            "{enforce_headers: [date, digest], validate_request_body: true}",
            0,
        ),
        ("{validate_request_body: true}", 2),
    ] {
        assert_eq!(warnings(config), count, "{config}");
    }
}

#[test]
fn wrong_credentials_are_refused() {
    for (row, want) in [
        (
            "{secret: s}",
            "error: consumers[0].hmacauth_credentials[0].username: required field missing",
        ),
        (
            "{username: u, secret: 5}",
            "hmacauth_credentials[0].secret: expected a string",
        ),
        (
            "{username: u}",
            "warning: consumers[0].hmacauth_credentials[0]: no 'secret'",
        ),
        (
            "{username: 'a\"b', secret: s}",
            "warning: consumers[0].hmacauth_credentials[0].username: no client",
        ),
        (
            "{username: u, secret: s}, {username: u, secret: t}",
            "already declared",
        ),
    ] {
        let text = format!("consumers: [{{username: a, hmacauth_credentials: [{row}]}}]");
        let found = issues(&[&PLUGIN], &text);
        assert!(found[0].contains(want), "{found:?}");
    }
}
