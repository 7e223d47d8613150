//! # rate-limiting
//!
//! Lets each client make so many requests a second, minute, hour, day, month or year.
//!
//! Windows are those of the calendar in UTC. A request passes while every period's count is below
//! its limit; a refused one is not counted, and the limits hold exactly however many threads serve.
//! Counters are this process's own; they outlive reloads as long as the instance, `limit_by` and
//! the set of periods stay, also when a limit changes.
//!
//! | `limit_by` | Counted by | Without that |
//! | --- | --- | --- |
//! | `consumer` | consumer | credential, else client address |
//! | `credential` | credential | client address |
//! | `ip` | client address | |
//! | `service` | service | client address |
//! | `header` | value of `header_name` | client address |
//! | `path` | requests to exactly `path` together | client address |
//!
//! An instance counts for all it is attached to: a global one over all routes, one of a service over
//! the routes of that service.
//!
//! Responses, refusals too, say where the client stands: `X-RateLimit-Limit-Minute` and
//! `X-RateLimit-Remaining-Minute` for each period, and `RateLimit-Limit`, `RateLimit-Remaining`,
//! `RateLimit-Reset` (seconds) for the period with the fewest remaining, of equals the longest. A
//! refusal is `{"message":"API rate limit exceeded"}` with 429 and `Retry-After`. For
//! `RateLimit-Reset` a month has 30 days and a year 365, as in Kong.
//!
//! An instance counts up to 524288 clients at once in bounded memory. Beyond that, counters whose
//! windows are over give way first; none in use is ever reset, and further clients share counters.

mod answer;
mod identity;

use std::sync::Arc;

use self::identity::LimitBy;
use crate::config::known::KnownPlugin;
use crate::config::schema::{
    Is, Literal, Record, Rule, array, boolean, field, header_name, host, integer, number, one_of,
    port, record, text,
};
use crate::config::{Fields, Parsed, Report};
use crate::limits::{Period, Windows};
use crate::message::Reply;
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, instance};
use crate::util::clock;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "rate-limiting",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 910,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

/// Most clients that an instance counts at once.
const MOST_KEYS: usize = 1 << 19;

const PERIODS: &[&str] = &["second", "minute", "hour", "day", "month", "year"];
const NODE: crate::config::schema::Kind = text();

