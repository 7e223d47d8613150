//! The steps of an exchange without any IO: what a route's chain of plugins adds to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aws_lc_rs::hmac;
use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate::gateway::{Exchange, Worker};
use sluicegate::http1::parse;
use sluicegate::message::{BodyError, RequestBody};
use sluicegate::plugin::Outcome;
use sluicegate::remote::ship::Shippers;
use sluicegate::telemetry::Metrics;
use sluicegate::tls::client::TlsClients;
use sluicegate::util::base64::encode_url;
use sluicegate::util::handles::Handles;

/// A request without a body.
struct NoBody;

impl RequestBody for NoBody {
    fn poll_collect(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<(), BodyError>> {
        Poll::Ready(Ok(()))
    }

    fn collected(&self) -> Option<&[u8]> {
        Some(&[])
    }

    fn replace(&mut self, _: Vec<u8>) {}

    fn limit(&mut self, _: u64) {}
}

/// What never waits is done at its first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("waits"),
    }
}

/// From the bytes of a head to the written log, the upstream left out. Whether a plugin answered.
fn steps(ex: &mut Exchange, worker: &Worker, request: &[u8]) -> bool {
    let conn = common::conn();
    ex.clear();
    ex.request.headers.raw.extend_from_slice(request);
    parse::request(&mut ex.request, &mut 0, &worker.policy.limits).unwrap();
    ex.begin(worker, &conn).unwrap();
    ex.find_route(&conn).unwrap();
    let mut reply = now(ex.admit(&conn, &mut NoBody)).unwrap();
    if reply.is_none() {
        reply = now(ex.gate(&conn, &mut NoBody)).unwrap();
    }
    let answered = reply.is_some();
    match reply {
        Some(reply) => {
            ex.answer(&reply);
            let _ = ex.respond(worker, &conn);
        }
        None => {
            ex.response.headers.raw.extend_from_slice(common::ANSWER);
            parse::response(&mut ex.response, &mut 0, "GET").unwrap();
            ex.upstream_head();
            assert!(ex.outcome(Outcome::Status(200), true).is_none());
            let _ = ex.respond(worker, &conn);
        }
    }
    ex.end(worker, &conn);
    answered
}

/// Plugins one by one, each asked with [`common::guarded`].
const SINGLE: [(&str, &str); 18] = [
    ("no plugins", ""),
    ("cors", "plugins: [{name: cors}]"),
    ("key-auth", "plugins: [{name: key-auth}]"),
    ("jwt", "plugins: [{name: jwt}]"),
    (
        "key-auth and acl",
        "plugins: [{name: key-auth}, {name: acl, config: {allow: [users]}}]",
    ),
    (
        "ip-restriction",
        "plugins: [{name: ip-restriction, config: {deny: [192.0.2.0/24]}}]",
    ),
    ("bot-detection", "plugins: [{name: bot-detection}]"),
    (
        "rate-limiting",
        "plugins: [{name: rate-limiting, config: {minute: 1000000000}}]",
    ),
    (
        "request-size-limiting",
        "plugins: [{name: request-size-limiting}]",
    ),
    ("correlation-id", "plugins: [{name: correlation-id}]"),
    ("prometheus", "plugins: [{name: prometheus}]"),
    (
        "request-transformer",
        "plugins: [{name: request-transformer, config: {add: {headers: ['X-Of:$(headers.host)'], querystring: ['v:1']}}}]",
    ),
    (
        "response-transformer",
        "plugins: [{name: response-transformer, config: {add: {headers: ['X-Of:us']}, remove: {headers: [server]}}}]",
    ),
    (
        "file-log",
        "plugins: [{name: file-log, config: {path: /dev/null}}]",
    ),
    (
        "request-termination",
        "plugins: [{name: request-termination, config: {status_code: 200}}]",
    ),
    (
        "redirect",
        "plugins: [{name: redirect, config: {location: 'https://other.example.com'}}]",
    ),
    ("basic-auth", "plugins: [{name: basic-auth}]"),
    (
        "hmac-auth",
        "plugins: [{name: hmac-auth, config: {clock_skew: 4000000000}}]",
    ),
];

