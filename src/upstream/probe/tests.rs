//! Probes against servers that answer anything.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::TcpListener;

use super::*;

fn probing(kind: ProbeKind) -> Probing {
    Probing {
        kind,
        tls: None,
        timeout: Duration::from_secs(5),
        concurrency: 1,
        path: "/alive".into(),
        host: None,
        headers: vec![("X-Probe".into(), "yes".into())],
        healthy_interval: Duration::from_secs(1),
        unhealthy_interval: Duration::ZERO,
    }
}

fn counts() -> Counts {
    Counts {
        healthy_statuses: vec![200],
        unhealthy_statuses: vec![500, 505],
        ..Counts::default()
    }
}

fn at(address: SocketAddr) -> Endpoint {
    Endpoint::new(address, "target.test".into(), "target.test:1".into(), 100)
}

/// A server that answers each connection with the next text, and what it was asked.
async fn server(answers: &'static [&'static str]) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if socket.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            heard
                .lock()
                .unwrap()
                .push(String::from_utf8(request).unwrap());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_status_decides_and_a_broken_answer_too() {
    let cases: [(&'static [&'static str], Option<Event>); 7] = [
        (
            &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"],
            Some(Event::Success),
        ),
        (&["HTTP/1.1 500 No\r\n\r\n"], Some(Event::HttpFailure)),
        (&["HTTP/1.1 404 No\r\n\r\n"], None),
        (
            &["HTTP/1.1 103 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"],
            Some(Event::Success),
        ),
        (&["SSH-2.0\r\n\r\n"], Some(Event::HttpFailure)),
        (&["HTTP/1.1 20"], Some(Event::TcpFailure)),
        (
            &["HTTP/1.1 505 No\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n"],
            Some(Event::Success),
        ),
    ];
    for (answers, event) in cases {
        let (address, _) = server(answers).await;
        let found = probing(ProbeKind::Http)
            .probe(&at(address), &counts())
            .await;
        assert_eq!(found, event, "{answers:?}");
    }
}

#[tokio::test]
async fn the_request_names_the_target_and_has_the_file_s_fields() {
    let (address, asked) = server(&["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"]).await;
    let mut probing = probing(ProbeKind::Http);
    probing.probe(&at(address), &counts()).await;
    probing.host = Some("api.test:8080".into());
    probing.probe(&at(address), &counts()).await;
    let asked = asked.lock().unwrap();
    let first = "GET /alive HTTP/1.1\r\nHost: target.test\r\nConnection: close\r\n";
    assert!(asked[0].starts_with(first), "{}", asked[0]);
    assert!(asked[0].contains("\r\nX-Probe: yes\r\n"));
    assert!(asked[1].contains("\r\nHost: api.test\r\n"));
}

#[tokio::test]
async fn silence_is_a_time_out_and_refusal_a_failure_to_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut silent = probing(ProbeKind::Http);
    silent.timeout = Duration::from_millis(50);
    assert_eq!(
        silent.probe(&at(address), &counts()).await,
        Some(Event::Timeout)
    );
    assert_eq!(
        probing(ProbeKind::Tcp).probe(&at(address), &counts()).await,
        Some(Event::Success)
    );
    drop(listener);
    for kind in [ProbeKind::Http, ProbeKind::Tcp, ProbeKind::Grpc] {
        let found = probing(kind).probe(&at(address), &counts()).await;
        assert_eq!(found, Some(Event::TcpFailure), "{kind:?}");
    }
}

#[tokio::test]
async fn a_server_without_http2_is_not_well_for_grpc() {
    let (address, _) = server(&["HTTP/1.1 200 OK\r\n\r\n"]).await;
    let found = probing(ProbeKind::Grpc)
        .probe(&at(address), &counts())
        .await;
    assert_eq!(found, Some(Event::TcpFailure));
}

#[test]
fn messages_of_the_health_service() {
    assert_eq!(check_request("").unwrap(), &[0, 0, 0, 0, 0][..]);
    assert_eq!(
        check_request("a.B").unwrap(),
        &b"\0\0\0\0\x05\x0a\x03a.B"[..]
    );
    assert!(is_serving(&[0, 0, 0, 0, 2, 8, 1]));
    for other in [
        &[][..],
        &[0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 2, 8, 2],
        &[1, 0, 0, 0, 2, 8, 1],
    ] {
        assert!(!is_serving(other), "{other:?}");
    }
}

#[test]
fn who_is_probed_how_often() {
    let mut probing = probing(ProbeKind::Tcp);
    let second = Some(Duration::from_secs(1));
    assert_eq!(
        (probing.interval(true), probing.interval(false)),
        (second, second)
    );
    (probing.healthy_interval, probing.unhealthy_interval) =
        (Duration::ZERO, Duration::from_secs(1));
    assert_eq!(
        (probing.interval(true), probing.interval(false)),
        (None, second)
    );
}

#[test]
fn ports_are_left_out_of_hosts() {
    for (host, name) in [
        ("a.test:80", "a.test"),
        ("a.test", "a.test"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("::1", "::1"),
    ] {
        assert_eq!(without_port(host), name);
    }
}
