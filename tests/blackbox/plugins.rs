//! Plugins on the wire.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use crate::support::{Gateway, Request, Response, Upstream, gateway};

/// The file that started it all, upstreams moved to where a test has them.
const OWNERS: &str = "
services:
  - name: user-service
    url: http://<users>
    routes:
      - name: user-route
        paths:
          - /api/users
        strip_path: false
  - name: order-service
    url: http://<orders>
    routes:
      - name: order-route
        paths:
          - /api/orders
plugins:
  - name: rate-limiting
    config:
      minute: 100
      policy: local
  - name: jwt
  - name: cors
";

const CONSUMERS: &str = "
consumers:
  - username: alice
    custom_id: a-1
    jwt_secrets: [{key: alice-key, secret: alice-secret}]
";

fn token(secret: &str, claims: serde_json::Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    format!("Bearer {token}")
}

fn good() -> Request {
    let token = token("alice-secret", json!({"iss": "alice-key"}));
    Request::get("/api/users/1").header("Authorization", &token)
}

fn owners(consumers: &str, upstream: &Upstream) -> Gateway {
    let config = format!("{OWNERS}{consumers}");
    let setup = gateway(&config).fill("users", upstream);
    setup.fill("orders", upstream).start()
}

/// An answer that a plugin built.
#[track_caller]
fn is_plain(response: &Response, status: u16, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.text(), json!({"message": message}).to_string());
}

#[test]
fn with_consumers_a_token_opens_the_door() {
    let upstream = Upstream::saying("hello");
    let gateway = owners(CONSUMERS, &upstream);
    let response = gateway.send(good());
    assert_eq!(response.text(), "hello");
    let seen = upstream.only();
    assert_eq!(seen.target(), "/api/users/1");
    assert_eq!(seen.header("x-consumer-username"), Some("alice"));
    assert_eq!(seen.header("x-consumer-custom-id"), Some("a-1"));
    assert_eq!(seen.header("x-credential-identifier"), Some("alice-key"));
    assert!(seen.header("x-consumer-id").is_some());
    assert!(seen.header("authorization").is_some());
    for (secret, claims, message) in [
        ("wrong", json!({"iss": "alice-key"}), "Invalid signature"),
        (
            "alice-secret",
            json!({"iss": "bob"}),
            "No credentials found for given 'iss'",
        ),
        ("alice-secret", json!({}), "No mandatory 'iss' in claims"),
    ] {
        let token = token(secret, claims);
        let request = Request::get("/api/users").header("Authorization", &token);
        is_plain(&gateway.send(request), 401, message);
    }
    let request = Request::get("/api/users").header("Authorization", "Bearer x.y.z");
    is_plain(&gateway.send(request), 401, "Bad token; invalid JSON");
}

fn minute() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() / 60
}

#[test]
fn the_101st_request_of_a_minute_is_refused() {
    let upstream = Upstream::saying("hello");
    // All in one calendar window: begin again when a minute ended meanwhile.
    loop {
        let begin = minute();
        let gateway = owners(CONSUMERS, &upstream);
        // Over several connections, so over several workers.
        let mut conns: Vec<_> = (0..8).map(|_| gateway.connect()).collect();
        let answers: Vec<Response> = (0..101).map(|n| conns[n % 8].ask(&good())).collect();
        if minute() != begin {
            continue;
        }
        for (n, response) in answers[..100].iter().enumerate() {
            let left = (99 - n).to_string();
            assert_eq!(response.status, 200);
            assert_eq!(response.header("x-ratelimit-limit-minute"), Some("100"));
            let remaining = response.header("x-ratelimit-remaining-minute");
            assert_eq!(remaining, Some(left.as_str()));
            assert_eq!(response.header("ratelimit-limit"), Some("100"));
            assert_eq!(response.header("ratelimit-remaining"), Some(left.as_str()));
        }
        let last = &answers[100];
        assert_eq!(last.status, 429);
        assert_eq!(last.message(), "API rate limit exceeded");
        assert_eq!(last.header("ratelimit-remaining"), Some("0"));
        let reset = last.header("ratelimit-reset").unwrap();
        assert!((1..=60).contains(&reset.parse::<u64>().unwrap()), "{reset}");
        assert_eq!(last.header("retry-after"), Some(reset));
        return;
    }
}

#[test]
fn expired_tokens_are_told_so() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}],
  plugins: [{name: jwt, config: {claims_to_verify: [exp, nbf], uri_param_names: [token],
    cookie_names: [session]}}]}]
