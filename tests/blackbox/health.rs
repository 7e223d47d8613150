//! Active and passive health checks against real targets: who is found out, what that costs, and
//! how targets come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::grpc::{Fed, NOT_SERVING, SERVING, Server, call, fed, status};
use crate::support::h2::connect;
use crate::support::upstream::{Nobody, reply};
use crate::support::x509::Authority;
use crate::support::{Gateway, Request, Upstream, eventually, gateway};

/// A target that answers with the status in the cell.
fn with_status(status: &Arc<AtomicU16>) -> Upstream {
    let status = status.clone();
    Upstream::answering(move |_| reply(status.load(Ordering::SeqCst), &[], b""))
}

fn start(checks: &str, targets: &[&dyn std::fmt::Display]) -> Gateway {
    let targets: Vec<String> = targets
        .iter()
        .map(|target| format!("{{target: '{target}'}}"))
        .collect();
    let config = format!(
        "
services: [{{host: pool, retries: 2, routes: [{{paths: ['/']}}]}}]
upstreams: [{{name: pool, targets: [{}], healthchecks: {checks}}}]",
        targets.join(", ")
    );
    gateway(&config).flag("--workers", 4).start()
}

/// What the admin listener says of each target.
fn words(gateway: &Gateway) -> Vec<String> {
    let health = gateway.ask("/upstreams/pool/health").json();
    let data = health["data"].as_array().unwrap().iter();
    data.map(|target| target["health"].as_str().unwrap().to_owned())
        .collect()
}

fn metric(gateway: &Gateway, series: &str) -> String {
    let text = gateway.ask("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
    line.rsplit(' ').next().unwrap().to_owned()
}

fn put(gateway: &Gateway, path: &str) -> u16 {
    let admin = gateway.admin();
    let request = Request::new("PUT", path).header("Host", &admin.to_string());
    request.send(admin).status
}

#[test]
fn probes_mark_a_target_down_and_up_again() {
    let status = Arc::new(AtomicU16::new(200));
    let (shaky, steady) = (with_status(&status), Upstream::saying("steady"));
    let gateway = start(
        "{active: {http_path: /alive, headers: {X-Probe: [one]},
          healthy: {interval: 0.05, successes: 2},
          unhealthy: {interval: 0.05, http_failures: 2, tcp_failures: 1, timeouts: 1}}}",
        &[&shaky, &steady],
    );
    assert_eq!(words(&gateway), ["HEALTHY", "HEALTHY"]);
    let seen = shaky.wait("a probe", |seen| !seen.requests.is_empty());
    let probe = &seen.requests[0];
    assert_eq!((probe.method(), probe.target()), ("GET", "/alive"));
    assert_eq!(probe.header("host"), Some("127.0.0.1"));
    assert_eq!(probe.header("x-probe"), Some("one"));

    status.store(500, Ordering::SeqCst);
    eventually("it is found out", || words(&gateway)[0] == "UNHEALTHY");
    for _ in 0..8 {
        assert_eq!(gateway.get("/").text(), "steady");
    }
    let health = gateway.ask("/health");
    assert_eq!(health.json()["status"], "healthy", "the other one serves");
    let turned = "sluicegate_upstream_target_transitions_total{upstream=\"pool\",to=\"unhealthy\"}";
    assert_eq!(metric(&gateway, turned), "1");

    status.store(200, Ordering::SeqCst);
    eventually("it is back", || words(&gateway)[0] == "HEALTHY");
    eventually("it serves", || gateway.get("/").text() != "steady");
    gateway.err.wait("target is healthy");
    let lines = gateway.err.all();
    let told = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(told("target is unhealthy"), 1, "{lines:#?}");
    assert_eq!(told("target is healthy"), 1, "{lines:#?}");
}

#[test]
fn a_dead_target_costs_its_threshold_and_no_client_an_error() {
    let steady = Upstream::saying("steady");
    let gateway = start(
        "{passive: {unhealthy: {tcp_failures: 3}}}",
        &[&Nobody::new(), &steady],
    );
    for _ in 0..60 {
        assert_eq!(gateway.get("/").text(), "steady");
    }
    assert_eq!(words(&gateway), ["UNHEALTHY", "HEALTHY"]);
    let health = gateway.ask("/upstreams/pool/health").json();
    assert_eq!(health["data"][0]["data"]["addresses"][0]["failures"], 3);
    assert_eq!(health["data"][0]["data"]["weight"]["available"], 0);
}

