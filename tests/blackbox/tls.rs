//! TLS from clients and towards upstreams; the PROXY protocol in front of either.

use std::fs;

use rustix::process::Signal;

use crate::support::upstream::reply;
use crate::support::x509::{Authority, Pair, credulous};
use crate::support::{Conn, Gateway, Request, Response, Upstream, eventually, gateway};

const ALL: &str = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";

fn ask(gateway: &Gateway, authority: &Authority, name: &str) -> std::io::Result<Response> {
    let mut conn = Conn::tls(gateway.proxy(), name, authority.client(&[]));
    conn.try_send(Request::get("/").bytes())?;
    Ok(conn.response("GET"))
}

#[test]
fn certificates_are_chosen_by_name() {
    let (exact, wild, star) = (Authority::new(), Authority::new(), Authority::new());
    let config = "
certificates:
  - {cert: <c1>, key: <k1>, snis: [a.test]}
  - {cert: <c2>, key: <k2>, snis: [{name: '*.a.test'}]}
  - {cert: <c3>, key: <k3>, snis: ['*']}
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let upstream = Upstream::saying("hello");
    let mut setup = gateway(config).fill("up", &upstream);
    let pairs = [
        exact.issue(&["a.test"]),
        wild.issue(&["*.a.test"]),
        star.issue(&["other.test", "x.y.a.test"]),
    ];
    for (n, Pair { cert, key }) in (1..).zip(&pairs) {
        setup = setup.fill_text(&format!("c{n}"), cert);
        setup = setup.fill_text(&format!("k{n}"), key);
    }
    let gateway = setup.listen("127.0.0.1:0 tls").start();
    for (authority, name) in [
        (&exact, "a.test"),
        (&wild, "x.a.test"),
        (&star, "x.y.a.test"),
        (&star, "other.test"),
    ] {
        let response = ask(&gateway, authority, name).unwrap();
        assert_eq!(response.text(), "hello", "{name}");
    }
    assert!(ask(&gateway, &star, "a.test").is_err());
    assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
}

#[test]
fn without_a_certificate_a_self_signed_one_is_used_and_said() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let gateway = setup.listen("127.0.0.1:0 tls").start();
    gateway.err.wait("self-signed");
    let mut conn = Conn::tls(gateway.proxy(), "any.test", credulous(&["http/1.1"]));
    for _ in 0..3 {
        assert_eq!(conn.ask(&Request::get("/")).text(), "hello");
    }
}

