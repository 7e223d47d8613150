//! Plugins that ask who the client is, and those that judge by the answer, on the wire.

use std::process::Output;

use serde_json::json;

use crate::support::grpc::{Fed, Messages, Server, message, unary};
use crate::support::h2::{Whole, connect, request, whole};
use crate::support::sign::{basic, date, digest, signature};
use crate::support::{Gateway, Request, Response, Upstream, command, gateway};

/// An answer that a plugin built.
#[track_caller]
fn is_plain(response: &Response, status: u16, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.text(), json!({"message": message}).to_string());
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
}

fn started(config: &str, upstream: &Upstream) -> Gateway {
    gateway(config).fill("up", upstream).start()
}

fn with(authorization: &str) -> Request {
    Request::get("/").header("Authorization", authorization)
}

const BASIC: &str = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: basic-auth,
  config: {hide_credentials: true}}]}]
consumers:
- {username: alice, custom_id: a-1, basicauth_credentials: [{username: al, password: 's3:cret'}]}
- {username: bob, basicauth_credentials: [{username: bö, password: pä}]}";

#[test]
fn passwords_open_the_door() {
    let upstream = Upstream::saying("hello");
    let gateway = started(BASIC, &upstream);
    let answer = gateway.send(with(&basic("al", "s3:cret")));
    assert_eq!(answer.text(), "hello");
    let seen = upstream.last();
    assert_eq!(seen.header("x-consumer-username"), Some("alice"));
    assert_eq!(seen.header("x-consumer-custom-id"), Some("a-1"));
    assert_eq!(seen.header("x-credential-identifier"), Some("al"));
    assert_eq!(seen.header("x-consumer-id").map(str::len), Some(36));
    assert_eq!(seen.header("authorization"), None);
    let umlaut = basic("bö", "pä").replace("Basic", "basic");
    assert_eq!(gateway.send(with(&umlaut)).text(), "hello");
    assert_eq!(upstream.last().header("x-consumer-username"), Some("bob"));
    let by_proxy = Request::get("/")
        .header("Proxy-Authorization", &basic("al", "s3:cret"))
        .header("Authorization", "Bearer upstream's");
    assert_eq!(gateway.send(by_proxy).text(), "hello");
    let seen = upstream.last();
    assert_eq!(seen.header("proxy-authorization"), None);
    assert_eq!(seen.header("authorization"), Some("Bearer upstream's"));
    let count = upstream.requests().len();
    for wrong in [
        basic("al", "s3"),
        basic("alice", "s3:cret"),
        basic("", "s3:cret"),
        "Basic".to_owned(),
        "Basic &".to_owned(),
        "Bearer x".to_owned(),
    ] {
        let answer = gateway.send(with(&wrong));
        is_plain(&answer, 401, "Unauthorized");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Basic realm=\"service\""));
    }
    is_plain(&gateway.get("/"), 401, "Unauthorized");
    assert_eq!(upstream.requests().len(), count);
}

#[test]
fn passwords_as_kong_stores_them() {
    let config = "
_transform: false
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: basic-auth}]}]
consumers:
- username: alice
  id: 0f5a5d0e-9a9e-4d4e-8c0f-2a8f5a9a1c11
  basicauth_credentials: [{username: al, password: <hash>}]";
    // SHA-1 of `s3cret` and the consumer's id.
    let hash = "872f9d7fb927ceb94de13ccb1172206acc2bbb79";
    let upstream = Upstream::saying("hello");
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.fill("hash", hash).start();
    assert_eq!(gateway.send(with(&basic("al", "s3cret"))).text(), "hello");
    assert_eq!(gateway.send(with(&basic("al", hash))).status, 401);
    assert_eq!(gateway.send(with(&basic("al", "other"))).status, 401);
}

const HMAC: &str = "
services:
- url: http://<up>
  routes:
  - {name: plain, paths: [/plain], plugins: [{name: hmac-auth, config: {realm: r}}]}
  - {name: strict, paths: [/strict], plugins: [{name: hmac-auth, config: {clock_skew: 30,
      algorithms: [hmac-sha512], enforce_headers: [date, '@request-target', digest],
      validate_request_body: true, hide_credentials: true}}]}
