//! The log plugins on the wire.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::upstream::{Nobody, Received, Seen, Serving, reply};
use crate::support::x509::Authority;
use crate::support::{Gateway, PATIENCE, Request, Upstream, command, eventually, gateway};

const TO: &str = "
services: [{name: s, url: 'http://<up>', retries: 1, routes: [{name: r, paths: [/a]}]}]
plugins: [{name: <plugin>, config: {<config>}}]";

fn start(upstream: &Upstream, plugin: &str, config: &str) -> Gateway {
    let setup = gateway(TO).fill("up", upstream).fill("plugin", plugin);
    setup.fill("config", config).start()
}

/// The lines of a file, read as JSON.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn dropped(gateway: &Gateway, reason: &str) -> u64 {
    let text = gateway.ask("/metrics").text();
    let reason = format!("reason=\"{reason}\"");
    let mut lines = text.lines().filter(|line| {
        line.starts_with("sluicegate_log_lines_dropped_total{") && line.contains(&reason)
    });
    let value = lines.next().and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn a_file_gets_kongs_record() {
    let config = "
services: [{name: s, url: 'http://<up>/base', routes: [{name: r, paths: [/a]}],
  plugins: [{name: key-auth}, {name: correlation-id}, {name: file-log, config: {path: <log>}}]}]
consumers: [{username: ann, keyauth_credentials: [{key: open-sesame}]}]";
    let upstream =
        Upstream::answering(|_| reply(201, &[("X-Many", "1"), ("X-Many", "2")], b"hello"));
    let setup = gateway(config).fill("up", &upstream);
    let log = setup.path("log.json");
    let gateway = setup.fill("log", log.display()).start();
    let request = Request::get("/a/b?x=1&x=%20&y")
        .header("apikey", "open-sesame")
        .header("Authorization", "Basic c2VjcmV0")
        .header("Proxy-Authorization", "Basic c2VjcmV0")
        .header("X-One", "1");
    assert_eq!(gateway.send(request).status, 201);
    eventually("a line", || !records(&log).is_empty());
    let record = records(&log).remove(0);
    let request = &record["request"];
    assert_eq!(request["id"].as_str().unwrap().len(), 32);
    assert_eq!(request["method"], "GET");
    assert_eq!(request["uri"], "/a/b?x=1&x=%20&y");
    let port = gateway.proxy().port();
    let url = format!("http://gateway.test:{port}/a/b?x=1&x=%20&y");
    assert_eq!(request["url"], url);
    assert_eq!(request["querystring"], json!({"x": ["1", " "], "y": ""}));
    assert_eq!(request["headers"]["authorization"], "REDACTED");
    assert_eq!(request["headers"]["proxy-authorization"], "REDACTED");
    assert_eq!(request["headers"]["x-one"], "1");
    assert!(request["size"].as_u64().unwrap() > 100);
    assert_eq!(request.get("tls"), None);
    assert_eq!(record["upstream_uri"], "/base/b?x=1&x=%20&y");
    assert_eq!(record["upstream_status"], "201");
    assert_eq!(record["response"]["status"], 201);
    assert_eq!(record["response"]["headers"]["x-many"], json!(["1", "2"]));
    assert!(record["response"]["size"].as_u64().unwrap() > 5);
    for latency in ["kong", "proxy", "request", "receive"] {
        let took = record["latencies"][latency].as_i64().unwrap();
        assert!((0..20_000).contains(&took), "{latency}: {took}");
    }
    let attempt = &record["tries"][0];
    assert_eq!(attempt["ip"], "127.0.0.1");
    assert_eq!(attempt["port"], upstream.port());
    let started = record["started_at"].as_u64().unwrap();
    assert!(attempt["balancer_start"].as_u64().unwrap() >= started);
    for key in [
        "balancer_latency",
        "balancer_latency_ns",
        "balancer_start_ns",
    ] {
        assert!(attempt[key].is_u64(), "{key}");
    }
    assert_eq!(attempt.get("state"), None);
    assert_eq!(record["route"]["name"], "r");
    assert_eq!(record["service"]["name"], "s");
    assert_eq!(record["consumer"]["username"], "ann");
    let entity = &record["authenticated_entity"];
    assert_eq!(entity["consumer_id"], record["consumer"]["id"]);
    assert_eq!(entity["id"].as_str().unwrap().len(), 36);
    assert_eq!(record["client_ip"], "127.0.0.1");
    assert_eq!(record["source"], "upstream");
    assert_eq!(record["workspace_name"], "default");
    assert!(record["correlation_id"].is_string());
}

