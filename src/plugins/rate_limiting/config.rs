//! The fields of `rate-limiting`, what must hold between them, and what is made of them.

use std::time::Duration;

use super::answer::Text;
use super::identity::LimitBy;
use crate::config::schema::{
    Is, Kind, Literal, Record, Rule, array, boolean, checked, either, field, header_name, host,
    integer, number, one_of, port, record, text,
};
use crate::config::{Fields, Node, Parsed, Report, Value};
use crate::limits::bucket::Rate;
use crate::limits::{Period, Shape};
use crate::message::Reply;
use crate::remote::redis::{Address, Target, TargetTls};

const PERIODS: &[&str] = &["second", "minute", "hour", "day", "month", "year"];
const NODE_FORMS: &[Kind] = &[checked("host:port", node_text), record(&CLUSTER_NODE)];
const NODE: Kind = either(NODE_FORMS);

static CLUSTER_NODE: Record = Record::new(&[
    field("ip", host()).required().doc("Address of the node."),
    field("port", port())
        .default(Literal::Int(6379))
        .doc("Its port."),
]);

static REDIS: Record = Record::new(&[
    field("host", host()).doc("Address of the server."),
    field("port", port())
        .default(Literal::Int(6379))
        .doc("Its port."),
    field("timeout", integer().between(1, 2_147_483_646))
        .default(Literal::Int(200))
        .doc("Milliseconds that connecting may take, and an answer."),
    field("username", text()).doc("User, where the server has users."),
    field("password", text()).secret().doc("Password."),
    field("database", integer().between(0, 1_000_000))
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
    field("server_name", text()).doc("Server name for TLS, if not the host."),
    field("cluster_nodes", array(&NODE))
        .doc("`host:port` of nodes of a cluster, in place of `host`."),
]);