consumers: [{username: a, jwt_secrets: [{key: k, secret: s}]}]";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config).fill("up", &upstream).start();
    let ask = |claims| {
        let token = token("s", claims);
        gateway.send(Request::get("/").header("Authorization", &token))
    };
    let response = ask(json!({"iss": "k", "exp": 1, "nbf": 1}));
    assert_eq!(response.status, 401);
    assert_eq!(response.text(), "{\"exp\":\"token expired\"}");
    let fine = json!({"iss": "k", "exp": 4_000_000_000_u64, "nbf": 1});
    assert_eq!(ask(fine.clone()).text(), "hello");
    // Other carriers.
    let token = token("s", fine).split_off(7);
    assert_eq!(gateway.get(&format!("/?token={token}")).text(), "hello");
    let cookie = format!("a=b; session={token}");
    let request = Request::get("/").header("Cookie", &cookie);
    assert_eq!(gateway.send(request).text(), "hello");
}

#[test]
fn keys_come_in_headers_queries_and_bodies() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: key-auth,
  config: {key_in_body: true, hide_credentials: true, key_names: [apikey, x-key]}}]}]
consumers: [{username: a, keyauth_credentials: [{key: open-sesame}]}]";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config).fill("up", &upstream).start();
    let form = Request::post("/", "a=b&apikey=open-sesame")
        .header("Content-Type", "application/x-www-form-urlencoded");
    let json = Request::post("/", r#"{"a":1,"apikey":"open-sesame"}"#)
        .header("Content-Type", "application/json");
    for request in [
        Request::get("/").header("apikey", "open-sesame"),
        Request::get("/").header("X-Key", "open-sesame"),
        Request::get("/?a=b&apikey=open-sesame"),
        form,
        json,
    ] {
        let response = gateway.send(request);
        assert_eq!(response.text(), "hello", "{response:?}");
        let seen = upstream.last();
        assert_eq!(seen.header("x-consumer-username"), Some("a"));
        assert_eq!(seen.header("apikey"), None);
        assert!(!format!("{seen:?}").contains("open-sesame"));
        assert!(!String::from_utf8_lossy(&seen.body).contains("open-sesame"));
    }
    let response = gateway.get("/");
    is_plain(&response, 401, "No API key found in request");
    assert_eq!(response.header("www-authenticate"), Some("Key"));
    let request = Request::get("/").header("apikey", "other");
    is_plain(&gateway.send(request), 401, "Unauthorized");
    let request = Request::get("/")
        .header("apikey", "a")
        .header("apikey", "b");
    is_plain(&gateway.send(request), 401, "Duplicate API key found");
}

#[test]
fn a_correlation_id_is_made_kept_and_echoed() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/there']}]}]
plugins: [{name: correlation-id, config: {header_name: X-Id, generator: uuid,
  echo_downstream: true}}]";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config).fill("up", &upstream).start();
    let response = gateway.get("/there");
    let id = response.header("x-id").unwrap().to_owned();
    assert_eq!(id.len(), 36, "{id}");
    assert_eq!(upstream.last().header("x-id"), Some(id.as_str()));
    let response = gateway.send(Request::get("/there").header("X-Id", "mine"));
    assert_eq!(response.header("x-id"), Some("mine"));
    assert_eq!(upstream.last().header("x-id"), Some("mine"));
    assert!(gateway.get("/nowhere").header("x-id").is_some());
}

#[test]
fn request_termination_answers_itself() {
    let config = "
routes:
  - {paths: [/gone], plugins: [{name: request-termination, config: {status_code: 410,
      message: so long}}]}
  - {paths: [/default], plugins: [{name: request-termination}]}
  - {paths: [/body], plugins: [{name: request-termination, config: {status_code: 200,
      content_type: text/html, body: '<p>hi'}}]}
  - {paths: [/trigger], plugins: [{name: request-termination, config: {trigger: x-stop}}]}";
    let gateway = gateway(config).start();
    is_plain(&gateway.get("/gone"), 410, "so long");
    is_plain(&gateway.get("/default"), 503, "Service unavailable");
    let response = gateway.get("/body");
    assert_eq!((response.status, response.text().as_str()), (200, "<p>hi"));
    assert_eq!(response.header("content-type"), Some("text/html"));
    let unstopped = gateway.get("/trigger");
    unstopped.is_error(503, "no Service found with those values");
    let stopped = gateway.send(Request::get("/trigger").header("X-Stop", "1"));
    is_plain(&stopped, 503, "Service unavailable");
    is_plain(
        &gateway.get("/trigger?x-stop=1"),
        503,
        "Service unavailable",
    );
}

#[test]
fn the_most_specific_instance_is_the_one() {
    let config = "
services:
  - url: http://<up>
    plugins: [{name: request-termination, config: {status_code: 401}}]
    routes:
      - {paths: [/service]}
      - {paths: [/route], plugins: [{name: request-termination, config: {status_code: 404}}]}
routes: [{paths: [/global]}]
plugins: [{name: request-termination, config: {status_code: 500}}]";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config).fill("up", &upstream).start();
    for (path, status) in [("/service", 401), ("/route", 404), ("/global", 500)] {
        assert_eq!(gateway.get(path).status, status, "{path}");
    }
}