consumers: [{username: alice, hmacauth_credentials: [{username: al, secret: s3cret}]}]";

#[test]
fn signatures_open_the_door() {
    let upstream = Upstream::saying("hello");
    let gateway = started(HMAC, &upstream);
    let date = date(0);
    for algorithm in ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"] {
        for (headers, text) in [
            ("date", format!("date: {date}")),
            ("request-line", "GET /plain/a//b?q=%20 HTTP/1.1".to_owned()),
            (
                "date @request-target host",
                format!("date: {date}\n@request-target: get /plain/a//b?q=%20\nhost: h.test"),
            ),
            ("x-none date", format!("x-none:\ndate: {date}")),
        ] {
            let signed = signature("al", "s3cret", algorithm, headers, &text);
            let request = Request::get("/plain/a//b?q=%20").header("Host", "h.test");
            let request = request
                .header("Date", &date)
                .header("Authorization", &signed);
            let answer = gateway.send(request);
            assert_eq!(answer.text(), "hello", "{algorithm} {headers}: {answer:?}");
        }
    }
    let seen = upstream.last();
    assert_eq!(seen.header("x-consumer-username"), Some("alice"));
    assert_eq!(seen.header("x-credential-identifier"), Some("al"));
    assert!(seen.header("authorization").is_some());
}

#[test]
fn signatures_are_refused_in_words() {
    let upstream = Upstream::saying("hello");
    let gateway = started(HMAC, &upstream);
    let now = date(0);
    let signed = |secret, text: &str| signature("al", secret, "hmac-sha256", "date", text);
    let good = signed("s3cret", &format!("date: {now}"));
    let ask = |date: &str, authorization: &str| {
        let request = Request::get("/plain").header("Date", date);
        gateway.send(request.header("Authorization", authorization))
    };
    assert_eq!(ask(&now, &good).text(), "hello");
    let answer = gateway.get("/plain");
    is_plain(&answer, 401, "Unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some("hmac realm=\"r\""));
    let no_date = "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication";
    let (early, late) = (date(-400), date(400));
    let old = signed("s3cret", &format!("date: {early}"));
    is_plain(&ask(&early, &old), 401, no_date);
    is_plain(&ask(&late, &good), 401, no_date);
    is_plain(&ask("yesterday", &good), 401, no_date);
    let unverifiable = "HMAC signature cannot be verified";
    is_plain(&ask(&now, "hmac x"), 401, unverifiable);
    is_plain(
        &ask(&now, &good.replace("\"al\"", "\"eve\"")),
        401,
        unverifiable,
    );
    is_plain(
        &ask(&now, &good.replace("sha256", "md5")),
        401,
        unverifiable,
    );
    let wrong = signed("other", &format!("date: {now}"));
    is_plain(&ask(&now, &wrong), 401, "HMAC signature does not match");
    // A second header of the name is part of what was signed.
    let request = Request::get("/plain")
        .header("Date", &now)
        .header("Date", &now);
    let answer = gateway.send(request.header("Authorization", &good));
    is_plain(&answer, 401, "HMAC signature does not match");
}

