//! Limits of one gateway and of several that share a Redis server, which dies, hangs and returns.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::json;

use crate::support::gateway::Setup;
use crate::support::grpc::{Fed, Messages, Server, unary};
use crate::support::h2::{Whole, connect, request, whole};
use crate::support::redis::{Cluster, Redis, free_port};
use crate::support::x509::Authority;
use crate::support::{Gateway, Request, Response, Upstream, eventually, gateway};

const FILE: &str = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]
plugins: [{name: rate-limiting, config: <config>}]";

fn limited(upstream: &Upstream, config: &str) -> Setup {
    gateway(FILE).fill("up", upstream).fill("config", config)
}

/// Where counters are, as a part of a plugin's configuration.
fn policies(redis: &Redis) -> [String; 2] {
    ["policy: local".to_owned(), shared(redis)]
}

fn shared(redis: &Redis) -> String {
    let port = redis.port();
    // A busy machine is not a dead server.
    format!("policy: redis, redis: {{host: 127.0.0.1, port: {port}, timeout: 5000}}")
}

fn unix_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Runs something again until all of it was in one calendar window of so many seconds.
fn within_one<T>(seconds: u64, mut run: impl FnMut() -> T) -> T {
    loop {
        let begin = unix_secs() / seconds;
        let done = run();
        if unix_secs() / seconds == begin {
            return done;
        }
    }
}

/// How many of so many requests pass, sent over several connections to each of the gateways.
fn passes(gateways: &[Gateway], requests: usize) -> usize {
    let passed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for gateway in gateways {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut conn = gateway.connect();
                    for _ in 0..requests / 4 / gateways.len() {
                        let response = conn.ask(&Request::get("/"));
                        match response.status {
                            200 => passed.fetch_add(1, Ordering::Relaxed),
                            429 => 0,
                            other => panic!("{other}: {response:?}"),
                        };
                    }
                });
            }
        }
    });
    passed.into_inner()
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    let text = gateway.ask("/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

/// Status and message of the check `redis`.
fn redis_health(gateway: &Gateway) -> (String, String) {
    let health = gateway.ask("/health").json();
    let check = &health["checks"]["redis"];
    let text = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"))
}

#[track_caller]
fn rates(response: &Response) -> [&str; 3] {
    ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
        .map(|name| response.header(name).unwrap_or("-"))
}

#[test]
fn headers_are_the_same_wherever_counters_are() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    for policy in policies(&redis) {
        let config = format!("{{minute: 2, hour: 9, limit_by: ip, {policy}}}");
        within_one(60, || {
            redis.ask("FLUSHALL");
            let gateway = limited(&upstream, &config).start();
            for left in [1, 0] {
                let response = gateway.get("/");
                assert_eq!(response.text(), "hello");
                let left_of_hour = (left + 7).to_string();
                let left = left.to_string();
                for (name, value) in [
                    ("X-RateLimit-Limit-Minute", "2"),
                    ("X-RateLimit-Remaining-Minute", &left),
                    ("X-RateLimit-Limit-Hour", "9"),
                    ("X-RateLimit-Remaining-Hour", &left_of_hour),
                    ("RateLimit-Limit", "2"),
                    ("RateLimit-Remaining", &left),
                ] {
                    assert_eq!(response.header(name), Some(value), "{name} {policy}");
                }
                assert_eq!(response.header("Retry-After"), None);
            }
            for _ in 0..2 {
                let refused = gateway.get("/");
                assert_eq!(
                    (refused.status, refused.text()),
                    (
                        429,
                        json!({"message": "API rate limit exceeded"}).to_string(),
                    )
                );
                let [limit, left, reset] = rates(&refused);
                assert_eq!((limit, left), ("2", "0"));
                assert_eq!(refused.header("Retry-After"), Some(reset));
                // A refused request is not counted.
                assert_eq!(refused.header("X-RateLimit-Remaining-Hour"), Some("7"));
            }
        });
    }
}

