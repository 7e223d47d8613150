//! HTTP/2 upstreams behind clients of both protocols.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::gateway::testkit::*;
use crate::gateway::{drive_http1, drive_http2};
use crate::http2::LocalExec;
use crate::http2::pipe::{self, Receiver};
use crate::tls::client::{Alpn, Verify};
use crate::tls::server::ClientAuth;
use crate::tls::{
    CertResolver, CertTable, DefaultCert, Io, PeerName, ServerTls, TlsClients, TlsIdentity, accept,
};
use crate::util::keep::Keeps;
use crate::util::local;

fn trailers(status: &str) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", status.parse().unwrap());
    fields.insert("grpc-message", "words".parse().unwrap());
    fields
}

fn grpc_request<B>(path: &str, body: B) -> Request<B> {
    let mut request = request("POST", path, body);
    let fields = request.headers_mut();
    fields.insert("content-type", "application/grpc".parse().unwrap());
    fields.insert("te", "trailers".parse().unwrap());
    request
}

/// `/unary` answers what it got; `/bidi` each message as it comes; `/refuse` in the head alone;
/// `/forget` without a status.
async fn service(request: Request<Incoming>) -> Response<Receiver> {
    let (sender, receiver) = pipe::pipe();
    let mut response = Response::new(receiver);
    let fields = response.headers_mut();
    fields.insert("content-type", "application/grpc".parse().unwrap());
    assert_eq!(request.headers()["te"], "trailers");
    match request.uri().path() {
        "/refuse" => {
            fields.extend(trailers("14"));
            sender.finish();
        }
        "/forget" => sender.finish(),
        path => {
            let status = if path == "/fail" { "13" } else { "0" };
            local::spawn(async move {
                let mut body = request.into_body();
                while let Some(frame) = body.frame().await {
                    sender.push(frame.unwrap());
                }
                sender.push(pipe::trailers(trailers(status)));
                sender.finish();
            });
        }
    }
    response
}

fn grpc_file(address: std::net::SocketAddr, mode: &str) -> String {
    format!(
        "_format_version: '3.0'
services:
- name: s
  url: grpc://{address}
  routes: [{{name: r, paths: [/], protocols: [grpc, grpcs]}}]
  plugins: [{{name: probe, config: {{mode: {mode}}}}}]
"
    )
}

async fn heard_log() -> Vec<String> {
    let mut all = heard_soon().await;
    while !all.iter().any(|words| words.starts_with("log")) {
        let more = heard_soon().await;
        assert!(!more.is_empty(), "{all:?}");
        all.extend(more);
    }
    all
}

#[tokio::test(flavor = "local")]
async fn unary_calls_and_their_statuses_pass() {
    let address = upstream(true, service).await;
    let worker = worker(&grpc_file(address, "pass"));
    let mut client = connect(&worker).await;
    for (path, status, outcome) in [
        ("/unary", "0", "Grpc(0) false"),
        ("/fail", "13", "Grpc(13) false"),
    ] {
        let answer = client.send_request(grpc_request(path, full("\0\0\0\0\x03abc")));
        let response = answer.await.unwrap();
        assert_eq!(response.status(), 200);
        let via = response.headers()["via"].to_str().unwrap();
        assert!(via.starts_with("2 sluicegate/"), "{via}");
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], status);
        assert_eq!(body.trailers().unwrap()["grpc-message"], "words");
        assert_eq!(body.to_bytes(), "\0\0\0\0\x03abc");
        assert_eq!(heard_log().await, [outcome, "log 200 upstream"]);
    }
    assert_eq!(worker.metrics.upstream_opened.get(), 1);
    assert_eq!(worker.http2.len(), 1);
}

#[tokio::test(flavor = "local")]
async fn a_status_in_the_head_can_be_replaced() {
    let address = upstream(true, service).await;
    let mut client = connect(&worker(&grpc_file(address, "pass"))).await;
    let answer = client.send_request(grpc_request("/refuse", full("")));
    let response = answer.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert!(response.body().is_end_stream());
    assert_eq!(heard_log().await, ["Grpc(14) true", "log 200 upstream"]);

    let mut client = connect(&worker(&grpc_file(address, "fallback"))).await;
    let answer = client.send_request(grpc_request("/refuse", full("")));
    let response = answer.await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "0");
    assert_eq!(response.headers()["grpc-message"], "instead");
    assert_eq!(heard_log().await, ["Grpc(14) true", "log 200 plugin"]);
}

