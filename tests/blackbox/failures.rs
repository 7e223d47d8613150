//! Retries, time-outs, broken upstreams, clients that leave.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::upstream::{Nobody, reply};
use crate::support::{Gateway, Request, Upstream, gateway};

fn proxy(upstream: &Upstream) -> Gateway {
    let config = "services: [{url: 'http://<up>', read_timeout: 5000, routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", upstream);
    setup.flag("--workers", 1).start()
}

#[test]
fn a_refused_target_is_passed_over() {
    let upstream = Upstream::echo();
    let config = "
services: [{host: pool, retries: 1, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, targets: [{target: '<bad>'}, {target: '<good>'}]}]";
    let setup = gateway(config).fill("bad", Nobody::new());
    let gateway = setup.fill("good", &upstream).start();
    // POST as well: nothing was sent to anybody before.
    for request in [Request::get("/"), Request::post("/", "abc")] {
        for _ in 0..4 {
            assert_eq!(gateway.send(request.clone()).status, 200);
        }
    }
    assert_eq!(upstream.requests().len(), 8);
}

#[test]
fn retries_are_as_many_as_said() {
    for (retries, tries) in [(0, 1), (3, 4)] {
        let upstream = Upstream::raw(|mut serving| {
            serving.request();
        });
        let config = "services: [{url: 'http://<up>', retries: <n>, routes: [{paths: ['/']}]}]";
        let setup = gateway(config).fill("up", &upstream);
        let gateway = setup.fill("n", retries).start();
        assert_eq!(gateway.get("/").status, 502);
        assert_eq!(upstream.requests().len(), tries);
    }
}

#[test]
fn a_body_is_sent_again_with_the_retry() {
    let upstream = Upstream::raw(|mut serving| {
        while let Some(request) = serving.request() {
            if serving.number == 1 {
                return;
            }
            serving.reply(200, &[], &request.body);
        }
    });
    let gateway = proxy(&upstream);
    let body = "x".repeat(50_000);
    let response = gateway.send(Request::new("PUT", "/").body(body.clone()));
    assert_eq!(response.text(), body);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    for method in ["POST", "PATCH", "LOCK"] {
        let upstream = Upstream::raw(|mut serving| {
            serving.request();
        });
        let gateway = proxy(&upstream);
        let response = gateway.send(Request::new(method, "/").body("abc"));
        assert_eq!(response.status, 502);
        assert_eq!(upstream.requests().len(), 1, "{method}");
    }
}

#[test]
fn an_answer_of_any_status_is_not_tried_again() {
    let upstream = Upstream::answering(|_| reply(503, &[], b"busy"));
    let gateway = proxy(&upstream);
    assert_eq!(gateway.get("/").text(), "busy");
    upstream.only();
}

#[test]
fn a_stale_connection_gets_another_try() {
    // Each connection is good for one request, and dies upon the second.
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.reply(200, &[], b"hello");
        serving.request();
    });
    let config = "services: [{url: 'http://<up>', retries: 0, routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.flag("--workers", 1).start();
    let mut conn = gateway.connect();
    for _ in 0..4 {
        let response = conn.ask(&Request::get("/"));
        assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    }
}

#[test]
fn a_slow_upstream_is_given_up_in_time() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.left();
    });
    let config = "services: [{url: 'http://<up>', retries: 1, read_timeout: 200,
      routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let begin = Instant::now();
    let response = gateway.get("/");
    response.is_error(504, "The upstream server is timing out");
    assert!(begin.elapsed() >= Duration::from_millis(400));
    // Both attempts are over for the upstream, too.
    upstream.wait("both attempts end", |seen| seen.ended == 2);
}

#[test]
fn an_answer_that_trickles_does_not_time_out() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
        for _ in 0..6 {
            let _ = wait
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_millis(150));
            serving.write("x");
        }
    });
    let config = "services: [{url: 'http://<up>', read_timeout: 600, routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let response = gateway.get("/");
    assert!(response.complete, "{response:?}");
    drop(go);
}

#[test]
fn an_answer_that_breaks_off_is_visibly_broken() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let body = if head.starts_with('C') {
            "abc"
        } else {
            "3\r\nabc\r\n"
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        let upstream = Upstream::raw(move |mut serving| {
            serving.request();
            serving.write(&answer);
        });
        let gateway = proxy(&upstream);
        let mut conn = gateway.connect();
        let response = conn.ask(&Request::get("/"));
        assert_eq!(response.status, 200);
        assert!(!response.complete, "{head}");
        assert!(conn.closes(), "{head}");
        upstream.only();
    }
}