#[test]
fn buckets_and_sliding_windows_tell_when_one_more_passes() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    for policy in policies(&redis) {
        let config = format!("{{minute: 3, window_type: token-bucket, {policy}}}");
        let gateway = limited(&upstream, &config).start();
        let left: Vec<String> = (0..3)
            .map(|_| rates(&gateway.get("/"))[1].to_owned())
            .collect();
        assert_eq!(left, ["2", "1", "0"]);
        let refused = gateway.get("/");
        assert_eq!(refused.status, 429);
        // One token in twenty seconds, some of which have gone.
        let reset: u64 = rates(&refused)[2].parse().unwrap();
        assert!((10..=20).contains(&reset), "{reset}");
        assert_eq!(
            refused.header("Retry-After"),
            Some(reset.to_string().as_str())
        );

        let config = format!("{{second: 2, window_type: sliding, {policy}}}");
        let gateway = limited(&upstream, &config).start();
        let begin = Instant::now();
        let mut passed = 0;
        while begin.elapsed() < Duration::from_millis(2_500) {
            let response = gateway.get("/");
            passed += usize::from(response.status == 200);
            assert_eq!(rates(&response)[0], "2");
        }
        // Two a second, however one cuts it: never more than limit × (windows + 1).
        assert!((4..=8).contains(&passed), "{passed}");
    }
}

#[test]
fn a_hundred_means_a_hundred_over_all_workers() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    for policy in policies(&redis) {
        for shape in ["fixed", "sliding", "token-bucket"] {
            let config = format!("{{year: 100, window_type: {shape}, {policy}}}");
            let passed = within_one(86_400, || {
                redis.ask("FLUSHALL");
                let setup = limited(&upstream, &config).flag("--workers", 4);
                passes(&[setup.start()], 240)
            });
            assert_eq!(passed, 100, "{policy} {shape}");
        }
    }
}

#[test]
fn three_gateways_share_one_limit_exactly() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    let config = format!("{{year: 100, {}}}", shared(&redis));
    let gateways: Vec<Gateway> = (0..3)
        .map(|_| limited(&upstream, &config).flag("--workers", 2).start())
        .collect();
    let passed = within_one(86_400, || {
        redis.ask("FLUSHALL");
        passes(&gateways, 360)
    });
    assert_eq!(passed, 100);
    // A connection for each worker, and one for the probe.
    let clients = redis.ask("CLIENT LIST").matches("name=").count() - 1;
    assert!(clients <= 3 * 3, "{clients}");
    for gateway in &gateways {
        assert_eq!(
            redis_health(gateway),
            ("healthy".to_owned(), "1 server".to_owned())
        );
    }
    let decided = |name| gateways.iter().map(|of| metric(of, name)).sum::<f64>();
    assert!(decided("sluicegate_ratelimit_requests_total") >= 360.0);
    assert_eq!(decided("sluicegate_ratelimit_fallbacks_total"), 0.0);
}

#[test]
fn a_local_counter_takes_over_from_a_dead_redis() {
    let upstream = Upstream::saying("hello");
    let mut redis = Redis::start(&[]);
    let config = format!("{{year: 10, {}}}", shared(&redis));
    let gateway = limited(&upstream, &config).flag("--workers", 1).start();
    let left = |response: &Response| rates(response)[1].parse::<u64>().unwrap();
    assert_eq!(left(&gateway.get("/")), 9);
    assert_eq!(left(&gateway.get("/")), 8);
    redis.kill();
    // It goes on where the shared one stood, and refuses as that would.
    for n in (0..8).rev() {
        let response = gateway.get("/");
        assert_eq!((response.status, left(&response)), (200, n));
        assert_eq!(response.header("X-RateLimit-Limit-Year"), Some("10"));
    }
    let refused = gateway.get("/");
    assert_eq!((refused.status, left(&refused)), (429, 0));
    eventually("it is known to be away", || {
        redis_health(&gateway).0 == "degraded"
    });
    assert_eq!(gateway.ask("/health").status, 200);
    assert_eq!(gateway.ask("/health?strict=1").status, 503);
    assert_eq!(
        gateway.ask("/status").json()["health"]["checks"]["redis"]["status"],
        "degraded"
    );
    gateway.err.wait("not asked until it is back");
    assert!(metric(&gateway, "sluicegate_ratelimit_fallbacks_total") >= 9.0);
    assert_eq!(metric(&gateway, "sluicegate_ratelimit_redis_up"), 0.0);
    // Empty as it is now, it lets ten pass again.
    redis.start_again();
    eventually("it is back", || redis_health(&gateway).0 == "healthy");
    gateway.err.wait("is back");
    assert_eq!(left(&gateway.get("/")), 9);
    assert_eq!(metric(&gateway, "sluicegate_ratelimit_redis_up"), 1.0);
}