#[test]
fn signatures_that_cover_the_body() {
    let upstream = Upstream::saying("hello");
    let gateway = started(HMAC, &upstream);
    let now = date(0);
    let of_body = digest("a body");
    let text = format!("date: {now}\n@request-target: post /strict\ndigest: {of_body}");
    let headers = "date @request-target digest";
    let signed = signature("al", "s3cret", "hmac-sha512", headers, &text);
    let post = |body: &str, date: &str, authorization: &str| {
        let request = Request::post("/strict", body).header("X-Date", date);
        let request = request.header("Date", &now).header("Digest", &of_body);
        gateway.send(request.header("Authorization", authorization))
    };
    let answer = post("a body", &now, &signed);
    assert_eq!(answer.text(), "hello", "{answer:?}");
    let seen = upstream.only();
    assert_eq!(seen.body, b"a body");
    assert_eq!(seen.header("authorization"), None);
    // Either date will do.
    assert_eq!(post("a body", &date(-100), &signed).text(), "hello");
    is_plain(
        &post("another", &now, &signed),
        401,
        "HMAC signature does not match",
    );
    let weaker = signature("al", "s3cret", "hmac-sha256", headers, &text);
    is_plain(
        &post("a body", &now, &weaker),
        401,
        "HMAC signature cannot be verified",
    );
    let less = signature(
        "al",
        "s3cret",
        "hmac-sha512",
        "date",
        &format!("date: {now}"),
    );
    is_plain(
        &post("a body", &now, &less),
        401,
        "HMAC signature cannot be verified",
    );
    // Chunked, in pieces, and longer than what is kept for a retry.
    let body = "x".repeat(200_000);
    let of_body = digest(&body);
    let text = format!("date: {now}\n@request-target: put /strict\ndigest: {of_body}");
    let signed = signature("al", "s3cret", "hmac-sha512", headers, &text);
    let mut conn = gateway.connect();
    conn.send(format!(
        "PUT /strict HTTP/1.1\r\nHost: h\r\nDate: {now}\r\nDigest: {of_body}\r\nAuthorization: {signed}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    for piece in body.as_bytes().chunks(30_000) {
        conn.send(format!("{:x}\r\n", piece.len()));
        conn.send(piece);
        conn.send("\r\n");
    }
    conn.send("0\r\n\r\n");
    assert_eq!(conn.response("PUT").text(), "hello");
    assert_eq!(upstream.last().body, body.as_bytes());
}

const GROUPS: &str = "
services:
- url: http://<up>
  plugins: [{name: key-auth}]
  routes:
  - {name: staff, paths: [/staff], plugins: [{name: acl, config: {allow: [staff, root]}}]}
  - {name: most, paths: [/most], plugins: [{name: acl, config: {deny: [blocked]}}]}
  - {name: quiet, paths: [/quiet], plugins: [{name: acl, config: {deny: [blocked],
      hide_groups_header: true}}]}
  - {name: open, paths: [/open], plugins: [{name: key-auth, config: {anonymous: guest}},
      {name: acl, config: {allow: [guests, staff]}}]}
  - {name: lone, paths: [/lone], plugins: [{name: key-auth, config: {anonymous: lone}},
      {name: acl, config: {allow: [staff]}}]}
- url: http://<up>
  routes: [{name: bare, paths: [/bare], plugins: [{name: acl, config: {allow: [staff]}}]}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann}], acls: [{group: staff}, {group: beta}]}
- {username: bob, keyauth_credentials: [{key: bob}], acls: [{group: blocked}]}
- {username: eve, keyauth_credentials: [{key: eve}]}
- {username: guest, acls: [{group: guests}]}
- {username: lone}";

#[test]
fn groups_are_let_in_or_kept_out() {
    let upstream = Upstream::saying("hello");
    let gateway = started(GROUPS, &upstream);
    for (path, key, status, told) in [
        ("/staff", "ann", 200, Some("staff, beta")),
        ("/staff", "bob", 403, None),
        ("/staff", "eve", 403, None),
        ("/most", "ann", 200, Some("staff, beta")),
        ("/most", "bob", 403, None),
        ("/most", "eve", 200, None),
        ("/quiet", "ann", 200, None),
        ("/open", "", 200, Some("guests")),
        ("/open", "ann", 200, Some("staff, beta")),
        ("/open", "bob", 403, None),
        ("/lone", "", 401, None),
        ("/bare", "ann", 401, None),
    ] {
        let request = Request::get(path).header("apikey", key);
        let answer = gateway.send(request.header("X-Consumer-Groups", "root"));
        match status {
            200 => {
                assert_eq!(answer.text(), "hello", "{path} {key}: {answer:?}");
                let seen = upstream.last();
                assert_eq!(seen.header("x-consumer-groups"), told, "{path} {key}");
            }
            401 => is_plain(&answer, 401, "Unauthorized"),
            _ => is_plain(&answer, 403, "You cannot consume this service"),
        }
    }
    // Groups change with the file.
    gateway.load(
        &GROUPS
            .replace("[{group: blocked}]", "[{group: root}]")
            .replace("<up>", &upstream.to_string()),
    );
    let answer = gateway.send(Request::get("/staff").header("apikey", "bob"));
    assert_eq!(answer.text(), "hello");
    assert_eq!(upstream.last().header("x-consumer-groups"), Some("root"));
}

