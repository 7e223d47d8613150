//! SIGUSR2: a fresh copy takes the sockets and the live configuration over.

use std::error::Error as _;
use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use tokio_tungstenite::tungstenite::{self, Message};

use crate::support::h2::{Whole, connect_tls, request, whole};
use crate::support::x509::{Authority, credulous};
use crate::support::{Gateway, Request, Upstream, eventually, gateway};

/// The copy, ended when dropped.
struct Copy(Pid);

impl Copy {
    /// Asks the gateway to hand over, and waits until it has.
    #[track_caller]
    fn of(gateway: &Gateway) -> Self {
        gateway.signal(Signal::USR2);
        Self(gateway.handed_over(1))
    }

    /// Asks it to drain, and waits until nobody listens any more.
    fn stop(self, gateway: &Gateway) {
        kill_process(self.0, Signal::TERM).unwrap();
        eventually("the copy ends", || {
            TcpStream::connect(gateway.proxy()).is_err()
        });
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn proxy(upstream: &Upstream, workers: usize) -> Gateway {
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", upstream);
    setup.flag("--workers", workers).start()
}

#[test]
fn nobody_notices() {
    let upstream = Upstream::saying("hello");
    let mut gateway = proxy(&upstream, 2);
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    // Whatever ends the scope ends the load.
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let copy = thread::scope(|scope| {
        let _over = Over(&over);
        for nth in 0..4 {
            let (gateway, over, served) = (&gateway, &over, &served);
            scope.spawn(move || {
                let mut conn = gateway.connect();
                while !over.load(Ordering::SeqCst) {
                    let response = conn.ask(&Request::get("/"));
                    assert_eq!(response.text(), "hello");
                    served.fetch_add(1, Ordering::SeqCst);
                    let closes = response.header("Connection") == Some("close");
                    // One of them connects for every request; another one is mostly idle.
                    if closes || nth == 0 {
                        conn = gateway.connect();
                    }
                    if nth == 1 {
                        thread::park_timeout(Duration::from_millis(30));
                    }
                }
            });
        }
        let some = |more: usize| {
            let now = served.load(Ordering::SeqCst);
            eventually("requests are served", || {
                served.load(Ordering::SeqCst) > now + more
            });
        };
        some(100);
        let copy = Copy::of(&gateway);
        some(100);
        gateway.err.wait("drained");
        some(100);
        copy
    });
    assert!(gateway.ended().success());
    copy.stop(&gateway);
}

#[test]
fn what_was_posted_stays_live_with_another_number_of_workers() {
    with_workers(3, 1);
    with_workers(1, 3);
}

fn with_workers(before: usize, after: usize) {
    let (old, new) = (Upstream::saying("old"), Upstream::saying("new"));
    let config = "
gateway: {workers: <before>}
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let mut gateway = gateway(config)
        .fill("up", &old)
        .fill("before", before)
        .start();
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    let posted = text.replace(&old.to_string(), &new.to_string());
    gateway.load(&posted.replace(&format!("workers: {before}"), &format!("workers: {after}")));
    let copy = Copy::of(&gateway);
    assert!(gateway.ended().success());
    for _ in 0..40 {
        assert_eq!(gateway.get("/").text(), "new");
    }
    assert_eq!(gateway.ask("/status").json()["workers"], after);
    // The file has its say again when it changes.
    std::fs::write(gateway.file(), text.replace("'/'", "'/', '/x'")).unwrap();
    eventually("the file is live", || gateway.get("/").text() == "old");
    copy.stop(&gateway);
}

#[test]
fn a_copy_that_does_not_get_ready_changes_nothing() {
    let upstream = Upstream::saying("hello");
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", &upstream);
    let mut gateway = setup.flag("--upgrade-timeout", "1ms").start();
    let pid = gateway.ask("/status").json()["pid"].clone();
    gateway.signal(Signal::USR2);
    gateway.err.wait("does not take over");
    assert_eq!(gateway.get("/").text(), "hello");
    assert_eq!(gateway.ask("/status").json()["pid"], pid);
    assert_eq!(gateway.stop(), Some(0));
}

/// What the copy needs is gone by then.
#[test]
fn a_copy_that_fails_changes_nothing_and_says_why() {
    let pair = Authority::new().issue(&["gateway.test"]);
    let upstream = Upstream::saying("hello");
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", &upstream);
    let (cert, key) = (setup.path("cert.pem"), setup.path("key.pem"));
    fs::write(&cert, &pair.cert).unwrap();
    fs::write(&key, &pair.key).unwrap();
    let setup = setup.flag("--ssl-cert", cert.display());
    let mut gateway = setup.flag("--ssl-cert-key", key.display()).start();
    let pid = gateway.ask("/status").json()["pid"].clone();
    let mut conn = gateway.connect();
    assert_eq!(conn.ask(&Request::get("/")).text(), "hello");
    fs::remove_file(&key).unwrap();
    gateway.signal(Signal::USR2);
    let why = gateway.err.wait("does not take over");
    assert!(why.contains("exit status: 78"), "{why}");
    gateway.err.wait("ssl_cert");
    assert_eq!(conn.ask(&Request::get("/")).text(), "hello");
    assert_eq!(gateway.get("/").text(), "hello");
    assert_eq!(gateway.ask("/status").json()["pid"], pid);
    // With it back, the next attempt succeeds.
    fs::write(&key, &pair.key).unwrap();
    let copy = Copy::of(&gateway);
    assert!(gateway.ended().success());
    assert_eq!(gateway.get("/").text(), "hello");
    copy.stop(&gateway);
}

#[test]
fn one_after_the_other() {
    let upstream = Upstream::saying("hello");
    let mut gateway = proxy(&upstream, 2);
    let first = Copy::of(&gateway);
    assert!(gateway.ended().success());
    kill_process(first.0, Signal::USR2).unwrap();
    let second = Copy(gateway.handed_over(2));
    assert_ne!(first.0, second.0);
    for _ in 0..20 {
        assert_eq!(gateway.get("/").text(), "hello");
    }
    let status = gateway.ask("/status").json();
    assert_eq!(status["pid"], second.0.as_raw_nonzero().get());
    second.stop(&gateway);
}

/// Streams over TLS go on at the copy after a GOAWAY; a WebSocket stays where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_over_tls_and_websockets_lose_nothing() {
    let upstream = Upstream::raw(|serving| {
        if let Ok(mut socket) = tungstenite::accept(serving) {
            while let Ok(message) = socket.read() {
                if message.is_text() && socket.send(message).is_err() {
                    return;
                }
            }
        }
    });
    let plain = Upstream::saying("hello");
    let config = "
services:
- {url: 'http://<plain>', routes: [{paths: ['/']}]}
- {url: 'http://<up>', routes: [{paths: [/ws]}]}";
    let setup = gateway(config).fill("up", &upstream).fill("plain", &plain);
    let listeners = "127.0.0.1:0, 127.0.0.1:0 tls";
    let mut gateway = setup.flag("--workers", 2).listen(listeners).start();
    let tcp = TcpStream::connect(gateway.proxy()).unwrap();
    let (mut socket, _) = tungstenite::client("ws://gateway.test/ws", tcp).unwrap();

    let (over, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, served, tls) = (over.clone(), served.clone(), gateway.nth(1));
            tokio::spawn(async move {
                let connect = || connect_tls::<Whole>(tls, "gateway.test", credulous(&["h2"]));
                let (mut client, mut connections) = (connect().await, 1);
                while !over.load(Ordering::SeqCst) {
                    let answer = client.try_send_request(request("GET", "/", "")).await;
                    let answer = answer.map_err(|mut error| {
                        let unsent = error.take_message().is_some();
                        let error = error.into_error();
                        (unsent || is_told_to_go(&error), error)
                    });
                    // The connection had been told to go.
                    if let Err((true, _)) = answer {
                        (client, connections) = (connect().await, connections + 1);
                        continue;
                    }
                    assert_eq!(whole(answer.unwrap()).await.1, "hello");
                    served.fetch_add(1, Ordering::SeqCst);
                }
                connections
            })
        })
        .collect();
    eventually("requests", || served.load(Ordering::SeqCst) > 50);
    let copy = Copy::of(&gateway);
    let seen = served.load(Ordering::SeqCst);
    eventually("requests at the copy", || {
        served.load(Ordering::SeqCst) > seen + 50
    });
    socket.send(Message::text("still here")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("still here"));
    over.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.unwrap() > 1, "it was told to go");
    }
    assert!(gateway.runs(), "the WebSocket is open");
    socket.close(None).unwrap();
    assert!(gateway.ended().success());
    copy.stop(&gateway);
}

/// Whether that stream was not looked at, or never opened, because of a GOAWAY (RFC 9113 §6.8).
fn is_told_to_go(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>());
    let no_error = Some(h2::Reason::NO_ERROR);
    cause.is_some_and(|cause| cause.is_go_away() && cause.is_remote() && cause.reason() == no_error)
}
