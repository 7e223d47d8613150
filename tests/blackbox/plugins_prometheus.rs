//! Kong's metric families on the admin listener.

use crate::support::dns::NameServer;
use crate::support::grpc::{Fed, Messages, Server, unary};
use crate::support::h2::{Whole, connect, request, whole};
use crate::support::{Gateway, Request, Upstream, eventually, gateway};

fn metrics(gateway: &Gateway) -> String {
    gateway.ask("/metrics").text()
}

/// The value of a series.
fn value(text: &str, series: &str) -> Option<f64> {
    let mut lines = text.lines();
    let rest = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    rest.parse().ok()
}

/// Waits until a series has a value: a request is counted when its answer has left.
#[track_caller]
fn comes_to(gateway: &Gateway, series: &str, want: f64) {
    eventually(&format!("{series} {want}"), || {
        value(&metrics(gateway), series) == Some(want)
    });
}

const CONFIG: &str = "
upstreams: [{name: pool, targets: [{target: '<up>'}, {target: 'nowhere.invalid:80', weight: 1}]}]
services:
- {name: named, url: 'http://<up>', routes: [{name: all, paths: [/all], plugins: [{name: prometheus,
    config: {status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true,
      per_consumer: true, upstream_health_metrics: true}}]},
    {name: bare, paths: [/bare], plugins: [{name: prometheus, config: {latency_metrics: true}}]},
    {name: none, paths: [/none]}]}
- {url: 'http://<up>', routes: [{name: unnamed, paths: [/unnamed], plugins: [{name: prometheus,
    config: {status_code_metrics: true}}]}]}
consumers: [{username: ann, keyauth_credentials: [{key: k}]}]
plugins: [{name: key-auth}]";

fn counted(service: &str, route: &str, code: &str, source: &str, consumer: &str) -> String {
    format!(
        "kong_http_requests_total{{service=\"{service}\",route=\"{route}\",code=\"{code}\",\
         source=\"{source}\",workspace=\"default\",consumer=\"{consumer}\"}}"
    )
}

#[test]
fn requests_are_counted_under_kongs_names() {
    let upstream = Upstream::saying("hello");
    let names = NameServer::start();
    let setup = gateway(CONFIG).fill("up", &upstream);
    let gateway = setup.flag("--dns-resolver", &names).start();
    for target in ["/all", "/all", "/bare", "/none", "/unnamed", "/nowhere"] {
        gateway.send(Request::get(target).header("apikey", "k"));
    }
    gateway.get("/all");
    comes_to(
        &gateway,
        &counted("named", "all", "200", "service", "ann"),
        2.0,
    );
    comes_to(&gateway, &counted("named", "all", "401", "kong", ""), 1.0);
    comes_to(
        &gateway,
        &counted("127.0.0.1", "unnamed", "200", "service", ""),
        1.0,
    );
    let text = metrics(&gateway);
    let labels = "service=\"named\",route=\"all\"";
    let tail = "workspace=\"default\"";
    for (series, least) in [
        (
            format!(
                "kong_bandwidth_bytes{{{labels},direction=\"ingress\",{tail},consumer=\"ann\"}}"
            ),
            50.0,
        ),
        (
            format!(
                "kong_bandwidth_bytes{{{labels},direction=\"egress\",{tail},consumer=\"ann\"}}"
            ),
            100.0,
        ),
        (
            format!("kong_kong_latency_ms_count{{{labels},{tail}}}"),
            3.0,
        ),
        (
            format!("kong_upstream_latency_ms_count{{{labels},{tail}}}"),
            2.0,
        ),
        (
            format!("kong_request_latency_ms_bucket{{{labels},{tail},le=\"+Inf\"}}"),
            3.0,
        ),
        (
            "kong_request_latency_ms_count{service=\"named\",route=\"bare\",workspace=\"default\"}"
                .to_owned(),
            1.0,
        ),
        ("kong_datastore_reachable".to_owned(), 1.0),
        ("kong_nginx_metric_errors_total".to_owned(), 0.0),
    ] {
        let found = value(&text, &series);
        assert!(
            found.is_some_and(|found| found >= least),
            "{series}: {found:?}\n{text}"
        );
    }
    let upstream_latency = format!("kong_upstream_latency_ms_count{{{labels},{tail}}}");
    assert_eq!(
        value(&text, &upstream_latency),
        Some(2.0),
        "a refusal has none"
    );
    assert!(
        !text.contains("route=\"bare\",code")
            && !text.contains("kong_bandwidth_bytes{service=\"named\",route=\"bare\"")
    );
    assert!(
        !text
            .lines()
            .any(|line| line.starts_with("kong_") && line.contains("route=\"none\""))
    );
    // Ours beside it, whatever the plugin does.
    assert!(text.contains("sluicegate_http_requests_total{service=\"named\",route=\"none\""));
    let up = format!(
        "kong_upstream_target_health{{upstream=\"pool\",target=\"{upstream}\",address=\"{upstream}\",state=\"healthchecks_off\",subsystem=\"http\"}}"
    );
    comes_to(&gateway, &up, 1.0);
    let down = |state: &str| {
        format!(
            "kong_upstream_target_health{{upstream=\"pool\",target=\"nowhere.invalid:80\",address=\"\",state=\"{state}\",subsystem=\"http\"}}"
        )
    };
    comes_to(&gateway, &down("dns_error"), 1.0);
    comes_to(&gateway, &down("healthy"), 0.0);
    let nodes = text
        .lines()
        .filter(|line| line.starts_with("kong_node_info{node_id=\""));
    assert_eq!(nodes.count(), 1);
    for state in [
        "accepted", "handled", "total", "active", "reading", "writing", "waiting",
    ] {
        let shown = format!("subsystem=\"http\",state=\"{state}\"}}");
        assert!(text.contains(&shown), "{state}");
    }
    assert!(text.contains("kong_nginx_requests_total{node_id="));
}