#[test]
fn without_fault_tolerance_a_dead_redis_is_an_error() {
    let upstream = Upstream::saying("hello");
    let mut redis = Redis::start(&[]);
    let config = format!("{{year: 10, fault_tolerant: false, {}}}", shared(&redis));
    let gateway = limited(&upstream, &config).start();
    assert_eq!(gateway.get("/").status, 200);
    redis.kill();
    for _ in 0..6 {
        let response = gateway.get("/");
        assert_eq!(
            (response.status, response.message().as_str()),
            (500, "An unexpected error occurred")
        );
        assert_eq!(response.header("RateLimit-Limit"), None);
    }
    redis.start_again();
    eventually("it is back", || gateway.get("/").status == 200);
}

#[test]
fn a_hanging_redis_delays_the_first_requests_only() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    let config = format!(
        "{{year: 1000, policy: redis, redis: {{host: 127.0.0.1, port: {}}}}}",
        redis.port()
    );
    let gateway = limited(&upstream, &config).start();
    eventually("it answers", || {
        metric(
            &gateway,
            "sluicegate_ratelimit_redis_calls_total{result=\"ok\"",
        ) >= 0.0
            && gateway.get("/").status == 200
    });
    redis.hang();
    let slow = (0..10)
        .filter(|_| {
            let begin = Instant::now();
            let response = gateway.get("/");
            assert_eq!((response.status, rates(&response)[0]), (200, "1000"));
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(2), "{took:?}");
            took > Duration::from_millis(150)
        })
        .count();
    // Three failures open the circuit; the probe may be faster.
    assert!((1..=4).contains(&slow), "{slow}");
    let (status, message) = redis_health(&gateway);
    assert_eq!(status, "degraded");
    assert!(message.contains("no answer within 200 ms"), "{message}");
    redis.go_on();
    eventually("it is back", || redis_health(&gateway).0 == "healthy");
    let before = redis.calls("evalsha");
    assert_eq!(gateway.get("/").status, 200);
    assert!(redis.calls("evalsha") > before);
}

#[test]
fn nobody_there_at_start_is_no_reason_not_to_start() {
    let upstream = Upstream::saying("hello");
    let config = format!(
        "{{year: 3, policy: redis, redis: {{host: 127.0.0.1, port: {}}}}}",
        free_port()
    );
    let gateway = limited(&upstream, &config).start();
    eventually("it is known to be away", || {
        redis_health(&gateway).0 == "degraded"
    });
    for left in ["2", "1", "0"] {
        assert_eq!(rates(&gateway.get("/"))[1], left);
    }
    assert_eq!(gateway.get("/").status, 429);
}

