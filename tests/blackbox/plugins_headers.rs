//! cors, correlation-id and request-termination on the wire: every way in which an answer comes
//! about, over HTTP/1.1, HTTP/2 and gRPC.

use crate::support::grpc::{Fed, Server, unary};
use crate::support::h2::{Whole, connect, request, whole};
use crate::support::upstream::{Nobody, reply};
use crate::support::{Gateway, Request, Response, Upstream, gateway};

const PLACES: &str = "
services:
- {url: 'http://<up>', routes: [{paths: [/open]}, {paths: [/closed],
    plugins: [{name: key-auth}]}, {paths: [/ended], plugins: [{name: request-termination}]}]}
- {url: 'http://<nobody>', retries: 0, routes: [{paths: [/down]}]}
- {url: 'http://<up>', routes: [{paths: [/asked], plugins: [
    {name: cors, config: {preflight_continue: true}}]}]}
consumers: [{username: a, keyauth_credentials: [{key: k}]}]
plugins: [{name: cors, config: <cors>}]";

fn with(cors: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::answering(|_| {
        let fields = [
            ("Vary", "Accept-Encoding"),
            ("Access-Control-Allow-Origin", "http://upstream.test"),
            ("Access-Control-Allow-Methods", "POST"),
        ];
        reply(200, &fields, b"hello")
    });
    let setup = gateway(PLACES).fill("up", &upstream).fill("cors", cors);
    let gateway = setup.fill("nobody", Nobody::new()).start();
    (upstream, gateway)
}

fn from(origin: &str, target: &str) -> Request {
    Request::get(target).header("Origin", origin)
}

fn preflight(origin: &str, target: &str) -> Request {
    let request = Request::new("OPTIONS", target).header("Origin", origin);
    request.header("Access-Control-Request-Method", "PUT")
}

fn allowed(response: &Response) -> Option<&str> {
    response.header("access-control-allow-origin")
}

const LISTED: &str = "{origins: [http://a.test, 'https://.*[.]b[.]test'], credentials: true,
  headers: [X-One, X-Two], methods: [GET, PUT], exposed_headers: [X-Three, X-Four], max_age: 60,
  private_network: true}";

#[test]
fn every_answer_says_who_may_read_it() {
    let (_up, gateway) = with(LISTED);
    for (target, status) in [
        ("/open", 200),
        ("/closed", 401),
        ("/ended", 503),
        ("/down", 502),
        ("/nowhere", 404),
    ] {
        let response = gateway.send(from("https://x.b.test:443", target));
        assert_eq!(response.status, status, "{target}");
        assert_eq!(allowed(&response), Some("https://x.b.test"), "{target}");
        let credentials = response.header("access-control-allow-credentials");
        assert_eq!(credentials, Some("true"), "{target}");
        let exposed = response.header("access-control-expose-headers");
        assert_eq!(exposed, Some("X-Three,X-Four"), "{target}");
        let vary = response.values("vary");
        let own: &[&str] = if status == 200 {
            &["Accept-Encoding", "Origin"]
        } else {
            &["Origin"]
        };
        assert_eq!(vary, own, "added to what the upstream sent: {target}");
    }
    let response = gateway.send(from("http://c.test", "/open"));
    assert_eq!(allowed(&response), None, "the upstream's own is gone too");
    assert_eq!(response.values("access-control-allow-methods"), ["POST"]);
    let response = gateway.get("/open");
    assert_eq!(
        (allowed(&response), response.values("vary").len()),
        (None, 2)
    );
}

