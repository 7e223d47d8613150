//! What is tried again and within what time; how much an upstream may have under way.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::grpc::{Fed, Messages, Server, unary};
use crate::support::h2::connect;
use crate::support::upstream::reply;
use crate::support::{Gateway, Request, Response, Upstream, gateway};

/// An upstream whose answers wait until the sender is dropped.
fn waiting() -> (Upstream, Sender<()>) {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        while serving.request().is_some() {
            // One after the other hears that the sender is gone.
            let _ = wait.lock().unwrap().recv_timeout(Duration::from_secs(20));
            serving.reply(200, &[], b"late");
        }
    });
    (upstream, go)
}

fn pool(upstream: &Upstream, limits: &str) -> Gateway {
    let config = "
services: [{host: pool, read_timeout: 30000, connect_timeout: 10000, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, limits: {<limits>}, targets: [{target: '<up>'}]}]";
    let setup = gateway(config).fill("up", upstream).fill("limits", limits);
    setup.flag("--workers", 2).start()
}

fn is_overflow(response: &Response, limit: &str) {
    response.is_error(503, "The upstream server is overloaded");
    assert_eq!(response.header("X-Upstream-Overflow"), Some(limit));
}

/// Asks the metrics until one has that value.
#[track_caller]
fn wait_for(gateway: &Gateway, line: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let metrics = gateway.ask("/metrics").text();
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < end, "no {line} in\n{metrics}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn in_use(limit: &str, count: u32) -> String {
    format!("sluicegate_upstream_limit_in_use{{upstream=\"pool\",limit=\"{limit}\"}} {count}")
}

fn hits(limit: &str, count: usize) -> String {
    format!("sluicegate_upstream_limit_hits_total{{upstream=\"pool\",limit=\"{limit}\"}} {count}")
}

#[test]
fn a_status_is_tried_again_where_the_service_says_so() {
    let busy = Upstream::answering(|_| reply(503, &[("X-From", "busy")], b"busy"));
    let good = Upstream::saying("good");
    let config = "
services: [{host: pool, retries: 2, retry_on: ['502-504'], routes: [{paths: ['/']}]}]
upstreams: [{name: pool, targets: [{target: '<busy>'}, {target: '<good>'}]}]";
    let setup = gateway(config).fill("busy", &busy);
    let gateway = setup.fill("good", &good).flag("--workers", 1).start();
    for _ in 0..6 {
        let response = gateway.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "good"));
        assert_eq!(response.header("X-From"), None);
    }
    assert!(!busy.requests().is_empty());
    // What may have been done is not done twice.
    let posts: Vec<u16> = (0..4)
        .map(|_| gateway.send(Request::post("/", "x")).status)
        .collect();
    assert!(posts.contains(&503), "{posts:?}");
}

#[test]
fn the_last_answer_is_passed_on() {
    let busy = Upstream::answering(|_| reply(503, &[], b"busy"));
    let config = "services: [{url: 'http://<up>', retries: 2, retry_on: [503],
      retry_methods: [POST], routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &busy).start();
    let response = gateway.send(Request::post("/", "x"));
    assert_eq!((response.status, response.text().as_str()), (503, "busy"));
    assert_eq!(busy.requests().len(), 3);
    assert_eq!(gateway.get("/").text(), "busy");
    assert_eq!(busy.requests().len(), 4, "GET is not among the methods");
}

#[test]
fn only_what_is_named_is_tried_again() {
    let dying = Upstream::raw(|mut serving| {
        serving.request();
    });
    let config = "services: [{url: 'http://<up>', retries: 3, retry_on: [connect-failure],
      routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &dying).start();
    assert_eq!(gateway.get("/").status, 502);
    dying.only();
}

#[test]
fn a_deadline_bounds_all_attempts() {
    let upstream = Upstream::raw(|mut serving| {
        serving.request();
        serving.left();
    });
    let config = "services: [{url: 'http://<up>', retries: 100, read_timeout: 300, deadline: 700,
      routes: [{paths: ['/']}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    let begin = Instant::now();
    gateway
        .get("/")
        .is_error(504, "The upstream server is timing out");
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert!(upstream.requests().len() <= 3);
}

#[test]
fn wrong_retry_rules_are_refused() {
    for (field, message) in [
        (
            "retry_on: [sometimes]",
            "expected a status, a range of statuses, or one of: connect-failure",
        ),
        ("retry_on: [99]", "value should be between 100 and 999"),
        ("retry_methods: [get]", "retry_methods[0]"),
        ("deadline: 0", "value should be between 1 and"),
    ] {
        let config = format!("services: [{{url: 'http://a', {field}}}]");
        let output = gateway(&config).output();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(message), "{field}: {text}");
    }
    let config = "upstreams: [{name: a, limits: {max_requests: 0}}]";
    let output = gateway(config).output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("value should be between 1 and"), "{text}");
}

