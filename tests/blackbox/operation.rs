//! Running it: admin and status listeners, access logs, draining, reloading.

use std::fs;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::upstream::{Nobody, reply};
use crate::support::{Gateway, Request, Upstream, eventually, gateway};

const ALL: &str = "
services: [{name: all, url: 'http://<up>', routes: [{name: every, paths: [/api]}]}]
upstreams: [{name: pool, targets: [{target: '127.0.0.1:9'}]}]
consumers: [{username: ann, keyauth_credentials: [{key: most-secret-key}],
  jwt_secrets: [{key: iss, secret: most-secret-jwt}]}]
plugins: [{name: cors}]";

fn all(upstream: &Upstream) -> Gateway {
    gateway(ALL).fill("up", upstream).start()
}

#[test]
fn health_ready_and_status() {
    let upstream = Upstream::saying("hello");
    let gateway = all(&upstream);
    let health = gateway.ask("/health");
    assert_eq!(health.status, 200);
    let health = health.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["checks"]["configuration"]["status"], "healthy");
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(gateway.ask("/ready").status, 200);
    let status = gateway.ask("/status").json();
    let listener = format!("proxy http {}", gateway.proxy());
    assert!(
        status["listeners"].to_string().contains(&listener),
        "{status}"
    );
    assert_eq!(status["configuration_hash"].as_str().unwrap().len(), 32);
    let index = gateway.ask("/").json();
    assert_eq!(index["name"], "sluicegate");
}

#[test]
fn entities_are_shown_without_their_secrets() {
    let upstream = Upstream::saying("hello");
    let gateway = all(&upstream);
    for (path, name, value) in [
        ("/services", "name", "all"),
        ("/routes", "name", "every"),
        ("/upstreams", "name", "pool"),
        ("/plugins", "name", "cors"),
        ("/consumers", "username", "ann"),
    ] {
        let list = gateway.ask(path).json();
        assert_eq!(list["data"][0][name], value, "{path}");
        assert_eq!(list["next"], Value::Null);
        let id = list["data"][0]["id"].as_str().unwrap();
        assert_eq!(gateway.ask(&format!("{path}/{id}")).json()[name], value);
        if path != "/plugins" {
            let one = gateway.ask(&format!("{path}/{value}")).json();
            assert_eq!(one["id"], id);
        }
        assert_eq!(gateway.ask(&format!("{path}/nobody")).status, 404);
    }
    let health = gateway.ask("/upstreams/pool/health").json();
    assert_eq!(health["data"][0]["target"], "127.0.0.1:9");
    assert_eq!(health["data"][0]["health"], "HEALTHCHECKS_OFF");
    for path in ["/config", "/consumers", "/consumers/ann", "/status"] {
        let text = gateway.ask(path).text();
        assert!(!text.contains("most-secret"), "{path}: {text}");
    }
}

