//! request-transformer, response-transformer, redirect and request-size-limiting on the wire, over
//! HTTP/1.1, HTTP/2 and gRPC.

use std::path::Path;

use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;

use crate::support::grpc::{Fed, Messages, Server, call, fed, message, unary};
use crate::support::h2::{Whole, connect, request, whole};
use crate::support::upstream::reply;
use crate::support::{Gateway, Request, Response, Upstream, command, gateway};

/// A gateway with one plugin on one service.
fn with(plugin: &str, upstream: &Upstream) -> Gateway {
    let config = format!(
        "services: [{{url: 'http://<up>/base', routes: [
          {{name: named, paths: ['~/v(?<version>[0-9]+)/(?<rest>.*)']}}, {{name: plain, paths: [/plain]}}]}}]
plugins: [{plugin}]"
    );
    gateway(&config).fill("up", upstream).start()
}

fn request_transformer(config: &str, upstream: &Upstream) -> Gateway {
    with(
        &format!("{{name: request-transformer, config: {config}}}"),
        upstream,
    )
}

fn form(method: &str, target: &str, body: &str) -> Request {
    let request = Request::new(method, target).body(body);
    request.header("Content-Type", "application/x-www-form-urlencoded")
}

fn json(target: &str, body: &str) -> Request {
    Request::post(target, body).header("Content-Type", "application/json")
}

#[test]
fn every_stage_of_a_request_is_edited() {
    let upstream = Upstream::saying("hello");
    let config = "{http_method: PUT,
      remove: {headers: [X-Gone], querystring: [gone], body: [gone]},
      rename: {headers: ['X-Old:X-New'], querystring: ['old:new'], body: ['old:new']},
      replace: {uri: '/to/$(uri_captures.rest)', headers: ['X-There:1', 'Host:other.test'],
        querystring: ['there:1'], body: ['there:1']},
      add: {headers: ['X-Version:$(uri_captures.version)', 'X-Who:$(consumer.username or \"nobody\")'],
        querystring: ['added:$(headers.x_there)'], body: ['added:x']},
      append: {headers: ['X-New:more'], querystring: ['new:more'], body: ['new:more']}}";
    let gateway = request_transformer(config, &upstream);
    let sent = json(
        "/v7/a%20b?gone=1&old=%31&there=0",
        r#"{"gone":1,"old":"2","there":0,"kept":1.0}"#,
    );
    let sent = sent.header("X-Gone", "1").header("X-Old", "2");
    assert_eq!(gateway.send(sent.header("X-There", "3")).text(), "hello");
    let seen = upstream.only();
    let line = "PUT /to/a%20b?new=%31&there=1&added=3&new=more HTTP/1.1";
    assert_eq!(seen.line, line);
    assert_eq!(seen.header("host"), Some("other.test"));
    assert_eq!(seen.header("x-gone"), None);
    assert_eq!(seen.header("x-old"), None);
    assert_eq!(seen.values("x-new"), ["2", "more"]);
    assert_eq!(seen.header("x-there"), Some("1"));
    assert_eq!(seen.header("x-version"), Some("7"));
    assert_eq!(seen.header("x-who"), Some("nobody"));
    let body = r#"{"new":["2","more"],"there":"1","kept":1.0,"added":"x"}"#;
    assert_eq!(String::from_utf8_lossy(&seen.body), body);
    assert_eq!(
        seen.header("content-length"),
        Some(&*body.len().to_string())
    );
    // Without any of it, what is added is added to nothing.
    assert_eq!(gateway.send(json("/plain", "")).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.line, "PUT /to/?added=&new=more HTTP/1.1");
    assert_eq!(seen.body, br#"{"added":"x","new":["more"]}"#);
}