#[test]
fn addresses_are_let_in_or_kept_out() {
    let config = "
services:
- url: http://<up>
  routes:
  - {paths: [/allow], plugins: [{name: ip-restriction, config: {
      allow: [10.0.0.0/8, 'fd00::/8', 127.0.0.1], deny: [10.1.0.0/16]}}]}
  - {paths: [/deny], plugins: [{name: ip-restriction, config: {deny: [10.0.0.1],
      status: 451, message: not here}}]}
  - {paths: [/mapped], plugins: [{name: ip-restriction, config: {deny: ['::ffff:10.0.0.0/104']}}]}
  - {paths: [/ann], plugins: [{name: key-auth}]}
consumers:
- username: ann
  keyauth_credentials: [{key: ann}]
  plugins: [{name: ip-restriction, config: {allow: [10.0.0.1]}}]
- {username: bob, keyauth_credentials: [{key: bob}]}";
    let upstream = Upstream::saying("hello");
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.flag("--trusted-ips", "127.0.0.1").start();
    let ask = |path: &str, address: &str| {
        let request = Request::get(path).header("X-Real-IP", address);
        gateway.send(request.header("apikey", "ann"))
    };
    let not_allowed = |address: &str| format!("IP address not allowed: {address}");
    for (path, address, refusal) in [
        ("/allow", "10.2.3.4", None),
        ("/allow", "fd12::1", None),
        ("/allow", "::ffff:10.2.3.4", None),
        ("/allow", "10.1.2.3", Some((403, not_allowed("10.1.2.3")))),
        ("/allow", "11.0.0.1", Some((403, not_allowed("11.0.0.1")))),
        (
            "/allow",
            "2001:db8::1",
            Some((403, not_allowed("2001:db8::1"))),
        ),
        ("/deny", "10.0.0.1", Some((451, "not here".to_owned()))),
        ("/deny", "10.0.0.2", None),
        ("/mapped", "10.9.9.9", Some((403, not_allowed("10.9.9.9")))),
        ("/mapped", "11.9.9.9", None),
        ("/ann", "10.0.0.1", None),
        ("/ann", "10.0.0.2", Some((403, not_allowed("10.0.0.2")))),
    ] {
        let answer = ask(path, address);
        match refusal {
            None => assert_eq!(answer.text(), "hello", "{path} {address}: {answer:?}"),
            Some((status, message)) => is_plain(&answer, status, &message),
        }
    }
    assert_eq!(
        gateway.get("/allow").text(),
        "hello",
        "the peer's own address"
    );
    let bob = Request::get("/ann").header("apikey", "bob");
    let bob = gateway.send(bob.header("X-Real-IP", "10.0.0.2"));
    assert_eq!(bob.text(), "hello", "the rule is Ann's");
}

