//! What a request becomes on its way up, and its answer on the way down.

use crate::support::upstream::reply;
use crate::support::{Gateway, Request, Upstream, gateway};

/// One service that takes everything.
const ALL: &str = "services: [{name: all, url: 'http://<up>', routes: [{paths: ['/']}]}]";

fn proxy(upstream: &Upstream) -> Gateway {
    gateway(ALL).fill("up", upstream).start()
}

fn trusting(upstream: &Upstream) -> Gateway {
    let setup = gateway(ALL).fill("up", upstream);
    setup.flag("--trusted-ips", "127.0.0.0/8").start()
}

const FORGED: [(&str, &str); 7] = [
    ("X-Real-IP", "9.9.9.9"),
    ("X-Forwarded-For", "1.1.1.1, 2.2.2.2"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "Elsewhere.test"),
    ("X-Forwarded-Port", "4711"),
    ("X-Forwarded-Path", "/elsewhere"),
    ("X-Forwarded-Prefix", "/else"),
];

fn forged() -> Request {
    let request = Request::get("/a%41?q=1").header("Host", "GateWay.test:81");
    let add = |request: Request, (name, value): (&str, &str)| request.header(name, value);
    FORGED.into_iter().fold(request, add)
}

#[test]
fn forwarded_headers_tell_about_the_client() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let response = gateway.send(Request::get("/x?y").header("Host", "GateWay.test:81"));
    assert_eq!(response.status, 200);
    let seen = upstream.only();
    let port = gateway.proxy().port().to_string();
    assert_eq!(seen.line, "GET /x?y HTTP/1.1");
    assert_eq!(seen.header("host"), Some(upstream.to_string().as_str()));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"));
    assert_eq!(seen.header("x-forwarded-port"), Some(port.as_str()));
    assert_eq!(seen.header("x-forwarded-path"), Some("/x"));
    assert_eq!(seen.header("x-forwarded-prefix"), None);
    assert_eq!(seen.header("connection"), Some("keep-alive"));
    let via = seen.header("via").unwrap();
    assert!(via.starts_with("1.1 "), "{via}");
    let id = seen.header("x-kong-request-id").unwrap();
    assert_eq!(response.header("x-kong-request-id"), Some(id));
}

#[test]
fn strangers_cannot_forge_forwarded_headers() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    gateway.send(forged());
    let seen = upstream.only();
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    let chain = seen.header("x-forwarded-for");
    assert_eq!(chain, Some("1.1.1.1, 2.2.2.2, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"));
    assert_ne!(seen.header("x-forwarded-port"), Some("4711"));
    assert_eq!(seen.header("x-forwarded-path"), Some("/a%41"));
    assert_eq!(seen.header("x-forwarded-prefix"), None);
}

#[test]
fn a_trusted_peer_speaks_for_its_clients() {
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream);
    gateway.send(forged());
    let seen = upstream.only();
    assert_eq!(seen.header("x-real-ip"), Some("9.9.9.9"));
    let chain = seen.header("x-forwarded-for");
    assert_eq!(chain, Some("1.1.1.1, 2.2.2.2, 127.0.0.1"));
    for (name, value) in &FORGED[2..] {
        assert_eq!(seen.header(name), Some(*value), "{name}");
    }
}

#[test]
fn the_real_ip_can_come_from_the_forwarded_chain() {
    for (recursive, expected) in [("off", "127.0.0.9"), ("on", "2.2.2.2")] {
        let upstream = Upstream::echo();
        let gateway = gateway(ALL)
            .fill("up", &upstream)
            .flag("--trusted-ips", "127.0.0.0/8")
            .flag("--real-ip-header", "X-Forwarded-For")
            .flag("--real-ip-recursive", recursive)
            .start();
        let chain = "1.1.1.1, 2.2.2.2, 127.0.0.9";
        gateway.send(Request::get("/").header("X-Forwarded-For", chain));
        assert_eq!(upstream.only().header("x-real-ip"), Some(expected));
    }
}

#[test]
fn hop_by_hop_fields_end_here() {
    let upstream = Upstream::answering(|_| {
        let headers = [
            ("Connection", "X-Private, keep-alive"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "h2c"),
            ("Trailer", "X-T"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Kept", "yes"),
        ];
        reply(200, &headers, b"")
    });
    let gateway = proxy(&upstream);
    let response = gateway.send(
        Request::get("/")
            .header("Connection", "close, X-Own")
            .header("X-Own", "1")
            .header("Keep-Alive", "timeout=9")
            .header("Proxy", "evil")
            .header("Proxy-Connection", "keep-alive")
            .header("Upgrade", "h2c")
            .header("TE", "gzip, trailers")
            .header("Proxy-Authorization", "Basic eDp5")
            .header("Authorization", "Bearer z")
            .header("under_score", "kept"),
    );
    let seen = upstream.only();
    for gone in [
        "x-own",
        "keep-alive",
        "proxy",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("connection"), Some("keep-alive"));
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("proxy-authorization"), Some("Basic eDp5"));
    assert_eq!(seen.header("authorization"), Some("Bearer z"));
    assert_eq!(seen.header("under_score"), Some("kept"));
    for gone in ["x-private", "keep-alive", "upgrade"] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
    assert_eq!(response.header("connection"), Some("close"));
    assert_eq!(response.header("proxy-authenticate"), Some("Basic"));
    assert_eq!(response.header("x-kept"), Some("yes"));
}