#[test]
fn passwords_databases_and_tls_are_spoken() {
    let upstream = Upstream::saying("hello");
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pair = authority.issue(&["redis.test"]);
    let (ca, cert, key) = (
        file("ca.pem", &authority.pem()),
        file("cert.pem", &pair.cert),
        file("key.pem", &pair.key),
    );
    let port = free_port();
    let redis = Redis::start(&[
        "--requirepass",
        "s3cret",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let start = |more: &str| {
        let config = format!(
            "{{year: 100, policy: redis, redis: {{host: 127.0.0.1, port: {port}, timeout: 5000, \
             password: s3cret, database: 5, ssl: true, {more}}}}}"
        );
        limited(&upstream, &config)
            .env("SSL_CERT_FILE", &ca)
            .start()
    };
    for (more, left) in [
        ("ssl_verify: false", "99"),
        ("ssl_verify: true, server_name: redis.test", "98"),
    ] {
        let gateway = start(more);
        assert_eq!(rates(&gateway.get("/"))[1], left, "{more}");
        assert_eq!(redis_health(&gateway).0, "healthy");
        let config = gateway.ask("/config").text();
        assert!(!config.contains("s3cret"), "{config}");
    }
    // Its certificate is not for an address.
    let gateway = start("ssl_verify: true");
    assert_eq!(rates(&gateway.get("/"))[1], "99");
    eventually("it is not trusted", || {
        redis_health(&gateway).1.contains("certificate")
    });
    let size = redis.ask_all(&["AUTH s3cret", "SELECT 5", "DBSIZE"]);
    assert_eq!(size[2], "1");
}

#[test]
fn a_cluster_counts_as_one_server_does() {
    let upstream = Upstream::saying("hello");
    let servers = Cluster::start();
    let nodes: Vec<String> = servers
        .0
        .iter()
        .map(|of| format!("'127.0.0.1:{}'", of.port()))
        .collect();
    let config = format!(
        "{{hour: 5, year: 30, limit_by: header, header_name: x-key, policy: redis, \
         redis: {{cluster_nodes: [{}], timeout: 5000}}}}",
        nodes.join(", ")
    );
    let gateways: Vec<Gateway> = (0..2)
        .map(|_| limited(&upstream, &config).start())
        .collect();
    within_one(3_600, || {
        for server in &servers.0 {
            server.ask("FLUSHALL");
        }
        for key in 0..12 {
            let request = Request::get("/").header("X-Key", &format!("k{key}"));
            for nth in 0..7 {
                let response = gateways[nth % 2].send(request.clone());
                assert_eq!(response.status == 200, nth < 5, "{key} {nth} {response:?}");
            }
        }
    });
    let sizes: Vec<u64> = servers
        .0
        .iter()
        .map(|of| of.ask("DBSIZE").parse().unwrap())
        .collect();
    assert!(sizes.iter().all(|size| *size > 0), "{sizes:?}");
    assert_eq!(
        redis_health(&gateways[0]),
        ("healthy".to_owned(), "3 servers".to_owned())
    );
    let fallbacks = metric(&gateways[0], "sluicegate_ratelimit_fallbacks_total");
    assert_eq!(fallbacks, 0.0);
}

#[test]
fn counts_are_exchanged_every_now_and_then() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    for shape in ["fixed", "sliding"] {
        let config = format!(
            "{{year: 20, window_type: {shape}, sync_rate: 0.05, {}}}",
            shared(&redis)
        );
        let gateways: Vec<Gateway> = (0..2)
            .map(|_| limited(&upstream, &config).start())
            .collect();
        let left = |of: &Gateway| {
            let response = of.get("/");
            (response.status, rates(&response)[1].parse::<u64>().unwrap())
        };
        for n in (15..20).rev() {
            assert_eq!(left(&gateways[0]), (200, n), "{shape}");
        }
        // The other one hears of it, after its own first request.
        assert_eq!(left(&gateways[1]), (200, 19));
        eventually("both know what both have counted", || {
            left(&gateways[1]).1 <= 12
        });
        eventually("no more passes here", || left(&gateways[0]).0 == 429);
        eventually("no more passes there", || left(&gateways[1]).0 == 429);
        eventually("all of it is on the server", || {
            let keys = redis.ask("KEYS *");
            let total: u64 = keys
                .split(' ')
                .filter_map(|key| redis.ask(&format!("GET {key}")).parse::<u64>().ok())
                .sum();
            (20..=40).contains(&total)
        });
        redis.ask("FLUSHALL");
    }
}

#[test]
fn the_end_of_the_process_exchanges_what_is_left() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    let config = format!("{{year: 20, sync_rate: 600, {}}}", shared(&redis));
    let mut gateway = limited(&upstream, &config).start();
    for left in ["19", "18", "17"] {
        assert_eq!(rates(&gateway.get("/"))[1], left);
    }
    assert_eq!(redis.ask("DBSIZE"), "0");
    assert_eq!(gateway.stop(), Some(0));
    let key = redis.ask("KEYS *");
    assert_eq!(redis.ask(&format!("GET {key}")), "3", "{key}");
}