#[test]
fn crawlers_are_kept_out() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: bot-detection,
  config: {allow: [Googlebot], deny: ['^old-app/', Googlebot-Image]}}]}]";
    let upstream = Upstream::saying("hello");
    let gateway = started(config, &upstream);
    let ask = |agent: &str| gateway.send(Request::get("/").header("User-Agent", agent));
    // Each twice: asked, and remembered.
    for _ in 0..2 {
        assert_eq!(gateway.get("/").text(), "hello");
        for agent in [
            "curl/8.14.1",
            "Googlebot/2.1",
            "Googlebot-Image/1.0",
            "new-app/1",
            "",
        ] {
            assert_eq!(ask(agent).text(), "hello", "{agent}");
        }
        for agent in [
            "bingbot/2.0",
            "old-app/1",
            "my spider",
            "Apache-HttpClient/5",
        ] {
            is_plain(&ask(agent), 403, "Forbidden");
        }
    }
    let twice = Request::get("/")
        .header("User-Agent", "a")
        .header("User-Agent", "a");
    is_plain(
        &gateway.send(twice),
        400,
        "Only one User-Agent header allowed",
    );
}

#[test]
fn one_proof_of_several_is_enough() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [
  {name: key-auth, config: {anonymous: nobody}}, {name: basic-auth, config: {anonymous: nobody,
  hide_credentials: true}}, {name: hmac-auth, config: {anonymous: nobody}}]}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann}]}
- {username: bob, basicauth_credentials: [{username: bob, password: bob}]}
- {username: eve, hmacauth_credentials: [{username: eve, secret: eve}]}
- username: nobody
  plugins: [{name: request-termination, config: {status_code: 401, message: who are you}}]";
    let upstream = Upstream::saying("hello");
    let gateway = started(config, &upstream);
    let now = date(0);
    let signed = signature("eve", "eve", "hmac-sha256", "date", &format!("date: {now}"));
    for (request, consumer) in [
        (Request::get("/").header("apikey", "ann"), "ann"),
        (with(&basic("bob", "bob")), "bob"),
        (with(&signed).header("Date", &now), "eve"),
        // The first proof counts.
        (with(&basic("bob", "bob")).header("apikey", "ann"), "ann"),
    ] {
        assert_eq!(gateway.send(request).text(), "hello", "{consumer}");
        let seen = upstream.last();
        assert_eq!(seen.header("x-consumer-username"), Some(consumer));
        assert_eq!(seen.header("x-anonymous-consumer"), None);
    }
    is_plain(&gateway.get("/"), 401, "who are you");
    is_plain(
        &gateway.send(with(&basic("bob", "eve"))),
        401,
        "who are you",
    );
}

#[test]
fn every_proof_of_several_is_needed() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: key-auth},
  {name: basic-auth}]}]
consumers:
- {username: ann, keyauth_credentials: [{key: ann}]}
- {username: bob, basicauth_credentials: [{username: bob, password: bob}]}";
    let upstream = Upstream::saying("hello");
    let gateway = started(config, &upstream);
    let both = with(&basic("bob", "bob")).header("apikey", "ann");
    assert_eq!(gateway.send(both).text(), "hello");
    let seen = upstream.last();
    assert_eq!(
        seen.header("x-consumer-username"),
        Some("bob"),
        "the last one"
    );
    is_plain(
        &gateway.send(with(&basic("bob", "bob"))),
        401,
        "No API key found in request",
    );
    let answer = gateway.send(Request::get("/").header("apikey", "ann"));
    is_plain(&answer, 401, "Unauthorized");
}

#[test]
fn keys_in_multipart_forms_and_repeated_ones() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: key-auth,
  config: {key_in_body: true, hide_credentials: true, realm: keys, run_on_preflight: false}}]}]
