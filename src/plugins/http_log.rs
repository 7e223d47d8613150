//! # http-log
//!
//! Sends a log record to an HTTP server for each request: the same record as
//! [file-log](file-log.md).
//!
//! With `queue.max_batch_size: 1` the body is one record, else a JSON array of up to so many. Any
//! status below 300 is success; anything else, and any failure of the connection, is tried again
//! after `queue.initial_retry_delay` seconds, then after pauses that double, until
//! `queue.max_retry_time` is over and the batch is dropped. A receiver may so see a record twice.
//!
//! Requests never wait for the receiver: records queue up, and beyond `queue.max_entries` or
//! `queue.max_bytes` the oldest are dropped. What is dropped is counted in
//! `sluicegate_log_lines_dropped_total` by the URL (without user and query) and the reason,
//! `queue_full` or `delivery_failed`. The queue outlives reloads unless the configuration changes;
//! when the gateway stops, it has two seconds to empty itself.
//!
//! User and password in the URL become Basic authentication. As in Kong the receiver's certificate
//! is not verified; `ssl_verify` (not in Kong) changes that. Redirects are not followed.

use std::sync::Arc;

use super::logs;
use crate::config::known::KnownPlugin;
use crate::config::schema::{
    Kind, Literal, Record as Fieldset, Rule, boolean, checked, field, integer, map_with_keys,
    one_of, record, texts,
};
use crate::config::{Fields, Parsed, Report};
use crate::plugin::{Build, Phases, Plugin, PluginDef, instance};
use crate::remote::ship::{Destination, HttpDestination, Queueing, is_http_url};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "http-log",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 12,
    phases: Phases::LOG,
    credentials: None,
    anonymous: None,
    build,
};

const VALUE: Kind = checked("header value", texts::header_value);

static CONFIG: Fieldset = Fieldset::new(&[
    field("http_endpoint", checked("URL", endpoint))
        .required()
        .secret()
        .doc("Where to send records."),
    field("method", one_of(&["POST", "PUT", "PATCH"]))
        .default(Literal::Str("POST"))
        .doc("Method of the request."),
    field(
        "content_type",
        one_of(&["application/json", "application/json; charset=utf-8"]),
    )
    .default(Literal::Str("application/json"))
    .doc("Content type of the request."),
    field("timeout", integer().between(1, 2_147_483_646))
        .default(Literal::Int(10_000))
        .doc("Milliseconds for one attempt."),
    field("keepalive", integer().between(0, 2_147_483_646))
        .default(Literal::Int(60_000))
        .doc("Milliseconds that an idle connection is kept."),
    field("headers", map_with_keys("header name", header, &VALUE))
        .secret()
        .doc("Further header fields of the request."),
    field("ssl_verify", boolean())
        .default(Literal::Bool(false))
        .doc("Verify the receiver's certificate."),
    field("queue", record(&logs::QUEUE))
        .required()
        .flat(&[
            ("queue_size", "max_batch_size"),
            ("flush_timeout", "max_coalescing_delay"),
        ])
        .doc("How records wait."),
    field("retry_count", integer())
        .note("has no effect: queue.max_retry_time says for how long is tried again")
        .doc("Without effect, as in Kong."),
    logs::LUA,
])
.rules(&[Rule::Check(logs::no_lua)]);

fn endpoint(text: &str) -> Result<(), String> {
    texts::url(text)?;
    match is_http_url(text) {
        true => Ok(()),
        false => Err("expected an http or https URL".to_owned()),
    }
}

/// Header fields that are not the file's to set.
fn header(name: &str) -> Result<(), String> {
    texts::header_name(name)?;
    const OURS: [&str; 6] = [
        "host",
        "content-length",
        "content-type",
        "user-agent",
        "transfer-encoding",
        "connection",
    ];
    match OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        true => Err(format!("cannot contain '{name}' header")),
        false => Ok(()),
    }
}

