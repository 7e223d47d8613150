//! The owner's file: it loads as it is, and with consumers beside it does its job.

use aws_lc_rs::hmac;

use crate::support::{Gateway, Request, Response, Upstream, gateway};

/// As the owner wrote it.
const OWNER: &str = r#"
services:
  - name: user-service
    url: http://user-service:3000
    routes: [{name: user-route, paths: ["/api/users"], strip_path: false}]
  - name: order-service
    url: http://order-service:8000
    routes: [{name: order-route, paths: ["/api/orders"], strip_path: false}]
plugins:
  - {name: rate-limiting, config: {minute: 100}}
  - name: jwt
  - name: cors
"#;

const CONSUMERS: &str = r#"
consumers:
  - username: mobile
    jwt_secrets: [{key: mobile-iss, secret: a-secret-of-some-length}]
"#;

/// The owner's file with an upstream that exists and somebody to let in.
fn open(upstream: &Upstream) -> Gateway {
    let there = OWNER
        .replace("user-service:3000", "<up>")
        .replace("order-service:8000", "<up>");
    gateway(&(there + CONSUMERS)).fill("up", upstream).start()
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}

fn token(issuer: &str, secret: &str) -> String {
    let head = base64url(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = base64url(format!(r#"{{"iss":"{issuer}"}}"#).as_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = format!("{head}.{claims}");
    format!(
        "{signed}.{}",
        base64url(hmac::sign(&key, signed.as_bytes()).as_ref())
    )
}

fn with_token(target: &str) -> Request {
    let token = token("mobile-iss", "a-secret-of-some-length");
    Request::get(target).header("Authorization", &format!("Bearer {token}"))
}

fn refused(response: &Response, message: &str) {
    assert_eq!(response.status, 401);
    assert_eq!(response.text(), format!(r#"{{"message":"{message}"}}"#));
}

#[test]
fn it_loads_verbatim_and_lets_nobody_in() {
    let gateway = gateway(OWNER).start();
    let bare = gateway.get("/api/users");
    refused(&bare, "Unauthorized");
    assert_eq!(bare.header("www-authenticate"), Some("Bearer"));
    assert_eq!(bare.header("access-control-allow-origin"), Some("*"));
    refused(
        &gateway.send(with_token("/api/orders")),
        "No credentials found for given 'iss'",
    );
    gateway
        .get("/elsewhere")
        .is_error(404, "no Route matched with those values");
}

#[test]
fn a_known_token_passes_and_the_upstream_learns_who_it_is() {
    let upstream = Upstream::echo();
    let gateway = open(&upstream);
    let response = gateway.send(with_token("/api/users/7").header("Origin", "https://x.example"));
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("x-ratelimit-limit-minute"), Some("100"));
    let seen = upstream.only();
    assert_eq!(seen.target(), "/api/users/7");
    assert_eq!(seen.header("x-consumer-username"), Some("mobile"));
    assert_eq!(seen.header("x-credential-identifier"), Some("mobile-iss"));
    let forged = token("mobile-iss", "another-secret-altogether");
    let forged = Request::get("/api/users").header("Authorization", &format!("Bearer {forged}"));
    refused(&gateway.send(forged), "Invalid signature");
}

/// The window is the clock's minute: where one ends in between, the count begins anew once.
#[test]
fn the_101st_request_of_a_minute_is_one_too_many() {
    let upstream = Upstream::echo();
    let gateway = open(&upstream);
    let mut passed = 0;
    let last = loop {
        let response = gateway.send(with_token("/api/orders"));
        if response.status != 200 {
            break response;
        }
        passed += 1;
        assert!(passed <= 200, "nobody is refused");
    };
    assert!(passed >= 100, "refused after {passed}");
    assert_eq!(last.status, 429);
    assert_eq!(last.header("x-ratelimit-remaining-minute"), Some("0"));
    assert_eq!(last.header("ratelimit-limit"), Some("100"));
    assert_eq!(last.header("ratelimit-remaining"), Some("0"));
    let wait: u64 = last.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(last.header("ratelimit-reset"), last.header("retry-after"));
    assert_eq!(last.message(), "API rate limit exceeded");
    assert_eq!(last.header("access-control-allow-origin"), Some("*"));
}

#[test]
fn a_preflight_needs_no_token_and_reaches_nobody() {
    let upstream = Upstream::echo();
    let gateway = open(&upstream);
    let preflight = Request::new("OPTIONS", "/api/users")
        .header("Origin", "https://x.example")
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "X-One");
    let response = gateway.send(preflight);
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        response.header("access-control-allow-headers"),
        Some("X-One")
    );
    let methods = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
    assert_eq!(
        response.header("access-control-allow-methods"),
        Some(methods)
    );
    assert!(upstream.requests().is_empty());
}

#[test]
fn the_demonstration_keeps_its_word() {
    let gateway = gateway(include_str!("../../gateway.yaml")).demo().start();
    assert_eq!(gateway.get("/api/users").status, 401);
    let open = gateway.get("/api/products/42");
    assert_eq!(open.status, 200);
    assert_eq!(open.json()["path"], "/42");
    let keyed =
        gateway.send(Request::get("/api/products/42").header("apikey", "demo-key-change-me"));
    assert_eq!(keyed.json()["headers"]["x-consumer-username"], "demo-app");
    assert_eq!(keyed.json()["headers"].get("apikey"), None);
    let secret = "for-the-demo-only-change-me";
    let expired = token("demo-app", secret);
    let expired = Request::get("/api/users").header("Authorization", &format!("Bearer {expired}"));
    assert_eq!(
        gateway.send(expired).text(),
        r#"{"exp":"must be a number"}"#
    );
    gateway.get("/api/v0").message();
}