consumers: [{username: a, keyauth_credentials: [{id: 11111111-1111-4111-8111-111111111111,
  key: open-sesame}]}]";
    let upstream = Upstream::saying("hello");
    let gateway = started(config, &upstream);
    let part = |name: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let form = |parts: &[(&str, &str)]| {
        let parts = parts.iter().map(|(name, value)| part(name, value));
        let body = parts.collect::<String>() + "--B--\r\n";
        Request::post("/", body).header("Content-Type", "multipart/form-data; boundary=B")
    };
    let good = form(&[("a", "1"), ("apikey", "open-sesame"), ("b", "2")]);
    assert_eq!(gateway.send(good).text(), "hello");
    let seen = upstream.last();
    assert_eq!(
        seen.body,
        [part("a", "1"), part("b", "2")]
            .concat()
            .into_bytes()
            .into_iter()
            .chain(*b"--B--\r\n")
            .collect::<Vec<u8>>()
    );
    let length = seen.header("content-length").map(str::parse::<usize>);
    assert_eq!(length, Some(Ok(seen.body.len())));
    let id = "11111111-1111-4111-8111-111111111111";
    assert_eq!(seen.header("x-credential-identifier"), Some(id));
    let json = |body: &str| Request::post("/", body).header("Content-Type", "application/json");
    let urlencoded = |body: &str| {
        Request::post("/", body).header("Content-Type", "application/x-www-form-urlencoded")
    };
    for repeated in [
        form(&[("apikey", "open-sesame"), ("apikey", "open-sesame")]),
        urlencoded("apikey=open-sesame&apikey=x"),
        json(r#"{"apikey":["open-sesame"]}"#),
        Request::get("/?apikey=open-sesame&apikey=open-sesame"),
    ] {
        let answer = gateway.send(repeated);
        is_plain(&answer, 401, "Duplicate API key found");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Key realm=\"keys\"")
        );
    }
    for empty in [
        json("{}"),
        json("["),
        urlencoded("apikey="),
        form(&[("key", "open-sesame")]),
    ] {
        is_plain(&gateway.send(empty), 401, "No API key found in request");
    }
    assert_eq!(gateway.send(Request::new("OPTIONS", "/")).text(), "hello");
}

