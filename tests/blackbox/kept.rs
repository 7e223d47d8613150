//! What a reload keeps, because it is still the same.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, StreamOwned};

use crate::support::upstream::{Nobody, reply};
use crate::support::x509::Authority;
use crate::support::{PATIENCE, Request, Upstream, gateway};

#[test]
fn idle_connections_and_the_health_of_targets() {
    let upstream = Upstream::saying("hello");
    let config = "
services: [{host: pool, retries: 1, routes: [{paths: ['/<path>']}]}]
upstreams:
- name: pool
  healthchecks: {passive: {unhealthy: {tcp_failures: 1}}}
  targets: [{target: '<up>'}, {target: '<nobody>'}]";
    let nobody = Nobody::new();
    let setup = gateway(config)
        .fill("up", &upstream)
        .fill("nobody", &nobody);
    let gateway = setup.fill("path", "one").flag("--workers", 1).start();
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    for _ in 0..4 {
        assert_eq!(gateway.get("/one").text(), "hello");
    }
    let attempts = |gateway: &crate::support::Gateway| {
        let health = gateway.ask("/upstreams/pool/health").json();
        let targets = health["data"].as_array().unwrap().clone();
        let of = nobody.to_string();
        let target = targets
            .iter()
            .find(|target| target["target"] == of)
            .unwrap();
        assert_eq!(target["health"], "UNHEALTHY");
        target["data"]["addresses"][0]["requests"].clone()
    };
    let before = attempts(&gateway);
    for round in 0..3 {
        gateway.load(&text.replace("/one", &format!("/round-{round}")));
        for _ in 0..4 {
            assert_eq!(gateway.get(&format!("/round-{round}")).text(), "hello");
        }
    }
    assert_eq!(attempts(&gateway), before, "it is still known to be away");
    assert_eq!(upstream.seen().connections, 1, "one connection for all");
}

#[test]
fn sessions_of_tls_clients() {
    let authority = Authority::new();
    let pair = authority.issue(&["gateway.test"]);
    let upstream = Upstream::saying("hello");
    let config = "
certificates: [{cert: <cert>, key: <key>, snis: [gateway.test]}]
services: [{url: 'http://<up>', routes: [{paths: ['/', /one]}]}]";
    let setup = gateway(config).fill("up", &upstream);
    let setup = setup
        .fill_text("cert", &pair.cert)
        .fill_text("key", &pair.key);
    let gateway = setup.listen("127.0.0.1:0 tls").start();
    // It remembers sessions.
    let client = authority.client(&[]);
    assert_eq!(handshake(gateway.proxy(), &client), HandshakeKind::Full);
    assert_eq!(handshake(gateway.proxy(), &client), HandshakeKind::Resumed);
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    gateway.load(&text.replace("/one", "/two"));
    assert_eq!(handshake(gateway.proxy(), &client), HandshakeKind::Resumed);
}

fn handshake(to: SocketAddr, config: &Arc<ClientConfig>) -> HandshakeKind {
    let tcp = TcpStream::connect(to).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("gateway.test").unwrap();
    let conn = ClientConnection::new(config.clone(), name).unwrap();
    let mut stream = StreamOwned::new(conn, tcp);
    let request = Request::get("/").header("Connection", "close");
    stream.write_all(&request.bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(b"hello"));
    stream.conn.handshake_kind().unwrap()
}

/// A latency that was measured decides after a reload as before.
#[test]
fn how_long_targets_take() {
    let slow = Upstream::answering(|_| {
        std::thread::sleep(std::time::Duration::from_millis(150));
        reply(200, &[], b"slow")
    });
    let quick = Upstream::saying("quick");
    let config = "
services: [{host: pool, routes: [{paths: ['/', /one]}]}]
upstreams: [{name: pool, algorithm: latency, targets: [{target: '<slow>'}, {target: '<quick>'}]}]";
    let setup = gateway(config).fill("slow", &slow).fill("quick", &quick);
    let gateway = setup.flag("--workers", 1).start();
    for _ in 0..10 {
        gateway.get("/");
    }
    let before = slow.requests().len();
    assert!((1..5).contains(&before), "{before}");
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    gateway.load(&text.replace("/one", "/two"));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").text(), "quick");
    }
    assert_eq!(slow.requests().len(), before);
}
