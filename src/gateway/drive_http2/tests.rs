//! HTTP/2 clients in front of HTTP/1.1 upstreams, as both of them see it.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::gateway::drive_http1::{self, Ended};
use crate::gateway::testkit::*;
use crate::http2::pipe::{self, Receiver};
use crate::util::drain::Phase;
use crate::util::local;

mod limits;

async fn describe(request: Request<Incoming>) -> Response<AnyBody> {
    let (parts, body) = request.into_parts();
    let mut lines = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        lines.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    lines.push_str(&format!("body: {}\n", body.to_bytes().len()));
    for (name, value) in trailers.iter().flatten() {
        lines.push_str(&format!("trailer {name:?}: {}\n", value.to_str().unwrap()));
    }
    let mut response = Response::new(full(lines));
    response.headers_mut().insert("x-up", "1".parse().unwrap());
    response
}

async fn echo(request: Request<Incoming>) -> Response<Incoming> {
    Response::new(request.into_body())
}

fn gate(address: std::net::SocketAddr, mode: &str) -> Rc<Worker> {
    worker(&file(&format!("http://{address}"), mode))
}

#[tokio::test(flavor = "local")]
async fn a_request_goes_up_as_http1_and_its_answer_comes_back() {
    let address = upstream(false, describe).await;
    let worker = gate(address, "pass");
    let mut client = connect(&worker).await;
    for _ in 0..2 {
        let mut request = request("GET", "/a%2fb/../c?q=1", full(""));
        let fields = request.headers_mut();
        fields.append("cookie", "a=1".parse().unwrap());
        fields.append("cookie", "b=2".parse().unwrap());
        fields.append("te", "trailers".parse().unwrap());
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-up"], "1");
        let via = response.headers()["via"].to_str().unwrap();
        assert!(via.starts_with("1.1 sluicegate/"), "{via}");
        assert!(!response.headers().contains_key("connection"));
        assert!(response.headers().contains_key("date"));
        let seen = text_of(response).await;
        assert!(seen.starts_with("GET /c?q=1\n"), "{seen}");
        assert!(seen.contains(&format!("host: {address}\n")), "{seen}");
        assert!(seen.contains("cookie: a=1; b=2\n"), "{seen}");
        assert!(seen.contains("te: trailers\n"), "{seen}");
        assert!(seen.contains("via: 2 sluicegate/"), "{seen}");
        assert!(seen.contains("x-forwarded-host: gate.test\n"), "{seen}");
    }
    // The connection to the upstream was kept and used again.
    assert_eq!(worker.metrics.upstream_opened.get(), 1);
    assert_eq!(heard_soon().await.len(), 4);
}

#[tokio::test(flavor = "local")]
async fn large_bodies_stream_both_ways() {
    let address = upstream(false, echo).await;
    let worker = gate(address, "pass");
    let mut client = connect(&worker).await;
    let body = Bytes::from(vec![b'x'; 1_000_000]);
    for declared in [true, false] {
        let (sender, receiver) = pipe::pipe();
        let data = body.clone();
        local::spawn(async move {
            for piece in data.chunks(10_000) {
                poll_fn(|cx| sender.poll_room(cx)).await.unwrap();
                sender.push(pipe::data(Bytes::copy_from_slice(piece)));
            }
            sender.finish();
        });
        let mut request: Request<Receiver> = request("POST", "/", receiver);
        if declared {
            let length = body.len().into();
            request.headers_mut().insert("content-length", length);
        }
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let back = response.into_body().collect().await.unwrap().to_bytes();
        assert!(back == body, "{} bytes came back", back.len());
    }
    assert_eq!(worker.metrics.upstream_opened.get(), 1);
}