#[test]
fn the_traffic_marks_a_target_down_and_a_trial_brings_it_back() {
    let status = Arc::new(AtomicU16::new(503));
    let shaky = with_status(&status);
    let gateway = start(
        "{passive: {probation: 0.3, unhealthy: {http_failures: 2}}}",
        &[&shaky],
    );
    assert_eq!(gateway.get("/").status, 503);
    assert_eq!(gateway.get("/").status, 503);
    let refused = gateway.get("/");
    refused.is_error(503, "failure to get a peer from the ring-balancer");
    let health = gateway.ask("/health");
    assert_eq!(health.status, 503, "all upstreams are down");
    assert_eq!(
        health.json()["checks"]["upstream:pool"]["status"],
        "unhealthy"
    );
    // A trial that fails starts the wait anew: some requests go, most are refused at once.
    eventually("a trial", || {
        gateway.get("/");
        shaky.requests().len() >= 4
    });
    status.store(200, Ordering::SeqCst);
    eventually("a trial that goes well", || gateway.get("/").status == 200);
    assert_eq!(words(&gateway), ["HEALTHY"]);
    for _ in 0..8 {
        assert_eq!(gateway.get("/").status, 200);
    }
}

#[test]
fn below_the_threshold_nobody_is_asked() {
    let targets = [Upstream::saying("a"), Upstream::saying("b")];
    let gateway = start(
        "{threshold: 50, passive: {unhealthy: {tcp_failures: 1}}}",
        &[&targets[0], &targets[1]],
    );
    assert_eq!(gateway.get("/").status, 200);
    let path = format!("/upstreams/pool/targets/{}/unhealthy", targets[0]);
    assert_eq!(put(&gateway, &path), 204);
    assert_eq!(words(&gateway), ["UNHEALTHY", "HEALTHY"]);
    let refused = gateway.get("/");
    refused.is_error(503, "failure to get a peer from the ring-balancer");
    let whole = gateway
        .ask("/upstreams/pool/health?balancer_health=1")
        .json();
    assert_eq!(whole["data"]["balancer_health"], "UNHEALTHY");
    let path = format!("/upstreams/pool/targets/{}/healthy", targets[0]);
    assert_eq!(put(&gateway, &path), 204);
    assert_eq!(gateway.get("/").status, 200);
}

#[test]
fn an_outlier_is_taken_out_for_a_while() {
    let status = Arc::new(AtomicU16::new(503));
    let (shaky, steady) = (with_status(&status), Upstream::saying("steady"));
    let config = "
services: [{host: pool, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, targets: [{target: '<shaky>'}, {target: '<steady>'}],
  outlier_detection: {consecutive_failures: 3, ejection_time: 1, interval: 1}}]";
    let setup = gateway(config).fill("shaky", &shaky);
    let gateway = setup.fill("steady", &steady).flag("--workers", 1).start();
    let failed = (0..20).filter(|_| gateway.get("/").status == 503).count();
    assert_eq!(failed, 3);
    assert_eq!(words(&gateway)[0], "UNHEALTHY");
    let ejections =
        "sluicegate_upstream_ejections_total{upstream=\"pool\",reason=\"consecutive_failures\"}";
    assert_eq!(metric(&gateway, ejections), "1");
    gateway.err.wait("target is taken out");
    status.store(200, Ordering::SeqCst);
    eventually("it is back", || gateway.get("/").text() != "steady");
    gateway.err.wait("target is taken back");
}

#[test]
fn in_a_panic_everybody_is_asked() {
    let statuses = [503, 503].map(|status| Arc::new(AtomicU16::new(status)));
    let targets = [with_status(&statuses[0]), with_status(&statuses[1])];
    let gateway = start(
        "{panic_threshold: 50, passive: {probation: 0.3, unhealthy: {http_failures: 1}}}",
        &[&targets[0], &targets[1]],
    );
    for _ in 0..8 {
        assert_eq!(gateway.get("/").status, 503);
    }
    assert_eq!(words(&gateway), ["UNHEALTHY", "UNHEALTHY"]);
    let panic = "sluicegate_upstream_panic{upstream=\"pool\"}";
    assert_eq!(metric(&gateway, panic), "1");
    // Better a sick target than none; one that is well again is found out.
    for status in &statuses {
        status.store(200, Ordering::SeqCst);
    }
    for _ in 0..8 {
        assert_eq!(gateway.get("/").status, 200);
    }
    eventually("they are well", || {
        gateway.get("/");
        words(&gateway) == ["HEALTHY", "HEALTHY"]
    });
    assert_eq!(metric(&gateway, panic), "0");
}

