//! The circuit-breaker plugin on the wire.

use std::fs;
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::grpc::{Fed, Messages, Server, call, fed, message, status, unary};
use crate::support::h2::{Whole, connect, request};
use crate::support::upstream::{Nobody, reply};
use crate::support::{Gateway, Request, Response, Upstream, eventually, gateway};

/// Four requests decide, half of them may fail.
const ONE: &str = "
services: [{name: s, url: 'http://<up>', retries: 0, routes: [{name: r, paths: ['/']}],
  plugins: [{name: circuit-breaker, config: {<more>, volume_threshold: 4}}]}]";

/// Answers with the status that the path ends with.
fn by_path() -> Upstream {
    Upstream::answering(|request| {
        let status = request.target().rsplit('/').next().unwrap();
        reply(status.parse().unwrap(), &[("X-Up", "yes")], b"upstream")
    })
}

fn with(upstream: impl ToString, more: &str) -> Gateway {
    gateway(ONE).fill("up", upstream).fill("more", more).start()
}

fn breaker(gateway: &Gateway) -> Value {
    gateway.ask("/status").json()["breakers"][0].clone()
}

fn is(gateway: &Gateway, state: &str) -> bool {
    breaker(gateway)["state"] == state
}

#[track_caller]
fn refused(response: &Response) {
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(response.text(), r#"{"message":"Circuit breaker is open"}"#);
    assert_eq!(response.header("x-circuit-breaker"), Some("open"));
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
    assert_eq!(response.header("x-up"), None);
}

#[track_caller]
fn opened(gateway: &Gateway) {
    for _ in 0..4 {
        assert_eq!(gateway.get("/500").text(), "upstream");
    }
    refused(&gateway.get("/200"));
}

fn count(gateway: &Gateway, series: &str) -> String {
    let text = gateway.ask("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

fn lines(gateway: &Gateway, part: &str) -> usize {
    let lines = gateway.err.all();
    lines.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn it_opens_beyond_the_threshold_and_refuses() {
    let upstream = by_path();
    let gateway = with(&upstream, "reset_timeout: 60000");
    // Half of four is not more than half. The service's own answers are passed on.
    for path in ["/200", "/404", "/500", "/503"] {
        let response = gateway.get(path);
        assert_eq!(response.text(), "upstream");
        assert_eq!(response.header("x-up"), Some("yes"));
    }
    assert!(is(&gateway, "closed"));
    assert_eq!(gateway.ask("/health").json()["status"], "healthy");
    assert_eq!(gateway.get("/500").status, 500);
    let response = gateway.get("/200");
    refused(&response);
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&seconds), "{seconds}");
    let response = gateway.send(Request::new("HEAD", "/200"));
    assert_eq!((response.status, response.text()), (503, String::new()));
    assert_eq!(upstream.requests().len(), 5);

    let shown = breaker(&gateway);
    assert_eq!(shown["service"], "s");
    assert_eq!(shown["scope"], "service");
    assert_eq!(shown["state"], "open");
    assert_eq!(shown["window"], json!({"requests": 7, "failures": 3}));
    assert_eq!(shown["rejected"], 2);
    assert!(shown["since"].as_str().unwrap().ends_with('Z'));
    let health = gateway.ask("/health");
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["checks"]["breaker:s"]["status"], "degraded");
    assert_eq!(gateway.ask("/health?strict=1").status, 503);
    let labels = r#"{service="s",route="",scope="service"}"#;
    let own = |name: &str| count(&gateway, &format!("sluicegate_breaker_{name}{labels}"));
    assert_eq!(own("state"), "2");
    assert_eq!(own("rejected_total"), "2");
    assert_eq!(own("failures_total"), "3");
    let opened =
        r#"sluicegate_breaker_transitions_total{service="s",route="",scope="service",to="open"}"#;
    assert_eq!(count(&gateway, opened), "1");
    let line = gateway.err.wait("circuit breaker opens");
    assert!(line.contains('5') && line.contains('3'), "{line}");
    assert_eq!(lines(&gateway, "circuit breaker"), 1);
}

#[test]
fn it_stays_closed_below_the_volume() {
    let upstream = by_path();
    let gateway = with(&upstream, "error_threshold_percentage: 0");
    for _ in 0..3 {
        assert_eq!(gateway.get("/500").text(), "upstream");
    }
    assert_eq!(gateway.get("/200").text(), "upstream");
    assert_eq!(gateway.get("/500").text(), "upstream");
    refused(&gateway.get("/200"));
}

#[test]
fn only_the_listed_statuses_are_failures() {
    let upstream = by_path();
    let gateway = with(&upstream, "failure_statuses: ['429', 502-503]");
    for path in ["/500", "/504", "/400", "/500", "/500"] {
        assert_eq!(gateway.get(path).text(), "upstream");
    }
    for path in ["/429", "/502", "/503", "/429", "/429", "/429"] {
        assert_eq!(gateway.get(path).text(), "upstream");
    }
    refused(&gateway.get("/200"));
}

#[test]
fn a_trial_that_succeeds_closes_it() {
    let upstream = by_path();
    let gateway = with(&upstream, "reset_timeout: 200, rolling_window: 100");
    opened(&gateway);
    eventually("it is half-open", || is(&gateway, "half-open"));
    let checks = &gateway.ask("/health").json()["checks"];
    assert_eq!(checks["breaker:s"]["status"], "degraded");
    assert_eq!(gateway.get("/200").text(), "upstream");
    assert!(is(&gateway, "closed"));
    assert_eq!(gateway.ask("/health").json()["status"], "healthy");
    for _ in 0..5 {
        assert_eq!(gateway.get("/200").status, 200);
    }
    gateway.err.wait("circuit breaker closes");
    for part in ["breaker opens", "breaker is half-open", "breaker closes"] {
        assert_eq!(lines(&gateway, part), 1, "{part}");
    }
}

#[test]
fn a_trial_that_fails_opens_it_again() {
    let upstream = by_path();
    let gateway = with(&upstream, "reset_timeout: 500");
    opened(&gateway);
    eventually("it is half-open", || is(&gateway, "half-open"));
    assert_eq!(gateway.get("/500").text(), "upstream");
    refused(&gateway.get("/200"));
    gateway.err.wait("circuit breaker opens again");
    assert_eq!(breaker(&gateway)["opened"], 2);
    eventually("it is half-open", || is(&gateway, "half-open"));
    assert_eq!(gateway.get("/200").text(), "upstream");
    assert!(is(&gateway, "closed"));
}

/// Answers as [`by_path`] does, but `/wait/…` only after a word.
fn waiting() -> (Upstream, Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        while let Some(request) = serving.request() {
            if request.target().starts_with("/wait/") {
                let _ = wait.lock().unwrap().recv();
            }
            let status = request.target().rsplit('/').next().unwrap();
            serving.reply(status.parse().unwrap(), &[], b"upstream");
        }
    });
    (upstream, go)
}