#[tokio::test(flavor = "local")]
async fn trailers_pass_both_ways() {
    async fn with_trailers(request: Request<Incoming>) -> Response<Receiver> {
        let seen = describe(request).await;
        let seen = seen.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        // No length, so that the upstream sends chunks.
        let (sender, receiver) = pipe::pipe();
        sender.push(pipe::data(seen));
        sender.push(pipe::trailers(trailers));
        sender.finish();
        let mut response = Response::new(receiver);
        response
            .headers_mut()
            .insert("trailer", "x-sum".parse().unwrap());
        response
    }
    let address = upstream(false, with_trailers).await;
    let mut client = connect(&gate(address, "pass")).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-count", "3".parse().unwrap());
    trailers.insert("authorization", "forged".parse().unwrap());
    let (sender, receiver) = pipe::pipe();
    sender.push(pipe::data("abc"));
    sender.push(pipe::trailers(trailers));
    sender.finish();
    let mut request = request("POST", "/", receiver);
    request
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    let response = client.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "7");
    let seen = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    assert!(seen.contains("trailer \"x-count\": 3"), "{seen}");
    assert!(!seen.contains("forged"), "{seen}");
}

#[tokio::test(flavor = "local")]
async fn heads_without_bodies_say_what_the_upstream_said() {
    async fn by_path(request: Request<Incoming>) -> Response<AnyBody> {
        let status = request.uri().path()[1..].parse().unwrap();
        let mut response = Response::new(full("12345"));
        if matches!(status, 204 | 304) {
            *response.body_mut() = full("");
        }
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    }
    let address = upstream(false, by_path).await;
    let mut client = connect(&gate(address, "pass")).await;
    let head = client
        .send_request(request("HEAD", "/200", full("")))
        .await
        .unwrap();
    assert_eq!(head.headers()["content-length"], "5");
    assert!(head.body().is_end_stream());
    for status in [204, 304] {
        let path = format!("/{status}");
        let response = client
            .send_request(request("GET", &path, full("")))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(text_of(response).await, "");
    }
    let response = client
        .send_request(request("GET", "/503", full("")))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), text_of(response).await.len()),
        (503, 5)
    );
}

#[tokio::test(flavor = "local")]
async fn a_slow_reader_stalls_its_own_stream_only() {
    thread_local!(static SENT: Cell<usize> = const { Cell::new(0) });
    async fn endless(request: Request<Incoming>) -> Response<Receiver> {
        let (sender, receiver) = pipe::pipe();
        let short = request.uri().path() == "/short";
        local::spawn(async move {
            while !short && poll_fn(|cx| sender.poll_room(cx)).await.is_ok() {
                sender.push(pipe::data(vec![0; 8192]));
                SENT.set(SENT.get() + 8192);
            }
            sender.finish();
        });
        Response::new(receiver)
    }
    let address = upstream(false, endless).await;
    let mut client = connect(&gate(address, "pass")).await;
    let stalled = client
        .send_request(request("GET", "/endless", full("")))
        .await
        .unwrap();
    let mut last = 0;
    while SENT.get() == 0 || SENT.get() != std::mem::replace(&mut last, SENT.get()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What lies between: socket buffers, and in the gateway no more than windows and a pipe.
    assert!(
        last < 16_000_000,
        "{last} bytes were taken for a client that reads nothing"
    );
    let other = client
        .send_request(request("GET", "/short", full("")))
        .await
        .unwrap();
    assert_eq!(text_of(other).await, "");
    drop(stalled);
}

#[tokio::test(flavor = "local")]
async fn a_reset_stream_cancels_the_upstream_request() {
    thread_local!(static GONE: Cell<bool> = const { Cell::new(false) });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let _ = socket.read_to_end(&mut seen).await;
        GONE.set(true);
    });
    let worker = gate(address, "pass");
    let mut client = connect(&worker).await;
    let answer = client.send_request(request("GET", "/", full("")));
    let waited = tokio::time::timeout(Duration::from_millis(50), answer).await;
    assert!(waited.is_err());
    assert_eq!(heard_soon().await, ["Abandoned false", "log 499 gateway"]);
    while !GONE.get() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_cut_upload_does_not_pass_for_a_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = local::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        let _ = socket.read_to_end(&mut seen).await;
        String::from_utf8(seen).unwrap()
    });
    let worker = gate(address, "pass");
    let mut client = connect(&worker).await;
    let (sender, receiver) = pipe::pipe();
    sender.push(pipe::data("part"));
    let answer = client.send_request(request("POST", "/", receiver));
    let waited = tokio::time::timeout(Duration::from_millis(50), answer).await;
    assert!(waited.is_err());
    drop(sender);
    let seen = seen.await.unwrap();
    assert!(seen.ends_with("4\r\npart\r\n"), "{seen}");
    let heard = heard_soon().await;
    assert!(heard[0].starts_with("Abandoned"), "{heard:?}");
    assert_eq!(heard[1], "log 499 gateway");
}

