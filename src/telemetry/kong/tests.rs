//! What a scrape shows under Kong's names.

use super::*;

const SAMPLE: KongSample<'static> = KongSample {
    service: "s",
    route: "r",
    consumer: "",
    status: Some(200),
    from_service: true,
    bytes: Some((10, 100)),
    latencies: Some(KongLatencies {
        kong: 2,
        upstream: Some(60_001),
        request: 26,
    }),
};

fn text(metrics: &KongMetrics) -> String {
    let mut out = Exposition::default();
    metrics.expose(&Totals::default(), &mut out);
    crate::telemetry::metrics::encode(&out)
}

#[test]
fn threads_add_up() {
    let metrics = Arc::new(KongMetrics::default());
    let counted = metrics.begin(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..4).for_each(|_| counted.observe(&SAMPLE)));
        }
    });
    counted.observe(&KongSample {
        consumer: "ann",
        status: Some(429),
        from_service: false,
        bytes: None,
        latencies: None,
        ..SAMPLE
    });
    let text = text(&metrics);
    for line in [
        r#"kong_http_requests_total{service="s",route="r",code="200",source="service",workspace="default",consumer=""} 12"#,
        r#"kong_http_requests_total{service="s",route="r",code="429",source="kong",workspace="default",consumer="ann"} 1"#,
        r#"kong_bandwidth_bytes{service="s",route="r",direction="ingress",workspace="default",consumer=""} 120"#,
        r#"kong_bandwidth_bytes{service="s",route="r",direction="egress",workspace="default",consumer=""} 1200"#,
        r#"kong_kong_latency_ms_bucket{service="s",route="r",workspace="default",le="1"} 0"#,
        r#"kong_kong_latency_ms_bucket{service="s",route="r",workspace="default",le="2"} 12"#,
        r#"kong_kong_latency_ms_sum{service="s",route="r",workspace="default"} 24"#,
        r#"kong_request_latency_ms_bucket{service="s",route="r",workspace="default",le="25"} 0"#,
        r#"kong_request_latency_ms_bucket{service="s",route="r",workspace="default",le="50"} 12"#,
        r#"kong_upstream_latency_ms_bucket{service="s",route="r",workspace="default",le="60000"} 0"#,
        r#"kong_upstream_latency_ms_bucket{service="s",route="r",workspace="default",le="+Inf"} 12"#,
        r#"kong_upstream_latency_ms_count{service="s",route="r",workspace="default"} 12"#,
        "kong_nginx_metric_errors_total 0",
        "kong_datastore_reachable 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(
        !text.contains("consumer=\"ann\",")
            && !text.contains("direction=\"ingress\",workspace=\"default\",consumer=\"ann\"")
    );
}

#[test]
fn nothing_is_exposed_that_nobody_uses() {
    let metrics = Arc::new(KongMetrics::default());
    assert_eq!(text(&metrics), "");
    let counted = metrics.begin(true);
    assert!(metrics.wants_health() && text(&metrics).contains("kong_node_info"));
    drop(counted);
    assert!(!metrics.wants_health());
    assert_eq!(text(&metrics), "");
}

#[test]
fn labels_and_statuses_are_bounded() {
    let metrics = Arc::new(KongMetrics::default());
    let counted = metrics.begin(false);
    let plain = KongSample {
        latencies: None,
        bytes: None,
        ..SAMPLE
    };
    for status in 400..440 {
        let status = Some(status);
        counted.observe(&KongSample { status, ..plain });
    }
    let shown = text(&metrics);
    assert!(shown.contains(r#"code="415",source="service",workspace="default",consumer=""} 1"#));
    assert!(shown.contains(r#"code="4xx",source="service",workspace="default",consumer=""} 24"#));
    metrics.made.store(MOST, Ordering::Relaxed);
    for _ in 0..3 {
        counted.observe(&KongSample {
            consumer: "new",
            ..plain
        });
    }
    let shown = text(&metrics);
    assert!(!shown.contains("new") && shown.contains("kong_nginx_metric_errors_total 3"));
}