#[tokio::test(flavor = "local")]
async fn no_status_at_all_is_unknown() {
    let address = upstream(true, service).await;
    let mut client = connect(&worker(&grpc_file(address, "pass"))).await;
    let answer = client.send_request(grpc_request("/forget", full("")));
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(heard_log().await, ["Grpc(2) true", "log 200 upstream"]);
}

#[tokio::test(flavor = "local")]
async fn both_directions_stream_at_once() {
    let address = upstream(true, service).await;
    let mut client = connect(&worker(&grpc_file(address, "pass"))).await;
    let (sender, receiver) = pipe::pipe();
    sender.push(pipe::data("first"));
    let answer = client.send_request(grpc_request("/bidi", receiver));
    let mut body = answer.await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");
    for at in 0..100 {
        let message = format!("message {at}");
        sender.push(pipe::data(message.clone()));
        let echoed = body.frame().await.unwrap().unwrap();
        assert_eq!(echoed.into_data().unwrap(), message);
    }
    sender.finish();
    let last = body.frame().await.unwrap().unwrap();
    assert_eq!(last.trailers_ref().unwrap()["grpc-status"], "0");
}

#[tokio::test(flavor = "local")]
async fn a_reset_call_is_reset_at_the_upstream() {
    thread_local!(static ENDED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    async fn watch(request: Request<Incoming>) -> Response<Receiver> {
        let (sender, receiver) = pipe::pipe();
        local::spawn(async move {
            let _sender = sender;
            let mut body = request.into_body();
            while body.frame().await.is_some_and(|frame| frame.is_ok()) {}
            ENDED.set(true);
        });
        let mut response = Response::new(receiver);
        let content_type = "application/grpc".parse().unwrap();
        response.headers_mut().insert("content-type", content_type);
        response
    }
    let address = upstream(true, watch).await;
    let mut client = connect(&worker(&grpc_file(address, "pass"))).await;
    let (sender, receiver) = pipe::pipe();
    sender.push(pipe::data("x"));
    let answer = client.send_request(grpc_request("/", receiver));
    let response = answer.await.unwrap();
    assert!(!ENDED.get());
    drop(response);
    drop(sender);
    while !ENDED.get() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(heard_log().await, ["Abandoned false", "log 499 gateway"]);
}

#[tokio::test(flavor = "local")]
async fn grpc_clients_hear_of_a_dead_upstream_as_a_status() {
    let address = |listener: TcpListener| listener.local_addr().unwrap();
    let nobody = address(TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut client = connect(&worker(&grpc_file(nobody, "pass"))).await;
    let answer = client.send_request(grpc_request("/", full("")));
    let response = answer.await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "13");
    assert_eq!(
        heard_log().await,
        ["Failed(\"connect\") true", "log 200 gateway"]
    );
}

/// A service with `http2: true`.
fn http2_file(address: std::net::SocketAddr, mode: &str) -> String {
    file(&format!("http://{address}\n  http2: true"), mode)
}

#[tokio::test(flavor = "local")]
async fn many_streams_share_one_connection() {
    let address = upstream(true, echo_all).await;
    let worker = worker(&http2_file(address, "pass"));
    let client = connect(&worker).await;
    let tasks: Vec<_> = (0..50)
        .map(|at| {
            let mut client = client.clone();
            local::spawn(async move {
                let body = vec![at as u8; 100_000];
                let answer = client.send_request(request("POST", "/", full(body.clone())));
                let response = answer.await.unwrap();
                let back = response.into_body().collect().await.unwrap().to_bytes();
                assert!(back == body);
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(worker.metrics.upstream_opened.get(), 1);
}

async fn echo_all(request: Request<Incoming>) -> Response<Incoming> {
    Response::new(request.into_body())
}

/// What an HTTP/1.1 client gets for these bytes, until the gateway closes.
async fn http1(worker: &Rc<Worker>, sent: Vec<u8>) -> String {
    let (mut near, far) = Io::pair(64 * 1024);
    let there = Rc::clone(worker);
    local::spawn(async move { drive_http1::serve(far, conn(), there).await });
    let (mut read, mut write) = tokio::io::split(&mut near);
    let mut got = Vec::new();
    let (sent, read) = tokio::join!(write.write_all(&sent), read.read_to_end(&mut got));
    sent.unwrap();
    read.unwrap();
    String::from_utf8(got).unwrap()
}

#[tokio::test(flavor = "local")]
async fn http1_clients_reach_http2_upstreams() {
    let address = upstream(true, describe).await;
    let worker = worker(&http2_file(address, "pass"));
    let sent = "GET /a?b HTTP/1.1\r\nHost: gate.test\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n\
                POST /c HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 3\r\n\r\nabc\
                POST /d HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\
                GET /e HTTP/1.0\r\n\r\n";
    let got = http1(&worker, sent.into()).await;
    for seen in ["GET /a?b 0", "POST /c 3", "POST /d 5", "GET /e 0"] {
        assert!(got.contains(seen), "{seen} in {got}");
    }
    assert!(!got.contains("x-hop"), "{got}");
    assert!(got.contains(&format!("authority {address}")), "{got}");
    assert!(got.contains("Via: 2 sluicegate/"), "{got}");
    assert_eq!(worker.metrics.upstream_opened.get(), 1);
}

async fn describe(request: Request<Incoming>) -> Response<AnyBody> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::new(full(format!(
        "{} {} {} authority {} {:?}\n",
        parts.method,
        parts.uri.path_and_query().unwrap(),
        body.len(),
        parts.uri.authority().unwrap(),
        parts.headers,
    )))
}

#[tokio::test(flavor = "local")]
async fn large_bodies_pass_between_http1_and_http2() {
    let address = upstream(true, echo_all).await;
    let worker = worker(&http2_file(address, "pass"));
    let body = "z".repeat(1_000_000);
    for declared in [true, false] {
        let mut sent = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".to_vec();
        if declared {
            sent.extend(format!("Content-Length: {}\r\n\r\n{body}", body.len()).bytes());
        } else {
            sent.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            sent.extend(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).bytes());
        }
        let got = http1(&worker, sent).await;
        assert_eq!(got.matches('z').count(), body.len());
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test(flavor = "local")]
async fn plugins_edit_what_http2_upstreams_answer() {
    let address = upstream(true, echo_all).await;
    for (mode, body) in [
        ("collect", "\r\n\r\nABC"),
        ("replace", "\r\n\r\nreplaced"),
        ("fallback", "instead"),
        ("rewrite", "ABC!"),
    ] {
        let worker = worker(&http2_file(address, mode));
        let sent =
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let got = http1(&worker, sent.to_vec()).await;
        assert!(got.contains(body), "{mode}: {got}");
        let mut client = connect(&worker).await;
        let answer = client.send_request(request("POST", "/", full("abc")));
        let text = text_of(answer.await.unwrap()).await;
        assert!(text.contains(body.trim()), "{mode}: {text}");
    }
}

/// An upstream that ends each connection after that many requests, saying which it did.
async fn short_lived(most: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            local::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.unwrap();
                for _ in 0..most {
                    let Some(Ok((_, mut respond))) = connection.accept().await else {
                        return;
                    };
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream.send_data(Bytes::from_static(b"ok"), true).unwrap();
                }
                connection.graceful_shutdown();
                while connection.accept().await.is_some() {}
            });
        }
    });
    address
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_says_goodbye_costs_no_request() {
    let address = short_lived(2).await;
    let worker = worker(&http2_file(address, "pass"));
    let mut client = connect(&worker).await;
    for _ in 0..10 {
        let answer = client.send_request(request("POST", "/", full("abc")));
        let response = answer.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text_of(response).await, "ok");
    }
    assert!(worker.metrics.upstream_opened.get() >= 5);
}

