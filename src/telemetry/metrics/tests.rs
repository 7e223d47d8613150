use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;
use crate::telemetry::shard::Sample;

fn sample(method: &str, status: u16, total_ms: u64) -> Sample<'_> {
    Sample {
        method,
        status,
        source: "upstream",
        total: Duration::from_millis(total_ms),
        upstream: Some(Duration::from_millis(total_ms)),
        gateway: Duration::from_micros(40),
        bytes_in: 100,
        bytes_out: 1000,
    }
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[test]
fn a_request_shows_under_the_names_of_the_contract() {
    let metrics = Metrics::new(2);
    let route = metrics.route("orders", "list");
    route.observe(0, &sample("GET", 200, 3));
    route.observe(1, &sample("GET", 200, 3));
    route.observe(1, &sample("BREW", 502, 100_000));
    let text = metrics.render();
    for (series, want) in [
        (
            r#"sluicegate_http_requests_total{service="orders",route="list",method="GET",code="200",source="upstream"}"#,
            2.0,
        ),
        (
            r#"sluicegate_http_requests_total{service="orders",route="list",method="OTHER",code="502",source="upstream"}"#,
            1.0,
        ),
        (
            r#"sluicegate_http_request_duration_seconds_bucket{service="orders",route="list",le="0.0025"}"#,
            0.0,
        ),
        (
            r#"sluicegate_http_request_duration_seconds_bucket{service="orders",route="list",le="0.005"}"#,
            2.0,
        ),
        (
            r#"sluicegate_http_request_duration_seconds_bucket{service="orders",route="list",le="60"}"#,
            2.0,
        ),
        (
            r#"sluicegate_http_request_duration_seconds_bucket{service="orders",route="list",le="+Inf"}"#,
            3.0,
        ),
        (
            r#"sluicegate_http_request_duration_seconds_sum{service="orders",route="list"}"#,
            100.006,
        ),
        (
            r#"sluicegate_http_request_duration_seconds_count{service="orders",route="list"}"#,
            3.0,
        ),
        (
            r#"sluicegate_http_upstream_duration_seconds_count{service="orders",route="list"}"#,
            3.0,
        ),
        (
            r#"sluicegate_http_gateway_duration_seconds_bucket{service="orders",route="list",le="0.00005"}"#,
            3.0,
        ),
        (
            r#"sluicegate_http_request_bytes_total{service="orders",route="list"}"#,
            300.0,
        ),
        (
            r#"sluicegate_http_response_bytes_total{service="orders",route="list"}"#,
            3000.0,
        ),
        ("sluicegate_workers", 2.0),
    ] {
        assert_eq!(value(&text, series), Some(want), "{series}\n{text}");
    }
}

#[test]
fn a_duration_equal_to_a_bound_is_within_it() {
    let metrics = Metrics::new(1);
    let route = metrics.route("", "");
    route.observe(0, &sample("GET", 404, 5));
    let text = metrics.render();
    let bucket =
        r#"sluicegate_http_request_duration_seconds_bucket{service="",route="",le="0.005"}"#;
    assert_eq!(value(&text, bucket), Some(1.0));
}