#[tokio::test(flavor = "local")]
async fn a_cut_answer_does_not_pass_for_a_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        let _ = socket.read(&mut seen).await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
    });
    let mut client = connect(&gate(address, "pass")).await;
    let response = client
        .send_request(request("GET", "/", full("")))
        .await
        .unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(heard_soon().await, ["Status(200) true", "log 200 gateway"]);
}

#[tokio::test(flavor = "local")]
async fn errors_are_replies() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let text = format!(
        "_format_version: '3.0'
services:
- name: s
  url: http://{nobody}
  retries: 1
  routes: [{{name: r, paths: [/up]}}]
"
    );
    let mut client = connect(&worker(&text)).await;
    for (path, status, words) in [
        ("/none", 404, "no Route matched with those values"),
        (
            "/up",
            502,
            "An invalid response was received from the upstream server",
        ),
    ] {
        let response = client
            .send_request(request("GET", path, full("")))
            .await
            .unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers()["content-type"],
            "application/json; charset=utf-8"
        );
        let length: usize = response.headers()["content-length"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let body = text_of(response).await;
        assert!(body.contains(words) && body.len() == length, "{body}");
    }
    let head = client
        .send_request(request("HEAD", "/none", full("")))
        .await
        .unwrap();
    assert_eq!(head.status(), 404);
    assert_eq!(text_of(head).await, "");
}

#[tokio::test(flavor = "local")]
async fn grpc_clients_get_errors_as_a_status_of_theirs() {
    let mut client = connect(&worker("_format_version: '3.0'")).await;
    let mut request = request("POST", "/pkg.Svc/Do", full("\0\0\0\0\0"));
    let fields = request.headers_mut();
    fields.insert("content-type", "application/grpc+proto".parse().unwrap());
    fields.insert("te", "trailers".parse().unwrap());
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "5");
    assert_eq!(
        response.headers()["grpc-message"],
        "no Route matched with those values"
    );
    assert!(response.body().is_end_stream());
}

#[tokio::test(flavor = "local")]
async fn a_panic_in_a_plugin_ends_its_request_and_no_other() {
    let address = upstream(false, echo).await;
    let mut client = connect(&gate(address, "panic")).await;
    for path in ["/now", "/later", "/answer"] {
        let sent = client.send_request(request("POST", path, full("abc")));
        let response = sent.await.unwrap();
        assert_eq!(response.status(), 500, "{path}");
        let text = text_of(response).await;
        let words = "{\"message\":\"An unexpected error occurred\"";
        assert!(text.starts_with(words), "{path}: {text}");
    }
    let sent = client.send_request(request("POST", "/", full("abc")));
    assert_eq!(text_of(sent.await.unwrap()).await, "abc");
}