#[tokio::test(flavor = "local")]
async fn refused_streams_are_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let mut first = true;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            if std::mem::take(&mut first) {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                continue;
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"ok"), true).unwrap();
        }
    });
    let mut client = connect(&worker(&http2_file(address, "pass"))).await;
    let answer = client.send_request(request("POST", "/", full("abc")));
    assert_eq!(text_of(answer.await.unwrap()).await, "ok");
}

#[tokio::test(flavor = "local")]
async fn a_cut_answer_does_not_pass_for_a_whole_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream
                .send_data(Bytes::from_static(b"part"), false)
                .unwrap();
            local::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.send_reset(h2::Reason::CANCEL);
            });
        }
    });
    let worker = worker(&http2_file(address, "pass"));
    let mut client = connect(&worker).await;
    let answer = client.send_request(request("GET", "/", full("")));
    assert!(answer.await.unwrap().into_body().collect().await.is_err());
    let got = http1(&worker, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()).await;
    assert!(got.ends_with("4\r\npart\r\n"), "{got}");
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_is_slow_with_its_head_is_504() {
    async fn never(_: Request<Incoming>) -> Response<AnyBody> {
        std::future::pending().await
    }
    let address = upstream(true, never).await;
    let text = file(
        &format!("http://{address}\n  http2: true\n  retries: 0\n  read_timeout: 50"),
        "pass",
    );
    let mut client = connect(&worker(&text)).await;
    let answer = client.send_request(request("GET", "/", full("")));
    assert_eq!(answer.await.unwrap().status(), 504);
    assert_eq!(
        heard_log().await,
        ["Failed(\"read_timeout\") true", "log 504 gateway"]
    );
}