#[test]
fn while_one_request_is_tried_all_others_are_refused() {
    let (upstream, go) = waiting();
    let gateway = with(&upstream, "reset_timeout: 200, timeout: 0");
    opened(&gateway);
    eventually("it is half-open", || is(&gateway, "half-open"));
    let mut trial = gateway.connect();
    trial.send(Request::get("/wait/200").bytes());
    upstream.wait("the trial", |seen| seen.requests.len() == 5);
    for _ in 0..4 {
        refused(&gateway.get("/200"));
    }
    go.send(()).unwrap();
    assert_eq!(trial.response("GET").text(), "upstream");
    assert_eq!(gateway.get("/200").text(), "upstream");
}

#[test]
fn a_client_that_leaves_during_the_trial_makes_room_for_the_next() {
    let (upstream, _go) = waiting();
    let gateway = with(&upstream, "reset_timeout: 200, timeout: 0");
    opened(&gateway);
    eventually("it is half-open", || is(&gateway, "half-open"));
    let mut trial = gateway.connect();
    trial.send(Request::get("/wait/200").bytes());
    upstream.wait("the trial", |seen| seen.requests.len() == 5);
    refused(&gateway.get("/200"));
    trial.reset();
    eventually("another trial", || gateway.get("/200").status == 200);
    assert!(is(&gateway, "closed"));
    assert_eq!(breaker(&gateway)["opened"], 1);
}