#[test]
fn an_operator_takes_a_target_out_without_any_checks() {
    let targets = [Upstream::saying("a"), Upstream::saying("b")];
    let gateway = start("{}", &[&targets[0], &targets[1]]);
    assert_eq!(words(&gateway), ["HEALTHCHECKS_OFF", "HEALTHCHECKS_OFF"]);
    let path = format!("/upstreams/pool/targets/{}", targets[0]);
    assert_eq!(put(&gateway, &format!("{path}/unhealthy")), 204);
    assert_eq!(words(&gateway)[0], "UNHEALTHY");
    for _ in 0..8 {
        assert_eq!(gateway.get("/").text(), "b");
    }
    assert_eq!(put(&gateway, &format!("{path}/healthy")), 204);
    eventually("it serves again", || gateway.get("/").text() == "a");
    for wrong in [
        "/upstreams/pool/targets/1.2.3.4:5/healthy",
        "/upstreams/x/targets/y/healthy",
    ] {
        assert_eq!(put(&gateway, wrong), 404);
    }
    assert_eq!(put(&gateway, &format!("{path}/sick")), 404);
}

#[tokio::test]
async fn connecting_is_enough_for_tcp_and_not_for_grpc() {
    // It speaks gRPC, and knows nothing of the health service.
    let server = Server::start(None);
    for (kind, word) in [("tcp", "HEALTHY"), ("grpc", "UNHEALTHY")] {
        let checks = format!(
            "{{active: {{type: {kind}, healthy: {{interval: 0.05, successes: 1}},
              unhealthy: {{interval: 0.05, http_failures: 1, tcp_failures: 1}}}}}}"
        );
        let gateway = start(&checks, &[&server]);
        eventually("a probe", || {
            let text = gateway.ask("/metrics").text();
            let counted = text.lines().filter(|line| {
                line.starts_with("sluicegate_upstream_probes_total") && !line.ends_with(" 0")
            });
            counted.count() > 0
        });
        eventually("it is known", || words(&gateway) == [word]);
    }
}

fn active(kind: &str, more: &str) -> String {
    format!(
        "{{active: {{type: {kind}, healthy: {{interval: 0.05, successes: 1}},
          unhealthy: {{interval: 0.05, http_failures: 1, tcp_failures: 1, timeouts: 1}} {more}}}}}"
    )
}

#[test]
fn a_grpc_server_says_itself_how_it_is() {
    let server = Server::start(None);
    server.says(SERVING);
    let gateway = start(&active("grpc", ""), &[&server]);
    eventually("a probe", || !server.heads().is_empty());
    for (said, word) in [
        (NOT_SERVING, "UNHEALTHY"),
        (SERVING, "HEALTHY"),
        (NOT_SERVING, "UNHEALTHY"),
    ] {
        server.says(said);
        eventually("it is known", || words(&gateway) == [word]);
    }
    let head = server.heads().remove(0);
    assert_eq!(head.method, "POST");
    assert_eq!(head.uri.path(), "/grpc.health.v1.Health/Check");
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["te"], "trailers");
}

/// Probes verify certificates unless they are told not to, by a name of their own.
#[test]
fn probes_over_tls_believe_only_who_can_prove_its_name() {
    let authority = Authority::new();
    let pair = authority.issue(&["pool.test"]);
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let ca = ca.path().display().to_string();
    let web = Upstream::answering_tls(pair.server(&[]), |_| reply(200, &[], b""));
    let rpc = Server::start(Some(pair.server(&["h2"])));
    rpc.says(SERVING);
    let targets: [(&str, &dyn std::fmt::Display); 2] = [("https", &web), ("grpcs", &rpc)];
    for (kind, target) in targets {
        for (more, trusted, word) in [
            (", https_verify_certificate: false", false, "HEALTHY"),
            (", https_sni: pool.test", true, "HEALTHY"),
            (", https_sni: pool.test", false, "UNHEALTHY"),
            (", https_sni: other.test", true, "UNHEALTHY"),
        ] {
            // From the other word, or nothing would show that a probe has come.
            let checks = active(kind, more);
            let config = format!(
                "
services: [{{host: pool, routes: [{{paths: ['/']}}]}}]
upstreams: [{{name: pool, targets: [{{target: '{target}'}}], healthchecks: {checks}}}]"
            );
            let mut setup = gateway(&config);
            if trusted {
                setup = setup.env("SSL_CERT_FILE", &ca);
            }
            let gateway = setup.start();
            let path = format!("/upstreams/pool/targets/{target}/");
            let other = if word == "HEALTHY" {
                "unhealthy"
            } else {
                "healthy"
            };
            assert_eq!(put(&gateway, &(path + other)), 204);
            eventually(&format!("{kind}{more} {trusted}"), || {
                words(&gateway) == [word]
            });
        }
    }
}