#[test]
fn preflights_are_answered_before_anybody_asks_for_a_key() {
    let (up, gateway) = with(LISTED);
    for target in ["/open", "/closed", "/ended", "/down"] {
        let asked = preflight("http://a.test", target)
            .header("Access-Control-Request-Headers", "X-Other")
            .header("Access-Control-Request-Private-Network", "true");
        let response = gateway.send(asked);
        assert_eq!((response.status, response.body.len()), (200, 0), "{target}");
        let fields = |name: &str| response.header(&format!("access-control-{name}"));
        assert_eq!(fields("allow-origin"), Some("http://a.test"));
        assert_eq!(fields("allow-credentials"), Some("true"));
        assert_eq!(fields("allow-headers"), Some("X-One,X-Two"));
        assert_eq!(fields("allow-methods"), Some("GET,PUT"));
        assert_eq!(fields("max-age"), Some("60"));
        assert_eq!(fields("allow-private-network"), Some("true"));
        assert_eq!(fields("expose-headers"), None);
        assert_eq!(response.values("vary"), ["Origin"]);
    }
    let response = gateway.send(preflight("http://c.test", "/open"));
    assert_eq!((response.status, allowed(&response)), (200, None));
    let private = response.header("access-control-allow-private-network");
    assert_eq!(private, None, "only where it is asked for");
    assert!(up.requests().is_empty());
    // No preflight: an OPTIONS request as any other.
    let plain = Request::new("OPTIONS", "/open").header("Origin", "http://a.test");
    assert_eq!(gateway.send(plain).text(), "hello");
    let plain = Request::new("OPTIONS", "/closed").header("Access-Control-Request-Method", "PUT");
    assert_eq!(gateway.send(plain).status, 401);
    let nowhere = gateway.send(preflight("http://a.test", "/nowhere"));
    assert_eq!(nowhere.status, 404);
}

#[test]
fn an_upstream_may_answer_preflights_itself() {
    let (up, gateway) = with("{allow_origin_absent: false}");
    let response = gateway.send(preflight("http://a.test", "/asked"));
    assert_eq!(response.text(), "hello");
    assert_eq!(allowed(&response), Some("http://upstream.test"));
    assert_eq!(response.values("vary"), ["Accept-Encoding"]);
    assert_eq!(up.only().method(), "OPTIONS");
    let response = gateway.send(from("http://a.test", "/asked"));
    assert_eq!(allowed(&response), Some("*"));
    // Without an origin, with allow_origin_absent off: nothing is added.
    let response = gateway.get("/open");
    assert_eq!(allowed(&response), Some("http://upstream.test"));
    let asked =
        preflight("http://a.test", "/open").header("Access-Control-Request-Headers", "X-Any, y");
    let response = gateway.send(asked);
    assert_eq!(
        response.header("access-control-allow-headers"),
        Some("X-Any, y")
    );
    let all = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";
    assert_eq!(response.header("access-control-allow-methods"), Some(all));
    assert_eq!(
        (allowed(&response), response.values("vary").len()),
        (Some("*"), 0)
    );
}

#[tokio::test]
async fn browsers_speak_http2() {
    let (_up, gateway) = with(LISTED);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    for (method, target, status) in [
        ("OPTIONS", "/closed", 200),
        ("GET", "/closed", 401),
        ("GET", "/open", 200),
        ("GET", "/nowhere", 404),
    ] {
        let mut sent = request(method, target, "");
        let headers = sent.headers_mut();
        headers.insert("origin", "http://a.test".parse().unwrap());
        if method == "OPTIONS" {
            let name = "access-control-request-method";
            headers.insert(name, "PUT".parse().unwrap());
        }
        let (head, _) = whole(client.send_request(sent).await.unwrap()).await;
        assert_eq!(head.status, status, "{method} {target}");
        assert_eq!(head.headers["access-control-allow-origin"], "http://a.test");
    }
}

