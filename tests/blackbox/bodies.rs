//! Bodies stream, both ways, in every framing.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use crate::support::upstream::reply;
use crate::support::{Conn, Gateway, Request, Upstream, gateway};

fn proxy(upstream: &Upstream) -> Gateway {
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    gateway(config).fill("up", upstream).start()
}

/// Something long that is not the same everywhere.
fn long(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

const TEN_MIB: usize = 10 << 20;

/// Sends in another thread what is too much for the socket buffers.
fn exchange(gateway: &Gateway, request: Vec<u8>) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut reader = std::net::TcpStream::connect(gateway.proxy()).unwrap();
    let mut writer = reader.try_clone().unwrap();
    let sending = std::thread::spawn(move || writer.write_all(&request).unwrap());
    let mut all = Vec::new();
    reader.read_to_end(&mut all).unwrap();
    sending.join().unwrap();
    all
}

#[test]
fn ten_mebibytes_go_up_and_come_back() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let body = long(TEN_MIB);
    let request = Request::post("/", body.clone()).header("Connection", "close");
    let all = exchange(&gateway, request.bytes());
    assert!(all.starts_with(b"HTTP/1.1 200 "));
    assert!(all.ends_with(&body));
    assert!(upstream.only().body == body);
}

#[test]
fn ten_mebibytes_go_up_and_come_back_chunked() {
    let upstream = Upstream::answering(|request| {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in request.body.chunks(100_000) {
            answer.extend(format!("{:x}\r\n", part.len()).bytes());
            answer.extend(part);
            answer.extend(b"\r\n");
        }
        answer.extend(b"0\r\n\r\n");
        answer
    });
    let gateway = proxy(&upstream);
    let body = long(TEN_MIB);
    let mut request = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for part in body.chunks(77_777) {
        request.extend(format!("{:X};x=y\r\n", part.len()).bytes());
        request.extend(part);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    let mut conn = gateway.connect();
    conn.send(&request);
    let response = conn.response("POST");
    assert!(response.complete);
    assert!(response.body == body);
    let seen = upstream.only();
    assert!(seen.body == body);
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.header("content-length"), None);
    // The connection is as good as new.
    assert_eq!(conn.ask(&Request::post("/", "abc")).text(), "abc");
}

#[test]
fn a_body_of_any_small_size_keeps_its_framing() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    for length in [0, 1, 2, 100, 4096, 16_384, 65_535, 65_536, 65_537, 200_000] {
        let body = long(length);
        let response = conn.ask(&Request::post("/", body.clone()));
        assert!(response.body == body, "{length}");
        let seen = upstream.last();
        assert_eq!(
            seen.header("content-length"),
            Some(length.to_string().as_str())
        );
        assert_eq!(seen.header("transfer-encoding"), None);
    }
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    let interim = conn.head();
    assert_eq!(interim.status, 100);
    conn.send("abc");
    let response = conn.response("POST");
    assert_eq!((response.status, response.text().as_str()), (200, "abc"));
    assert_eq!(upstream.only().header("expect"), None);
}

#[test]
fn expect_100_continue_without_a_route_is_answered_without_a_body() {
    let gateway = gateway("_format_version: '3.0'").start();
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(conn.head().status, 404);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|request| reply(200, &[], request.line.as_bytes()));
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    let mut all = Vec::new();
    for n in 0..20 {
        all.extend(Request::post(&format!("/{n}"), long(n * 10)).bytes());
    }
    conn.send(all);
    for n in 0..20 {
        let text = conn.response("POST").text();
        assert_eq!(text, format!("POST /{n} HTTP/1.1"));
    }
    assert_eq!(upstream.requests().len(), 20);
}

#[test]
fn http_1_0_is_spoken() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    let response = conn.response("GET");
    assert_eq!(response.header("transfer-encoding"), None);
    assert_eq!(response.text(), "abc");
    assert!(conn.closes());
    assert_eq!(upstream.only().line, "GET / HTTP/1.1");
    // Without a Host field, too.
    let mut conn = gateway.connect();
    conn.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(conn.response("GET").text(), "abc");
}