#[test]
fn no_upstream_no_upstream_duration() {
    let metrics = Metrics::new(1);
    let denied = Sample {
        upstream: None,
        source: "plugin",
        ..sample("GET", 401, 1)
    };
    metrics.route("a", "b").observe(0, &denied);
    let text = metrics.render();
    assert!(text.contains(r#"code="401",source="plugin""#), "{text}");
    assert!(
        !text.contains("sluicegate_http_upstream_duration_seconds"),
        "{text}"
    );
}

#[test]
fn counts_survive_a_reload_and_leave_one_scrape_after_the_route() {
    let metrics = Metrics::new(1);
    let old = metrics.route("orders", "list");
    old.observe(0, &sample("GET", 200, 1));
    let new = metrics.route("orders", "list");
    drop(old);
    new.observe(0, &sample("GET", 200, 1));
    let series = r#"sluicegate_http_request_duration_seconds_count{service="orders",route="list"}"#;
    assert_eq!(value(&metrics.render(), series), Some(2.0));
    drop(new);
    assert_eq!(value(&metrics.render(), series), Some(2.0));
    assert_eq!(value(&metrics.render(), series), None);
    assert_eq!(metrics.route("orders", "list").count(), 0);
}

#[test]
fn more_kinds_of_answers_than_the_table_holds_are_counted_by_class() {
    let metrics = Metrics::new(1);
    let route = metrics.route("a", "b");
    for status in 100..1000 {
        route.observe(0, &sample("GET", status, 1));
    }
    assert_eq!(route.count(), 900);
    let text = metrics.render();
    let series = text
        .lines()
        .filter(|line| line.starts_with("sluicegate_http_requests_total{"));
    assert_eq!(series.count(), 64 + 9);
    assert_eq!(
        value(
            &text,
            r#"sluicegate_http_requests_total{service="a",route="b",method="OTHER",code="5xx",source="upstream"}"#
        ),
        Some(100.0),
    );
}

#[test]
fn scraping_while_two_workers_count_loses_nothing() {
    const EACH: u64 = 200_000;
    let metrics = Metrics::new(2);
    let route = metrics.route("s", "r");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = [0, 1]
            .into_iter()
            .map(|ix| {
                let (route, own) = (metrics.route("s", "r"), metrics.worker(ix));
                scope.spawn(move || {
                    for n in 0..EACH {
                        let status = if n % 2 == 0 { 200 } else { 404 };
                        route.observe(ix, &sample("GET", status, n % 50));
                        own.requests.inc();
                    }
                })
            })
            .collect();
        let scraper = scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = metrics.totals().requests;
                assert!(now >= last);
                last = now;
                let text = metrics.render();
                let count = |series| value(&text, series).unwrap_or_default();
                let inf = count(r#"sluicegate_http_request_duration_seconds_bucket{service="s",route="r",le="+Inf"}"#);
                assert_eq!(inf, count(r#"sluicegate_http_request_duration_seconds_count{service="s",route="r"}"#));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        scraper.join().unwrap();
    });
    assert_eq!(metrics.totals().requests, 2 * EACH);
    assert_eq!(route.count(), 2 * EACH);
    let text = metrics.render();
    for code in ["200", "404"] {
        let series = format!(
            r#"sluicegate_http_requests_total{{service="s",route="r",method="GET",code="{code}",source="upstream"}}"#
        );
        assert_eq!(value(&text, &series), Some(EACH as f64));
    }
    let bytes = r#"sluicegate_http_response_bytes_total{service="s",route="r"}"#;
    assert_eq!(value(&text, bytes), Some(2000.0 * EACH as f64));
}

#[test]
fn rare_counters_are_shared_by_name_and_labels_and_shown_from_the_start() {
    let metrics = Metrics::new(1);
    let help = "Requests to Redis.";
    let ok = metrics.counter("sluicegate_redis_requests_total", help, &[("result", "ok")]);
    metrics.counter(
        "sluicegate_redis_requests_total",
        help,
        &[("result", "failed")],
    );
    metrics
        .counter("sluicegate_redis_requests_total", help, &[("result", "ok")])
        .add(2);
    ok.inc();
    metrics
        .gauge("sluicegate_redis_up", "Redis answers.", &[])
        .set(1.0);
    let text = metrics.render();
    assert_eq!(
        value(&text, r#"sluicegate_redis_requests_total{result="ok"}"#),
        Some(3.0)
    );
    assert_eq!(
        value(&text, r#"sluicegate_redis_requests_total{result="failed"}"#),
        Some(0.0)
    );
    assert_eq!(value(&text, "sluicegate_redis_up"), Some(1.0));
    assert_eq!(
        text.matches("# TYPE sluicegate_redis_requests_total counter")
            .count(),
        1
    );
}

#[test]
fn sources_are_asked_at_every_scrape_until_their_owner_is_gone() {
    let metrics = Metrics::new(1);
    let owner = Arc::new(7.0);
    metrics.register_weak(Arc::downgrade(&owner), |level, out| {
        out.gauge(
            "sluicegate_upstream_targets",
            "Targets.",
            &[("upstream", "a\"b")],
            *level,
        );
    });
    metrics.register(Box::new(|out| {
        out.counter("sluicegate_x_total", "X.", &[], 1.0)
    }));
    let series = r#"sluicegate_upstream_targets{upstream="a\"b"}"#;
    assert_eq!(value(&metrics.render(), series), Some(7.0));
    drop(owner);
    let text = metrics.render();
    assert_eq!(value(&text, series), None);
    assert_eq!(value(&text, "sluicegate_x_total"), Some(1.0));
    assert_eq!(lock(&metrics.sources).len(), 1);
}

#[test]
fn a_series_given_twice_stands_once() {
    let metrics = Metrics::new(1);
    for _ in 0..2 {
        metrics.register(Box::new(|out| {
            out.counter("sluicegate_x_total", "X.", &[("a", "b")], 1.0);
            out.gauge("sluicegate_y", "Y.", &[], 5.0);
        }));
    }
    // A family keeps its type: what contradicts it is left out.
    metrics.register(Box::new(|out| {
        out.counter("sluicegate_y", "Y.", &[("c", "d")], 5.0)
    }));
    let text = metrics.render();
    assert_eq!(value(&text, r#"sluicegate_x_total{a="b"}"#), Some(2.0));
    assert_eq!(text.matches("\nsluicegate_y").count(), 1, "{text}");
}

#[test]
fn reloads_and_the_live_configuration_are_shown() {
    let metrics = Metrics::new(1);
    metrics.config().loaded(1, "abc", &[("routes", 61)]);
    metrics.config().rejected();
    let text = metrics.render();
    for (series, want) in [
        (r#"sluicegate_config_reloads_total{result="loaded"}"#, 1.0),
        (r#"sluicegate_config_reloads_total{result="rejected"}"#, 1.0),
        ("sluicegate_config_last_reload_successful", 0.0),
        (r#"sluicegate_config_info{hash="abc"}"#, 1.0),
        ("sluicegate_config_generation", 1.0),
        (r#"sluicegate_config_entities{kind="routes"}"#, 61.0),
    ] {
        assert_eq!(value(&text, series), Some(want), "{series}\n{text}");
    }
    metrics.config().loaded(2, "def", &[("routes", 62)]);
    let text = metrics.render();
    assert!(!text.contains("abc"));
    assert_eq!(
        value(&text, "sluicegate_config_last_reload_successful"),
        Some(1.0)
    );
}

#[test]
fn connections_are_summed_over_workers() {
    let metrics = Metrics::new(3);
    for ix in 0..3 {
        let worker = metrics.worker(ix);
        worker.active.add(2);
        worker.active.dec();
        worker.accepted.inc();
        worker.tls_failed.inc();
        worker.over_address_limit.inc();
    }
    let text = metrics.render();
    assert_eq!(
        value(&text, r#"sluicegate_connections{state="active"}"#),
        Some(3.0)
    );
    assert_eq!(
        value(&text, "sluicegate_connections_accepted_total"),
        Some(3.0)
    );
    assert_eq!(
        value(
            &text,
            r#"sluicegate_connections_refused_total{reason="per_ip"}"#
        ),
        Some(3.0)
    );
    assert_eq!(
        value(&text, r#"sluicegate_tls_handshakes_total{result="failed"}"#),
        Some(3.0)
    );
    assert_eq!(
        value(&text, r#"sluicegate_worker_connections{worker="2"}"#),
        Some(1.0)
    );
}

#[test]
fn every_line_is_well_formed() {
    let metrics = Metrics::new(1);
    metrics
        .route("a\\b\n", "\"")
        .observe(0, &sample("GET", 200, 1));
    for line in metrics.render().lines() {
        let comment = line.starts_with("# HELP ") || line.starts_with("# TYPE ");
        let number = line.rsplit(' ').next().and_then(|n| n.parse::<f64>().ok());
        assert!(comment || number.is_some(), "{line}");
    }
}