#[test]
fn what_the_gateway_answers_itself_is_logged_too() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(TO)
        .fill("up", Nobody::new())
        .fill("plugin", "file-log");
    let log = setup.path("log.json");
    let gateway = setup
        .fill("config", format!("path: {}", log.display()))
        .start();
    gateway.get("/nowhere");
    gateway.get("/a");
    eventually("both lines", || records(&log).len() == 2);
    let records = records(&log);
    let by = |status: u16| {
        let found = records.iter().find(|of| of["response"]["status"] == status);
        found.unwrap_or_else(|| panic!("{records:#?}"))
    };
    let lost = by(404);
    assert_eq!(lost["source"], "kong");
    assert_eq!(lost["latencies"]["proxy"], -1);
    assert_eq!(lost["tries"], json!([]));
    assert_eq!(lost["upstream_status"], "");
    assert_eq!(lost.get("route"), None);
    let failed = by(502);
    assert_eq!(failed["upstream_status"], "502, 502");
    assert_eq!(failed["tries"][1]["state"], "failed");
    assert_eq!(failed["tries"][1]["code"], 502);
    drop(upstream);
}

fn rotated(reopen: bool) {
    let upstream = Upstream::saying("hello");
    let setup = gateway(TO).fill("up", &upstream).fill("plugin", "file-log");
    let (log, old) = (setup.path("log.json"), setup.path("log.1"));
    let config = format!("path: {}, reopen: {reopen}", log.display());
    let gateway = setup.fill("config", config).start();
    gateway.get("/a/first");
    eventually("the first line", || records(&log).len() == 1);
    fs::rename(&log, &old).unwrap();
    if !reopen {
        gateway.signal(Signal::USR1);
        eventually("a new file", || log.exists());
    }
    gateway.get("/a/second");
    eventually("the second line", || records(&log).len() == 1);
    assert_eq!(records(&log)[0]["request"]["uri"], "/a/second");
    assert_eq!(records(&old).len(), 1);
}

#[test]
fn a_rotated_file_is_let_go_of_by_signal() {
    rotated(false);
}

#[test]
fn with_reopen_no_signal_is_needed() {
    rotated(true);
}

#[test]
fn a_file_that_cannot_be_written_costs_lines_not_requests() {
    let upstream = Upstream::saying("hello");
    let gateway = start(&upstream, "file-log", "path: /nonexistent/log");
    assert_eq!(gateway.get("/a").text(), "hello");
    eventually("it is counted", || dropped(&gateway, "write_failed") == 1);
    gateway.err.wait("log lines are lost");
}

fn uri(received: &Received) -> Value {
    let record: Value = serde_json::from_slice(&received.body).unwrap();
    record["request"]["uri"].clone()
}

/// What a receiver has seen, once so many requests are there with their bodies.
#[track_caller]
fn arrived(receiver: &Upstream, count: usize) -> Seen {
    receiver.wait("all records", |seen| {
        let whole = |received: &&Received| !received.body.is_empty();
        seen.requests.iter().filter(whole).count() == count
    })
}

fn http(receiver: impl ToString, more: &str) -> String {
    format!(
        "http_endpoint: 'http://{}/in?token=t', {more}",
        receiver.to_string()
    )
}

#[test]
fn an_http_server_gets_a_record_a_request() {
    let (upstream, receiver) = (Upstream::saying("hello"), Upstream::saying("thanks"));
    let more =
        "method: PUT, headers: {X-Api-Key: k}, content_type: application/json; charset=utf-8";
    let endpoint = format!("me:pass%21@{receiver}");
    let gateway = start(&upstream, "http-log", &http(endpoint, more));
    gateway.get("/a/1");
    gateway.get("/a/2");
    let seen = arrived(&receiver, 2);
    let first = &seen.requests[0];
    assert_eq!(first.line, "PUT /in?token=t HTTP/1.1");
    assert_eq!(first.header("x-api-key"), Some("k"));
    assert_eq!(first.header("authorization"), Some("Basic bWU6cGFzcyE="));
    let kind = first.header("content-type");
    assert_eq!(kind, Some("application/json; charset=utf-8"));
    assert!(
        first
            .header("user-agent")
            .unwrap()
            .starts_with("sluicegate/")
    );
    assert_eq!(uri(first), "/a/1");
    assert_eq!(uri(&seen.requests[1]), "/a/2");
    assert_eq!(seen.connections, 1, "it is kept");
    // The password is nowhere to be seen.
    for path in ["/plugins", "/metrics", "/config", "/status"] {
        let text = gateway.ask(path).text();
        assert!(!text.contains("pass"), "{path}: {text}");
    }
}