#[test]
fn an_answer_that_stalls_is_cut() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        serving.left();
    });
    let config = "services: [{url: 'http://<up>', read_timeout: 200, routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let response = gateway.get("/");
    assert_eq!(response.text(), "abc");
    assert!(!response.complete);
}

#[test]
fn broken_chunks_from_an_upstream_are_not_repaired() {
    for body in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
    ] {
        let upstream = Upstream::raw(move |mut serving| {
            serving.request();
            serving.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            serving.write(body);
            serving.left();
        });
        let gateway = proxy(&upstream);
        let response = gateway.get("/");
        assert!(response.status == 502 || !response.complete, "{response:?}");
    }
}

#[test]
fn a_body_that_is_broken_from_its_begin_is_a_502() {
    // In one segment with its head, so that nothing has been said yet.
    let upstream = Upstream::raw(move |mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n");
        serving.left();
    });
    let gateway = proxy(&upstream);
    let response = gateway.get("/");
    response.is_error(
        502,
        "An invalid response was received from the upstream server",
    );
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.header("connection"), Some("close"));
}

#[test]
fn a_client_that_leaves_cancels_its_request() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.left();
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send(Request::get("/").bytes());
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    drop(conn);
    upstream.wait("the cancellation", |seen| seen.ended == 1);
    upstream.only();
}

#[test]
fn a_client_that_leaves_while_the_gateway_connects_is_noticed() {
    // The TCP connection stands, and nobody begins the handshake.
    let upstream = Upstream::raw(|mut serving| serving.left());
    let config = "
services:
- {url: 'https://<up>', routes: [{paths: [/one]}]}
- {url: 'https://<up>', http2: true, routes: [{paths: [/two]}]}";
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.flag("--access-log", "stdout").start();
    let begun = "POST /one HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc";
    for (n, request) in [
        Request::get("/one").bytes(),
        begun.into(),
        Request::post("/one", "abc").bytes(),
        Request::get("/two").bytes(),
        Request::post("/two", "abc").bytes(),
    ]
    .into_iter()
    .enumerate()
    {
        let mut conn = gateway.connect();
        conn.send(request);
        upstream.wait("the connection", |seen| seen.connections == n + 1);
        drop(conn);
        upstream.wait("its end", |seen| seen.ended == n + 1);
        let logged = gateway.out.several(n + 1, |line| line.contains(" 499 "));
        assert_eq!(logged.len(), n + 1);
    }
}

#[test]
fn a_client_that_leaves_in_its_body_cancels_the_request() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc");
    upstream.wait("the head", |seen| seen.requests.len() == 1);
    conn.reset();
    upstream.wait("the cancellation", |seen| seen.ended == 1);
    assert_eq!(upstream.only().body, b"");
}

#[test]
fn a_client_that_leaves_during_the_answer_cancels_the_request() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while serving.write(&chunk) {}
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send(Request::get("/").bytes());
    assert_eq!(conn.head().status, 200);
    conn.chunk();
    drop(conn);
    upstream.wait("the cancellation", |seen| seen.ended == 1);
}

#[test]
fn one_slow_request_does_not_stop_others() {
    let upstream = Upstream::raw(|mut serving| {
        while let Some(request) = serving.request() {
            if request.target() == "/slow" {
                return serving.left();
            }
            serving.reply(200, &[], b"fast");
        }
    });
    let gateway = proxy(&upstream);
    let mut slow = gateway.connect();
    slow.send(Request::get("/slow").bytes());
    upstream.wait("the slow one", |seen| seen.requests.len() == 1);
    for _ in 0..5 {
        assert_eq!(gateway.get("/fast").text(), "fast");
    }
}

/// The upstream answers and reads no more: what is left of the upload is of no use.
#[test]
fn an_answer_in_the_middle_of_a_stuck_upload_is_passed_on() {
    let (full, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        serving.head();
        let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
        serving.reply(200, &[], b"enough");
        serving.left();
    });
    let gateway = proxy(&upstream);
    let mut client = TcpStream::connect(gateway.proxy()).unwrap();
    let patience = Some(Duration::from_millis(500));
    client.set_write_timeout(patience).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    // Until nobody takes any more.
    let piece = vec![b'x'; 1 << 20];
    while client.write(&piece).is_ok() {}
    full.send(()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"enough") {
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
