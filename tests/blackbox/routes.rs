//! Which route takes a request, seen on the wire.

use std::fmt::Write;

use crate::support::upstream::reply;
use crate::support::{Gateway, Request, Upstream, gateway};

/// One service per route, each at a path of the upstream that tells its name.
struct Table {
    gateway: Gateway,
    _upstream: Upstream,
}

fn table(routes: &[&str]) -> Table {
    let upstream = Upstream::answering(|request| reply(200, &[], request.target().as_bytes()));
    let mut config = "services:\n".to_owned();
    for (name, route) in ('a'..).zip(routes) {
        writeln!(
            config,
            "- {{url: 'http://<up>/{name}', routes: [{{{route}}}]}}"
        )
        .unwrap();
    }
    Table {
        gateway: gateway(&config).fill("up", &upstream).start(),
        _upstream: upstream,
    }
}

impl Table {
    /// The name of the winner; `404` when there is none.
    fn winner(&self, request: Request) -> String {
        let response = self.gateway.send(request);
        match response.status {
            200 => response.text()[1..2].to_owned(),
            status => status.to_string(),
        }
    }

    fn at(&self, host: &str, path: &str) -> String {
        self.winner(Request::get(path).header("Host", host))
    }
}

#[test]
fn hosts_plain_wildcard_and_with_ports() {
    let table = table(&[
        "hosts: [a.test]",
        "hosts: ['*.a.test']",
        "hosts: ['b.*']",
        "hosts: ['a.test:8080']",
        "hosts: ['[::1]']",
    ]);
    for (host, winner) in [
        ("a.test", "a"),
        ("A.Test", "a"),
        ("a.test.", "a"),
        ("a.test:9", "a"),
        ("a.test:8080", "d"),
        ("x.a.test", "b"),
        ("deep.y.a.test", "b"),
        ("b.co.uk", "c"),
        ("xb.com", "404"),
        ("[::1]:99", "e"),
        ("other.test", "404"),
    ] {
        assert_eq!(table.at(host, "/"), winner, "{host}");
    }
}

#[test]
fn methods_are_exact() {
    let table = table(&["methods: [GET, PUT]", "methods: [DELETE]"]);
    for (method, winner) in [
        ("GET", "a"),
        ("PUT", "a"),
        ("DELETE", "b"),
        ("get", "404"),
        ("POST", "404"),
    ] {
        assert_eq!(table.winner(Request::new(method, "/")), winner, "{method}");
    }
}

#[test]
fn headers_and_their_expressions() {
    let table = table(&[
        "headers: {x-a: [one, two]}",
        "headers: {x-a: [one], x-b: [three]}",
        "headers: {x-c: ['~*^v[0-9]+$']}",
    ]);
    let with = |fields: &[(&str, &str)]| {
        let request = Request::get("/");
        let add = |request: Request, field: &(&str, &str)| request.header(field.0, field.1);
        table.winner(fields.iter().fold(request, add))
    };
    assert_eq!(with(&[("X-A", "one")]), "a");
    assert_eq!(with(&[("X-A", "TWO")]), "a");
    assert_eq!(with(&[("X-A", "zero"), ("X-A", "two")]), "a");
    assert_eq!(with(&[("X-A", "zero, two")]), "404");
    assert_eq!(with(&[("X-A", "one"), ("X-B", "three")]), "b");
    assert_eq!(with(&[("X-B", "three")]), "404");
    assert_eq!(with(&[("X-C", "V12")]), "c");
    assert_eq!(with(&[("X-C", "v")]), "404");
}

#[test]
fn prefixes_and_expressions() {
    let table = table(&[
        "paths: [/v1]",
        "paths: [/v1/long]",
        "paths: ['~/users/\\d+$']",
        "paths: [/users/12]",
        "paths: ['~/pri/.*'], regex_priority: 1",
        "paths: ['~/pri/a.*'], regex_priority: 5",
    ]);
    for (path, winner) in [
        ("/v1", "a"),
        ("/v1x", "a"),
        ("/v1/long/er", "b"),
        ("/V1", "404"),
        ("/users/12", "c"),
        ("/users/12/x", "d"),
        ("/users/x", "404"),
        ("/pri/b", "e"),
        ("/pri/ab", "f"),
        ("/x/../v1/%6cong", "b"),
    ] {
        assert_eq!(table.at("h", path), winner, "{path}");
    }
}

#[test]
fn a_route_for_https_says_so() {
    let config = "
services:
- url: http://<up>
  routes:
  - {paths: [/plain], protocols: [https]}
  - {paths: [/moved], protocols: [https], https_redirect_status_code: 301}
  - {paths: [/found], protocols: [https], https_redirect_status_code: 307}
  - {paths: [/both], protocols: [http, https]}";
    let upstream = Upstream::echo();
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.flag("--trusted-ips", "127.0.0.1").start();
    let response = gateway.get("/plain");
    response.is_error(426, "Please use HTTPS protocol");
    assert_eq!(response.header("upgrade"), Some("TLS/1.2, HTTP/1.1"));
    let connection = response.header("connection").unwrap();
    assert!(
        connection.to_ascii_lowercase().contains("upgrade"),
        "{connection}"
    );
    for (path, status) in [("/moved", 301), ("/found", 307)] {
        let request = Request::get(&format!("{path}/x?y=%20")).header("Host", "a.test:80");
        let response = gateway.send(request);
        assert_eq!(response.status, status);
        assert_eq!(response.text(), "");
        let location = format!("https://a.test{path}/x?y=%20");
        assert_eq!(response.header("location"), Some(location.as_str()));
    }
    assert_eq!(gateway.get("/both").status, 200);
    assert_eq!(upstream.requests().len(), 1);
    // A trusted edge has spoken TLS already.
    let request = Request::get("/plain").header("X-Forwarded-Proto", "https");
    assert_eq!(gateway.send(request).status, 200);
}

#[test]
fn grpc_routes_want_grpc() {
    let config = "services: [{host: h.test, protocol: grpc, routes: [
      {paths: [/both], protocols: [grpc, grpcs]}, {paths: [/tls], protocols: [grpcs]}]}]";
    let gateway = gateway(config).start();
    gateway
        .get("/both")
        .is_error(415, "Non-gRPC request matched gRPC route");
    let request = Request::post("/both", "").header("Content-Type", "application/grpc");
    let response = gateway.send(request);
    assert_eq!(response.status, 426);
    assert_eq!(response.message(), "Please use HTTP2 protocol");
    assert_eq!(response.header("upgrade"), Some("HTTP/2"));
}