static REDIS: Record = Record::new(&[
    field("host", host()).doc("Address of the server."),
    field("port", port())
        .default(Literal::Int(6379))
        .doc("Its port."),
    field("timeout", integer().between(0, 2_147_483_646))
        .default(Literal::Int(200))
        .doc("Milliseconds to wait for it."),
    field("username", text()).doc("User, where the server has users."),
    field("password", text()).secret().doc("Password."),
    field("database", integer().at_least(0))
        .default(Literal::Int(0))
        .doc("Database number."),
    field("ssl", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Speak TLS."),
    field("ssl_verify", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Verify its certificate."),
    field("server_name", text()).doc("Server name for TLS."),
    field("cluster_nodes", array(&NODE)).doc("`host:port` of nodes of a cluster."),
]);

static CONFIG: Record = Record::new(&[
    field("second", integer().above(0)).doc("Requests a second."),
    field("minute", integer().above(0)).doc("Requests a minute."),
    field("hour", integer().above(0)).doc("Requests an hour."),
    field("day", integer().above(0)).doc("Requests a day."),
    field("month", integer().above(0)).doc("Requests a month."),
    field("year", integer().above(0)).doc("Requests a year."),
    field(
        "limit_by",
        one_of(&["consumer", "credential", "ip", "service", "header", "path"]),
    )
    .default(Literal::Str("consumer"))
    .doc("What is counted."),
    field("header_name", header_name()).doc("Header to count by; for `limit_by: header`."),
    field("path", text()).doc("Path to count; for `limit_by: path`."),
    field("policy", one_of(&["local", "cluster", "redis"]))
        .required()
        .default(Literal::Str("local"))
        .doc("Where counters are; only `local` is available yet."),
    field("window_type", one_of(&["fixed", "sliding", "token-bucket"]))
        .required()
        .default(Literal::Str("fixed"))
        .doc("How time is cut; only `fixed` is available yet."),
    field("fault_tolerant", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Let requests pass while shared counters are away; local ones never are."),
    field("hide_client_headers", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Tell clients nothing."),
    field("error_code", integer().between(200, 999))
        .default(Literal::Int(429))
        .doc("Status of refusals."),
    field("error_message", text())
        .default(Literal::Str("API rate limit exceeded"))
        .doc("Words of refusals."),
    field("sync_rate", number())
        .required()
        .default(Literal::Int(-1))
        .doc("Seconds between exchanges with shared counters; only `-1` is available yet."),
    field("redis", record(&REDIS))
        .required()
        .flat(&[
            ("redis_host", "host"),
            ("redis_port", "port"),
            ("redis_timeout", "timeout"),
            ("redis_username", "username"),
            ("redis_password", "password"),
            ("redis_database", "database"),
            ("redis_ssl", "ssl"),
            ("redis_ssl_verify", "ssl_verify"),
            ("redis_server_name", "server_name"),
        ])
        .doc("Server of shared counters."),
])
.rules(&[
    Rule::AtLeastOne(PERIODS),
    Rule::When {
        field: "limit_by",
        is: Is::OneOf(&["header"]),
        then: "header_name",
        must: Is::Given,
    },
    Rule::When {
        field: "limit_by",
        is: Is::OneOf(&["path"]),
        then: "path",
        must: Is::Given,
    },
    Rule::Check(rising),
    Rule::Check(available),
]);

/// The limit of a longer period is no lower than that of a shorter one.
fn rising(fields: &Fields<'_>, report: &mut Report) {
    let mut shorter: Option<(&str, u64)> = None;
    for name in PERIODS {
        let Some(limit) = fields.opt_int::<u64>(name) else {
            continue;
        };
        if let Some((before, lower)) = shorter.filter(|(_, lower)| limit < *lower) {
            let message = format!(
                "The limit for {name}({limit}) cannot be lower than the limit for {before}({lower})"
            );
            fields.error(report, name, message);
        }
        shorter = Some((name, limit));
    }
}

/// What is understood but cannot be had yet.
fn available(fields: &Fields<'_>, report: &mut Report) {
    let policy = fields.str("policy");
    if policy != "local" {
        fields
            .error(
                report,
                "policy",
                format!("not supported: {policy}: counters cannot be shared yet"),
            )
            .hint("write policy: local; each gateway then counts for itself");
    }
    let window = fields.str("window_type");
    if window != "fixed" {
        fields
            .error(
                report,
                "window_type",
                format!("not supported: {window} windows are not available yet"),
            )
            .hint("write window_type: fixed");
    }
    let rate = fields.number("sync_rate");
    if rate != -1.0 && rate < 0.02 {
        fields
            .error(
                report,
                "sync_rate",
                "Config option sync_rate must not be a value between 0 and 0.02",
            )
            .hint("leave it out: local counters need no exchange");
    } else if rate != -1.0 {
        fields
            .error(
                report,
                "sync_rate",
                "not supported: counters cannot be shared yet",
            )
            .hint("leave it out: local counters need no exchange");
    }
    let by = fields.str("limit_by");
    let redis = fields
        .record("redis")
        .is_some_and(|redis| redis.has("host"));
    for (name, idle, message) in [
        (
            "redis",
            redis && policy == "local",
            "has no effect with policy: local",
        ),
        (
            "header_name",
            by != "header" && fields.is_written("header_name"),
            "has no effect with this limit_by",
        ),
        (
            "path",
            by != "path" && fields.is_written("path"),
            "has no effect with this limit_by",
        ),
    ] {
        if idle {
            fields.warning(report, name, message);
        }
    }
}

#[derive(Clone, Debug)]
struct Config {
    /// Periods with their limits, the shortest first.
    limits: Vec<Limit>,
    by: LimitBy,
    hide: bool,
    refusal: Reply,
}

/// So many requests in a period.
#[derive(Clone, Debug)]
struct Limit {
    period: Period,
    limit: u64,
    /// The limit as header text.
    text: String,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let limit = |period: Period| {
        let limit = fields.opt_int(period.name())?;
        Some(Limit {
            period,
            limit,
            text: limit.to_string(),
        })
    };
    let by = match fields.str("limit_by") {
        "credential" => LimitBy::Credential,
        "ip" => LimitBy::Ip,
        "service" => LimitBy::Service,
        "header" => LimitBy::Header(fields.string("header_name")),
        "path" => LimitBy::Path(fields.string("path")),
        _ => LimitBy::Consumer,
    };
    Some(Parsed::new(Config {
        limits: Period::ALL.into_iter().filter_map(limit).collect(),
        by,
        hide: fields.bool("hide_client_headers"),
        refusal: Reply::message(fields.int("error_code"), fields.string("error_message")),
    }))
}

/// What counters are kept under over a reload: instance, what is counted, periods.
type Kept = (String, LimitBy, Vec<Period>);

struct RateLimiting {
    config: Config,
    /// The limits alone, for the counters.
    numbers: Vec<u64>,
    windows: Arc<Windows>,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        let periods: Vec<Period> = config.limits.iter().map(|limit| limit.period).collect();
        let kept: Kept = (build.scope.id.clone(), config.by.clone(), periods.clone());
        let keep = build.keeps.of::<Kept, Windows>();
        Arc::new(RateLimiting {
            numbers: config.limits.iter().map(|limit| limit.limit).collect(),
            windows: keep.adopt(kept, || Windows::new(&periods, MOST_KEYS)),
            config: config.clone(),
        })
    })
}

impl Plugin for RateLimiting {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let now = clock::unix_secs();
        let key = self.config.by.key(cx, &self.windows);
        let taken = self.windows.take(key, now, &self.numbers);
        if !self.config.hide {
            answer::tell(cx, &self.config.limits, &taken, now);
        }
        if taken.allowed {
            Flow::Next
        } else {
            self.config.refusal.clone().into()
        }
    }
}

#[cfg(test)]
mod tests;