#[test]
fn chunks_and_waiting_clients_are_edited_too() {
    let upstream = Upstream::echo();
    let gateway = request_transformer("{add: {body: ['a:b']}}", &upstream);
    let mut conn = gateway.connect();
    let head = "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    conn.send(format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n"
    ));
    assert_eq!(conn.response("POST").text(), r#"{"a":"b"}"#);
    assert_eq!(upstream.last().header("transfer-encoding"), None);
    conn.send(format!(
        "{head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    ));
    assert_eq!(conn.head().status, 100);
    conn.send("{}");
    assert_eq!(conn.response("POST").text(), r#"{"a":"b"}"#);
    // The connection still serves: no byte too many or too few.
    assert_eq!(conn.ask(&json("/plain", "{ }")).text(), r#"{"a":"b"}"#);
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(1024 * 1024));
    gateway
        .send(json("/plain", &long))
        .is_error(413, "Payload too large");
    let other = Request::post("/plain", long.clone()).header("Content-Type", "text/plain");
    assert_eq!(gateway.send(other).text(), long);
}

#[test]
fn a_changed_method_leaves_the_connection_in_step() {
    let upstream = Upstream::answering(|request| {
        let text = reply(200, &[], request.method().as_bytes());
        match request.method() {
            "HEAD" => text[..text.len() - 4].to_vec(),
            _ => text,
        }
    });
    // The upstream's HEAD announces a body that the client's GET will not get.
    let gateway = request_transformer("{http_method: HEAD}", &upstream);
    let mut conn = gateway.connect();
    for _ in 0..2 {
        let response = conn.ask(&Request::get("/plain"));
        assert_eq!((response.status, response.text().as_str()), (200, ""));
    }
    // The upstream's GET sends a body that the client's HEAD has no room for.
    let gateway = request_transformer("{http_method: GET}", &upstream);
    let mut conn = gateway.connect();
    for _ in 0..2 {
        let response = conn.ask(&Request::new("HEAD", "/plain"));
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-length"), Some("3"));
    }
    assert_eq!(conn.ask(&Request::get("/plain")).text(), "GET");
    let response = gateway.send(form("POST", "/plain?a=1", "b=%32&c"));
    assert_eq!(response.text(), "GET");
    let seen = upstream.last();
    assert_eq!(seen.line, "GET /base?a=1&b=%32&c HTTP/1.1");
    assert_eq!(
        (seen.body.len(), seen.header("content-length")),
        (0, Some("0"))
    );
}

#[test]
fn a_client_cannot_leave_the_path_by_a_value() {
    let upstream = Upstream::saying("hello");
    let gateway = request_transformer("{replace: {uri: '/in/$(headers.x)'}}", &upstream);
    for (value, line) in [
        ("../../etc/passwd", "GET /etc/passwd?q=1 HTTP/1.1"),
        ("a?b#c", "GET /in/a%3Fb%23c?q=1 HTTP/1.1"),
        ("a HTTP/1.1", "GET /in/a%20HTTP/1.1?q=1 HTTP/1.1"),
        ("%zz", "GET /in/%25zz?q=1 HTTP/1.1"),
    ] {
        let request = Request::get("/plain?q=1").header("X", value);
        assert_eq!(gateway.send(request).status, 200, "{value}");
        assert_eq!(upstream.last().line, line);
    }
    let request = Request::get("/plain").header("X", "%00");
    gateway.send(request).is_error(400, "Bad request");
    let gateway = request_transformer("{replace: {uri: '$(headers.x)'}}", &upstream);
    let request = Request::get("/plain").header("X", "no-slash");
    gateway
        .send(request)
        .is_error(500, "An unexpected error occurred");
}

fn response_transformer(config: &str, upstream: &Upstream) -> Gateway {
    with(
        &format!("{{name: response-transformer, config: {config}}}"),
        upstream,
    )
}

const RESPONSES: &str = "{
  remove: {headers: [X-Powered-By], json: [secret]},
  rename: {headers: ['X-Old:X-New'], json: ['old:new']},
  replace: {headers: ['X-There:1'], json: ['there:5', 'absent:1'], json_types: [number]},
  add: {headers: ['X-Added:a:b'], json: ['on:true', 'there:no'], json_types: [boolean]},
  append: {headers: ['X-Added:c'], json: ['list:x']}}";

const BEFORE: &str = r#"{"secret":1,"old":2.50,"there":0,"list":["y"],"deep":{"secret":1}}"#;
const AFTER: &str = r#"{"new":2.50,"there":5,"list":["y","x"],"deep":{"secret":1},"on":true}"#;

fn private() -> Upstream {
    Upstream::answering(|request| {
        let kind = request.header("x-kind").unwrap_or("application/json");
        let fields = [
            ("Content-Type", kind),
            ("X-Powered-By", "php"),
            ("X-Old", "1"),
            ("X-There", "0"),
        ];
        match request.header("x-chunked") {
            Some(_) => {
                let text = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                format!("{text}{:x}\r\n{BEFORE}\r\n0\r\n\r\n", BEFORE.len()).into_bytes()
            }
            None if request.method() == "HEAD" => {
                let whole = reply(200, &fields, BEFORE.as_bytes());
                whole[..whole.len() - BEFORE.len()].to_vec()
            }
            None => reply(200, &fields, BEFORE.as_bytes()),
        }
    })
}

#[track_caller]
fn is_edited(response: &Response) {
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-powered-by"), None);
    assert_eq!(response.values("x-added"), ["a:b", "c"]);
    assert_eq!(response.text(), AFTER);
    let length = response.header("content-length").unwrap();
    assert_eq!(length, AFTER.len().to_string());
}

#[test]
fn responses_are_edited() {
    let upstream = private();
    let gateway = response_transformer(RESPONSES, &upstream);
    let mut conn = gateway.connect();
    let response = conn.ask(&Request::get("/plain"));
    is_edited(&response);
    assert_eq!(response.header("x-new"), Some("1"));
    assert_eq!(response.header("x-old"), None);
    assert_eq!(response.header("x-there"), Some("1"));
    is_edited(&conn.ask(&Request::get("/plain").header("X-Chunked", "1")));
    let other = conn.ask(&Request::get("/plain").header("X-Kind", "text/plain"));
    assert_eq!(other.text(), BEFORE);
    assert_eq!(
        other.values("x-added"),
        ["a:b", "c"],
        "headers of any response"
    );
    let head = conn.ask(&Request::new("HEAD", "/plain"));
    assert_eq!((head.status, head.header("content-length")), (200, None));
    is_edited(&conn.ask(&Request::get("/plain")));
}

#[test]
fn answers_of_the_gateway_are_edited() {
    let upstream = private();
    let gateway = response_transformer(
        "{remove: {json: [request_id]}, add: {json: ['code:1']}}",
        &upstream,
    );
    let response = gateway.get("/nowhere");
    assert_eq!(response.status, 404);
    let words = "no Route matched with those values";
    assert_eq!(response.json(), json!({"message": words, "code": "1"}));
}

#[test]
fn long_responses_pass_whole() {
    let upstream = Upstream::answering(|_| {
        let body = format!("{{\"a\":\"{}\"}}", "x".repeat(9 * 1024 * 1024));
        reply(
            200,
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        )
    });
    let gateway = response_transformer(
        "{remove: {json: [a]}, add: {headers: ['X-A:1']}}",
        &upstream,
    );
    let response = gateway.get("/plain");
    assert!(response.complete);
    assert_eq!(response.body.len(), 9 * 1024 * 1024 + 8);
    assert_eq!(response.header("x-a"), Some("1"));
}

#[test]
fn redirects_keep_path_and_query_on_demand() {
    let config = "
routes:
- {paths: [/fixed], plugins: [{name: redirect, config: {location: 'https://a.test/x?y=1'}}]}
- {paths: [/kept], plugins: [{name: redirect, config: {location: 'https://A.test:443/x?y=1',
    keep_incoming_path: true, status_code: 307}}]}";
    let gateway = gateway(config).start();
    let mut conn = gateway.connect();
    let response = conn.ask(&Request::get("/fixed/deep?q=1"));
    assert_eq!(
        (response.status, response.text().as_str()),
        (301, "redirecting")
    );
    assert_eq!(response.header("location"), Some("https://a.test/x?y=1"));
    assert_eq!(response.header("content-type"), None);
    let response = conn.ask(&Request::post("/kept/./deep%20er?q=%31", "body"));
    assert_eq!(response.status, 307);
    let location = response.header("location");
    assert_eq!(location, Some("https://a.test/kept/deep%20er?q=%31"));
    assert_eq!(conn.ask(&Request::new("HEAD", "/fixed")).status, 301);
}

fn size_limit(config: &str, upstream: &Upstream) -> Gateway {
    with(
        &format!("{{name: request-size-limiting, config: {config}}}"),
        upstream,
    )
}

#[track_caller]
fn is_plain(response: &Response, status: u16, message: &str) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.text(), json!({"message": message}).to_string());
}