#[test]
fn records_go_together_in_an_array() {
    let (upstream, receiver) = (Upstream::saying("hello"), Upstream::saying("thanks"));
    let more = "queue: {max_batch_size: 3, max_coalescing_delay: 0.5}";
    let gateway = start(&upstream, "http-log", &http(&receiver, more));
    for nth in 0..4 {
        gateway.get(&format!("/a/{nth}"));
    }
    let seen = arrived(&receiver, 2);
    let uris = |received: &Received| -> Vec<String> {
        let records: Vec<Value> = serde_json::from_slice(&received.body).unwrap();
        let uris = records.iter().map(|record| &record["request"]["uri"]);
        uris.map(|uri| uri.as_str().unwrap().to_owned()).collect()
    };
    let mut all = uris(&seen.requests[0]);
    assert_eq!(all.len(), 3);
    all.extend(uris(&seen.requests[1]));
    all.sort();
    assert_eq!(all, ["/a/0", "/a/1", "/a/2", "/a/3"]);
}

#[test]
fn a_receiver_that_fails_gets_the_record_again() {
    let upstream = Upstream::saying("hello");
    let count = AtomicUsize::new(0);
    let receiver = Upstream::answering(move |_| {
        let status = [500, 404, 302, 200][count.fetch_add(1, Ordering::SeqCst).min(3)];
        reply(status, &[("Location", "http://127.0.0.1:9/")], b"")
    });
    let gateway = start(&upstream, "http-log", &http(&receiver, ""));
    gateway.get("/a/1");
    gateway.get("/a/2");
    let seen = arrived(&receiver, 5);
    let uris: Vec<Value> = seen.requests.iter().map(uri).collect();
    assert_eq!(uris, ["/a/1", "/a/1", "/a/1", "/a/1", "/a/2"]);
    gateway.err.wait("answered 500");
    assert_eq!(dropped(&gateway, "delivery_failed"), 0);
}

#[test]
fn a_receiver_that_comes_back_gets_what_waited_over_a_reload() {
    let upstream = Upstream::saying("hello");
    let nobody = Nobody::new();
    let config = http(&nobody, "queue: {max_retry_delay: 0.1}");
    let gateway = start(&upstream, "http-log", &config);
    for nth in 0..3 {
        assert_eq!(gateway.get(&format!("/a/{nth}")).text(), "hello");
    }
    gateway.err.wait("trying again");
    let text = fs::read_to_string(gateway.file()).unwrap();
    fs::write(gateway.file(), text + "\nroutes: [{paths: [/new]}]").unwrap();
    gateway.signal(Signal::HUP);
    eventually("the new route", || gateway.get("/new").status == 503);
    let receiver = Upstream::answering_at(nobody, |_| reply(200, &[], b""));
    // The three, and those of the waiting for the new route.
    let text = |received: &Received| String::from_utf8_lossy(&received.body).into_owned();
    receiver.wait("all records", |seen| {
        let all: String = seen.requests.iter().map(text).collect();
        (0..3).all(|nth| all.contains(&format!("\"/a/{nth}\"")))
    });
    assert_eq!(dropped(&gateway, "delivery_failed"), 0);
}

#[test]
fn a_receiver_that_stays_away_costs_records() {
    let upstream = Upstream::saying("hello");
    let config = http(Nobody::new(), "queue: {max_retry_time: 0.1}");
    let gateway = start(&upstream, "http-log", &config);
    gateway.get("/a");
    gateway.get("/a");
    eventually("both are given up", || {
        dropped(&gateway, "delivery_failed") == 2
    });
    let line = gateway.err.wait("log records");
    assert!(!line.contains("token"), "{line}");
}