pub(super) static CONFIG: Record = Record::new(&[
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
        .doc("Where counters are; `cluster` would need a database."),
    field("window_type", one_of(&["fixed", "sliding", "token-bucket"]))
        .required()
        .default(Literal::Str("fixed"))
        .doc("How time is cut."),
    field("fault_tolerant", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Count locally while Redis is away; else requests get 500."),
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
        .doc("Seconds between exchanges with Redis, at least 0.02; -1: Redis decides on each request."),
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
        .doc("Server of shared counters; for `policy: redis`."),
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
    Rule::Check(where_counted),
    Rule::Check(bucket_fits),
    Rule::Check(redis_fits),
    Rule::Check(idle),
]);

fn node_text(text: &str) -> Result<(), String> {
    match Address::parse(text) {
        Some(_) => Ok(()),
        None => Err(format!("expected host:port, got {text}")),
    }
}

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

/// The place of the counters is one that there is.
fn where_counted(fields: &Fields<'_>, report: &mut Report) {
    let policy = fields.str("policy");
    if policy == "cluster" {
        fields
            .error(
                report,
                "policy",
                "not supported: cluster: there is no database to count in",
            )
            .hint("write policy: redis to share counters, or policy: local");
    }
    let rate = fields.number("sync_rate");
    let hint = "leave it out: every request is then counted at once";
    let message = match rate {
        -1.0 => return,
        _ if !(0.02..=86_400.0).contains(&rate) => {
            "Config option sync_rate must not be a value between 0 and 0.02, nor more than a day"
        }
        _ if policy != "redis" => "sync_rate can only be used with the redis policy",
        _ if fields.str("window_type") == "token-bucket" => {
            "not supported: tokens are given out one by one, not every now and then"
        }
        _ => return,
    };
    fields.error(report, "sync_rate", message).hint(hint);
}

/// A bucket has one size.
fn bucket_fits(fields: &Fields<'_>, report: &mut Report) {
    if fields.str("window_type") != "token-bucket" {
        return;
    }
    let limits = limits(fields);
    if limits.len() > 1 {
        fields
            .error(
                report,
                "window_type",
                "token-bucket takes exactly one period",
            )
            .hint("keep one of the periods, or write window_type: sliding");
    }
    for limit in &limits {
        let most = Rate::most(limit.period);
        if limit.limit > most {
            let message = format!("a bucket holds at most {most} tokens");
            fields.error(report, limit.period.name(), message);
        }
    }
}

/// The server of shared counters is named, and can be used as it is meant to be.
fn redis_fits(fields: &Fields<'_>, report: &mut Report) {
    let Some(redis) = fields
        .record("redis")
        .filter(|_| fields.str("policy") == "redis")
    else {
        return;
    };
    let nodes = redis.nodes("cluster_nodes");
    match (redis.has("host"), nodes.is_empty()) {
        (false, true) => {
            fields
                .error(report, "redis", "required field missing: host")
                .hint("policy: redis needs redis.host, or redis.cluster_nodes for a cluster");
        }
        (true, false) => {
            redis.error(
                report,
                "cluster_nodes",
                "only one of host and cluster_nodes may be set",
            );
        }
        _ => {}
    }
    if !nodes.is_empty() && redis.int::<u32>("database") != 0 {
        redis.error(report, "database", "a cluster has database 0 only");
    }
    if redis.is_written("username") && !redis.is_written("password") {
        redis.error(report, "username", "a username needs a password");
    }
    for name in ["ssl_verify", "server_name"] {
        let set = match name {
            "ssl_verify" => redis.bool(name),
            _ => redis.is_written(name),
        };
        if set && !redis.bool("ssl") {
            redis.warning(report, name, "has no effect without ssl: true");
        }
    }
}

/// What is written and means nothing here.
fn idle(fields: &Fields<'_>, report: &mut Report) {
    let by = fields.str("limit_by");
    let names_redis = |redis: &Fields<'_>| redis.has("host") || redis.is_written("cluster_nodes");
    let redis = fields.record("redis").is_some_and(names_redis);
    for (name, idle, message) in [
        (
            "redis",
            redis && fields.str("policy") == "local",
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

#[derive(Clone)]
pub(super) struct Config {
    /// Periods with their limits, the shortest first.
    pub(super) limits: Vec<Limit>,
    pub(super) shape: Shape,
    pub(super) by: LimitBy,
    pub(super) hide: bool,
    pub(super) fault_tolerant: bool,
    pub(super) refusal: Reply,
    /// Where counters are shared, if they are.
    pub(super) redis: Option<Target>,
    /// How often counts are exchanged; `None`: on each request.
    pub(super) sync: Option<Duration>,
}

/// So many requests in a period.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) period: Period,
    pub(super) limit: u64,
    /// How it is told.
    pub(super) text: Text,
}

fn limits(fields: &Fields<'_>) -> Vec<Limit> {
    let limit = |period: Period| {
        let limit = fields.opt_int(period.name())?;
        Some(Limit {
            period,
            limit,
            text: Text::new(period, limit),
        })
    };
    Period::ALL.into_iter().filter_map(limit).collect()
}

pub(super) fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let by = match fields.str("limit_by") {
        "credential" => LimitBy::Credential,
        "ip" => LimitBy::Ip,
        "service" => LimitBy::Service,
        "header" => LimitBy::Header(fields.string("header_name")),
        "path" => LimitBy::Path(fields.string("path")),
        _ => LimitBy::Consumer,
    };
    let shape = match fields.str("window_type") {
        "sliding" => Shape::Sliding,
        "token-bucket" => Shape::Bucket,
        _ => Shape::Fixed,
    };
    let shared = fields.str("policy") == "redis";
    let rate = fields.number("sync_rate");
    Some(Parsed::new(Config {
        limits: limits(fields),
        shape,
        by,
        hide: fields.bool("hide_client_headers"),
        fault_tolerant: fields.bool("fault_tolerant"),
        refusal: Reply::message(fields.int("error_code"), fields.string("error_message")),
        redis: fields.record("redis").filter(|_| shared).map(target),
        sync: (shared && rate > 0.0).then(|| Duration::from_secs_f64(rate)),
    }))
}

fn target(redis: &Fields<'_>) -> Target {
    let cluster: Vec<Address> = redis
        .nodes("cluster_nodes")
        .iter()
        .filter_map(|n| node(n))
        .collect();
    let one = redis.opt_string("host").map(|host| Address {
        host,
        port: redis.int("port"),
    });
    Target {
        cluster: !cluster.is_empty(),
        nodes: match cluster.is_empty() {
            true => one.into_iter().collect(),
            false => cluster,
        },
        timeout: redis.millis("timeout"),
        username: redis.opt_string("username"),
        password: redis.opt_string("password"),
        database: redis.int("database"),
        tls: redis.bool("ssl").then(|| TargetTls {
            verify: redis.bool("ssl_verify"),
            server_name: redis.opt_string("server_name"),
        }),
    }
}

/// A node of a cluster: `host:port`, or a record of `ip` and `port`.
fn node(node: &Node) -> Option<Address> {
    if let Some(text) = node.as_str() {
        return Address::parse(text);
    }
    let port = match node.get("port").map(|port| &port.value) {
        Some(Value::Int(port)) => u16::try_from(*port).ok()?,
        _ => 6379,
    };
    Some(Address {
        host: node.get("ip")?.as_str()?.to_owned(),
        port,
    })
}