const TOO_LONG: &str = "Request size limit exceeded";

#[test]
fn long_bodies_are_refused_by_their_length() {
    let upstream = Upstream::echo();
    let gateway = size_limit("{allowed_payload_size: 5, size_unit: bytes}", &upstream);
    let mut conn = gateway.connect();
    assert_eq!(conn.ask(&Request::post("/plain", "12345")).text(), "12345");
    is_plain(&conn.ask(&Request::post("/plain", "123456")), 413, TOO_LONG);
    assert_eq!(conn.ask(&Request::get("/plain")).status, 200);
    conn.send(
        "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n",
    );
    is_plain(&conn.response("POST"), 417, TOO_LONG);
    assert_eq!(upstream.requests().len(), 2);
    let gateway = size_limit("{allowed_payload_size: 1, size_unit: kilobytes}", &upstream);
    assert_eq!(
        gateway.send(Request::post("/plain", [b'x'; 1024])).status,
        200
    );
    is_plain(
        &gateway.send(Request::post("/plain", [b'x'; 1025])),
        413,
        TOO_LONG,
    );
}

#[test]
fn long_bodies_without_a_length_are_cut_off() {
    let upstream = Upstream::echo();
    let gateway = size_limit("{allowed_payload_size: 5, size_unit: bytes}", &upstream);
    let head = "POST /plain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    let mut conn = gateway.connect();
    conn.send(format!("{head}\r\n5\r\n12345\r\n0\r\n\r\n"));
    assert_eq!(conn.response("POST").text(), "12345");
    conn.send(format!("{head}\r\n3\r\n123\r\n3\r\n456\r\n0\r\n\r\n"));
    is_plain(&conn.response("POST"), 413, TOO_LONG);
    // While it streams: the upstream never gets a whole body.
    let mut conn = gateway.connect();
    conn.send(format!("{head}\r\n4\r\n1234\r\n"));
    upstream.wait("a begin", |seen| seen.requests.len() >= 2);
    conn.send("4\r\n5678\r\n");
    is_plain(&conn.response("POST"), 413, TOO_LONG);
    assert!(conn.closes());
    let whole = |body: &Vec<u8>| body.is_empty() || body == b"12345";
    let seen = upstream.wait("an end", |seen| seen.ended >= 2);
    assert!(seen.requests.iter().all(|request| whole(&request.body)));
    let mut conn = gateway.connect();
    conn.send(format!("{head}Expect: 100-continue\r\n\r\n"));
    assert_eq!(conn.head().status, 100);
    conn.send("9\r\n123456789\r\n0\r\n\r\n");
    is_plain(&conn.response("POST"), 417, TOO_LONG);
}

