//! The gateway's own errors: each status and body.

use std::net::UdpSocket;

use crate::support::upstream::Nobody;
use crate::support::{Request, Upstream, gateway};

const INVALID: &str = "An invalid response was received from the upstream server";
const SLOW: &str = "The upstream server is timing out";

const TO: &str = "services: [{url: 'http://<up>', retries: 0, connect_timeout: 300,
  read_timeout: 300, write_timeout: 300, routes: [{paths: ['/']}]}]";

#[test]
fn no_route() {
    let gateway = gateway("_format_version: '3.0'").start();
    gateway
        .get("/")
        .is_error(404, "no Route matched with those values");
}

#[test]
fn a_service_that_is_off_has_no_routes() {
    let config = "services: [{url: 'http://x.test', enabled: false, routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).start();
    gateway
        .get("/")
        .is_error(404, "no Route matched with those values");
}

#[test]
fn no_service() {
    let gateway = gateway("routes: [{paths: ['/']}]").start();
    gateway
        .get("/")
        .is_error(503, "no Service found with those values");
}

#[test]
fn no_target() {
    let config = "
services: [{host: pool, routes: [{paths: [/none]}]}, {host: idle, routes: [{paths: [/zero]}]}]
upstreams:
  - {name: pool}
  - {name: idle, targets: [{target: '127.0.0.1:1', weight: 0}]}";
    let gateway = gateway(config).start();
    for path in ["/none", "/zero"] {
        gateway
            .get(path)
            .is_error(503, "failure to get a peer from the ring-balancer");
    }
}

#[test]
fn a_name_that_does_not_exist() {
    let config = "services: [{host: no-such-name.invalid, routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).start();
    let response = gateway.get("/");
    assert!(matches!(response.status, 500 | 503), "{response:?}");
    let message = response.message();
    let known = [
        "name resolution failed",
        "failed the initial dns/balancer resolve",
    ];
    assert!(known.iter().any(|it| message.starts_with(it)), "{message}");
}

#[test]
fn nobody_listens() {
    let gateway = gateway(TO).fill("up", Nobody::new()).start();
    let response = gateway.get("/");
    response.is_error(502, INVALID);
    assert!(response.header("via").is_some());
    assert!(response.header("x-kong-upstream-latency").is_some());
    assert!(response.header("x-kong-proxy-latency").is_some());
    assert_eq!(response.header("x-kong-response-latency"), None);
}

#[test]
fn an_upstream_that_closes_at_once() {
    let upstream = Upstream::raw(|mut serving| {
        serving.head();
    });
    let gateway = gateway(TO).fill("up", &upstream).start();
    gateway.get("/").is_error(502, INVALID);
}

#[test]
fn an_upstream_that_resets() {
    let upstream = Upstream::raw(|mut serving| {
        serving.head();
        serving.reset();
    });
    let gateway = gateway(TO).fill("up", &upstream).start();
    gateway.get("/").is_error(502, INVALID);
}

#[test]
fn answers_that_are_no_http() {
    for garbage in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: a\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 200",
    ] {
        let upstream = Upstream::raw(move |mut serving| {
            serving.head();
            serving.write(garbage);
        });
        let gateway = gateway(TO).fill("up", &upstream).start();
        let response = gateway.get("/");
        assert_eq!(response.status, 502, "{garbage:?}: {response:?}");
        response.is_error(502, INVALID);
    }
}

#[test]
fn an_upstream_that_hangs() {
    let upstream = Upstream::raw(|mut serving| {
        serving.head();
        serving.left();
    });
    let gateway = gateway(TO).fill("up", &upstream).start();
    let response = gateway.get("/");
    response.is_error(504, SLOW);
    assert!(response.header("x-kong-upstream-latency").is_some());
}

#[test]
fn an_upstream_that_hangs_in_its_head() {
    let upstream = Upstream::raw(|mut serving| {
        serving.head();
        serving.write("HTTP/1.1 200 OK\r\nX-Half: ");
        serving.left();
    });
    let gateway = gateway(TO).fill("up", &upstream).start();
    gateway.get("/").is_error(504, SLOW);
}

#[test]
fn head_gets_no_body() {
    let gateway = gateway("_format_version: '3.0'").start();
    let mut conn = gateway.connect();
    conn.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let response = conn.response("HEAD");
    assert_eq!(response.status, 404);
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
    let next = conn.ask(&Request::get("/"));
    next.is_error(404, "no Route matched with those values");
}

#[test]
fn errors_are_json_whatever_is_accepted() {
    let gateway = gateway("_format_version: '3.0'").start();
    let request = Request::get("/").header("Accept", "text/html");
    gateway
        .send(request)
        .is_error(404, "no Route matched with those values");
}

#[test]
fn too_much_of_everything() {
    let upstream = Upstream::echo();
    let gateway = gateway(TO)
        .fill("up", &upstream)
        .flag("--client-max-body-size", "1k")
        .start();
    let long = "x".repeat(9000);
    gateway
        .get(&format!("/{long}"))
        .is_error(414, "URI too long");
    let words = "Request header or cookie too large";
    let four = (0..4).fold(Request::get("/"), |it, n| {
        it.header(&format!("X-{n}"), &long)
    });
    gateway.send(four).is_error(431, words);
    let many = (0..101).fold(Request::get("/"), |it, n| it.header(&format!("X-{n}"), "y"));
    gateway.send(many).is_error(431, words);
    let response = gateway.send(Request::post("/", vec![b'x'; 1025]));
    response.is_error(413, "Payload too large");
    assert_eq!(
        gateway.send(Request::post("/", vec![b'x'; 1024])).status,
        200
    );
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("258\r\n{}\r\n", "y".repeat(600));
    conn.send(&chunk);
    let _ = conn.try_send(&chunk);
    conn.response("POST").is_error(413, "Payload too large");
}

#[test]
fn connect_is_no_method_here() {
    let upstream = Upstream::echo();
    let gateway = gateway(TO).fill("up", &upstream).start();
    let mut conn = gateway.connect();
    conn.send("CONNECT x.test:443 HTTP/1.1\r\nHost: x.test:443\r\n\r\n");
    conn.response("CONNECT").is_error(405, "Method not allowed");
    assert!(upstream.requests().is_empty());
}

#[test]
fn a_client_that_is_too_slow_with_its_head() {
    let gateway = gateway("_format_version: '3.0'")
        .flag("--client-header-timeout", "200ms")
        .start();
    let mut conn = gateway.connect();
    conn.send("GET / HTTP/1.1\r\nHo");
    conn.response("GET").is_error(408, "Request timeout");
    assert!(conn.closes());
    // One that says nothing at all gets nothing.
    assert!(gateway.connect().closes());
}

#[test]
fn a_client_that_is_too_slow_with_its_body() {
    let upstream = Upstream::echo();
    let gateway = gateway(TO)
        .fill("up", &upstream)
        .flag("--client-body-timeout", "200ms")
        .start();
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    conn.response("POST").is_error(408, "Request timeout");
    assert!(conn.closes());
}

#[test]
fn an_upstream_that_is_no_tcp_service() {
    // A port that only UDP has.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let gateway = gateway(TO).fill("up", address).start();
    assert_eq!(gateway.get("/").status, 502);
}
