//! Limits as clients meet them, on a clock that stands still.

use std::net::IpAddr;

use super::*;
use crate::plugin::testkit::{Answer, Kit, config_issues};
use crate::plugins::key_auth;
use crate::util::keep::Keeps;

/// 2024-02-29 22:14:10 UTC.
const AT: u64 = 1_709_244_850;
const GET: &str = "GET / HTTP/1.1";

fn at(seconds: u64) {
    clock::set_wall(seconds * 1000);
}

fn kit(config: &str) -> Kit {
    at(AT);
    Kit::of(&PLUGIN, config)
}

/// Sends that many requests; the last answer.
fn send(kit: &Kit, count: usize) -> Answer {
    let answers: Vec<Answer> = (0..count).map(|_| kit.send(GET)).collect();
    answers.into_iter().next_back().unwrap()
}

fn rates(answer: &Answer) -> [&str; 3] {
    ["RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset"]
        .map(|name| answer.header(name).unwrap_or("-"))
}

#[test]
fn five_a_minute_lets_five_through() {
    let kit = kit("{minute: 5}");
    let first = send(&kit, 1);
    assert!(first.passed());
    assert_eq!(
        first.lines(),
        [
            "X-RateLimit-Limit-Minute: 5",
            "X-RateLimit-Remaining-Minute: 4",
            "RateLimit-Limit: 5",
            "RateLimit-Remaining: 4",
            "RateLimit-Reset: 50",
        ]
    );
    let fifth = send(&kit, 4);
    assert!(fifth.passed());
    assert_eq!(rates(&fifth), ["5", "0", "50"]);
    let sixth = send(&kit, 1);
    assert!(!sixth.passed());
    assert_eq!(
        (sixth.status, sixth.body.as_str()),
        (429, r#"{"message":"API rate limit exceeded"}"#)
    );
    assert_eq!(
        sixth.lines(),
        [
            "Content-Type: application/json; charset=utf-8",
            "X-RateLimit-Limit-Minute: 5",
            "X-RateLimit-Remaining-Minute: 0",
            "RateLimit-Limit: 5",
            "RateLimit-Remaining: 0",
            "RateLimit-Reset: 50",
            "Retry-After: 50",
        ]
    );
    at(AT + 49);
    assert!(!send(&kit, 1).passed());
    at(AT + 50);
    assert_eq!(rates(&send(&kit, 1)), ["5", "4", "60"]);
}

/// What the next request is told at 22:14:10, when so many had passed in the minutes before and so
/// many in this one. They passed under higher limits, before a reload.
fn told(config: &str, before: usize, in_this: usize) -> Answer {
    let keeps = Keeps::default();
    let load = |config: &str| {
        let yaml = format!("plugins: [{{name: rate-limiting, config: {config}}}]");
        Kit::adopting(&[&PLUGIN], &yaml, &keeps)
    };
    let wide = load(if config.contains("hour") {
        "{minute: 999, hour: 999}"
    } else {
        "{minute: 999}"
    });
    for (moment, count) in [(AT - 60, before), (AT - 5, in_this)] {
        at(moment);
        (0..count).for_each(|_| assert!(wide.send(GET).passed()));
    }
    at(AT);
    load(config).send(GET)
}

#[test]
fn the_period_with_the_fewest_remaining_is_told() {
    for (config, before, in_this, status, want) in [
        ("{minute: 5}", 0, 0, 200, ["5", "4", "50"]),
        ("{minute: 5}", 0, 4, 200, ["5", "0", "50"]),
        ("{minute: 5}", 0, 5, 429, ["5", "0", "50"]),
        ("{minute: 5, hour: 100}", 96, 2, 200, ["100", "1", "2750"]),
        ("{minute: 5, hour: 5}", 0, 2, 200, ["5", "2", "2750"]),
        ("{minute: 5, hour: 100}", 45, 5, 429, ["5", "0", "50"]),
        ("{minute: 5, hour: 5}", 5, 0, 429, ["5", "0", "2750"]),
        // A limit that was lowered below what is used up leaves nothing, not less.
        ("{minute: 5}", 0, 9, 429, ["5", "0", "50"]),
    ] {
        let answer = told(config, before, in_this);
        assert_eq!(
            (answer.status, rates(&answer)),
            (status, want),
            "{config} {before} {in_this}"
        );
        assert_eq!(
            answer.header("Retry-After"),
            (status == 429).then_some(want[2])
        );
    }
    let exhausted = told("{minute: 5, hour: 100}", 45, 5);
    assert_eq!(exhausted.header("X-RateLimit-Remaining-Hour"), Some("50"));
    let months = kit("{month: 9, year: 9}").send(GET);
    assert_eq!(rates(&months), ["9", "8", "26358350"]);
}

#[test]
fn an_exhausted_period_leaves_the_others_alone() {
    let kit = kit("{second: 50, hour: 100}");
    send(&kit, 50);
    let refused = send(&kit, 1);
    assert_eq!(refused.status, 429);
    assert_eq!(rates(&refused), ["50", "0", "1"]);
    assert_eq!(refused.header("X-RateLimit-Remaining-Hour"), Some("50"));
    at(AT + 1);
    assert_eq!(
        send(&kit, 1).header("X-RateLimit-Remaining-Hour"),
        Some("49")
    );
}

#[test]
fn refusals_may_say_something_else_or_nothing() {
    let kit = kit("{minute: 1, error_code: 420, error_message: calm, hide_client_headers: true}");
    assert_eq!(send(&kit, 1).lines(), [""; 0]);
    let refused = send(&kit, 1);
    assert_eq!(
        (refused.status, refused.body.as_str()),
        (420, r#"{"message":"calm"}"#)
    );
    assert_eq!(
        refused.lines(),
        ["Content-Type: application/json; charset=utf-8"]
    );
}

#[test]
fn an_upstreams_own_fields_give_way() {
    let mut kit = kit("{minute: 5}");
    kit.upstream = "200\nRateLimit-Limit: 1000".to_owned();
    assert_eq!(rates(&send(&kit, 1))[0], "5");
}

#[test]
fn clients_are_told_apart_by_what_is_counted() {
    let one: IpAddr = [10, 0, 0, 1].into();
    let two: IpAddr = [10, 0, 0, 2].into();
    let v6: IpAddr = "::1".parse().unwrap();
    for (config, first, second, same) in [
        ("limit_by: ip", (one, GET), (two, GET), false),
        (
            "limit_by: ip",
            (one, GET),
            (one, "GET /other HTTP/1.1"),
            true,
        ),
        ("limit_by: ip", (one, GET), (v6, GET), false),
        // Nobody has proved who he is.
        ("limit_by: consumer", (one, GET), (two, GET), false),
        ("limit_by: credential", (one, GET), (two, GET), false),
        ("limit_by: service", (one, GET), (two, GET), true),
        (
            "limit_by: header, header_name: X-K",
            (one, "GET / HTTP/1.1\nX-K: a"),
            (two, "GET / HTTP/1.1\nx-k: a"),
            true,
        ),
        (
            "limit_by: header, header_name: X-K",
            (one, "GET / HTTP/1.1\nX-K: a"),
            (one, "GET / HTTP/1.1\nX-K: b"),
            false,
        ),
        (
            "limit_by: header, header_name: X-K",
            (one, GET),
            (two, GET),
            false,
        ),
        (
            "limit_by: header, header_name: X-K",
            (one, GET),
            (two, "GET / HTTP/1.1\nX-K: 10.0.0.1"),
            false,
        ),
        (
            "limit_by: path, path: /a",
            (one, "GET /a HTTP/1.1"),
            (two, "GET /a?x HTTP/1.1"),
            true,
        ),
        (
            "limit_by: path, path: /a",
            (one, "GET /b HTTP/1.1"),
            (two, "GET /b HTTP/1.1"),
            false,
        ),
        (
            "limit_by: path, path: /a",
            (one, "GET /b HTTP/1.1"),
            (one, "GET /c HTTP/1.1"),
            true,
        ),
    ] {
        let kit = kit(&format!("{{minute: 1, {config}}}"));
        assert!(kit.send_from(first.0, first.1).passed());
        assert_eq!(
            !kit.send_from(second.0, second.1).passed(),
            same,
            "{config} {}",
            second.1
        );
    }
}

#[test]
fn consumers_and_credentials_have_counters_of_their_own() {
    let file = |config: &str| {
        format!(
            "consumers:
- username: alice
  keyauth_credentials: [{{key: a1}}, {{key: a2}}]
- username: bob
  keyauth_credentials: [{{key: b1}}]
plugins:
- {{name: key-auth, config: {{}}}}
- {{name: rate-limiting, config: {config}}}
- {{name: rate-limiting, consumer: bob, config: {{minute: 2}}}}
"
        )
    };
    at(AT);
    let passes = |kit: &Kit, key: &str| kit.send(&format!("GET /?apikey={key} HTTP/1.1")).passed();
    let kit = Kit::new(&[&key_auth::PLUGIN, &PLUGIN], &file("{minute: 1}"));
    assert!(passes(&kit, "a1") && !passes(&kit, "a2"));
    assert!(passes(&kit, "b1") && passes(&kit, "b1") && !passes(&kit, "b1"));
    let kit = Kit::new(
        &[&key_auth::PLUGIN, &PLUGIN],
        &file("{minute: 1, limit_by: credential}"),
    );
    assert!(passes(&kit, "a1") && passes(&kit, "a2") && !passes(&kit, "a1"));
    // Who is refused by authentication is not counted.
    assert!(!passes(&kit, "wrong"));
    assert!(!passes(&kit, "a2"));
}

#[test]
fn counters_outlive_a_reload() {
    at(AT);
    let keeps = Keeps::default();
    let load = |config: &str| {
        let yaml = format!("plugins: [{{name: rate-limiting, config: {config}}}]");
        Kit::adopting(&[&PLUGIN], &yaml, &keeps)
    };
    let old = load("{minute: 3}");
    send(&old, 3);
    // A changed limit keeps the count, and so do fields that have nothing to do with it.
    let new = load("{minute: 4, error_code: 430}");
    assert_eq!(rates(&send(&new, 1)), ["4", "0", "50"]);
    assert_eq!(send(&new, 1).status, 430);
    assert!(!send(&load("{minute: 3}"), 1).passed());
    // Other periods or other clients begin anew.
    assert!(send(&load("{minute: 3, hour: 9}"), 1).passed());
    assert!(send(&load("{minute: 3, limit_by: ip}"), 1).passed());
    drop((old, new));
    assert!(send(&load("{minute: 3}"), 1).passed());
}

#[test]
fn windows_and_buckets_tell_what_they_mean() {
    let sliding = kit("{minute: 4, window_type: sliding}");
    assert_eq!(rates(&send(&sliding, 1)), ["4", "3", "1"]);
    assert_eq!(rates(&send(&sliding, 3))[..2], ["4", "0"]);
    // 50 s of this window, then a quarter of the next.
    let refused = send(&sliding, 1);
    assert_eq!((refused.status, rates(&refused)), (429, ["4", "0", "65"]));
    assert_eq!(refused.header("Retry-After"), Some("65"));
    assert_eq!(refused.header("X-RateLimit-Limit-Minute"), Some("4"));
    let bucket = kit("{hour: 4, window_type: token-bucket}");
    assert_eq!(rates(&send(&bucket, 1)), ["4", "3", "1"]);
    assert_eq!(rates(&send(&bucket, 3)), ["4", "0", "900"]);
    let refused = send(&bucket, 1);
    assert_eq!((refused.status, rates(&refused)), (429, ["4", "0", "900"]));
    assert_eq!(refused.header("X-RateLimit-Remaining-Hour"), Some("0"));
}

#[test]
fn without_its_store_an_instance_counts_here_or_gives_up() {
    // Nothing is connected in these tests.
    let redis = "policy: redis, redis: {host: redis.test}";
    let tolerant = kit(&format!("{{minute: 2, {redis}}}"));
    assert_eq!(rates(&send(&tolerant, 1)), ["2", "1", "50"]);
    assert_eq!(send(&tolerant, 2).status, 429);
    let strict = kit(&format!("{{minute: 2, fault_tolerant: false, {redis}}}"));
    let failed = send(&strict, 1);
    assert_eq!(
        (failed.status, failed.body.as_str()),
        (500, r#"{"message":"An unexpected error occurred"}"#)
    );
    assert_eq!(failed.header("RateLimit-Limit"), None);
    // Who exchanges counts later needs nobody now.
    let synced = kit(&format!(
        "{{minute: 2, sync_rate: 1, fault_tolerant: false, {redis}}}"
    ));
    assert_eq!(rates(&send(&synced, 2)), ["2", "0", "50"]);
    assert_eq!(send(&synced, 1).status, 429);
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{}",
            "f:3:11: error: plugins[0].config: at least one of these fields must be non-empty: 'second', 'minute', 'hour', 'day', 'month', 'year'",
        ),
        (
            "{minute: 0}",
            "f:3:20: error: plugins[0].config.minute: value must be greater than 0",
        ),
        (
            "{minute: -1}",
            "f:3:20: error: plugins[0].config.minute: value must be greater than 0",
        ),
        (
            "{minute: '5'}",
            "f:3:20: error: plugins[0].config.minute: expected an integer, got \"5\"",
        ),
        (
            "{minute: 1.5}",
            "f:3:20: error: plugins[0].config.minute: expected an integer, got 1.5",
        ),
        (
            "{minute: 9, hour: 8}",
            "f:3:29: error: plugins[0].config.hour: The limit for hour(8) cannot be lower than the limit for minute(9)",
        ),
        (
            "{second: 9, year: 8}",
            "f:3:29: error: plugins[0].config.year: The limit for year(8) cannot be lower than the limit for second(9)",
        ),
        (
            "{minute: 1, limit_by: cookie}",
            "f:3:33: error: plugins[0].config.limit_by: expected one of: consumer, credential, ip, service, header, path",
        ),
        (
            "{minute: 1, header_name: 'a b'}",
            "f:3:36: error: plugins[0].config.header_name: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
        ),
        (
            "{minute: 1, policy: memory}",
            "f:3:31: error: plugins[0].config.policy: expected one of: local, cluster, redis",
        ),
        (
            "{minute: 1, policy: redis}",
            "f:3:11: error: plugins[0].config.redis: required field missing: host",
        ),
        (
            "{minute: 1, policy: redis, redis: {host: h, cluster_nodes: ['a:1']}}",
            "f:3:70: error: plugins[0].config.redis.cluster_nodes: only one of host and cluster_nodes may be set",
        ),
        (
            "{minute: 1, policy: redis, redis: {cluster_nodes: [a]}}",
            "f:3:62: error: plugins[0].config.redis.cluster_nodes[0]: expected host:port, got a",
        ),
        (
            "{minute: 1, policy: redis, redis: {cluster_nodes: ['a:1'], database: 2}}",
            "f:3:80: error: plugins[0].config.redis.database: a cluster has database 0 only",
        ),
        (
            "{minute: 1, policy: redis, redis: {host: h, username: u}}",
            "f:3:65: error: plugins[0].config.redis.username: a username needs a password",
        ),
        (
            "{minute: 1, policy: redis, redis: {host: h, timeout: 0}}",
            "f:3:64: error: plugins[0].config.redis.timeout: value should be between 1 and 2147483646",
        ),
        (
            "{minute: 1, policy: redis, redis: {host: h, ssl_verify: true}}",
            "f:3:67: warning: plugins[0].config.redis.ssl_verify: has no effect without ssl: true",
        ),
        (
            "{minute: 1, policy: cluster}",
            "f:3:31: error: plugins[0].config.policy: not supported: cluster: there is no database to count in",
        ),
        (
            "{minute: 1, hour: 2, window_type: token-bucket}",
            "f:3:45: error: plugins[0].config.window_type: token-bucket takes exactly one period",
        ),
        (
            "{second: 1000001, window_type: token-bucket}",
            "f:3:20: error: plugins[0].config.second: a bucket holds at most 1000000 tokens",
        ),
        (
            "{minute: 1, sync_rate: 0.01}",
            "f:3:34: error: plugins[0].config.sync_rate: Config option sync_rate must not be a value between 0 and 0.02, nor more than a day",
        ),
        (
            "{minute: 1, sync_rate: 1}",
            "f:3:34: error: plugins[0].config.sync_rate: sync_rate can only be used with the redis policy",
        ),
        (
            "{minute: 1, sync_rate: 1, policy: redis, redis: {host: h}, window_type: token-bucket}",
            "f:3:34: error: plugins[0].config.sync_rate: not supported: tokens are given out one by one, not every now and then",
        ),
        (
            "{minute: 1, error_code: 42}",
            "f:3:35: error: plugins[0].config.error_code: value should be between 200 and 999",
        ),
        (
            "{minute: 1, error_message: ''}",
            "f:3:38: error: plugins[0].config.error_message: length must be at least 1",
        ),
        (
            "{minute: 1, hide_client_headers: 1}",
            "f:3:44: error: plugins[0].config.hide_client_headers: expected a boolean, got 1",
        ),
        (
            "{minute: 1, fault_tolerant: x}",
            "f:3:39: error: plugins[0].config.fault_tolerant: expected a boolean, got \"x\"",
        ),
        (
            "{minute: 1, redis: {port: 99999}}",
            "f:3:37: error: plugins[0].config.redis.port: value should be between 0 and 65535",
        ),
        (
            "{minute: 1, redis: {host: 'a b'}}",
            "f:3:37: error: plugins[0].config.redis.host: invalid value: a b",
        ),
        (
            "{minute: 1, minutes: 5}",
            "f:3:23: error: plugins[0].config.minutes: unknown field",
        ),
        (
            "{minute: 1, redis: {host: h}}",
            "f:3:30: warning: plugins[0].config.redis: has no effect with policy: local",
        ),
        (
            "{minute: 1, path: /a}",
            "f:3:29: warning: plugins[0].config.path: has no effect with this limit_by",
        ),
    ] {
        assert_eq!(config_issues(&PLUGIN, config)[0], want);
    }
    for fine in [
        "{minute: 1, window_type: sliding, hour: 5}",
        "{minute: 1, window_type: token-bucket}",
        "{minute: 1, policy: redis, redis: {host: h, password: p, username: u, ssl: true, ssl_verify: true, server_name: n, database: 3}}",
        "{minute: 1, policy: redis, sync_rate: 0.02, redis: {cluster_nodes: ['a:1', '[::1]:2', {ip: 10.0.0.1}, {ip: b, port: 3}]}}",
    ] {
        assert_eq!(config_issues(&PLUGIN, fine), [""; 0], "{fine}");
    }
    let header = config_issues(&PLUGIN, "{minute: 1, limit_by: header}");
    assert!(header[0].contains("header_name"), "{header:?}");
    let path = config_issues(&PLUGIN, "{minute: 1, limit_by: path}");
    assert!(path[0].contains("path"), "{path:?}");
    let old = config_issues(&PLUGIN, "{minute: 1, redis_host: h}");
    assert!(old[1].contains("an older name of `redis.host`"), "{old:?}");
}