#[test]
fn counters_stay_over_a_reload_and_leave_with_the_plugin() {
    let with = "
services: [{name: s, url: 'http://<up>', routes: [{name: r, paths: ['/']}]}]
plugins: [{name: prometheus, config: {status_code_metrics: true}}]";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(with).fill("up", &upstream).start();
    let series = counted("s", "r", "200", "service", "");
    gateway.get("/");
    comes_to(&gateway, &series, 1.0);
    assert!(!metrics(&gateway).contains("kong_upstream_target_health"));
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    std::fs::write(gateway.file(), text.replace("paths:", "tags: [x], paths:")).unwrap();
    eventually("the reload", || {
        gateway.ask("/routes/r").text().contains("\"x\"")
    });
    gateway.get("/");
    comes_to(&gateway, &series, 2.0);
    std::fs::write(gateway.file(), text.replace("plugins:", "_ignore:")).unwrap();
    eventually("the end of Kong's families", || {
        !metrics(&gateway).contains("kong_")
    });
}

#[tokio::test]
async fn http2_and_grpc_are_counted_alike() {
    let (upstream, server) = (Upstream::saying("hello"), Server::start(None));
    let config = "
services:
- {name: web, url: 'http://<up>', routes: [{name: web, paths: [/web]}]}
- {name: rpc, url: 'grpc://<rpc>', routes: [{name: rpc, paths: [/test.Echo], protocols: [grpc]}]}
plugins: [{name: prometheus, config: {status_code_metrics: true, bandwidth_metrics: true}}]";
    let gateway = gateway(config)
        .fill("up", &upstream)
        .fill("rpc", &server)
        .start();
    let mut client = connect::<Whole>(gateway.proxy()).await;
    whole(
        client
            .send_request(request("GET", "/web", ""))
            .await
            .unwrap(),
    )
    .await;
    let mut client = connect::<Fed>(gateway.proxy()).await;
    let answer = client.send_request(unary("/test.Echo/Unary", b"x"));
    Messages::default()
        .all(answer.await.unwrap().body_mut())
        .await;
    comes_to(&gateway, &counted("web", "web", "200", "service", ""), 1.0);
    comes_to(&gateway, &counted("rpc", "rpc", "200", "service", ""), 1.0);
    assert!(
        metrics(&gateway)
            .contains("kong_bandwidth_bytes{service=\"rpc\",route=\"rpc\",direction=\"egress\"")
    );
}