#[tokio::test]
async fn proofs_over_http_2() {
    let config = "
services: [{url: 'http://<up>', plugins: [{name: hmac-auth, config: {validate_request_body: true}}],
  routes: [{paths: [/signed]}]}, {url: 'http://<up>', plugins: [{name: basic-auth}, {name: acl,
  config: {allow: [staff]}}], routes: [{paths: [/basic]}]}]
consumers:
- {username: alice, acls: [{group: staff}], basicauth_credentials: [{username: al, password: p}],
  hmacauth_credentials: [{username: al, secret: s3cret}]}
- {username: bob, basicauth_credentials: [{username: bob, password: p}]}";
    let upstream = Upstream::saying("hello");
    let gateway = started(config, &upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let now = date(0);
    let of_body = digest("a body");
    let text = format!(
        "date: {now}\nPOST /signed?q HTTP/2.0\n@request-target: post /signed?q\nhost: gateway.test\ndigest: {of_body}"
    );
    let headers = "date request-line @request-target host digest";
    let signed = signature("al", "s3cret", "hmac-sha256", headers, &text);
    for (body, status) in [("a body", 200), ("another", 401)] {
        let mut sent = request("POST", "/signed?q", body);
        let fields = sent.headers_mut();
        fields.insert("date", now.parse().unwrap());
        fields.insert("digest", of_body.parse().unwrap());
        fields.insert("authorization", signed.parse().unwrap());
        let (head, body) = whole(client.send_request(sent).await.unwrap()).await;
        assert_eq!(head.status, status, "{body:?}");
    }
    assert_eq!(
        upstream.only().header("x-credential-identifier"),
        Some("al")
    );
    for (user, status) in [("al", 200), ("bob", 403), ("eve", 401)] {
        let mut sent = request("GET", "/basic", "");
        let value = basic(user, "p").parse().unwrap();
        sent.headers_mut().insert("authorization", value);
        let (head, body) = whole(client.send_request(sent).await.unwrap()).await;
        assert_eq!(head.status, status, "{body:?}");
        let challenge = head.headers.get("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401);
    }
    assert_eq!(upstream.last().header("x-consumer-groups"), Some("staff"));
}

#[tokio::test]
async fn proofs_of_grpc_calls() {
    let config = "
services: [{url: 'grpc://<up>', plugins: [{name: basic-auth}, {name: acl, config: {allow: [staff]}}],
  routes: [{paths: [/test.Echo], protocols: [grpc]}]}, {url: 'grpc://<up>', plugins: [
  {name: hmac-auth, config: {validate_request_body: true}}],
  routes: [{paths: [/test.Signed], protocols: [grpc]}]}]
consumers:
- {username: alice, acls: [{group: staff}], basicauth_credentials: [{username: al, password: p}],
  hmacauth_credentials: [{username: al, secret: s3cret}]}
- {username: bob, basicauth_credentials: [{username: bob, password: p}]}";
    let server = Server::start(None);
    let gateway = gateway(config).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let mut good = unary("/test.Echo/Unary", b"hello");
    let value = basic("al", "p").parse().unwrap();
    good.headers_mut().insert("authorization", value);
    let mut answer = client.send_request(good).await.unwrap();
    let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
    assert_eq!(messages, [b"hello"]);
    assert_eq!(trailers["grpc-status"], "0");
    let head = server.heads().remove(0);
    assert_eq!(head.headers["x-consumer-username"], "alice");
    assert_eq!(head.headers["x-consumer-groups"], "staff");
    for (user, status, words) in [
        ("bob", "7", "You cannot consume this service"),
        ("eve", "16", "Unauthorized"),
    ] {
        let mut call = unary("/test.Echo/Unary", b"hello");
        let value = basic(user, "p").parse().unwrap();
        call.headers_mut().insert("authorization", value);
        let answer = client.send_request(call).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["grpc-status"], status);
        assert_eq!(answer.headers()["grpc-message"], words);
    }
    let now = date(0);
    let frame = message(b"hello");
    let of_body = digest(std::str::from_utf8(&frame).unwrap());
    let text = format!("date: {now}\ndigest: {of_body}");
    let signed = signature("al", "s3cret", "hmac-sha256", "date digest", &text);
    for (payload, status) in [(&b"hello"[..], "0"), (b"other", "16")] {
        let mut call = unary("/test.Signed/Unary", payload);
        let fields = call.headers_mut();
        fields.insert("date", now.parse().unwrap());
        fields.insert("digest", of_body.parse().unwrap());
        fields.insert("authorization", signed.parse().unwrap());
        let mut answer = client.send_request(call).await.unwrap();
        let at_once = answer.headers().get("grpc-status").cloned();
        let (_, trailers) = Messages::default().all(answer.body_mut()).await;
        let found = at_once.or(trailers.get("grpc-status").cloned());
        assert_eq!(found.unwrap(), status);
    }
}

#[test]
fn secrets_are_not_shown() {
    let upstream = Upstream::saying("hello");
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]
consumers: [{username: alice, acls: [{group: staff}],
  basicauth_credentials: [{username: al, password: HIDDEN1}],
  hmacauth_credentials: [{username: al, secret: HIDDEN2}],
  keyauth_credentials: [{key: HIDDEN3}]}]";
    let gateway = started(config, &upstream);
    for page in ["/config", "/consumers", "/consumers/alice", "/plugins"] {
        let text = gateway.ask(page).text();
        assert!(!text.contains("HIDDEN"), "{page}: {text}");
    }
    assert!(gateway.ask("/config").text().contains("staff"));
}

fn check(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f.yaml"), text).unwrap();
    let mut command = command();
    let check = command.current_dir(dir.path()).args(["check", "f.yaml"]);
    check.output().unwrap()
}

