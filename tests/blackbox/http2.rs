//! HTTP/2 from clients.

use bytes::Bytes;
use http_body_util::BodyExt;

use crate::support::h2::{Whole, connect, connect_tls, request, whole};
use crate::support::upstream::reply;
use crate::support::x509::credulous;
use crate::support::{Gateway, Upstream, gateway};

fn proxy(upstream: &Upstream) -> Gateway {
    let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let setup = gateway(config).fill("up", upstream);
    setup.listen("127.0.0.1:0, 127.0.0.1:0 tls").start()
}

#[tokio::test]
async fn prior_knowledge_on_a_plain_port() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let mut sent = request("POST", "/a//b?q=1", "hello");
    let headers = sent.headers_mut();
    headers.insert("x-own", "1".parse().unwrap());
    headers.append("cookie", "a=1".parse().unwrap());
    headers.append("cookie", "b=2".parse().unwrap());
    let (head, body) = whole(client.send_request(sent).await.unwrap()).await;
    assert_eq!(head.status, 200);
    assert_eq!(body, "hello");
    assert!(head.headers.contains_key("x-kong-request-id"));
    assert!(head.headers.contains_key("x-kong-upstream-latency"));
    assert!(!head.headers.contains_key("connection"));
    let seen = upstream.only();
    assert_eq!(seen.line, "POST /a/b?q=1 HTTP/1.1");
    assert_eq!(seen.header("x-own"), Some("1"));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    let via = seen.header("via").unwrap();
    assert!(via.starts_with("2 ") || via.starts_with("2.0 "), "{via}");
}

#[tokio::test]
async fn by_alpn_on_a_tls_port() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let tls = credulous(&["h2", "http/1.1"]);
    let mut client = connect_tls::<Whole>(gateway.nth(1), "gateway.test", tls).await;
    let response = client.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(response.status(), 200);
    let seen = upstream.only();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn many_streams_at_once_over_one_connection() {
    let upstream = Upstream::answering(|request| reply(200, &[], request.target().as_bytes()));
    let gateway = proxy(&upstream);
    let client = connect::<Whole>(gateway.proxy()).await;
    let calls: Vec<_> = (0..200)
        .map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                client.ready().await.unwrap();
                let answer = client.send_request(request("GET", &format!("/{n}"), ""));
                let (head, body) = whole(answer.await.unwrap()).await;
                assert_eq!(head.status, 200);
                assert_eq!(body, format!("/{n}"));
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(upstream.requests().len(), 200);
}

#[tokio::test]
async fn large_bodies_both_ways() {
    let upstream = Upstream::echo();
    let gateway = proxy(&upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let body: Bytes = (0..5 << 20).map(|n: u32| (n % 251) as u8).collect();
    let answer = client.send_request(request("POST", "/", body.clone()));
    let (head, back) = whole(answer.await.unwrap()).await;
    assert_eq!(head.status, 200);
    assert!(back == body);
}

#[tokio::test]
async fn errors_and_heads_look_as_in_http_1() {
    let gateway = gateway("_format_version: '3.0'").start();
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let answer = client.send_request(request("GET", "/", "")).await.unwrap();
    let (head, body) = whole(answer).await;
    assert_eq!(head.status, 404);
    let id = head.headers["x-kong-request-id"].to_str().unwrap();
    let text = "no Route matched with those values";
    assert_eq!(
        body,
        format!("{{\"message\":\"{text}\",\"request_id\":\"{id}\"}}")
    );
    let answer = client.send_request(request("HEAD", "/", "")).await.unwrap();
    let (head, body) = whole(answer).await;
    assert_eq!((head.status.as_u16(), body.len()), (404, 0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_alone() {
    let upstream = Upstream::raw(|mut serving| {
        while let Some(request) = serving.request() {
            if request.target() == "/broken" {
                serving.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                return;
            }
            serving.reply(200, &[], b"fine");
        }
    });
    let gateway = proxy(&upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let broken = client.send_request(request("GET", "/broken", "")).await;
    let failed = match broken {
        Ok(response) => response.into_body().collect().await.is_err(),
        Err(_) => true,
    };
    assert!(failed);
    let answer = client.send_request(request("GET", "/", "")).await.unwrap();
    assert_eq!(whole(answer).await.1, "fine");
}

#[tokio::test]
async fn a_reset_stream_cancels_its_request() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.left();
    });
    let gateway = proxy(&upstream);
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let call = tokio::spawn(client.send_request(request("GET", "/", "")));
    while upstream.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    call.abort();
    while upstream.seen().ended == 0 {
        tokio::task::yield_now().await;
    }
}