/// Those of them that spare the upstream.
const ANSWER: [&str; 2] = ["redirect", "request-termination"];

/// Whom the plugins know.
const CONSUMER: &str = "
consumers:
- username: c
  acls: [{group: users}]
  keyauth_credentials: [{key: k}]
  jwt_secrets: [{key: issuer, secret: secret-of-the-issuer}]
  basicauth_credentials: [{username: c, password: open-sesame}]
  hmacauth_credentials: [{username: c, secret: secret-of-c}]
";

/// [`common::guarded`], or with what one of these plugins asks for instead of a token.
fn asked(plugin: &str) -> Vec<u8> {
    let proof = match plugin {
        "basic-auth" => format!("Basic {}", encode_url(b"c:open-sesame")),
        "hmac-auth" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret-of-c");
            let signature =
                encode_url(hmac::sign(&key, format!("date: {DATE}").as_bytes()).as_ref());
            format!(
                "hmac username=\"c\", algorithm=\"hmac-sha256\", headers=\"date\", signature=\"{signature}\""
            )
        }
        _ => return common::guarded(),
    };
    let mut request = common::REQUEST[..common::REQUEST.len() - 2].to_vec();
    request.extend_from_slice(format!("Date: {DATE}\r\nAuthorization: {proof}\r\n\r\n").as_bytes());
    request
}

const DATE: &str = "Tue, 15 Nov 2022 08:12:31 GMT";

/// A file that knows an RSA key, and a request with a token signed by it.
fn rsa() -> (String, Vec<u8>) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    let claims = serde_json::json!({"iss": "rsa", "exp": 4_000_000_000_u64});
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    let public = serde_json::to_string(&pair.public_key_pem()).unwrap();
    let more = format!(
        "plugins: [{{name: jwt}}]\nconsumers:\n- username: c\n  jwt_secrets:\n  - {{key: rsa, algorithm: RS256, rsa_public_key: {public}}}\n"
    );
    let mut request = common::REQUEST[..common::REQUEST.len() - 2].to_vec();
    request.extend_from_slice(format!("Authorization: Bearer {token}\r\n\r\n").as_bytes());
    (more, request)
}

fn plan(c: &mut Criterion) {
    let upstream = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let plain = || common::REQUEST.to_vec();
    let (rsa, signed) = rsa();
    let mut cases = vec![
        ("no plugins", "", plain()),
        ("a closed breaker", common::BREAKER, plain()),
        ("a repeated RS256 token, no plugins", "", signed.clone()),
        ("a repeated RS256 token", &rsa, signed),
    ];
    let single = SINGLE.map(|(name, plugin)| {
        (
            format!("guarded, {name}"),
            format!("{plugin}{CONSUMER}"),
            asked(name),
        )
    });
    cases.extend(
        single
            .iter()
            .map(|(name, more, request)| (name.as_str(), more.as_str(), request.clone())),
    );
    cases.push(("owner's chain", common::OWNERS, common::guarded()));
    cases.push(("six plugins", common::PLUGINS, common::guarded()));
    // Records are written by a thread of their own, as in the program.
    let behind = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let tls = TlsClients::new().unwrap();
    let mut handles = Handles::default();
    handles.offer(Shippers::new(behind.handle().clone(), Metrics::new(1), tls));
    common::run(async {
        for (name, more, request) in cases {
            let worker = common::worker_with(&common::config(upstream, more), &handles);
            let mut ex = Exchange::default();
            let answers = ANSWER.iter().any(|plugin| name.ends_with(plugin));
            assert_eq!(steps(&mut ex, &worker, &request), answers, "{name}");
            c.bench_function(&format!("steps/{name}"), |b| {
                b.iter(|| steps(&mut ex, &worker, &request));
            });
        }
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = plan
}
criterion_main!(benches);