#[tokio::test(flavor = "local")]
async fn a_slow_reader_holds_the_upstream_back() {
    thread_local!(static SENT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
    async fn endless(_: Request<Incoming>) -> Response<Receiver> {
        let (sender, receiver) = pipe::pipe();
        local::spawn(async move {
            while poll_fn(|cx| sender.poll_room(cx)).await.is_ok() {
                sender.push(pipe::data(vec![0; 8192]));
                SENT.set(SENT.get() + 8192);
            }
        });
        Response::new(receiver)
    }
    let address = upstream(true, endless).await;
    let mut client = connect(&worker(&http2_file(address, "pass"))).await;
    let answer = client.send_request(request("GET", "/", full("")));
    let stalled = answer.await.unwrap();
    let mut last = 0;
    while SENT.get() == 0 || SENT.get() != std::mem::replace(&mut last, SENT.get()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        last < 4_000_000,
        "{last} bytes were taken for a client that reads nothing"
    );
    drop(stalled);
}

#[tokio::test(flavor = "local")]
async fn a_cancelled_upload_that_its_upstream_does_not_take_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ended = local::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(socket).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let _stream = respond.send_response(Response::new(()), false).unwrap();
        // Never reads the body.
        let _request = request;
        while connection.accept().await.is_some_and(|next| next.is_ok()) {}
    });
    let worker = worker(&http2_file(address, "pass"));
    // Not hyper's client: that one cannot reset such a stream either.
    let (near, far) = Io::pair(64 * 1024);
    let there = Rc::clone(&worker);
    local::spawn(async move { drive_http2::serve(far, Vec::new(), conn(), there).await });
    let (client, connection) = h2::client::handshake(near).await.unwrap();
    local::spawn(async move { connection.await.unwrap() });
    let mut client = client.ready().await.unwrap();
    let (answer, mut upload) = client
        .send_request(request("POST", "/", ()), false)
        .unwrap();
    upload.send_data(vec![0; 1_000_000].into(), false).unwrap();
    let _response = answer.await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    upload.send_reset(h2::Reason::CANCEL);
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(worker.http2.len(), 0);
}

/// TLS for a listener with a certificate that nobody knows.
fn tls() -> ServerTls {
    let table = Arc::new(CertTable::new());
    let default = Arc::new(DefaultCert::self_signed().unwrap());
    let resolver = CertResolver::new(move || Arc::clone(&table), default);
    ServerTls::new(resolver, &ClientAuth::Off, true, &Keeps::default()).unwrap()
}

#[tokio::test(flavor = "local")]
async fn grpcs_is_agreed_on_under_tls_on_both_sides() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    local::spawn(async move {
        let settings = tls();
        while let Ok((socket, _)) = listener.accept().await {
            let io = accept(Io::Plain(socket), &settings).await.unwrap();
            assert_eq!(io.alpn(), Some(&b"h2"[..]));
            let service = hyper::service::service_fn(|request| async {
                Ok::<_, std::convert::Infallible>(service(request).await)
            });
            let io = hyper_util::rt::TokioIo::new(io);
            let builder = hyper::server::conn::http2::Builder::new(LocalExec);
            local::spawn(async move {
                let _ = builder.serve_connection(io, service).await;
            });
        }
    });
    let text = grpc_file(address, "pass").replace("grpc://", "grpcs://");
    let worker = worker(&text);
    let (near, far) = Io::pair(64 * 1024);
    let there = Rc::clone(&worker);
    local::spawn(async move {
        let io = accept(far, &tls()).await.unwrap();
        let mut conn = conn();
        conn.tls = Some(Box::default());
        drive_http2::serve(io, Vec::new(), conn, there).await;
    });
    let identity = TlsIdentity {
        verify: Verify::Off,
        client_cert: None,
        alpn: Alpn::Http2,
    };
    let settings = TlsClients::new().unwrap().get(identity);
    let name = PeerName::of_host("gate.test").unwrap();
    let io = crate::tls::connect(near, &settings, &name).await.unwrap();
    let mut client = handshake(io).await;
    for _ in 0..2 {
        let answer = client.send_request(grpc_request("/unary", full("abc")));
        let body = answer.await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "abc");
    }
    assert_eq!(worker.metrics.upstream_opened.get(), 1);
}