#[tokio::test(flavor = "local")]
async fn plugins_see_and_change_bodies() {
    let address = upstream(false, echo).await;
    for (mode, sent, got, said) in [
        ("collect", "abc", "ABC", "saw abc"),
        ("tee", "abc", "abc", "saw abc"),
        ("replace", "abc", "replaced", "Status(200) true"),
        ("rewrite", "abc", "ABC!", "Status(200) true"),
        ("read", "abc", "abc", "body Ok(3)"),
        ("deny", "abc", "{\"message\":\"no\"}", "log 403 plugin"),
        (
            "fallback",
            "abc",
            "{\"message\":\"instead\"}",
            "log 200 plugin",
        ),
    ] {
        let mut client = connect(&gate(address, mode)).await;
        let response = client
            .send_request(request("POST", "/", full(sent)))
            .await
            .unwrap();
        assert_eq!(text_of(response).await, got, "{mode}");
        let mut all = heard_soon().await;
        while !all.iter().any(|words| words.starts_with("log")) {
            all.extend(heard_soon().await);
        }
        assert!(all.iter().any(|words| words == said), "{mode}: {all:?}");
    }
    // Longer than the probe wants to hold: it streams on untouched.
    let long = "y".repeat(70_000);
    let mut client = connect(&gate(address, "collect")).await;
    let response = client
        .send_request(request("POST", "/", full(long.clone())))
        .await
        .unwrap();
    assert!(text_of(response).await == long);
}

#[tokio::test(flavor = "local")]
async fn a_request_is_tried_again_with_its_body() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let address = upstream(false, echo).await;
    let text = format!(
        "_format_version: '3.0'
upstreams:
- name: u
  targets: [{{target: '{nobody}'}}, {{target: '{address}'}}]
services:
- name: s
  url: http://u
  routes: [{{name: r, paths: [/]}}]
"
    );
    let mut client = connect(&worker(&text)).await;
    for _ in 0..4 {
        let response = client
            .send_request(request("POST", "/", full("again")))
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text_of(response).await, "again");
    }
}

#[tokio::test(flavor = "local")]
async fn prior_knowledge_is_told_from_http1_by_the_first_bytes() {
    let address = upstream(false, echo).await;
    let worker = gate(address, "pass");
    let (near, far) = Io::pair(64 * 1024);
    let there = Rc::clone(&worker);
    local::spawn(async move {
        let Ended::Http2(parts) = drive_http1::serve(far, conn(), Rc::clone(&there)).await else {
            panic!("not seen as HTTP/2");
        };
        let (io, conn, pre) = *parts;
        serve(io, pre, conn, there).await;
    });
    let mut client = handshake(near).await;
    let response = client
        .send_request(request("POST", "/", full("hello")))
        .await
        .unwrap();
    assert_eq!(text_of(response).await, "hello");
}

#[tokio::test(flavor = "local")]
async fn a_drain_says_goaway_and_lets_open_streams_finish() {
    async fn slow(_: Request<Incoming>) -> Response<AnyBody> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Response::new(full("done"))
    }
    let address = upstream(false, slow).await;
    let worker = gate(address, "pass");
    let mut client = connect(&worker).await;
    let mut other = client.clone();
    let open = local::spawn(async move { other.send_request(request("GET", "/", full(""))).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    worker.drain.advance(Phase::Closing);
    worker.sweep.wake_all();
    let response = open.await.unwrap().unwrap();
    assert_eq!(text_of(response).await, "done");
    while !client.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        client
            .send_request(request("GET", "/", full("")))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "local")]
async fn the_end_of_a_drain_drops_what_is_left() {
    async fn never(_: Request<Incoming>) -> Response<AnyBody> {
        pending().await
    }
    let address = upstream(false, never).await;
    let worker = gate(address, "pass");
    let mut client = connect(&worker).await;
    let open = client.send_request(request("GET", "/", full("")));
    let deadline = tokio::time::Instant::now() + Duration::from_millis(200);
    let (there, drain) = (worker.sweep.clone(), worker.drain.clone());
    local::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drain.advance(Phase::Draining { deadline });
        there.wake_all();
    });
    assert!(open.await.is_err());
    assert!(tokio::time::Instant::now() >= deadline);
    assert_eq!(heard_soon().await, ["Abandoned false", "log 499 gateway"]);
}

/// It is moved several times before its first poll.
#[test]
fn a_streams_future_is_small() {
    fn size_of_returned<A, B, C, D, E, R>(_: impl Fn(A, B, C, D, E) -> R) -> usize {
        size_of::<R>()
    }
    let size = size_of_returned(super::exchange);
    assert!(size <= 3 * 1024, "{size} bytes");
}