#[test]
fn the_default_certificate_can_come_from_files() {
    let authority = Authority::new();
    let pair = authority.issue(&["files.test"]);
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let (cert, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    fs::write(&cert, &pair.cert).unwrap();
    fs::write(&key, &pair.key).unwrap();
    let gateway = setup
        .listen("127.0.0.1:0 tls")
        .flag("--ssl-cert", cert.display())
        .flag("--ssl-cert-key", key.display())
        .start();
    assert_eq!(
        ask(&gateway, &authority, "files.test").unwrap().text(),
        "hello"
    );
}

#[test]
fn files_that_change_are_read_again() {
    let (old, new, newest) = (Authority::new(), Authority::new(), Authority::new());
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let (cert, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    let write = |authority: &Authority| {
        let pair = authority.issue(&["files.test"]);
        fs::write(&cert, &pair.cert).unwrap();
        fs::write(&key, &pair.key).unwrap();
    };
    write(&old);
    let gateway = setup
        .listen("127.0.0.1:0 tls")
        .flag("--ssl-cert", cert.display())
        .flag("--ssl-cert-key", key.display())
        .start();
    let shows = |authority: &Authority| ask(&gateway, authority, "files.test").is_ok();
    assert!(shows(&old));
    let mut kept = Conn::tls(gateway.proxy(), "files.test", old.client(&[]));
    assert_eq!(kept.ask(&Request::get("/")).text(), "hello");
    write(&new);
    eventually("the new certificate", || shows(&new));
    assert!(!shows(&old));
    // Connections that were open stay so.
    assert_eq!(kept.ask(&Request::get("/")).text(), "hello");
    // What is no pair changes nothing.
    fs::write(&key, old.issue(&["files.test"]).key).unwrap();
    gateway.signal(Signal::HUP);
    gateway.err.wait("the default certificate stays as it was");
    assert!(shows(&new));
    // Nobody has to wait who says so.
    write(&newest);
    gateway.signal(Signal::HUP);
    eventually("the newest certificate", || shows(&newest));
}

#[test]
fn plain_words_to_a_tls_port_reach_nobody() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let gateway = setup.listen("127.0.0.1:0 tls").start();
    let mut conn = gateway.connect();
    conn.send(Request::get("/").bytes());
    conn.rest();
    assert!(upstream.requests().is_empty());
}

#[test]
fn routes_by_server_name() {
    let config = "
services:
  - {url: 'http://<up>/named', routes: [{paths: ['/'], snis: [a.test]}]}
  - {url: 'http://<up>/other', routes: [{paths: ['/']}]}";
    let upstream = Upstream::answering(|request| reply(200, &[], request.target().as_bytes()));
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.listen("127.0.0.1:0 tls").start();
    for (name, target) in [("a.test", "/named"), ("b.test", "/other")] {
        let mut conn = Conn::tls(gateway.proxy(), name, credulous(&[]));
        let request = Request::get("/").header("Host", name);
        assert_eq!(conn.ask(&request).text(), target);
    }
}

#[test]
fn upstreams_are_verified_when_asked_for() {
    let authority = Authority::new();
    let other = Authority::new();
    let pair = authority.issue(&["localhost"]);
    let upstream = Upstream::answering_tls(pair.server(&[]), |_| reply(200, &[], b"secret"));
    let config = "
ca_certificates:
  - {id: 11111111-1111-4111-8111-111111111111, cert: <ca>}
  - {id: 22222222-2222-4222-8222-222222222222, cert: <other>}
services:
  - {url: 'https://localhost:<port>', retries: 0, routes: [{paths: [/off]}]}
  - {url: 'https://localhost:<port>', retries: 0, tls_verify: true,
     ca_certificates: [11111111-1111-4111-8111-111111111111], routes: [{paths: [/on]}]}
  - {url: 'https://localhost:<port>', retries: 0, tls_verify: true,
     ca_certificates: [22222222-2222-4222-8222-222222222222], routes: [{paths: [/stranger]}]}
  - {url: 'https://127.0.0.1:<port>', retries: 0, tls_verify: true,
     ca_certificates: [11111111-1111-4111-8111-111111111111], routes: [{paths: [/misnamed]}]}";
    let gateway = gateway(config)
        .fill("port", upstream.port())
        .fill_text("ca", &authority.pem())
        .fill_text("other", &other.pem())
        .start();
    for (path, status) in [
        ("/off", 200),
        ("/on", 200),
        ("/stranger", 502),
        ("/misnamed", 502),
    ] {
        assert_eq!(gateway.get(path).status, status, "{path}");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_client_certificate_is_shown_to_the_upstream() {
    let authority = Authority::new();
    let server = authority.demanding(&authority.issue(&["localhost"]));
    let ours = authority.issue(&["gateway"]);
    let upstream = Upstream::answering_tls(server, |_| reply(200, &[], b"secret"));
    let config = "
certificates: [{id: 11111111-1111-4111-8111-111111111111, cert: <cert>, key: <key>}]
services:
  - {url: 'https://localhost:<port>', retries: 0, routes: [{paths: [/with]}],
     client_certificate: 11111111-1111-4111-8111-111111111111}
  - {url: 'https://localhost:<port>', retries: 0, routes: [{paths: [/without]}]}";
    let gateway = gateway(config)
        .fill("port", upstream.port())
        .fill_text("cert", &ours.cert)
        .fill_text("key", &ours.key)
        .start();
    assert_eq!(gateway.get("/with").text(), "secret");
    assert_eq!(gateway.get("/without").status, 502);
}

fn version_2() -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    bytes.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    bytes.extend(4000_u16.to_be_bytes());
    bytes.extend(80_u16.to_be_bytes());
    bytes
}

#[test]
fn the_proxy_protocol_tells_who_the_client_is() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let gateway = setup.listen("127.0.0.1:0 proxy_protocol").start();
    let version_1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 4000 80\r\n".to_vec();
    let request = Request::get("/").bytes();
    for prefix in [version_1, version_2()] {
        let mut conn = gateway.connect();
        conn.send([&prefix[..], &request].concat());
        assert_eq!(conn.response("GET").text(), "hello");
        let seen = upstream.last();
        assert_eq!(seen.header("x-real-ip"), Some("1.2.3.4"));
        assert_eq!(seen.header("x-forwarded-for"), Some("1.2.3.4"));
    }
    for bad in [
        &request[..],
        b"PROXY TCP4 1.2.3 5.6.7.8 4000 80\r\n",
        b"PROXY \r\n",
    ] {
        let mut conn = gateway.connect();
        conn.send([bad, &request].concat());
        conn.rest();
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn the_proxy_protocol_is_believed_from_trusted_peers_alone() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL)
        .fill("up", &upstream)
        .flag("--trusted-ips", "192.0.2.0/24");
    let gateway = setup.listen("127.0.0.1:0 proxy_protocol").start();
    let mut conn = gateway.connect();
    conn.send([&version_2()[..], &Request::get("/").bytes()].concat());
    assert_eq!(conn.rest(), b"");
    assert_eq!(upstream.requests().len(), 0);
}

#[test]
fn the_proxy_protocol_comes_before_tls() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let gateway = setup.listen("127.0.0.1:0 tls proxy_protocol").start();
    let mut conn = Conn::tls(gateway.proxy(), "a.test", credulous(&[]));
    conn.send_plain(version_2());
    assert_eq!(conn.ask(&Request::get("/")).text(), "hello");
    assert_eq!(upstream.only().header("x-real-ip"), Some("1.2.3.4"));
}

#[test]
fn the_admin_listener_may_speak_tls() {
    let setup = gateway("_format_version: '3.0'").flag("--admin-listen", "127.0.0.1:0 tls");
    let gateway = setup.start();
    let line = gateway.out.wait("admin tls ");
    let admin = line.rsplit(' ').next().unwrap().parse().unwrap();
    let mut conn = Conn::tls(admin, "localhost", credulous(&[]));
    let ready = Request::get("/health").header("Host", &format!("{admin}"));
    assert_eq!(conn.ask(&ready).status, 200);
    // Without it there is no answer that anybody would read as one.
    let mut plain = Conn::open(admin);
    plain.send(ready.bytes());
    assert!(!plain.rest().starts_with(b"HTTP/"));
}
