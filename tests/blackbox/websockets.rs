//! WebSockets through the gateway.

use std::net::TcpStream;

use rustix::process::Signal;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::support::{Gateway, PATIENCE, Request, Upstream, gateway};

const TO: &str = "services: [{url: 'http://<up>/srv', routes: [{paths: [/ws]}]}]";

/// Sends every message back.
fn echo() -> Upstream {
    Upstream::raw(|serving| {
        let Ok(mut socket) = tungstenite::accept(serving) else {
            return;
        };
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                return;
            }
        }
    })
}

fn open(gateway: &Gateway) -> WebSocket<TcpStream> {
    let tcp = TcpStream::connect(gateway.proxy()).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let (socket, response) = tungstenite::client("ws://gateway.test/ws/x", tcp).unwrap();
    assert_eq!(response.status(), 101);
    socket
}

#[test]
fn messages_pass_both_ways() {
    let upstream = echo();
    let gateway = gateway(TO).fill("up", &upstream).start();
    let mut socket = open(&gateway);
    for message in [
        Message::text("hello"),
        Message::binary(vec![0, 1, 2]),
        Message::binary(vec![7; 1 << 20]),
    ] {
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert!(socket.read().unwrap().is_pong());
}

#[test]
fn a_close_is_answered_and_ends_both_connections() {
    let upstream = echo();
    let gateway = gateway(TO).fill("up", &upstream).start();
    let mut socket = open(&gateway);
    socket.close(None).unwrap();
    assert!(socket.read().unwrap().is_close());
    assert!(socket.read().is_err());
    upstream.wait("the end", |seen| seen.ended == 1);
}

#[test]
fn a_client_that_vanishes_ends_the_upstream_connection() {
    let upstream = echo();
    let gateway = gateway(TO).fill("up", &upstream).start();
    drop(open(&gateway));
    upstream.wait("the end", |seen| seen.ended == 1);
}

#[test]
fn the_upgrade_has_the_right_fields_both_ways() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
        serving.write("Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nfirst words");
        serving.left();
    });
    let gateway = gateway(TO).fill("up", &upstream).start();
    let mut conn = gateway.connect();
    let request = Request::get("/ws/y?z")
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "WebSocket")
        .header("Sec-WebSocket-Key", "abc");
    conn.send(request.bytes());
    let response = conn.head();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    let connection = response.header("connection").unwrap().to_ascii_lowercase();
    assert!(connection.contains("upgrade"), "{connection}");
    assert_eq!(response.header("sec-websocket-accept"), Some("x"));
    assert_eq!(conn.exactly(11), b"first words");
    let seen = upstream.only();
    assert_eq!(seen.target(), "/srv/y?z");
    assert_eq!(seen.header("connection"), Some("keep-alive, Upgrade"));
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(seen.header("sec-websocket-key"), Some("abc"));
}

#[test]
fn an_upstream_may_decline() {
    let upstream = Upstream::saying("no sockets here");
    let gateway = gateway(TO).fill("up", &upstream).start();
    let mut conn = gateway.connect();
    let request = Request::get("/ws")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket");
    let response = conn.ask(&request);
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "no sockets here")
    );
    assert_eq!(conn.ask(&Request::get("/ws")).status, 200);
}

#[test]
fn an_idle_socket_is_cut_after_the_read_timeout() {
    let upstream = echo();
    let config = "services: [{url: 'http://<up>', read_timeout: 300, routes: [{paths: [/ws]}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let mut socket = open(&gateway);
    assert!(socket.read().is_err());
    upstream.wait("the end", |seen| seen.ended == 1);
}

#[test]
fn a_socket_lives_on_while_the_gateway_drains_but_not_longer() {
    let upstream = echo();
    let setup = gateway(TO).fill("up", &upstream);
    let mut gateway = setup.flag("--drain-timeout", "700ms").start();
    let mut socket = open(&gateway);
    gateway.signal(Signal::TERM);
    gateway.err.wait("stopping");
    socket.send(Message::text("still there")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still there"));
    assert!(socket.read().is_err());
    assert_eq!(gateway.exited().code(), Some(0));
}