#[test]
fn a_length_can_be_required() {
    let upstream = Upstream::echo();
    let gateway = size_limit("{require_content_length: true}", &upstream);
    let words = "A valid Content-Length header is required";
    is_plain(&gateway.get("/plain"), 411, words);
    assert_eq!(gateway.send(Request::post("/plain", "x")).text(), "x");
    assert_eq!(gateway.send(Request::post("/plain", "")).status, 200);
    let mut conn = gateway.connect();
    conn.send(
        "POST /plain HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    );
    assert_eq!(conn.response("POST").text(), "x");
}

/// A limit behind a plugin that has read the body, and one that reads it after.
#[test]
fn a_body_that_others_read_is_limited_too() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: [/plain]}]}]
consumers: [{username: a, keyauth_credentials: [{key: k}]}]
plugins:
- {name: key-auth, config: {key_in_body: true, anonymous: a}}
- {name: request-size-limiting, config: {allowed_payload_size: 12, size_unit: bytes}}
- {name: request-transformer, config: {add: {body: ['more:1']}}}";
    let upstream = Upstream::echo();
    let gateway = gateway(config).fill("up", &upstream).start();
    let ask = |kind: &str, chunk: &str| {
        let mut conn = gateway.connect();
        conn.send(format!(
            "POST /plain HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
            chunk.len()
        ));
        conn.response("POST")
    };
    let edited = ask("application/json", r#"{"a":12}"#);
    assert_eq!(edited.text(), r#"{"a":12,"more":"1"}"#);
    is_plain(
        &ask("application/json", r#"{"a":"1234567"}"#),
        413,
        TOO_LONG,
    );
    is_plain(&ask("text/plain", "1234567890123"), 413, TOO_LONG);
}

#[tokio::test]
async fn all_of_it_over_http2() {
    let upstream = private();
    let plugins = format!(
        "{{name: response-transformer, config: {RESPONSES}}}, {{name: request-transformer, config: {{
          replace: {{uri: '/x'}}, add: {{body: ['a:b'], querystring: ['q:1']}}}}}},
         {{name: request-size-limiting, config: {{allowed_payload_size: 10, size_unit: bytes}}}}"
    );
    let gateway = with(&plugins, &upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let mut sent = request("POST", "/plain", "{}");
    let kind = "application/json".parse().unwrap();
    sent.headers_mut().insert("content-type", kind);
    let (head, body) = whole(client.send_request(sent).await.unwrap()).await;
    assert_eq!(head.headers["content-length"], AFTER.len().to_string());
    assert_eq!(body, AFTER);
    let seen = upstream.last();
    assert_eq!(seen.line, "POST /x?q=1 HTTP/1.1");
    assert_eq!(seen.body, br#"{"a":"b"}"#);
    let long = request("POST", "/plain", "12345678901");
    let (head, body) = whole(client.send_request(long).await.unwrap()).await;
    assert_eq!(head.status, 413);
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(said["message"], TOO_LONG);
    assert_eq!(said["on"], true, "refusals are edited too");
    // Without a length.
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let (feed, body) = fed();
    feed.send(Frame::data("12345678".into())).unwrap();
    feed.send(Frame::data("12345678".into())).unwrap();
    let mut sent = call("/plain", body);
    sent.headers_mut().remove("content-type");
    let response = client.send_request(sent).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn a_changed_method_over_http2_and_to_http2() {
    let upstream = Upstream::answering(|request| reply(200, &[], request.method().as_bytes()));
    let gateway = request_transformer("{http_method: GET}", &upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    for _ in 0..2 {
        let (head, body) = whole(
            client
                .send_request(request("HEAD", "/plain", ""))
                .await
                .unwrap(),
        )
        .await;
        assert_eq!((head.status.as_u16(), body.len()), (200, 0));
    }
    let server = Server::start(None);
    let config = "
services: [{url: 'http://<up>', http2: true, routes: [{paths: ['/'], strip_path: false}]}]
plugins: [{name: request-transformer, config: {http_method: POST}}]";
    let to_http2 = self::gateway(config).fill("up", &server).start();
    let mut conn = to_http2.connect();
    for _ in 0..2 {
        assert_eq!(
            conn.ask(&Request::new("HEAD", "/test.Echo/Unary")).status,
            200
        );
    }
}

#[tokio::test]
async fn grpc_calls_are_edited_redirected_and_limited() {
    let server = Server::start(None);
    let config = "
services: [{url: 'grpc://<up>', routes: [
  {paths: [/test.Echo/Unary], protocols: [grpc], plugins: [
    {name: request-transformer, config: {replace: {headers: ['Host:other.test']},
      add: {headers: ['x-added:$(headers.x_key or 1)'], body: ['a:b'], querystring: ['q:1']}}},
    {name: response-transformer, config: {add: {headers: ['x-back:1'], json: ['a:b']}}},
    {name: request-size-limiting, config: {allowed_payload_size: 1, size_unit: kilobytes}}]},
  {paths: [/test.Echo/Gone], protocols: [grpc], plugins: [
    {name: redirect, config: {location: 'https://a.test'}}]}]}]";
    let gateway = gateway(config).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client.send_request(unary("/test.Echo/Unary", b"hello"));
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.headers()["x-back"], "1");
    let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
    assert_eq!(
        (messages, &trailers["grpc-status"]),
        (vec![b"hello".to_vec()], &"0".parse().unwrap())
    );
    let head = server.heads().remove(0);
    assert_eq!(head.headers["x-added"], "1");
    let uri = "http://other.test/test.Echo/Unary?q=1";
    assert_eq!(head.uri, uri);
    let (feed, body) = fed();
    feed.send(Frame::data(message(&[7; 2000]))).unwrap();
    let answer = client.send_request(call("/test.Echo/Unary", body));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    match answer.headers().get("grpc-status") {
        Some(status) => {
            assert_eq!(status, "3");
            assert_eq!(answer.headers()["grpc-message"], TOO_LONG);
        }
        // The upstream had begun to answer: what it says is cut off with the call.
        None => assert!(answer.into_body().collect().await.is_err()),
    }
    let answer = client
        .send_request(unary("/test.Echo/Gone", b"x"))
        .await
        .unwrap();
    assert_eq!(answer.headers()["location"], "https://a.test");
    assert!(answer.headers().contains_key("grpc-status"));
}

#[test]
fn consumers_have_transformations_of_their_own() {
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]
consumers:
- {username: a, custom_id: a-1, keyauth_credentials: [{key: ka}], plugins: [
    {name: request-transformer, config: {add: {headers: ['x-plan:gold', 'x-id:$(consumer.custom_id)']}}}]}
- {username: b, keyauth_credentials: [{key: kb}]}
plugins:
- {name: key-auth}
- {name: request-transformer, config: {add: {headers: ['x-plan:none', 'x-id:$(consumer.username)']}}}";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config).fill("up", &upstream).start();
    for (key, plan, id) in [("ka", "gold", "a-1"), ("kb", "none", "b")] {
        gateway.send(Request::get("/").header("apikey", key));
        let seen = upstream.last();
        assert_eq!(
            (seen.header("x-plan"), seen.header("x-id")),
            (Some(plan), Some(id))
        );
    }
}

/// What `check` says of a file.
fn problems(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("kong.yaml");
    std::fs::write(&file, text).unwrap();
    let output = command()
        .current_dir(Path::new(dir.path()))
        .args(["check", "kong.yaml"])
        .output();
    String::from_utf8(output.unwrap().stderr).unwrap()
}

#[test]
fn bad_values_are_told_with_place_and_hint() {
    let said = problems(
        "_format_version: '3.0'
plugins:
- name: request-transformer
  config:
    replace:
      uri: /v1/$(string.upper(headers.x))
    add:
      headers: ['x-a:$(shared.x)']
- name: response-transformer
  config: {add: {json: ['a:x'], json_types: [number]}}
- name: redirect
  config: {location: nowhere}
- name: request-size-limiting
  config: {size_unit: gigabytes}
- name: prometheus
  config: {ai_metrics: true, latency_metrics: true}
- name: cors
  config: {origins: ['a(']}
- name: request-termination
  config: {content_type: text/html}
- name: correlation-id
  config: {generator: uid}
",
    );
    for line in [
        "kong.yaml:6:12: error: plugins[0].config.replace.uri: not supported in a template: `string.upper(headers.x))`, at character 7",
        "a place is `$(headers.x)`",
        "kong.yaml:8:17: error: plugins[0].config.add.headers[0]: no plugin here fills `shared`, at character 7",
        "kong.yaml:10:25: error: plugins[1].config.add.json[0]: 'x' is no number",
        "kong.yaml:12:22: error: plugins[2].config.location: missing scheme in url",
        "kong.yaml:16:24: error: plugins[4].config.ai_metrics: ",
        "there are no plugins for language models",
        "kong.yaml:18:22: error: plugins[5].config.origins[0]: invalid regex: unclosed group",
        "kong.yaml:20:26: error: plugins[6].config.content_type: content_type requires a body",
        "kong.yaml:22:23: error: plugins[7].config.generator: expected one of: uuid, uuid#counter, tracker",
        "kong.yaml:14:23: error: plugins[3].config.size_unit: expected one of: megabytes, kilobytes, bytes",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}
