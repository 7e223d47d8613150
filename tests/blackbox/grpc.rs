//! gRPC through the gateway.

use hyper::body::Frame;

use crate::support::gateway;
use crate::support::grpc::{Fed, Messages, Server, call, fed, message, unary};
use crate::support::h2::{connect, connect_tls};
use crate::support::upstream::Nobody;
use crate::support::x509::{Authority, credulous};

const TO: &str = "services: [{url: 'grpc://<up>', retries: 0, routes: [
  {paths: [/test.Echo], protocols: [grpc, grpcs]}]}]";

#[tokio::test]
async fn a_unary_call() {
    let server = Server::start(None);
    let gateway = gateway(TO).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client.send_request(unary("/test.Echo/Unary", b"hello"));
    let mut answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
    assert_eq!(messages, [b"hello"]);
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-note"], "at the end");
    let head = server.heads().remove(0);
    assert_eq!(head.uri.path(), "/test.Echo/Unary");
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["x-forwarded-host"], "gateway.test");
}

#[tokio::test]
async fn an_answer_of_several_messages() {
    let server = Server::start(None);
    let gateway = gateway(TO).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client.send_request(unary("/test.Echo/Stream", &[7; 40_000]));
    let mut answer = answer.await.unwrap();
    let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
    assert_eq!(messages, vec![vec![7; 40_000]; 3]);
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn a_conversation() {
    let server = Server::start(None);
    let gateway = gateway(TO).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let (feed, body) = fed();
    let answer = client.send_request(call("/test.Echo/Both", body));
    let mut answer = answer.await.unwrap();
    let mut messages = Messages::default();
    for n in 0..5 {
        let text = format!("message {n}");
        feed.send(Frame::data(message(text.as_bytes()))).unwrap();
        let back = messages.next(answer.body_mut()).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    drop(feed);
    assert_eq!(messages.next(answer.body_mut()).await, None);
    assert_eq!(messages.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn an_answer_of_trailers_alone() {
    let server = Server::start(None);
    let gateway = gateway(TO).fill("up", &server).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client.send_request(unary("/test.Echo/Fail", b"x"));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert_eq!(answer.headers()["grpc-message"], "no such thing");
}

#[tokio::test]
async fn errors_of_the_gateway_are_grpc_statuses() {
    let gateway = gateway(TO).fill("up", Nobody::new()).start();
    let mut client = connect::<Fed>(gateway.proxy()).await;
    for (path, status) in [("/test.Echo/Unary", "14"), ("/nowhere", "5")] {
        let answer = client.send_request(unary(path, b"x")).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        let found = answer.headers()["grpc-status"].to_str().unwrap();
        // 502 is Kong's 13 by the table, 14 where it is read as unavailable.
        let fits = found == status || (status == "14" && found == "13");
        assert!(fits, "{path}: {found}");
        assert!(answer.headers().contains_key("grpc-message"), "{path}");
    }
}

#[tokio::test]
async fn with_tls_on_both_sides() {
    let authority = Authority::new();
    let server = Server::start(Some(authority.issue(&["localhost"]).server(&["h2"])));
    let config = "
services: [{url: 'grpcs://<up>', routes: [{paths: [/test.Echo], protocols: [grpcs]}]}]";
    let setup = gateway(config).fill("up", &server);
    let gateway = setup.listen("127.0.0.1:0, 127.0.0.1:0 tls").start();
    let tls = credulous(&["h2"]);
    let mut client = connect_tls::<Fed>(gateway.nth(1), "gateway.test", tls).await;
    let answer = client.send_request(unary("/test.Echo/Unary", b"hello"));
    let mut answer = answer.await.unwrap();
    let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
    assert_eq!(messages, [b"hello"]);
    assert_eq!(trailers["grpc-status"], "0");
    // The same without TLS is refused in gRPC's way.
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client
        .send_request(unary("/test.Echo/Unary", b"x"))
        .await
        .unwrap();
    assert_eq!(answer.headers()["grpc-status"], "1");
    assert_eq!(
        answer.headers()["grpc-message"],
        "gRPC request matched gRPCs route"
    );
}

#[tokio::test]
async fn a_service_may_ask_for_http_2() {
    let server = Server::start(None);
    let config = "services: [{url: 'http://<up>', http2: true, routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &server).start();
    let response = gateway.get("/x/Fail");
    assert_eq!(response.status, 200);
    assert_eq!(server.heads()[0].version, http::Version::HTTP_2);
}