#[tokio::test]
async fn a_stream_that_is_reset_during_the_trial_makes_room_too() {
    let (upstream, _go) = waiting();
    let gateway = with(&upstream, "reset_timeout: 200, timeout: 0");
    opened(&gateway);
    eventually("it is half-open", || is(&gateway, "half-open"));
    let mut client = connect::<Whole>(gateway.proxy()).await;
    let trial = client.send_request(request("GET", "/wait/200", ""));
    let trial = tokio::spawn(trial);
    let seen = tokio::task::spawn_blocking(move || {
        upstream.wait("the trial", |seen| seen.requests.len() == 5);
        upstream
    });
    let _upstream = seen.await.unwrap();
    refused(&gateway.get("/200"));
    trial.abort();
    tokio::task::spawn_blocking(move || {
        eventually("another trial", || gateway.get("/200").status == 200);
    })
    .await
    .unwrap();
}

#[test]
fn requests_whose_client_leaves_count_neither_way() {
    let (upstream, _go) = waiting();
    let gateway = with(&upstream, "timeout: 0");
    for nth in 1..=5 {
        let mut conn = gateway.connect();
        conn.send(Request::get("/wait/200").bytes());
        upstream.wait("the request", |seen| seen.requests.len() == nth);
        conn.reset();
    }
    eventually("nothing is counted", || {
        breaker(&gateway)["window"] == json!({"requests": 0, "failures": 0})
    });
}

#[test]
fn attempts_of_one_request_are_one_failure() {
    let config = ONE.replace("retries: 0", "retries: 5");
    let gateway = gateway(&config).fill("up", Nobody::new());
    let gateway = gateway.fill("more", "reset_timeout: 60000").start();
    for _ in 0..4 {
        let response = gateway.get("/");
        response.is_error(
            502,
            "An invalid response was received from the upstream server",
        );
    }
    assert_eq!(breaker(&gateway)["failures"], 4);
    refused(&gateway.get("/"));
}

#[test]
fn a_name_without_an_address_is_a_failure() {
    let config = "
services: [{name: s, host: pool, retries: 0, routes: [{paths: ['/']}],
  plugins: [{name: circuit-breaker, config: {volume_threshold: 2}}]}]
upstreams: [{name: pool}]";
    let gateway = gateway(config).start();
    for _ in 0..2 {
        let response = gateway.get("/");
        response.is_error(503, "failure to get a peer from the ring-balancer");
    }
    refused(&gateway.get("/"));
    let health = gateway.ask("/upstreams/pool/health").json();
    assert_eq!(health["breakers"][0]["state"], "open");
    assert_eq!(health["breakers"][0]["service"], "s");
}

#[test]
fn no_answer_in_time_is_504_and_a_failure() {
    let (upstream, _go) = waiting();
    let gateway = with(&upstream, "timeout: 200");
    for _ in 0..4 {
        let response = gateway.get("/wait/200");
        response.is_error(504, "The upstream server is timing out");
    }
    refused(&gateway.get("/200"));
    assert_eq!(breaker(&gateway)["timeouts"], 4);
}

#[test]
fn a_body_may_take_longer_than_the_headers() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        serving.request();
        serving.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        let _ = wait.lock().unwrap().recv();
        serving.write("later");
        serving.left();
    });
    let gateway = with(&upstream, "timeout: 100");
    let mut conn = gateway.connect();
    conn.send(Request::get("/").bytes());
    let head = conn.head();
    assert_eq!(head.status, 200);
    assert_eq!(conn.exactly(5), b"first");
    // Far beyond the time-out, and the sweep that would notice it.
    std::thread::sleep(std::time::Duration::from_millis(500));
    go.send(()).unwrap();
    assert_eq!(conn.exactly(5), b"later");
    assert_eq!(breaker(&gateway)["failures"], 0);
}

#[test]
fn a_slow_client_is_not_the_services_fault() {
    let upstream = Upstream::echo();
    let gateway = with(&upstream, "timeout: 100");
    let mut conn = gateway.connect();
    conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    for part in ["one", "two", "six"] {
        std::thread::sleep(std::time::Duration::from_millis(250));
        conn.send(part);
    }
    let response = conn.response("POST");
    assert_eq!(response.text(), "onetwosix");
    assert_eq!(breaker(&gateway)["failures"], 0);
}