#[test]
fn metrics_count_what_happened() {
    let upstream = Upstream::answering(|_| reply(201, &[], b"hello"));
    let gateway = all(&upstream);
    for _ in 0..3 {
        gateway.get("/api");
    }
    gateway.get("/nowhere");
    let mut text = String::new();
    eventually("all four are counted", || {
        text = gateway.ask("/metrics").text();
        let lines = text.lines();
        let mut counts = lines.filter(|line| line.starts_with("sluicegate_http_requests_total{"));
        let proxied = [
            "service=\"all\"",
            "route=\"every\"",
            "code=\"201\"",
            "source=\"upstream\"",
        ];
        let fits = |line: &str| proxied.iter().all(|part| line.contains(part));
        let three = counts.any(|line| fits(line) && line.ends_with(" 3"));
        three && text.contains("code=\"404\"")
    });
    for family in [
        "sluicegate_http_request_duration_seconds_bucket",
        "sluicegate_http_upstream_duration_seconds_bucket",
        "sluicegate_http_gateway_duration_seconds_bucket",
        "sluicegate_http_request_bytes_total",
        "sluicegate_http_response_bytes_total",
        "sluicegate_connections",
        "sluicegate_config_last_reload_successful",
        "process_cpu_seconds_total",
    ] {
        assert!(text.contains(family), "{family}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn connections_to_upstreams_and_their_failures_are_told_by_cause() {
    let closes = Upstream::answering(|_| reply(200, &[("Connection", "close")], b"bye"));
    let stays = Upstream::saying("hello");
    let dies = Upstream::raw(|mut serving| {
        serving.request();
    });
    let config = "
services:
- {url: 'http://<closes>', routes: [{paths: [/closes]}]}
- {url: 'http://<stays>', routes: [{paths: [/stays]}]}
- {url: 'http://<dies>', retries: 0, routes: [{paths: [/dies]}]}
- {url: 'http://<nobody>', retries: 0, routes: [{paths: [/nobody]}]}
- {host: timed, routes: [{paths: [/timed]}]}
upstreams: [{name: timed, algorithm: latency, targets: [{target: '<stays>'}]}]";
    let nobody = Nobody::new();
    let setup = gateway(config)
        .fill("closes", &closes)
        .fill("stays", &stays);
    let setup = setup.fill("dies", &dies).fill("nobody", &nobody);
    let setup = setup.flag("--workers", 1);
    let gateway = setup.flag("--upstream-idle-timeout", "1s").start();
    assert_eq!(gateway.get("/closes").status, 200);
    assert_eq!(gateway.get("/stays").status, 200);
    assert_eq!(gateway.get("/timed").status, 200);
    assert_eq!(gateway.get("/dies").status, 502);
    assert_eq!(gateway.get("/nobody").status, 502);
    let closed = "sluicegate_upstream_connections_closed_total";
    eventually("all are closed", || {
        let metrics = gateway.ask("/metrics").text();
        let has = |line: &str| metrics.lines().any(|found| found == line);
        let opened = has("sluicegate_upstream_connections_opened_total 3");
        opened
            && has(&format!("{closed}{{by=\"upstream\"}} 2"))
            && has(&format!("{closed}{{by=\"idle\"}} 1"))
            && has(&format!("{closed}{{by=\"limit\"}} 0"))
            && has(&format!("{closed}{{by=\"gateway\"}} 0"))
    });
    let metrics = gateway.ask("/metrics").text();
    for (at, kind) in [
        (dies.to_string(), "closed"),
        (nobody.to_string(), "connect"),
    ] {
        let labels =
            format!("{{upstream=\"{at}\",target=\"{at}\",address=\"{at}\",kind=\"{kind}\"}}");
        let line = format!("sluicegate_upstream_target_failures_by_kind_total{labels} 1");
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    let timed = "sluicegate_upstream_target_latency_seconds{upstream=\"timed\"";
    assert!(metrics.contains(timed), "{metrics}");
}

#[test]
fn the_status_listener_shows_little() {
    let config = "_format_version: '3.0'";
    let setup = gateway(config).flag("--status-listen", "127.0.0.1:0");
    let gateway = setup.flag("--admin-listen", "off").start();
    let line = gateway.out.wait("status http ");
    let address = line.rsplit(' ').next().unwrap().parse().unwrap();
    let ask = |path: &str| {
        let request = Request::get(path).header("Host", &format!("{address}"));
        request.send(address).status
    };
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(ask(path), 200, "{path}");
    }
    for path in ["/config", "/services", "/consumers"] {
        assert_eq!(ask(path), 404, "{path}");
    }
    assert!(
        !gateway
            .out
            .all()
            .iter()
            .any(|line| line.starts_with("admin"))
    );
}

fn logged(format: &str) -> String {
    let upstream = Upstream::answering(|_| reply(201, &[], b"hello"));
    let gateway = gateway(ALL)
        .fill("up", &upstream)
        .flag("--access-log", "stdout")
        .flag("--access-log-format", format)
        .start();
    let request = Request::get("/api/x?a=b")
        .header("User-Agent", "te\"ster")
        .header("Referer", "http://r.test/");
    gateway.send(request);
    gateway.out.wait("/api/x")
}

#[test]
fn the_access_log_in_its_three_formats() {
    let line = logged("combined");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(
        line.contains("] \"GET /api/x?a=b HTTP/1.1\" 201 5 \"http://r.test/\" \"te"),
        "{line}"
    );
    let json: Value = serde_json::from_str(&logged("json")).unwrap();
    assert_eq!(json["status"], 201);
    assert_eq!(json["route"], "every");
    assert_eq!(json["service"], "all");
    assert_eq!(json["uri"], "/api/x?a=b");
    assert_eq!(json["source"], "upstream");
    assert_eq!(json["user_agent"], "te\"ster");
    assert!(
        json.as_object()
            .unwrap()
            .values()
            .all(|value| !value.is_object())
    );
    let kong: Value = serde_json::from_str(&logged("kong")).unwrap();
    assert_eq!(kong["request"]["uri"], "/api/x?a=b");
    assert_eq!(kong["request"]["querystring"]["a"], "b");
    assert_eq!(kong["response"]["status"], 201);
    assert_eq!(kong["route"]["name"], "every");
    assert_eq!(kong["service"]["name"], "all");
    assert_eq!(kong["upstream_uri"], "/x?a=b");
    assert_eq!(kong["client_ip"], "127.0.0.1");
    assert_eq!(kong["tries"].as_array().unwrap().len(), 1);
}

#[test]
fn the_access_log_can_be_moved_away() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let path = setup.path("access.log");
    let moved = setup.path("access.old");
    let gateway = setup.flag("--access-log", path.display()).start();
    gateway.get("/api/first");
    let has = |path: &std::path::Path, part: &str| {
        fs::read_to_string(path).is_ok_and(|text| text.contains(part))
    };
    eventually("the first line", || has(&path, "/api/first"));
    fs::rename(&path, &moved).unwrap();
    gateway.signal(Signal::USR1);
    eventually("a new file", || path.exists());
    gateway.get("/api/second");
    eventually("the second line", || has(&path, "/api/second"));
    assert!(!has(&moved, "/api/second"));
}

/// An upstream whose answers wait for a word.
fn gated() -> (Upstream, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        while serving.request().is_some() {
            let _ = wait.lock().unwrap().recv();
            serving.reply(200, &[], b"finished");
        }
    });
    (upstream, go)
}