#[test]
fn a_full_queue_drops_the_oldest() {
    let upstream = Upstream::saying("hello");
    let nobody = Nobody::new();
    let config = http(&nobody, "queue: {max_entries: 2, max_retry_delay: 0.1}");
    let setup = gateway(TO).fill("up", &upstream).fill("plugin", "http-log");
    // One worker: a record follows its answer, and another's next record might overtake it.
    let gateway = setup.fill("config", &config).flag("--workers", 1).start();
    gateway.get("/a/0");
    gateway.err.wait("trying again");
    for nth in 1..6 {
        gateway.get(&format!("/a/{nth}"));
    }
    eventually("three are dropped", || dropped(&gateway, "queue_full") == 3);
    let receiver = Upstream::answering_at(nobody, |_| reply(200, &[], b""));
    let seen = arrived(&receiver, 3);
    let uris: Vec<Value> = seen.requests.iter().map(uri).collect();
    assert_eq!(uris, ["/a/0", "/a/4", "/a/5"]);
}

#[test]
fn a_slow_receiver_slows_no_request() {
    let upstream = Upstream::saying("hello");
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let receiver = Upstream::raw(move |mut serving| {
        while serving.request().is_some() {
            let _ = wait.lock().unwrap().recv();
            serving.reply(200, &[], b"");
        }
    });
    let gateway = start(&upstream, "http-log", &http(&receiver, "timeout: 20000"));
    // All of them are answered while the receiver holds the first record.
    for _ in 0..50 {
        assert_eq!(gateway.get("/a").text(), "hello");
    }
    receiver.wait("the first record", |seen| !seen.requests.is_empty());
    assert_eq!(receiver.requests().len(), 1);
    drop(go);
    arrived(&receiver, 50);
}

#[test]
fn a_receiver_that_does_not_answer_in_time_is_asked_again() {
    let upstream = Upstream::saying("hello");
    let receiver = Upstream::raw(|mut serving| {
        serving.request();
        match serving.number {
            1 => serving.left(),
            _ => drop(serving.reply(200, &[], b"")),
        }
    });
    let gateway = start(&upstream, "http-log", &http(&receiver, "timeout: 200"));
    gateway.get("/a");
    let seen = arrived(&receiver, 2);
    assert_eq!(seen.connections, 2);
    gateway.err.wait("no answer in time");
}

#[test]
fn what_waits_at_the_end_is_sent() {
    let (upstream, receiver) = (Upstream::saying("hello"), Upstream::saying("thanks"));
    let more = "queue: {max_batch_size: 1000, max_coalescing_delay: 3600}";
    let mut gateway = start(&upstream, "http-log", &http(&receiver, more));
    for _ in 0..5 {
        gateway.get("/a");
    }
    assert!(receiver.requests().is_empty());
    assert_eq!(gateway.stop(), Some(0));
    let records: Vec<Value> = serde_json::from_slice(&receiver.only().body).unwrap();
    assert_eq!(records.len(), 5);
}

#[test]
fn a_dead_receiver_does_not_hold_up_the_end() {
    let upstream = Upstream::saying("hello");
    let mut gateway = start(&upstream, "http-log", &http(Nobody::new(), ""));
    gateway.get("/a");
    gateway.err.wait("trying again");
    let begin = std::time::Instant::now();
    assert_eq!(gateway.stop(), Some(0));
    assert!(begin.elapsed() < PATIENCE / 2);
    gateway.err.wait("log lines are lost");
}

#[test]
fn an_https_receiver_is_verified_when_asked() {
    let upstream = Upstream::saying("hello");
    let tls = || Authority::new().issue(&["localhost"]).server(&["http/1.1"]);
    let receiver = Upstream::answering_tls(tls(), |_| reply(200, &[], b""));
    let config = format!("http_endpoint: 'https://localhost:{}'", receiver.port());
    let trusting = start(&upstream, "http-log", &config);
    trusting.get("/a");
    arrived(&receiver, 1);
    let config = format!("{config}, ssl_verify: true, queue: {{max_retry_time: 0}}");
    let strict = start(&upstream, "http-log", &config);
    strict.get("/a");
    eventually("it is refused", || dropped(&strict, "delivery_failed") == 1);
    strict.err.wait("certificate");
    assert_eq!(receiver.requests().len(), 1);
}

/// A TCP server that tells each line, and the connection that it came over.
fn line_server(nobody: Nobody, leaves_after: usize) -> (Upstream, Receiver<(usize, Value)>) {
    let (tell, lines) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Upstream::raw_at(nobody, move |serving| {
        lines_of(serving, leaves_after, |number, line| {
            let _ = tell.lock().unwrap().send((number, line));
        });
    });
    (server, lines)
}