#[derive(Clone, Debug)]
struct Config {
    to: Destination,
    queue: Queueing,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let queue = fields.record("queue").map(logs::queueing)?;
    Some(Parsed::new(Config {
        to: Destination::Http(HttpDestination {
            url: fields.string("http_endpoint"),
            method: fields.string("method"),
            content_type: fields.string("content_type"),
            headers: fields.string_map("headers"),
            array: queue.batch > 1,
            timeout: fields.millis("timeout"),
            keepalive: fields.millis("keepalive"),
            verify: fields.bool("ssl_verify"),
        }),
        queue,
    }))
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        logs::shipping(build, &config.to, &config.queue)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plugin::testkit::{config_issues, read};

    fn config(config: &str) -> Config {
        let yaml = format!("plugins:\n- name: http-log\n  config: {config}\n");
        let (model, report) = read(&[&PLUGIN], &yaml);
        let model = model.unwrap_or_else(|| panic!("{}", report.to_text()));
        model.plugins[0].config.get::<Config>().unwrap().clone()
    }

    #[test]
    fn defaults_are_kongs() {
        let config = config("{http_endpoint: 'http://a/b'}");
        assert_eq!(config.queue, Queueing::default());
        let Destination::Http(to) = config.to else {
            panic!("another destination")
        };
        assert_eq!((to.method.as_str(), to.array), ("POST", false));
        assert_eq!(to.content_type, "application/json");
        assert_eq!(to.timeout, Duration::from_secs(10));
        assert_eq!(to.keepalive, Duration::from_secs(60));
        assert!(!to.verify);
    }

    #[test]
    fn older_names_still_mean_something() {
        let old = "{http_endpoint: 'http://a', queue_size: 5, flush_timeout: 0.5, retry_count: 3}";
        let config = config(old);
        assert_eq!(config.queue.batch, 5);
        assert_eq!(config.queue.coalesce, Duration::from_millis(500));
        let issues = config_issues(&PLUGIN, old);
        let warnings = issues.iter().filter(|line| line.contains("warning"));
        assert_eq!(warnings.count(), 3, "{issues:?}");
    }

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{}",
                "f:3:11: error: plugins[0].config.http_endpoint: required field missing",
            ),
            (
                "{http_endpoint: 'ftp://a'}",
                "f:3:27: error: plugins[0].config.http_endpoint: invalid value",
            ),
            (
                "{http_endpoint: a}",
                "f:3:27: error: plugins[0].config.http_endpoint: invalid value",
            ),
            (
                "{http_endpoint: 'http://a', method: GET}",
                "f:3:47: error: plugins[0].config.method: expected one of: POST, PUT, PATCH",
            ),
            (
                "{http_endpoint: 'http://a', timeout: 0}",
                "f:3:48: error: plugins[0].config.timeout: value should be between 1 and 2147483646",
            ),
            (
                "{http_endpoint: 'http://a', content_type: text/plain}",
                "f:3:53: error: plugins[0].config.content_type: expected one of: application/json, application/json; charset=utf-8",
            ),
            (
                "{http_endpoint: 'http://a', queue: {max_batch_size: 0}}",
                "f:3:63: error: plugins[0].config.queue.max_batch_size: value should be between 1 and 1000000",
            ),
            (
                "{http_endpoint: 'http://a', queue: {initial_retry_delay: 0}}",
                "f:3:68: error: plugins[0].config.queue.initial_retry_delay: value should be between 0.001 and 1000000",
            ),
            (
                "{http_endpoint: 'http://a', queue: {concurrency_limit: 2}}",
                "f:3:66: error: plugins[0].config.queue.concurrency_limit: expected one of: 1, -1",
            ),
            (
                "{http_endpoint: 'http://a', custom_fields_by_lua: {a: b}}",
                "f:3:61: error: plugins[0].config.custom_fields_by_lua: not supported: there is no Lua here",
            ),
        ] {
            let issues = config_issues(&PLUGIN, config);
            assert_eq!(issues.first().map(String::as_str), Some(want), "{config}");
        }
        for header in ["Host", "content-length", "User-Agent"] {
            let config = format!("{{http_endpoint: 'http://a', headers: {{{header}: x}}}}");
            let issues = config_issues(&PLUGIN, &config);
            assert!(
                issues[0].contains("error: plugins[0].config.headers"),
                "{issues:?}"
            );
        }
    }
}
