//! The steps of an exchange without any IO: what a route's chain of plugins adds to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sluicegate::gateway::Exchange;
use sluicegate::http1::parse;
use sluicegate::message::{BodyError, RequestBody};
use sluicegate::plugin::Outcome;

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

/// From the bytes of a head to the written log, the upstream left out.
fn steps(ex: &mut Exchange, worker: &sluicegate::gateway::Worker, request: &[u8]) {
    let conn = common::conn();
    ex.clear();
    ex.request.headers.raw.extend_from_slice(request);
    parse::request(&mut ex.request, &mut 0, &worker.policy.limits).unwrap();
    ex.begin(worker, &conn).unwrap();
    ex.find_route(&conn).unwrap();
    assert!(now(ex.admit(&conn, &mut NoBody)).unwrap().is_none());
    assert!(now(ex.gate(&conn, &mut NoBody)).unwrap().is_none());
    ex.response.headers.raw.extend_from_slice(common::ANSWER);
    parse::response(&mut ex.response, &mut 0, "GET").unwrap();
    ex.upstream_head();
    assert!(ex.outcome(Outcome::Status(200), true).is_none());
    assert!(ex.respond(worker, &conn).is_pass());
    ex.end(worker, &conn);
}

/// Plugins one by one, each asked with [`common::guarded`].
const SINGLE: [(&str, &str); 5] = [
    ("guarded, no plugins", ""),
    ("guarded, cors", "plugins: [{name: cors}]\n"),
    (
        "guarded, key-auth",
        "plugins: [{name: key-auth}]\nconsumers: [{username: c, keyauth_credentials: [{key: k}]}]\n",
    ),
    (
        "guarded, jwt",
        "plugins: [{name: jwt}]\nconsumers: [{username: c, jwt_secrets: [{key: issuer, secret: secret-of-the-issuer}]}]\n",
    ),
    (
        "guarded, rate-limiting",
        "plugins: [{name: rate-limiting, config: {minute: 1000000000}}]\n",
    ),
];

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
    cases.extend(SINGLE.map(|(name, more)| (name, more, common::guarded())));
    cases.push(("owner's chain", common::OWNERS, common::guarded()));
    cases.push(("six plugins", common::PLUGINS, common::guarded()));
    common::run(async {
        for (name, more, request) in cases {
            let worker = common::worker(&common::config(upstream, more));
            let mut ex = Exchange::default();
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