fn lines_of(serving: Serving, leaves_after: usize, tell: impl Fn(usize, Value)) {
    let number = serving.number;
    let lines = BufReader::new(serving).lines().map_while(Result::ok);
    for line in lines.take(leaves_after) {
        let record: Value = serde_json::from_str(&line).unwrap();
        tell(number, record["request"]["uri"].clone());
    }
}

fn at(port: u16, more: &str) -> String {
    format!("host: 127.0.0.1, port: {port}, {more}")
}

fn port(address: impl ToString) -> u16 {
    let text = address.to_string();
    text.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
fn a_tcp_server_gets_lines_over_one_connection() {
    let upstream = Upstream::saying("hello");
    let (server, lines) = line_server(Nobody::new(), usize::MAX);
    let gateway = start(&upstream, "tcp-log", &at(server.port(), ""));
    for nth in 0..3 {
        gateway.get(&format!("/a/{nth}"));
        let line = lines.recv_timeout(PATIENCE).unwrap();
        assert_eq!(line, (1, format!("/a/{nth}").into()));
    }
}

#[test]
fn without_keepalive_each_record_has_its_connection() {
    let upstream = Upstream::saying("hello");
    let (server, lines) = line_server(Nobody::new(), usize::MAX);
    let gateway = start(&upstream, "tcp-log", &at(server.port(), "keepalive: 0"));
    for nth in 1..4 {
        gateway.get("/a");
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap().0, nth);
    }
}

#[test]
fn a_tcp_server_that_leaves_or_comes_late_gets_everything() {
    let upstream = Upstream::saying("hello");
    let nobody = Nobody::new();
    let gateway = start(&upstream, "tcp-log", &at(port(&nobody), ""));
    gateway.get("/a/0");
    gateway.err.wait("trying again");
    let (server, lines) = line_server(nobody, 1);
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap().1, "/a/0");
    server.wait("it has left", |seen| seen.ended == 1);
    gateway.get("/a/1");
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), (2, "/a/1".into()));
}

#[test]
fn a_tcp_server_may_want_tls() {
    let upstream = Upstream::saying("hello");
    let tls = Authority::new().issue(&["logs.test"]).server(&[]);
    let (tell, lines) = mpsc::channel();
    let tell = Mutex::new(tell);
    let server = Upstream::raw_tls(tls, move |serving| {
        lines_of(serving, usize::MAX, |_, line| {
            let _ = tell.lock().unwrap().send(line);
        });
    });
    let config = at(server.port(), "tls: true, tls_sni: logs.test");
    let trusting = start(&upstream, "tcp-log", &config);
    trusting.get("/a/x");
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "/a/x");
    let strict = start(&upstream, "tcp-log", &format!("{config}, ssl_verify: true"));
    strict.get("/a");
    strict.err.wait("certificate not accepted");
}

#[test]
fn a_udp_server_gets_datagrams() {
    let upstream = Upstream::saying("hello");
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let config = at(server.local_addr().unwrap().port(), "");
    let gateway = start(&upstream, "udp-log", &config);
    for nth in 0..2 {
        gateway.get(&format!("/a/{nth}"));
        let mut datagram = vec![0; 70_000];
        let (len, _) = server.recv_from(&mut datagram).unwrap();
        let record: Value = serde_json::from_slice(&datagram[..len]).unwrap();
        assert_eq!(record["request"]["uri"], format!("/a/{nth}"));
        assert_eq!(record["response"]["status"], 200);
    }
}

#[test]
fn nobody_at_a_udp_port_is_no_error() {
    let upstream = Upstream::saying("hello");
    let gateway = start(&upstream, "udp-log", &at(port(Nobody::new()), ""));
    for _ in 0..3 {
        assert_eq!(gateway.get("/a").text(), "hello");
    }
    eventually("they are sent", || {
        let text = gateway.ask("/metrics").text();
        let mut lines = text.lines();
        lines.any(|line| line.starts_with("sluicegate_log_lines_total{") && line.ends_with(" 3"))
    });
}

#[test]
fn fields_by_lua_are_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let text = "plugins:\n- name: udp-log\n  config:\n    host: a\n    port: 1\n    custom_fields_by_lua:\n      x: return 1\n";
    fs::write(&file, text).unwrap();
    let output = command().arg("check").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let place = "gateway.yaml:7:7: error: plugins[0].config.custom_fields_by_lua: not supported";
    assert!(said.contains(place), "{said}");
    assert!(said.contains("leave it out"), "{said}");
}