#[test]
fn counters_outlive_a_reload() {
    let upstream = Upstream::saying("hello");
    let redis = Redis::start(&[]);
    for policy in policies(&redis) {
        let config = format!("{{year: 3, {policy}}}");
        let gateway = limited(&upstream, &config).start();
        for left in ["2", "1"] {
            assert_eq!(rates(&gateway.get("/"))[1], left, "{policy}");
        }
        let text = std::fs::read_to_string(gateway.file()).unwrap();
        std::fs::write(gateway.file(), text.replace("year: 3", "year: 4")).unwrap();
        gateway.signal(Signal::HUP);
        eventually("the new limit is live", || {
            let config = gateway.ask("/config").text();
            config.contains("year: 4") || config.contains("\"year\":4")
        });
        let response = gateway.get("/");
        assert_eq!(rates(&response)[..2], ["4", "1"], "{policy}");
        redis.ask("FLUSHALL");
    }
}

/// One limit for whatever a client speaks, told in its own way.
#[tokio::test]
async fn every_protocol_has_the_same_limits_and_records() {
    let (upstream, server) = (Upstream::saying("hello"), Server::start(None));
    let config = "
services:
- {name: web, url: 'http://<up>', routes: [{paths: [/web]}]}
- {name: rpc, url: 'grpc://<rpc>', routes: [{paths: [/test.Echo], protocols: [grpc]}]}
plugins:
- {name: rate-limiting, config: {year: 4}}
- {name: bot-detection, config: {deny: [crawler]}}
- {name: ip-restriction, config: {deny: [192.0.2.0/24]}}
- {name: file-log, config: {path: <log>}}";
    let setup = gateway(config).fill("up", &upstream).fill("rpc", &server);
    let log = setup.path("log.json");
    let gateway = setup.fill("log", log.display()).start();
    assert_eq!(
        gateway.get("/web").header("X-RateLimit-Remaining-Year"),
        Some("3")
    );
    let mut browser = connect::<Whole>(gateway.proxy()).await;
    let mut crawling = request("GET", "/web", "");
    crawling
        .headers_mut()
        .insert("user-agent", "crawler/1".parse().unwrap());
    let (head, _) = whole(browser.send_request(crawling).await.unwrap()).await;
    assert_eq!(head.status, 403);
    let mut caller = connect::<Fed>(gateway.proxy()).await;
    let mut crawling = unary("/test.Echo/Unary", b"x");
    crawling
        .headers_mut()
        .insert("user-agent", "crawler/1".parse().unwrap());
    let answer = caller.send_request(crawling).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    let (head, _) = whole(
        browser
            .send_request(request("GET", "/web", ""))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(head.headers["x-ratelimit-remaining-year"], "2");
    let mut answer = caller
        .send_request(unary("/test.Echo/Unary", b"x"))
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-ratelimit-remaining-year"], "1");
    let (_, trailers) = Messages::default().all(answer.body_mut()).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(gateway.get("/web").header("RateLimit-Remaining"), Some("0"));
    let (head, body) = whole(
        browser
            .send_request(request("GET", "/web", ""))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(head.status, 429);
    assert_eq!(body, r#"{"message":"API rate limit exceeded"}"#);
    let answer = caller
        .send_request(unary("/test.Echo/Unary", b"x"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["grpc-status"], "8");
    assert_eq!(answer.headers()["grpc-message"], "API rate limit exceeded");
    let records = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("every exchange is recorded", || {
        records().lines().count() == 8
    });
    assert_eq!(records().matches("\"uri\":\"/test.Echo/Unary\"").count(), 3);
}