#[test]
fn after_a_slow_body_the_service_has_its_time_and_no_more() {
    let (upstream, _go) = waiting();
    let gateway = with(&upstream, "timeout: 200");
    let mut conn = gateway.connect();
    conn.send("POST /wait/200 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    std::thread::sleep(std::time::Duration::from_millis(500));
    conn.send("end");
    let response = conn.response("POST");
    response.is_error(504, "The upstream server is timing out");
    assert_eq!(breaker(&gateway)["timeouts"], 1);
}

#[test]
fn a_websocket_may_last() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
        serving.write("Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n");
        let said = serving.exactly(4);
        serving.write(said);
        serving.left();
    });
    let gateway = with(&upstream, "timeout: 100");
    let mut conn = gateway.connect();
    let request = Request::get("/")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Key", "eA==")
        .header("Sec-WebSocket-Version", "13");
    conn.send(request.bytes());
    assert_eq!(conn.head().status, 101);
    std::thread::sleep(std::time::Duration::from_millis(500));
    conn.send("ping");
    assert_eq!(conn.exactly(4), b"ping");
    assert_eq!(breaker(&gateway)["failures"], 0);
}

const FALLBACK: &str = r#"timeout: 200, fallback: {status: 203,
  headers: {X-From: fallback}, body: '{"instead":true}'}"#;