#[test]
fn http_1_0_can_be_kept_alive() {
    let upstream = Upstream::saying("hello");
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    for _ in 0..2 {
        conn.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
        let response = conn.response("GET");
        assert_eq!(response.text(), "hello");
        assert_eq!(response.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn answers_without_a_body_end_with_their_head() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n".to_vec(),
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    for (method, target, status) in [
        ("GET", "/204", 204),
        ("GET", "/304", 304),
        ("HEAD", "/", 200),
    ] {
        let response = conn.ask(&Request::new(method, target));
        assert_eq!(response.status, status);
        match status {
            200 => assert_eq!(response.header("content-length"), Some("12345")),
            204 => assert_eq!(response.header("content-length"), None),
            _ => assert_eq!(response.header("etag"), Some("\"x\"")),
        }
        assert_eq!(response.header("transfer-encoding"), None);
    }
    assert_eq!(upstream.seen().connections, 1);
}

#[test]
fn events_arrive_one_by_one() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let upstream = Upstream::raw(move |mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n");
        serving.write("Transfer-Encoding: chunked\r\n\r\n");
        for n in 0..3 {
            serving.write(format!("9\r\ndata: {n}\n\n\r\n"));
            // The next event only once the client has got this one.
            wait.lock().unwrap().recv().unwrap();
        }
        serving.write("0\r\n\r\n");
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send(Request::get("/").bytes());
    assert_eq!(conn.head().status, 200);
    for n in 0..3 {
        assert_eq!(conn.chunk().unwrap(), format!("data: {n}\n\n").as_bytes());
        go.send(()).unwrap();
    }
    assert_eq!(conn.chunk(), None);
}

#[test]
fn a_request_body_arrives_piece_by_piece() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let upstream = Upstream::raw(move |mut serving| {
        serving.head();
        for _ in 0..3 {
            let piece = serving.exactly(8);
            tell.lock().unwrap().send(piece).unwrap();
        }
        serving.exactly(5);
        serving.reply(200, &[], b"");
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..3 {
        let piece = format!("3\r\nab{n}\r\n");
        conn.send(&piece);
        assert_eq!(told.recv().unwrap(), piece.as_bytes());
    }
    conn.send("0\r\n\r\n");
    assert_eq!(conn.response("POST").status, 200);
}

#[test]
fn an_early_answer_is_passed_on_while_the_body_still_comes() {
    let upstream = Upstream::raw(|mut serving| {
        serving.head();
        serving.reply(401, &[("Connection", "close")], b"no");
        serving.left();
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc");
    let response = conn.response("POST");
    assert_eq!((response.status, response.text().as_str()), (401, "no"));
}

#[test]
fn trailers_come_back() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"
            .to_vec()
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    conn.send(
        "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-Up\r\n\r\n3\r\nabc\r\n0\r\nX-Up: 9\r\n\r\n",
    );
    let response = conn.response("POST");
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers, [("X-Sum".to_owned(), "7".to_owned())]);
    assert_eq!(response.header("trailer"), Some("X-Sum"));
    assert_eq!(upstream.only().body, b"abc");
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let gateway = proxy(&upstream);
    let response = gateway.get("/");
    assert_eq!(response.text(), "until the end");
    assert!(response.complete);
}

/// An upstream that gives hints, and answers when it is told to.
fn hinting() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        while serving.request().is_some() {
            serving.write("HTTP/1.1 100 Continue\r\n\r\n");
            serving.write(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n\
                 HTTP/1.1 102 Processing\r\n\r\n",
            );
            let _ = wait.lock().unwrap().recv();
            serving.reply(200, &[], b"final");
        }
    });
    (upstream, go)
}

#[test]
fn interim_answers_are_passed_on_at_once() {
    let (upstream, go) = hinting();
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]
plugins: [{name: correlation-id, config: {echo_downstream: true}}]";
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.listen("127.0.0.1:0, 127.0.0.1:0 tls").start();
    let tls = crate::support::x509::credulous(&["http/1.1"]);
    for mut conn in [gateway.connect(), Conn::tls(gateway.nth(1), "a.test", tls)] {
        // A second round on the same connections.
        for _ in 0..2 {
            conn.send(Request::get("/").bytes());
            let hints = conn.head();
            assert_eq!((hints.status, hints.headers.len()), (103, 1), "{hints:?}");
            assert_eq!(hints.header("link"), Some("</a>"));
            assert_eq!(conn.head().status, 102);
            go.send(()).unwrap();
            let response = conn.response("GET");
            assert_eq!((response.status, response.text().as_str()), (200, "final"));
            assert_eq!(response.header("link"), None);
            assert!(response.header("kong-request-id").is_some());
        }
    }
}