/// Line 2 is the plugin, line 3 its configuration.
#[test]
fn wrong_configurations_are_told_with_path_and_hint() {
    for (name, config, want) in [
        (
            "basic-auth",
            "{hide_credentials: nope}",
            &["3:30: error: plugins[0].config.hide_credentials: expected a boolean"][..],
        ),
        (
            "basic-auth",
            "{anonymous: bbo}",
            &[
                "3:23: error: plugins[0].config.anonymous: there is no consumer 'bbo'",
                "did you mean `bob`",
            ],
        ),
        (
            "basic-auth",
            "{hide_credential: true}",
            &[
                "plugins[0].config.hide_credential: unknown field",
                "did you mean `hide_credentials`",
            ],
        ),
        (
            "key-auth",
            "{anonymous: bbo}",
            &["3:23: error: plugins[0].config.anonymous: there is no consumer 'bbo'"],
        ),
        (
            "key-auth",
            "{key_names: []}",
            &["plugins[0].config.key_names: length must be at least 1"],
        ),
        (
            "hmac-auth",
            "{algorithms: [hmac-md5]}",
            &["3:25: error: plugins[0].config.algorithms[0]: expected one of: hmac-sha1"],
        ),
        (
            "hmac-auth",
            "{clock_skew: 0}",
            &["plugins[0].config.clock_skew: value must be greater than 0"],
        ),
        (
            "hmac-auth",
            "{anonymous: bbo, enforce_headers: [date]}",
            &["plugins[0].config.anonymous: there is no consumer 'bbo'"],
        ),
        (
            "acl",
            "{}",
            &[
                "3:11: error: plugins[0].config: exactly one of these fields must be non-empty: 'allow', 'deny'",
                "write allow: [group]",
            ],
        ),
        (
            "acl",
            "{allow: [a], deny: [b]}",
            &["plugins[0].config: exactly one of these fields must be non-empty"],
        ),
        (
            "ip-restriction",
            "{}",
            &[
                "plugins[0].config: at least one of these fields must be non-empty: 'allow', 'deny'",
                "write allow",
            ],
        ),
        (
            "ip-restriction",
            "{deny: [10.0.0.0/40]}",
            &[
                "3:19: error: plugins[0].config.deny[0]: invalid ip or cidr range: '10.0.0.0/40' (the prefix length must be 0 to 32)",
            ],
        ),
        (
            "bot-detection",
            "{deny: ['(']}",
            &["3:19: error: plugins[0].config.deny[0]: invalid regex: unclosed group"],
        ),
        (
            "bot-detection",
            "{deny: ['a(?!b)']}",
            &["plugins[0].config.deny[0]: invalid regex: look-around"],
        ),
    ] {
        let text = format!(
            "plugins:\n- name: {name}\n  config: {config}\nconsumers: [{{username: bob}}]\n"
        );
        let output = check(&text);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for want in want {
            assert!(said.contains(want), "{name} {config}: {said}");
        }
    }
}

#[test]
fn wrong_credentials_are_told_with_path_and_hint() {
    for (rows, want) in [
        (
            "basicauth_credentials: [{username: u}]",
            "basicauth_credentials[0].password: required field missing",
        ),
        (
            "basicauth_credentials: [{username: u, password: p}, {username: u, password: q}]",
            "uniqueness violation: 'basicauth_credentials' entity with username set to 'u' already declared",
        ),
        (
            "hmacauth_credentials: [{secret: s}]",
            "hmacauth_credentials[0].username: required field missing",
        ),
        ("acls: [{}]", "acls[0].group: required field missing"),
        ("acls: [{group: a}, {group: a}]", "already declared"),
        (
            "keyauth_credentials: [{key: a}, {key: a}]",
            "already declared",
        ),
        ("acls: [{group: a, consumer: eve}]", "acls[0].consumer: "),
    ] {
        let output = check(&format!(
            "consumers:\n- username: bob\n  {rows}\n- username: eve\n"
        ));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{rows}: {said}");
        assert!(
            said.contains(want) && said.contains("f.yaml:3:"),
            "{rows}: {said}"
        );
    }
    let stored = "_transform: false\nconsumers:\n- username: bob\n  basicauth_credentials: [{username: u, password: plain}]\n";
    let said = String::from_utf8_lossy(&check(stored).stderr).into_owned();
    assert!(said.contains("f.yaml:4:"), "{said}");
    assert!(
        said.contains("password: expected 40 hexadecimal digits"),
        "{said}"
    );
    let orphan = check("acls: [{group: a, consumer: eve}]");
    let said = String::from_utf8_lossy(&orphan.stderr).into_owned();
    assert!(
        said.contains("acls[0].consumer: invalid reference 'consumer: eve'"),
        "{said}"
    );
}