#[test]
fn draining_finishes_what_is_open_and_refuses_what_is_new() {
    let (upstream, go) = gated();
    let mut gateway = all(&upstream);
    let mut open = gateway.connect();
    open.send(Request::get("/api").bytes());
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    gateway.signal(Signal::TERM);
    let proxy = gateway.proxy();
    eventually("no new connections", || TcpStream::connect(proxy).is_err());
    assert!(gateway.runs());
    go.send(()).unwrap();
    let response = open.response("GET");
    assert_eq!(response.text(), "finished");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(open.closes());
    assert_eq!(gateway.exited().code(), Some(0));
}

#[test]
fn draining_ends_after_its_time() {
    let (upstream, _go) = gated();
    let setup = gateway(ALL).fill("up", &upstream);
    let mut gateway = setup.flag("--drain-timeout", "300ms").start();
    let mut open = gateway.connect();
    open.send(Request::get("/api").bytes());
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    assert_eq!(gateway.stop(), Some(0));
    open.rest();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (upstream, _go) = gated();
    let setup = gateway(ALL).fill("up", &upstream);
    let mut gateway = setup.flag("--drain-timeout", "10m").start();
    let mut open = gateway.connect();
    open.send(Request::get("/api").bytes());
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    gateway.signal(Signal::TERM);
    gateway.err.wait("stopping");
    gateway.signal(Signal::INT);
    assert_eq!(gateway.exited().code(), Some(0));
}

#[test]
fn before_draining_it_may_say_goodbye_for_a_while() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let mut gateway = setup.flag("--drain-delay", "10m").start();
    gateway.admin();
    gateway.signal(Signal::TERM);
    eventually("not ready", || gateway.ask("/ready").status == 503);
    assert_eq!(gateway.ask("/health").status, 503);
    let response = gateway.get("/api");
    assert_eq!(response.text(), "hello");
    assert_eq!(response.header("connection"), Some("close"));
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.exited().code(), Some(0));
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let mut gateway = setup.flag("--drain-timeout", "10m").start();
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(&Request::get("/api")).text(), "hello");
    assert_eq!(gateway.stop(), Some(0));
    assert!(idle.closes());
}

fn write(gateway: &Gateway, text: &str) {
    fs::write(gateway.file(), text).unwrap();
}

#[test]
fn sighup_loads_a_good_file_and_keeps_the_old_one_over_a_bad_one() {
    let upstream = Upstream::saying("hello");
    let gateway = all(&upstream);
    assert_eq!(gateway.get("/new").status, 404);
    let new = ALL
        .replace("<up>", &upstream.to_string())
        .replace("/api", "/new");
    let mut kept = gateway.connect();
    assert_eq!(kept.ask(&Request::get("/api")).status, 200);
    write(&gateway, &new);
    gateway.signal(Signal::HUP);
    eventually("the new route", || gateway.get("/new").status == 200);
    assert_eq!(gateway.get("/api").status, 404);
    assert_eq!(kept.ask(&Request::get("/new")).status, 200);
    write(
        &gateway,
        "services: [{name: x, url: 'http://x', retries: never}]",
    );
    gateway.signal(Signal::HUP);
    gateway.err.wait("services[0].retries");
    assert_eq!(gateway.get("/new").status, 200);
    eventually("the status tells", || {
        gateway
            .ask("/status")
            .text()
            .contains("services[0].retries")
    });
    eventually("the metric tells", || {
        let metrics = gateway.ask("/metrics").text();
        metrics.contains("sluicegate_config_last_reload_successful 0")
    });
}

#[test]
fn a_change_on_disk_is_enough() {
    let upstream = Upstream::saying("hello");
    let gateway = all(&upstream);
    let old = ALL.replace("<up>", &upstream.to_string());
    let mut times = Vec::new();
    for round in 0..3 {
        let path = format!("/round-{round}");
        let other = gateway.dir().join("next.yaml");
        fs::write(&other, old.replace("/api", &path)).unwrap();
        let begin = Instant::now();
        fs::rename(&other, gateway.file()).unwrap();
        eventually("the new route", || gateway.get(&path).status == 200);
        times.push(begin.elapsed());
    }
    // Within a second; other tests may hold one of them up.
    assert!(times.iter().min().unwrap().as_secs() == 0, "{times:?}");
}

#[test]
fn a_request_in_flight_ends_on_the_configuration_that_it_began_with() {
    let (upstream, go) = gated();
    let gateway = all(&upstream);
    let mut open = gateway.connect();
    open.send(Request::get("/api").bytes());
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    write(&gateway, "routes: [{paths: [/other]}]");
    gateway.signal(Signal::HUP);
    eventually("the new route", || gateway.get("/other").status == 503);
    go.send(()).unwrap();
    let response = open.response("GET");
    assert_eq!(response.text(), "finished");
    // The cors plugin of the old file was there to the end.
    assert!(response.header("access-control-allow-origin").is_some());
}