#[tokio::test]
async fn grpc_answers_have_the_fields_too() {
    let server = Server::start(None);
    let config = "
services: [{url: 'grpc://<up>', routes: [
  {paths: [/test.Echo/Unary], protocols: [grpc]},
  {paths: [/test.Echo/Ended], protocols: [grpc], plugins: [
    {name: request-termination, config: {status_code: 401, message: not now}}]}]}]
plugins: [{name: cors}, {name: correlation-id, config: {header_name: X-Id, echo_downstream: true}}]";
    let gateway = gateway(config).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    for target in ["/test.Echo/Unary", "/test.Echo/Ended", "/nowhere"] {
        let answer = client.send_request(unary(target, b"x")).await.unwrap();
        assert_eq!(answer.status(), 200, "{target}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        assert!(answer.headers().contains_key("x-id"), "{target}");
        if target.ends_with("Ended") {
            assert_eq!(answer.headers()["grpc-status"], "16");
            assert_eq!(answer.headers()["grpc-message"], "not now");
        }
    }
    let id = server.heads()[0].headers["x-id"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(id.contains('#'), "{id}");
}

#[test]
fn ids_are_made_by_three_generators_and_told_on_every_answer() {
    let config = "
services:
- {url: 'http://<up>', routes: [{paths: [/counter]}, {paths: [/uuid], plugins: [
    {name: correlation-id, config: {generator: uuid, header_name: X-Other}}]},
    {paths: [/tracker], plugins: [{name: correlation-id, config: {generator: tracker}}]},
    {paths: [/closed], plugins: [{name: key-auth}]}]}
- {url: 'http://<nobody>', retries: 0, routes: [{paths: [/down]}]}
plugins: [{name: correlation-id, config: {echo_downstream: true}}]";
    let upstream = Upstream::saying("hello");
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.fill("nobody", Nobody::new()).start();
    let mut conn = gateway.connect();
    let ids: Vec<String> = (0..2)
        .map(|_| conn.ask(&Request::get("/counter")))
        .map(|response| response.header("kong-request-id").unwrap().to_owned())
        .collect();
    let split = |id: &str| {
        let (uuid, count) = id.split_once('#').unwrap();
        (uuid.to_owned(), count.parse::<u64>().unwrap())
    };
    assert_eq!(split(&ids[0]).0, split(&ids[1]).0);
    assert_eq!(split(&ids[0]).1 + 1, split(&ids[1]).1);
    assert_eq!(upstream.last().header("kong-request-id"), Some(&*ids[1]));
    let response = conn.ask(&Request::get("/uuid"));
    assert_eq!(response.header("x-other"), None, "not echoed there");
    assert_eq!(upstream.last().header("x-other").unwrap().len(), 36);
    assert_eq!(conn.ask(&Request::get("/tracker")).status, 200);
    let seen = upstream.last();
    let tracker: Vec<&str> = seen.header("kong-request-id").unwrap().split('-').collect();
    let port = gateway.proxy().port().to_string();
    assert_eq!(tracker[..2], ["127.0.0.1", port.as_str()]);
    assert_eq!(tracker.len(), 6);
    assert_eq!(tracker[4], "4", "the fourth request of its connection");
    for (target, status) in [("/closed", 401), ("/down", 502), ("/nowhere", 404)] {
        let response = gateway.send(Request::get(target).header("Kong-Request-ID", "mine"));
        assert_eq!(response.status, status);
        assert_eq!(response.header("kong-request-id"), Some("mine"), "{target}");
        let response = gateway.send(Request::get(target).header("Kong-Request-ID", ""));
        assert!(
            response.header("kong-request-id").unwrap().contains('#'),
            "{target}"
        );
    }
}

#[test]
fn termination_shows_what_was_asked() {
    let config = "
services: [{name: s, url: 'http://127.0.0.1:9', routes: [{name: r,
  paths: ['~/v(?<version>[0-9])/(.*)'], plugins: [
  {name: request-termination, config: {echo: true, status_code: 418, trigger: x-show}}]}]}]
plugins: [{name: cors}]";
    let gateway = gateway(config).start();
    let request = Request::post("/v1/rest?a=1&a=2", "b=%31")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("X-Show", "");
    let response = gateway.send(request);
    assert_eq!(response.status, 418);
    assert_eq!(allowed(&response), Some("*"));
    let shown = response.json();
    assert_eq!(shown["request"]["query"]["a"][1], "2");
    assert_eq!(shown["request"]["body"]["b"], "1");
    assert_eq!(shown["request"]["raw_body"], "b=%31");
    assert_eq!(shown["request"]["uri_captures"]["named"]["version"], "1");
    assert_eq!(shown["request"]["uri_captures"]["unnamed"][1], "rest");
    assert_eq!(shown["matched_route"]["name"], "r");
    assert_eq!(shown["matched_service"]["name"], "s");
    assert_eq!(shown["kong"]["node_id"].as_str().unwrap().len(), 36);
    assert_eq!(shown.get("message"), None);
    // A status without words, and none for HEAD.
    let gateway = self::gateway(
        "routes: [{paths: ['/'], plugins: [{name: request-termination, config: {status_code: 204}}]}]",
    );
    let gateway = gateway.start();
    let mut conn = gateway.connect();
    for method in ["GET", "HEAD", "POST"] {
        let response = conn.ask(&Request::new(method, "/"));
        assert_eq!((response.status, response.body.len()), (204, 0), "{method}");
        assert_eq!(response.header("content-type"), None);
    }
}