/// A gateway whose only target speaks gRPC.
fn calling(server: &Server, upstream: &str) -> Gateway {
    let config = "
services: [{host: pool, protocol: grpc, retries: 0, routes: [{paths: ['/'], protocols: [grpc]}]}]
upstreams: [{name: pool, targets: [{target: '<up>'}], <upstream>}]";
    let setup = gateway(config).fill("up", server);
    setup.fill("upstream", upstream).start()
}

/// gRPC's statuses count as the HTTP statuses that they mean, in the head and in the trailers.
#[tokio::test]
async fn what_calls_come_to_marks_a_target_down() {
    let passive =
        "healthchecks: {passive: {unhealthy: {http_failures: 2}, healthy: {successes: 1}}}";
    for failing in [
        "/test.Echo/Fail14",
        "/test.Echo/Late14",
        "/test.Echo/Late13",
    ] {
        let server = Server::start(None);
        let gateway = calling(&server, passive);
        let code = &failing[failing.len() - 2..];
        // What the caller did wrong says nothing, and a success ends the row.
        for (path, expected) in [
            ("/test.Echo/Fail5", "5"),
            ("/test.Echo/Late3", "3"),
            (failing, code),
            ("/test.Echo/Unary", "0"),
            (failing, code),
        ] {
            assert_eq!(status(gateway.proxy(), path).await, expected);
        }
        assert_eq!(words(&gateway), ["HEALTHY"]);
        assert_eq!(status(gateway.proxy(), failing).await, code);
        eventually("it is down", || words(&gateway) == ["UNHEALTHY"]);
        let before = server.heads().len();
        assert_eq!(status(gateway.proxy(), "/test.Echo/Unary").await, "14");
        assert_eq!(server.heads().len(), before, "nobody asked it");
    }
}

#[tokio::test]
async fn calls_that_fail_in_a_row_take_a_target_out() {
    let outliers = "outlier_detection: {consecutive_failures: 3, ejection_time: 60}";
    for failing in ["/test.Echo/Fail14", "/test.Echo/Late4"] {
        let server = Server::start(None);
        let gateway = calling(&server, outliers);
        for path in [failing, failing, "/test.Echo/Late13", failing, failing] {
            status(gateway.proxy(), path).await;
        }
        assert_eq!(
            words(&gateway),
            ["HEALTHCHECKS_OFF"],
            "13 is no failure of the way"
        );
        status(gateway.proxy(), failing).await;
        eventually("it is out", || words(&gateway) == ["UNHEALTHY"]);
    }
}

/// A stream that lasts is enough to show that a target is well again.
#[tokio::test]
async fn a_long_stream_brings_a_target_back() {
    let server = Server::start(None);
    let passive = "healthchecks: {passive: {probation: 0.2, unhealthy: {http_failures: 1}}}";
    let gateway = calling(&server, passive);
    assert_eq!(status(gateway.proxy(), "/test.Echo/Fail14").await, "14");
    assert_eq!(words(&gateway), ["UNHEALTHY"]);
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let (feed, body) = fed();
    let mut body = Some(body);
    let answer = loop {
        let sent = body.take().unwrap_or_else(|| fed().1);
        let call = call("/test.Echo/Both", sent);
        let answer = client.send_request(call).await.unwrap();
        if !answer.headers().contains_key("grpc-status") {
            break answer;
        }
    };
    eventually("it is back", || words(&gateway) == ["HEALTHY"]);
    drop((feed, answer));
}