#[test]
fn more_requests_than_allowed_are_refused_at_once() {
    let (upstream, go) = waiting();
    let gateway = pool(&upstream, "max_requests: 2");
    thread::scope(|scope| {
        let held: Vec<_> = (0..2).map(|_| scope.spawn(|| gateway.get("/"))).collect();
        wait_for(&gateway, &in_use("max_requests", 2));
        let begin = Instant::now();
        is_overflow(&gateway.get("/"), "max_requests");
        assert!(begin.elapsed() < Duration::from_secs(5));
        drop(go);
        for request in held {
            assert_eq!(request.join().unwrap().text(), "late");
        }
    });
    wait_for(&gateway, &in_use("max_requests", 0));
    wait_for(&gateway, &hits("max_requests", 1));
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn requests_wait_for_a_connection_and_not_too_many_of_them() {
    let (upstream, go) = waiting();
    let gateway = pool(&upstream, "max_connections: 1, max_pending: 1");
    thread::scope(|scope| {
        let first = scope.spawn(|| gateway.get("/"));
        upstream.wait("the first request", |seen| seen.requests.len() == 1);
        let second = scope.spawn(|| gateway.get("/"));
        wait_for(&gateway, &in_use("max_pending", 1));
        is_overflow(&gateway.get("/"), "max_pending");
        drop(go);
        assert_eq!(first.join().unwrap().text(), "late");
        assert_eq!(second.join().unwrap().text(), "late");
    });
    wait_for(&gateway, &in_use("max_pending", 0));
}

/// Two workers share one connection: who waits gets it, though the other one would keep it.
#[test]
fn an_idle_connection_keeps_nobody_waiting() {
    let upstream = Upstream::saying("hello");
    let gateway = pool(&upstream, "max_connections: 1");
    for _ in 0..20 {
        assert_eq!(gateway.get("/").text(), "hello");
    }
    wait_for(&gateway, &in_use("max_connections", 1));
}

#[test]
fn a_budget_keeps_retries_from_a_sick_upstream() {
    const REQUESTS: usize = 12;
    let ((first, wait_first), (again, wait_again)) = (channel::<()>(), channel::<()>());
    let waits = [Mutex::new(wait_first), Mutex::new(wait_again)];
    // All first attempts fail at the same time, and all others later.
    let upstream = Upstream::raw(move |mut serving| {
        if serving.request().is_some() {
            let wait = waits[usize::from(serving.number > REQUESTS)]
                .lock()
                .unwrap();
            let _ = wait.recv_timeout(Duration::from_secs(20));
        }
    });
    let config = "
services: [{host: pool, retries: 1, read_timeout: 20000, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, limits: {retry_budget: 10}, targets: [{target: '<up>'}]}]";
    let gateway = gateway(config).fill("up", &upstream).start();
    thread::scope(|scope| {
        let asked: Vec<_> = (0..REQUESTS)
            .map(|_| scope.spawn(|| gateway.get("/")))
            .collect();
        upstream.wait("all first attempts", |seen| seen.requests.len() == REQUESTS);
        drop(first);
        wait_for(&gateway, &hits("retry_budget", REQUESTS - 3));
        wait_for(&gateway, &in_use("retry_budget", 3));
        drop(again);
        for request in asked {
            assert_eq!(request.join().unwrap().status, 502);
        }
    });
    assert_eq!(upstream.requests().len(), REQUESTS + 3);
}

/// A worker that has none gets its turn, though the other one always has a request under way.
#[tokio::test]
async fn workers_share_one_connection_over_http_2() {
    let server = Server::start(None);
    let config = "
services: [{url: 'grpc://pool', connect_timeout: 10000, retries: 0,
  routes: [{paths: [/test.Echo], protocols: [grpc]}]}]
upstreams: [{name: pool, limits: {max_connections: 1}, targets: [{target: '<up>'}]}]";
    let setup = gateway(config).fill("up", &server);
    let gateway = setup.flag("--workers", 2).start();
    let served: Arc<Vec<AtomicUsize>> = Arc::new((0..8).map(|_| AtomicUsize::new(0)).collect());
    let mut asking = Vec::new();
    for ix in 0..served.len() {
        let mut client = connect::<Fed>(gateway.proxy()).await;
        let served = served.clone();
        asking.push(tokio::spawn(async move {
            while served.iter().any(|count| count.load(Relaxed) < 10) {
                let answer = client.send_request(unary("/test.Echo/Unary", b"hello"));
                let mut answer = answer.await.unwrap();
                let (messages, trailers) = Messages::default().all(answer.body_mut()).await;
                assert_eq!(messages, [b"hello"], "{:?} {trailers:?}", answer.headers());
                served[ix].fetch_add(1, Relaxed);
            }
        }));
    }
    for client in asking {
        client.await.unwrap();
    }
}
