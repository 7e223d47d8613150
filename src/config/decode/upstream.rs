//! Upstreams: balancing, hashing, health checks, discovery.

use super::seconds;
use crate::config::model::*;
use crate::config::report::Report;
use crate::config::schema::Fields;

pub(super) fn decode(
    fields: &Fields<'_>,
    meta: Meta,
    client_certificate: Option<usize>,
) -> Upstream {
    let (algorithm, hashes) = algorithm(fields);
    let hash = |mode: &str, which: &str| {
        if hashes {
            hash_input(fields, fields.str(mode), which)
        } else {
            HashInput::None
        }
    };
    Upstream {
        name: fields.string("name"),
        algorithm,
        hash_on: hash("hash_on", "hash_on"),
        hash_fallback: hash("hash_fallback", "hash_fallback"),
        slots: fields.int("slots"),
        slow_start: seconds(fields, "slow_start"),
        host_header: fields.opt_string("host_header"),
        client_certificate,
        use_srv_name: fields.bool("use_srv_name"),
        healthchecks: fields
            .record("healthchecks")
            .map(healthchecks)
            .unwrap_or_default(),
        limits: fields.record("limits").map(limits),
        outliers: fields.record("outlier_detection").map(outliers),
        discovery: fields
            .record("discovery")
            .and_then(|f| f.record("consul"))
            .map(consul),
        targets: Vec::new(),
        meta,
    }
}

/// Kong's rules on `algorithm` and `hash_on`: a hash makes it consistent hashing, an explicit
/// `none` makes it round robin, but least-connections and latency win over any hash. The second
/// answer is whether the hash counts.
fn algorithm(fields: &Fields<'_>) -> (Algorithm, bool) {
    match fields.str("algorithm") {
        "least-connections" => (Algorithm::LeastConnections, false),
        "latency" => (Algorithm::Latency, false),
        _ if fields.str("hash_on") != "none" => (Algorithm::ConsistentHashing, true),
        _ if fields.is_written("hash_on") => (Algorithm::RoundRobin, false),
        "consistent-hashing" => (Algorithm::ConsistentHashing, true),
        _ => (Algorithm::RoundRobin, false),
    }
}

/// What one mode hashes; its parameters stand under `hash_on_*` or `hash_fallback_*`, those of
/// the cookie always under `hash_on_*`.
fn hash_input(fields: &Fields<'_>, mode: &str, which: &str) -> HashInput {
    let parameter = |name: &str| fields.string(&format!("{which}_{name}"));
    match mode {
        "consumer" => HashInput::Consumer,
        "ip" => HashInput::Ip,
        "path" => HashInput::Path,
        "header" => HashInput::Header(parameter("header")),
        "query_arg" => HashInput::QueryArg(parameter("query_arg")),
        "uri_capture" => HashInput::UriCapture(parameter("uri_capture")),
        "cookie" => HashInput::Cookie {
            name: fields.string("hash_on_cookie"),
            path: fields.string("hash_on_cookie_path"),
        },
        _ => HashInput::None,
    }
}

fn consul(fields: &Fields<'_>) -> ConsulDiscovery {
    ConsulDiscovery {
        service: fields.string("service"),
        tags: fields.strings("tags"),
        datacenter: fields.opt_string("datacenter"),
        filter: fields.opt_string("filter"),
        passing_only: fields.bool("passing_only"),
        namespace: fields.opt_string("namespace"),
        partition: fields.opt_string("partition"),
        peer: None,
        token: fields.opt_string("token"),
    }
}

fn outliers(fields: &Fields<'_>) -> OutlierDetection {
    OutlierDetection {
        consecutive_failures: fields.int("consecutive_failures"),
        latency_factor: fields.opt_number("latency_factor"),
        interval: seconds(fields, "interval"),
        ejection_time: seconds(fields, "ejection_time"),
        max_ejection_time: seconds(fields, "max_ejection_time"),
        max_ejection_percent: fields.number("max_ejection_percent"),
    }
}

fn limits(fields: &Fields<'_>) -> UpstreamLimits {
    UpstreamLimits {
        max_connections: fields.opt_int("max_connections"),
        max_requests: fields.opt_int("max_requests"),
        max_pending: fields.int("max_pending"),
        retry_budget: fields.opt_number("retry_budget"),
    }
}

fn healthchecks(fields: &Fields<'_>) -> Healthchecks {
    Healthchecks {
        threshold: fields.number("threshold"),
        panic_threshold: fields.number("panic_threshold"),
        active: fields.record("active").map(active).unwrap_or_default(),
        passive: fields.record("passive").map(passive).unwrap_or_default(),
    }
}

/// Warns of health checks that do not do what they seem to.
pub(super) fn warn(fields: &Fields<'_>, checks: &Healthchecks, report: &mut Report) {
    let Some(active) = fields
        .record("healthchecks")
        .and_then(|f| f.record("active"))
    else {
        return;
    };
    let counts = &checks.active.thresholds;
    let failures = counts.tcp_failures + counts.timeouts + counts.http_failures;
    if !checks.active.is_on() {
        return;
    }
    if counts.successes + failures == 0 {
        active
            .warning(report, "", "targets are probed, but no result counts")
            .hint("set healthy.successes and unhealthy.http_failures, tcp_failures, timeouts");
    } else if checks.active.unhealthy_interval.is_zero() {
        active
            .warning(
                report,
                "unhealthy",
                "without an interval unhealthy targets are probed as often as healthy ones",
            )
            .hint("set unhealthy.interval; Kong would not probe them at all");
    }
}

fn active(fields: &Fields<'_>) -> ActiveChecks {
    let interval = |name: &str| fields.record(name).map(|f| seconds(f, "interval"));
    ActiveChecks {
        kind: kind(fields),
        timeout: seconds(fields, "timeout"),
        concurrency: fields.int("concurrency"),
        http_path: fields.string("http_path"),
        https_sni: fields.opt_string("https_sni"),
        https_verify_certificate: fields.bool("https_verify_certificate"),
        headers: fields.strings_map("headers"),
        healthy_interval: interval("healthy").unwrap_or_default(),
        unhealthy_interval: interval("unhealthy").unwrap_or_default(),
        thresholds: thresholds(fields),
    }
}

fn passive(fields: &Fields<'_>) -> PassiveChecks {
    PassiveChecks {
        kind: kind(fields),
        probation: seconds(fields, "probation"),
        thresholds: thresholds(fields),
    }
}

fn kind(fields: &Fields<'_>) -> CheckType {
    match fields.str("type") {
        "https" => CheckType::Https,
        "tcp" => CheckType::Tcp,
        "grpc" => CheckType::Grpc,
        "grpcs" => CheckType::Grpcs,
        _ => CheckType::Http,
    }
}

fn thresholds(fields: &Fields<'_>) -> Thresholds {
    let (Some(healthy), Some(unhealthy)) = (fields.record("healthy"), fields.record("unhealthy"))
    else {
        return Thresholds::default();
    };
    Thresholds {
        healthy_statuses: healthy.ints("http_statuses"),
        successes: healthy.int("successes"),
        unhealthy_statuses: unhealthy.ints("http_statuses"),
        tcp_failures: unhealthy.int("tcp_failures"),
        timeouts: unhealthy.int("timeouts"),
        http_failures: unhealthy.int("http_failures"),
    }
}