#[test]
fn via_is_appended_to_both_ways() {
    let upstream = Upstream::answering(|_| reply(200, &[("Via", "1.0 inner")], b""));
    let gateway = proxy(&upstream);
    let response = gateway.send(Request::get("/").header("Via", "1.0 edge"));
    let up = upstream.only().header("via").unwrap().to_owned();
    assert!(up.starts_with("1.0 edge, 1.1 "), "{up}");
    let down = response.header("via").unwrap();
    assert!(down.starts_with("1.0 inner, 1.1 "), "{down}");
}

#[test]
fn proxied_answers_tell_two_latencies_and_own_answers_one() {
    let upstream = Upstream::echo();
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/there']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let number = |value: Option<&str>| value.and_then(|text| text.parse::<u64>().ok());
    let proxied = gateway.get("/there");
    assert!(number(proxied.header("x-kong-upstream-latency")).is_some());
    assert!(number(proxied.header("x-kong-proxy-latency")).is_some());
    assert_eq!(proxied.header("x-kong-response-latency"), None);
    assert_eq!(proxied.header("server"), Some("upstream"));
    let own = gateway.get("/nowhere");
    assert!(number(own.header("x-kong-response-latency")).is_some());
    assert_eq!(own.header("x-kong-upstream-latency"), None);
    assert_eq!(own.header("x-kong-proxy-latency"), None);
    assert_eq!(own.header("via"), None);
    assert!(own.header("server").is_some());
}

#[test]
fn added_headers_can_be_switched_off() {
    let upstream = Upstream::answering(|_| reply(200, &[], b""));
    let setup = gateway(ALL).fill("up", &upstream);
    let gateway = setup.flag("--headers", "off").start();
    let response = gateway.get("/");
    for gone in ["server", "via", "x-kong-request-id"] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
    for gone in ["x-kong-upstream-latency", "x-kong-proxy-latency"] {
        assert_eq!(response.header(gone), None, "{gone}");
    }
}

#[test]
fn single_headers_can_be_chosen() {
    let upstream = Upstream::answering(|_| reply(201, &[], b""));
    let setup = gateway(ALL).fill("up", &upstream);
    let chosen = "X-Kong-Upstream-Status, X-Kong-Proxy-Latency";
    let gateway = setup.flag("--headers", chosen).start();
    let response = gateway.get("/");
    assert_eq!(response.header("x-kong-upstream-status"), Some("201"));
    assert!(response.header("x-kong-proxy-latency").is_some());
    assert_eq!(response.header("x-kong-upstream-latency"), None);
    assert_eq!(response.header("x-kong-request-id"), None);
}

#[test]
fn the_host_header_follows_the_rules() {
    let upstream = Upstream::echo();
    let config = "
services:
  - {url: 'http://<up>', routes: [{paths: [/plain]}, {paths: [/kept], preserve_host: true}]}
  - {url: 'http://localhost:<port>', routes: [{paths: [/named]}]}
  - {host: pool, routes: [{paths: [/pool]}]}
  - {host: dressed, routes: [{paths: [/dressed]}]}
upstreams:
  - {name: pool, targets: [{target: 'localhost:<port>'}]}
  - {name: dressed, host_header: inner.test, targets: [{target: '<up>'}]}
";
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.fill("port", upstream.port()).start();
    let port = upstream.port();
    for (path, host) in [
        ("/plain", upstream.to_string()),
        ("/kept", "Client.test:99".to_owned()),
        ("/named", format!("localhost:{port}")),
        ("/pool", format!("localhost:{port}")),
        ("/dressed", format!("inner.test:{port}")),
    ] {
        let request = Request::get(path).header("Host", "Client.test:99");
        assert_eq!(gateway.send(request).status, 200, "{path}");
        assert_eq!(
            upstream.last().header("host"),
            Some(host.as_str()),
            "{path}"
        );
    }
}