#[track_caller]
fn is_fallback(response: &Response) {
    assert_eq!(response.status, 203, "{response:?}");
    assert_eq!(response.text(), r#"{"instead":true}"#);
    assert_eq!(response.header("x-from"), Some("fallback"));
    let kind = response.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
    assert_eq!(response.header("x-up"), None);
}

#[test]
fn a_fallback_stands_in_for_failures_and_refusals() {
    let upstream = by_path();
    let gateway = with(&upstream, FALLBACK);
    let mut conn = gateway.connect();
    for _ in 0..4 {
        is_fallback(&conn.ask(&Request::get("/500")));
    }
    assert!(is(&gateway, "open"));
    is_fallback(&conn.ask(&Request::get("/200")));
    is_fallback(&conn.ask(&Request::post("/200", vec![b'x'; 100_000])));
    assert_eq!(upstream.requests().len(), 4);
    assert_eq!(breaker(&gateway)["fallbacks"], 6);
}

#[test]
fn a_fallback_leaves_what_is_no_failure_alone() {
    let upstream = by_path();
    let gateway = with(&upstream, FALLBACK);
    for path in ["/200", "/404", "/302"] {
        assert_eq!(gateway.get(path).text(), "upstream");
    }
}

#[test]
fn a_fallback_stands_in_for_time_outs_and_dead_services() {
    let (upstream, _go) = waiting();
    is_fallback(&with(&upstream, FALLBACK).get("/wait/200"));
    is_fallback(&with(Nobody::new(), FALLBACK).get("/"));
}

/// A global one, and one route with its own.
const SCOPES: &str = "
services:
  - {name: a, url: 'http://<up>', routes: [{name: a, paths: [/a]}, {name: own, paths: [/own],
      plugins: [{name: circuit-breaker, config: {volume_threshold: 2}}]}]}
  - {name: b, url: 'http://<up>', routes: [{name: b, paths: [/b]}],
      plugins: [{name: circuit-breaker, config: {volume_threshold: 3}}]}
  - {name: c, url: 'http://<up>', routes: [{name: c, paths: [/c]}]}
plugins: [{name: circuit-breaker, config: {volume_threshold: 4}}]";

#[test]
fn each_service_and_each_scope_has_its_own() {
    let upstream = by_path();
    let gateway = gateway(SCOPES).fill("up", &upstream).start();
    for (prefix, volume) in [("/own", 2), ("/b", 3), ("/a", 4), ("/c", 4)] {
        for _ in 0..volume {
            assert_eq!(gateway.get(&format!("{prefix}/500")).status, 500);
        }
        refused(&gateway.get(&format!("{prefix}/200")));
    }
    let status = gateway.ask("/status").json();
    let all = status["breakers"].as_array().unwrap().iter();
    let mut shown: Vec<_> = all
        .map(|one| {
            let text = |key: &str| one[key].as_str().unwrap_or_default();
            format!("{} {} {}", text("scope"), text("service"), text("route"))
        })
        .collect();
    shown.sort();
    assert_eq!(
        shown,
        ["global a ", "global c ", "route a own", "service b "]
    );
    let checks = gateway.ask("/health").json();
    assert!(checks["checks"]["breaker:a/own"].is_object());
}

fn load(gateway: &Gateway, text: &str) {
    let version = gateway.ask("/status").json()["configuration"]["generation"].clone();
    fs::write(gateway.file(), text).unwrap();
    gateway.signal(Signal::HUP);
    eventually("the new file", || {
        gateway.ask("/status").json()["configuration"]["generation"] != version
    });
}

#[test]
fn a_reload_keeps_the_state_unless_its_numbers_change() {
    let upstream = by_path();
    let text = ONE
        .replace("<up>", &upstream.to_string())
        .replace("<more>", "reset_timeout: 60000");
    let gateway = gateway(&text).start();
    opened(&gateway);
    // Another route, and a fallback: neither is what it counts by.
    let more = text.replace("reset_timeout", "fallback: {status: 203}, reset_timeout");
    load(&gateway, &format!("{more}\nroutes: [{{paths: [/new]}}]"));
    assert_eq!(gateway.get("/200").status, 203);
    assert_eq!(breaker(&gateway)["rejected"], 2);
    load(&gateway, &text);
    refused(&gateway.get("/200"));
    load(&gateway, &text.replace("60000", "59000"));
    for path in ["/200", "/500", "/500", "/500"] {
        assert_eq!(gateway.get(path).text(), "upstream");
    }
    refused(&gateway.get("/200"));
    load(
        &gateway,
        &text.replace("60000", "59000").replace(": 4", ": 5"),
    );
    eventually("the old one is gone", || {
        let status = gateway.ask("/status").json();
        status["breakers"].as_array().unwrap().len() == 1
    });
    assert!(is(&gateway, "closed"));
}

const GRPC: &str = "
services: [{name: g, url: 'grpc://<up>', retries: 0, routes: [
  {paths: [/test.Echo], protocols: [grpc, grpcs]}],
  plugins: [{name: circuit-breaker, config: {volume_threshold: 2, <more>}}]}]";

fn grpc(server: &Server, more: &str) -> Gateway {
    gateway(GRPC).fill("up", server).fill("more", more).start()
}

#[tokio::test]
async fn grpc_statuses_that_blame_the_service_are_failures() {
    let server = Server::start(None);
    let gateway = grpc(&server, "reset_timeout: 60000");
    for code in ["5", "2", "16"] {
        assert_eq!(
            status(gateway.proxy(), &format!("/test.Echo/Fail{code}")).await,
            code
        );
    }
    for code in ["14", "13", "4", "14"] {
        assert_eq!(
            status(gateway.proxy(), &format!("/test.Echo/Fail{code}")).await,
            code
        );
    }
    assert_eq!(server.heads().len(), 7);
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client.send_request(unary("/test.Echo/Unary", b"x"));
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(answer.headers()["grpc-message"], "Circuit breaker is open");
    assert_eq!(answer.headers()["x-circuit-breaker"], "open");
    assert_eq!(server.heads().len(), 7);
}

#[tokio::test]
async fn a_grpc_status_in_trailers_counts_and_is_passed_on() {
    let server = Server::start(None);
    let gateway = grpc(&server, "fallback: {}");
    for _ in 0..2 {
        let mut client = connect::<Fed>(gateway.proxy()).await;
        let (feed, body) = fed();
        feed.send(hyper::body::Frame::data(message(b"m"))).unwrap();
        drop(feed);
        let answer = client.send_request(call("/test.Echo/Late14", body));
        let mut answer = answer.await.unwrap();
        let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
        assert_eq!(messages, [b"m"]);
        assert_eq!(trailers["grpc-status"], "14");
    }
    assert!(is(&gateway, "open"));
    // A fallback of success has no message to give.
    assert_eq!(status(gateway.proxy(), "/test.Echo/Unary").await, "14");
}

#[tokio::test]
async fn a_grpc_stream_may_wait_for_its_client() {
    let server = Server::start(None);
    let gateway = grpc(&server, "timeout: 100");
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let (feed, body) = fed();
    let answer = client.send_request(call("/test.Echo/Both", body));
    let mut answer = answer.await.unwrap();
    let mut messages = Messages::default();
    for text in ["one", "two"] {
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        let sent = hyper::body::Frame::data(message(text.as_bytes()));
        feed.send(sent).unwrap();
        let back = messages.next(answer.body_mut()).await.unwrap();
        assert_eq!(back, text.as_bytes());
    }
    drop(feed);
    assert_eq!(messages.next(answer.body_mut()).await, None);
    assert_eq!(breaker(&gateway)["failures"], 0);
}