#[test]
fn interim_answers_come_before_the_final_one_in_one_piece_too() {
    let upstream = Upstream::raw(|mut serving| {
        while serving.request().is_some() {
            serving.write(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                 HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal",
            );
        }
    });
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    for _ in 0..3 {
        conn.send(Request::get("/").bytes());
        assert_eq!(conn.head().status, 103);
        assert_eq!(conn.response("GET").text(), "final");
    }
}

#[test]
fn a_hint_and_then_no_answer_is_a_502() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.write("HTTP/1.1 103 Early Hints\r\n\r\n");
    });
    let config = "services: [{url: 'http://<up>', retries: 0, routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let mut conn = gateway.connect();
    conn.send(Request::get("/").bytes());
    assert_eq!(conn.head().status, 103);
    assert_eq!(conn.response("GET").status, 502);
}

#[tokio::test]
async fn who_cannot_be_sent_interim_answers_gets_the_final_one() {
    use crate::support::h2::{Whole, connect, request, whole};
    let (upstream, go) = hinting();
    let gateway = proxy(&upstream);
    go.send(()).unwrap();
    let mut conn = gateway.connect();
    conn.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n");
    let head = conn.head();
    assert_eq!(head.status, 200);
    go.send(()).unwrap();
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let mut asked = request("POST", "/", "abc");
    // hyper cannot answer this either: the body comes when the client is tired of waiting.
    let expect = "100-continue".parse().unwrap();
    asked.headers_mut().insert("expect", expect);
    let (head, body) = whole(client.send_request(asked).await.unwrap()).await;
    assert_eq!((head.status.as_u16(), &body[..]), (200, &b"final"[..]));
    let seen = upstream.last();
    assert_eq!((seen.header("expect"), &seen.body[..]), (None, &b"abc"[..]));
}

#[test]
fn a_body_that_comes_while_the_gateway_connects_is_whole() {
    let authority = crate::support::x509::Authority::new();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let tls = authority.issue(&["localhost"]).server(&[]);
    // The handshake waits for a word.
    let upstream = Upstream::raw_tls(tls, move |mut serving| {
        let _ = wait.lock().unwrap().recv();
        while let Some(request) = serving.request() {
            serving.reply(200, &[], &request.body);
        }
    });
    let config = "services: [{url: 'https://<up>', routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let body = long(40_000);
    let all = [Request::post("/", body.clone()), Request::post("/", "next")];
    let bytes: Vec<u8> = all.iter().flat_map(Request::bytes).collect();
    let mut conn = gateway.connect();
    // Cut in the head, in the body, and in the next head.
    for part in [0..10, 10..10_000, 10_000..40_090, 40_090..bytes.len()] {
        conn.send(&bytes[part.clone()]);
        if part.start == 10 {
            upstream.wait("the connection", |seen| seen.connections == 1);
        }
    }
    go.send(()).unwrap();
    assert!(conn.response("POST").body == body);
    assert_eq!(conn.response("POST").text(), "next");
}

#[test]
fn connection_close_is_respected() {
    let upstream = Upstream::saying("hello");
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    let response = conn.ask(&Request::get("/").header("Connection", "close"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(conn.closes());
}

#[test]
fn upstream_connections_are_used_again() {
    let upstream = Upstream::saying("hello");
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", &upstream);
    let gateway = setup.flag("--workers", 1).start();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").text(), "hello");
    }
    let mut conn: Conn = gateway.connect();
    for _ in 0..10 {
        assert_eq!(conn.ask(&Request::get("/")).text(), "hello");
    }
    assert_eq!(upstream.requests().len(), 20);
    assert_eq!(upstream.seen().connections, 1);
}

#[test]
fn an_upstream_that_closes_is_not_used_again() {
    let upstream = Upstream::answering(|_| reply(200, &[("Connection", "close")], b"hello"));
    let gateway = proxy(&upstream);
    let mut conn = gateway.connect();
    for n in 1..=3 {
        let response = conn.ask(&Request::get("/"));
        assert_eq!(response.text(), "hello");
        assert_eq!(upstream.seen().connections, n);
    }
}
