//! What a file may say, and what outcomes mean. The rest is seen from outside, in the black-box
//! tests.

use super::config::Config;
use super::*;
use crate::message::ReplyBody;
use crate::plugin::testkit::{config_issues, issues, read};

fn config(text: &str) -> Config {
    let yaml = format!("plugins:\n- name: circuit-breaker\n  config: {text}\n");
    let (model, report) = read(&[&PLUGIN], &yaml);
    let model = model.unwrap_or_else(|| panic!("{}", report.to_text()));
    model.plugins[0].config.get::<Config>().unwrap().clone()
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = config("{}");
    let ms = |time: std::time::Duration| time.as_millis();
    assert_eq!(config.timeout.map(ms), Some(3_000));
    assert_eq!(config.breaker.percentage, 50.0);
    assert_eq!(config.breaker.volume, 10);
    assert_eq!(ms(config.breaker.window), 10_000);
    assert_eq!(ms(config.breaker.reset), 30_000);
    assert_eq!(ms(config.breaker.trial), 4_000);
    assert!(config.fallback.is_none());
    let statuses = (100..1000).filter(|status| config.failures.contains(*status));
    assert!(statuses.eq(500..=599));
}

#[test]
fn without_a_time_out_a_trial_has_half_a_minute() {
    let config = config("{timeout: 0}");
    assert_eq!(config.timeout, None);
    assert_eq!(config.breaker.trial.as_secs(), 30);
}

#[test]
fn outcomes_are_judged() {
    let config = config("{failure_statuses: [500-503, '429', 404]}");
    for (outcome, end) in [
        (Outcome::Status(200), End::Success),
        (Outcome::Status(101), End::Success),
        (Outcome::Status(400), End::Success),
        (Outcome::Status(404), End::Failure),
        (Outcome::Status(429), End::Failure),
        (Outcome::Status(500), End::Failure),
        (Outcome::Status(504), End::Success),
        (Outcome::Failed("connect"), End::Failure),
        (Outcome::Failed("no_peer"), End::Failure),
        (Outcome::Failed("deadline"), End::Failure),
        (Outcome::Failed("internal"), End::Unknown),
        (Outcome::Abandoned, End::Unknown),
        (Outcome::Grpc(0), End::Success),
        (Outcome::Grpc(2), End::Success),
        (Outcome::Grpc(4), End::Failure),
        (Outcome::Grpc(13), End::Failure),
        (Outcome::Grpc(14), End::Failure),
        (Outcome::Grpc(16), End::Success),
    ] {
        assert_eq!(config.judge(outcome), end, "{outcome:?}");
    }
    let config = self::config("{failure_statuses: []}");
    assert_eq!(config.judge(Outcome::Status(500)), End::Success);
}

fn fallback(text: &str) -> Reply {
    config(&format!("{{fallback: {text}}}")).fallback.unwrap()
}

#[test]
fn a_fallback_is_what_the_file_says() {
    let bare = fallback("{}");
    assert_eq!((bare.status, bare.body), (200, ReplyBody::Empty));
    let json = fallback("{status: 503, body: '[1]'}");
    assert_eq!((json.status, json.grpc_code()), (503, 14));
    let kind = |reply: &Reply| reply.content_type().map(str::to_owned);
    assert_eq!(kind(&json).unwrap(), "application/json; charset=utf-8");
    let text = fallback("{body: sorry}");
    assert_eq!(kind(&text).unwrap(), "text/plain; charset=utf-8");
    assert_eq!(text.render(""), "sorry");
    assert_eq!(text.grpc_code(), 14);
    let own = fallback("{headers: {content-type: text/html, X-A: b}, body: '<p>'}");
    assert_eq!(kind(&own).unwrap(), "text/html");
    assert_eq!(own.headers, [("X-A".into(), "b".into())]);
    assert_eq!(fallback("{status: 404}").grpc_code(), 5);
}

#[test]
fn wrong_values_are_refused_at_their_place() {
    for (config, want) in [
        (
            "{timeout: -1}",
            "f:3:21: error: plugins[0].config.timeout: value should be between 0 and 2147483646",
        ),
        (
            "{error_threshold_percentage: 101}",
            "f:3:40: error: plugins[0].config.error_threshold_percentage: value should be between 0 and 100",
        ),
        (
            "{reset_timeout: 0}",
            "f:3:27: error: plugins[0].config.reset_timeout: value should be between 1 and 2147483646",
        ),
        (
            "{rolling_window: 9}",
            "f:3:28: error: plugins[0].config.rolling_window: value should be between 10 and 86400000",
        ),
        (
            "{failure_statuses: [5xx]}",
            "f:3:31: error: plugins[0].config.failure_statuses[0]: bad status '5xx'",
        ),
        (
            "{failure_statuses: [99]}",
            "f:3:31: error: plugins[0].config.failure_statuses[0]: value should be between 100 and 999",
        ),
        (
            "{fallback: {status: 100}}",
            "f:3:31: error: plugins[0].config.fallback.status: value should be between 200 and 599",
        ),
        (
            "{fallback: {headers: {Content-Length: '3'}}}",
            "f:3:32: error: plugins[0].config.fallback.headers: Content-Length cannot be set",
        ),
        (
            "{fallback: {headers: {a: \"x\\ny\"}}}",
            "f:3:36: error: plugins[0].config.fallback.headers.a: bad header value: control characters cannot be sent",
        ),
        (
            "{fallback: {status: 204, body: x}}",
            "f:3:42: error: plugins[0].config.fallback.body: an answer with 204 has no body",
        ),
        (
            "{error_threshold_percentage: 100}",
            "f:3:40: warning: plugins[0].config.error_threshold_percentage: never opens: no more than all requests can fail",
        ),
        (
            "{resetTimeout: 5}",
            "f:3:12: error: plugins[0].config.resetTimeout: unknown field",
        ),
    ] {
        let issues = config_issues(&PLUGIN, config);
        assert_eq!(issues.first().map(String::as_str), Some(want), "{config}");
    }
    let consumer = "consumers:\n- username: a\n  plugins:\n  - name: circuit-breaker\n";
    let issues = issues(&[&PLUGIN], consumer);
    assert!(issues[0].contains("value must be null"), "{issues:?}");
}