#[test]
fn paths_are_joined_as_kong_joins_them() {
    let upstream = Upstream::echo();
    let config = "
services:
  - {url: 'http://<up>/srv', routes: [
      {paths: [/rt], hosts: [a.test]}, {paths: [/rt], hosts: [b.test], strip_path: false}]}
  - {url: 'http://<up>/srv/', routes: [
      {paths: [/rt], hosts: [c.test]}, {paths: [/rt/], hosts: [d.test], strip_path: false}]}
  - {url: 'http://<up>', routes: [{paths: ['~/u/(?<id>\\d+)'], hosts: [e.test]}]}
";
    let gateway = gateway(config).fill("up", &upstream).start();
    for (host, target, sent) in [
        ("a.test", "/rt", "/srv"),
        ("a.test", "/rt/", "/srv/"),
        ("a.test", "/rtx", "/srv/x"),
        ("a.test", "/rt/x?q=a%20b&&c", "/srv/x?q=a%20b&&c"),
        ("b.test", "/rt", "/srv/rt"),
        ("b.test", "/rt/x", "/srv/rt/x"),
        ("c.test", "/rt", "/srv"),
        ("c.test", "/rt/", "/srv/"),
        ("c.test", "/rtx", "/srv/x"),
        ("d.test", "/rt/x", "/srv/rt/x"),
        ("e.test", "/u/12/abc", "/abc"),
        ("e.test", "/u/12", "/"),
    ] {
        let response = gateway.send(Request::get(target).header("Host", host));
        assert_eq!(response.status, 200, "{host}{target}");
        assert_eq!(upstream.last().target(), sent, "{host}{target}");
    }
}

#[test]
fn a_stripped_prefix_is_told() {
    let upstream = Upstream::echo();
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/a/b']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    gateway.get("/a/b/c");
    let seen = upstream.only();
    assert_eq!(seen.header("x-forwarded-prefix"), Some("/a/b"));
    assert_eq!(seen.header("x-forwarded-path"), Some("/a/b/c"));
}

#[test]
fn paths_are_normalised_and_queries_are_not() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    for (target, sent) in [
        ("/a/../v1//x", "/v1/x"),
        ("/v1/%7Efoo", "/v1/~foo"),
        ("/v1/a%2fb", "/v1/a%2Fb"),
        ("/a/../../etc", "/etc"),
        ("/a/%2e%2e/b", "/b"),
        ("/x?", "/x?"),
        ("/x??a=%zz&&=\"'/../", "/x??a=%zz&&=\"'/../"),
        ("/a\\b", "/a%5Cb"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("http://gateway.test/abs?x", "/abs?x"),
    ] {
        let response = gateway.get(target);
        assert_eq!(response.status, 200, "{target}: {response:?}");
        assert_eq!(upstream.last().target(), sent, "{target}");
    }
}

#[test]
fn who_somebody_is_cannot_be_forged() {
    let names = [
        "X-Consumer-ID",
        "X-Consumer-Custom-ID",
        "X-Consumer-Username",
        "X-Consumer-Groups",
        "X-Credential-Identifier",
        "X-Anonymous-Consumer",
        "X-Authenticated-Groups",
    ];
    let add = |request: Request, name: &&str| request.header(name, "admin");
    let request = names.iter().fold(Request::get("/"), add);
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    gateway.send(request.clone());
    for name in names {
        assert_eq!(upstream.only().header(name), None, "{name}");
    }
    let upstream = Upstream::echo();
    let gateway = trusting(&upstream);
    gateway.send(request);
    for name in names {
        assert_eq!(upstream.only().header(name), Some("admin"), "{name}");
    }
}

#[test]
fn an_answer_is_passed_on_as_it_is() {
    let upstream = Upstream::answering(|_| {
        let headers = [
            ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("X-Odd_Name", "v  v"),
            ("Content-Type", "text/html"),
        ];
        reply(503, &headers, b"<p>own words</p>")
    });
    let gateway = proxy(&upstream);
    let response = gateway.get("/");
    assert_eq!(response.status, 503);
    assert_eq!(response.text(), "<p>own words</p>");
    assert_eq!(
        response.header("date"),
        Some("Thu, 01 Jan 1970 00:00:00 GMT")
    );
    assert_eq!(response.values("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.header("x-odd_name"), Some("v  v"));
    assert_eq!(response.header("content-type"), Some("text/html"));
}

#[test]
fn a_name_and_an_upstream_s_weights_are_followed() {
    let (often, seldom) = (Upstream::saying("often"), Upstream::saying("seldom"));
    let config = "
services: [{host: pool, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, targets: [
  {target: '<a>', weight: 300}, {target: '<b>', weight: 100}]}]";
    let setup = gateway(config).fill("a", &often).fill("b", &seldom);
    let gateway = setup.flag("--workers", 1).start();
    let mut conn = gateway.connect();
    let answers: Vec<String> = (0..40)
        .map(|_| conn.ask(&Request::get("/")).text())
        .collect();
    let count = answers.iter().filter(|text| *text == "often").count();
    assert_eq!(count, 30, "{answers:?}");
}

#[test]
fn every_method_passes() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    for method in [
        "GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY",
    ] {
        assert_eq!(
            gateway.send(Request::new(method, "/")).status,
            200,
            "{method}"
        );
        assert_eq!(upstream.last().method(), method);
    }
}
