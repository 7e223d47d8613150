//! Upstreams: balancing, hashing, health checks, discovery.

use crate::config::known::ENTITY;
use crate::config::schema::*;

use Literal::{Bool, Int, Ints, Str};

const HASH_MODES: &[&str] = &[
    "none",
    "consumer",
    "ip",
    "header",
    "cookie",
    "path",
    "query_arg",
    "uri_capture",
];

const fn needs(mode: &'static str, values: &'static [&'static str], field: &'static str) -> Rule {
    Rule::When {
        field: mode,
        is: Is::OneOf(values),
        then: field,
        must: Is::Given,
    }
}

const fn falls_back_to(on: &'static [&'static str], to: &'static [&'static str]) -> Rule {
    Rule::When {
        field: "hash_on",
        is: Is::OneOf(on),
        then: "hash_fallback",
        must: Is::OneOf(to),
    }
}

pub(in crate::config) static UPSTREAM: Record = Record::new(&[
    field(
        "name",
        checked("host name", crate::config::target::upstream_name),
    )
    .required()
    .doc("Unique name: what a service's `host` says."),
    field("algorithm", one_of(ALGORITHMS))
        .default(Str("round-robin"))
        .doc("Choice of target."),
    field("hash_on", one_of(HASH_MODES))
        .default(Str("none"))
        .doc("What is hashed."),
    field("hash_fallback", one_of(HASH_MODES))
        .default(Str("none"))
        .doc("What is hashed else."),
    field("hash_on_header", header_name()).doc("For `hash_on: header`."),
    field("hash_fallback_header", header_name()).doc("For `hash_fallback: header`."),
    field("hash_on_cookie", checked("cookie name", texts::cookie_name)).doc("Cookie to hash."),
    field("hash_on_cookie_path", checked("path", texts::path))
        .default(Str("/"))
        .doc("Path of the cookie that is set."),
    field("hash_on_query_arg", text()).doc("For `hash_on: query_arg`."),
    field("hash_fallback_query_arg", text()).doc("For `hash_fallback: query_arg`."),
    field("hash_on_uri_capture", text()).doc("For `hash_on: uri_capture`."),
    field("hash_fallback_uri_capture", text()).doc("For `hash_fallback: uri_capture`."),
    field("slots", integer().between(10, 65536))
        .default(Int(10_000))
        .doc("Size of the ring."),
    field("slow_start", SECONDS)
        .default(Int(0))
        .doc("Ours: seconds until a new or recovered target gets its whole share; 0 is off."),
    field("host_header", checked("host", texts::host_and_port)).doc("Host header to send."),
    field("client_certificate", Kind::Reference).doc("Used when the service names none."),
    field("use_srv_name", boolean())
        .default(Bool(false))
        .doc("SRV target as Host header."),
    field("healthchecks", record(&HEALTHCHECKS))
        .required()
        .doc("Health checks."),
    field("limits", record(&LIMITS)).doc("Ours: how much may be under way at once."),
    field("outlier_detection", record(&OUTLIERS))
        .doc("Ours: take targets out that do worse than the others."),
    field("discovery", record(&DISCOVERY)).doc("Ours: find targets in Consul."),
])
.rules(&[
    needs("hash_on", &["header"], "hash_on_header"),
    needs("hash_fallback", &["header"], "hash_fallback_header"),
    needs("hash_on", &["cookie"], "hash_on_cookie"),
    needs("hash_fallback", &["cookie"], "hash_on_cookie"),
    needs("hash_on", &["query_arg"], "hash_on_query_arg"),
    needs("hash_fallback", &["query_arg"], "hash_fallback_query_arg"),
    needs("hash_on", &["uri_capture"], "hash_on_uri_capture"),
    needs(
        "hash_fallback",
        &["uri_capture"],
        "hash_fallback_uri_capture",
    ),
    falls_back_to(&["none", "cookie"], &["none"]),
    falls_back_to(
        &["consumer"],
        &[
            "none",
            "ip",
            "header",
            "cookie",
            "path",
            "query_arg",
            "uri_capture",
        ],
    ),
    falls_back_to(
        &["ip"],
        &[
            "none",
            "consumer",
            "header",
            "cookie",
            "path",
            "query_arg",
            "uri_capture",
        ],
    ),
    falls_back_to(
        &["path"],
        &[
            "none",
            "consumer",
            "ip",
            "header",
            "cookie",
            "query_arg",
            "uri_capture",
        ],
    ),
    Rule::Distinct(&["hash_on_header", "hash_fallback_header"]),
    Rule::Distinct(&["hash_on_query_arg", "hash_fallback_query_arg"]),
    Rule::Distinct(&["hash_on_uri_capture", "hash_fallback_uri_capture"]),
])
.with(&ENTITY);

const ALGORITHMS: &[&str] = &[
    "consistent-hashing",
    "least-connections",
    "round-robin",
    "latency",
];
const CHECK_TYPE: Kind = one_of(&["tcp", "http", "https", "grpc", "grpcs"]);
const SECONDS: Kind = number().between(0, 65535);
const COUNTER: Kind = integer().between(0, 255);
const STATUSES: Kind = array(&integer().between(100, 999));

static HEALTHCHECKS: Record = Record::new(&[
    field("threshold", number().between(0, 100))
        .default(Int(0))
        .doc("Usable while the available weight in percent is greater than this."),
    field("panic_threshold", number().between(0, 100))
        .default(Int(0))
        .doc("Ours: with less available weight than this, in percent, health is not looked at and all targets get requests; 0 is off. Wins over `threshold`."),
    field("active", record(&ACTIVE)).required().doc("Probes."),
    field("passive", record(&PASSIVE))
        .required()
        .doc("Judging the traffic."),
]);

static ACTIVE: Record = Record::new(&[
    field("type", CHECK_TYPE)
        .default(Str("http"))
        .doc("What a probe speaks."),
    field("timeout", SECONDS)
        .default(Int(1))
        .doc("Seconds for a probe."),
    field("concurrency", integer().between(1, 2_147_483_648))
        .default(Int(10))
        .doc("At once."),
    field("http_path", checked("path", texts::path))
        .default(Str("/"))
        .doc("Path of the probe."),
    field("https_sni", checked("host name", texts::host)).doc("SNI of the probe."),
    field("https_verify_certificate", boolean())
        .required()
        .default(Bool(true))
        .doc("Verify TLS."),
    field(
        "headers",
        map_with_keys("header name", texts::header_name, &array(&text())),
    )
    .doc("Headers of the probe."),
    field("healthy", record(&ACTIVE_HEALTHY))
        .required()
        .doc("Towards healthy."),
    field("unhealthy", record(&ACTIVE_UNHEALTHY))
        .required()
        .doc("Towards unhealthy."),
]);

static ACTIVE_HEALTHY: Record = Record::new(&[
    field("interval", SECONDS)
        .default(Int(0))
        .doc("Seconds between probes; 0 is off."),
    field("http_statuses", STATUSES)
        .default(Ints(&[200, 302]))
        .doc("Successes."),
    field("successes", COUNTER)
        .default(Int(0))
        .doc("Successes until healthy; 0 is off."),
]);

static ACTIVE_UNHEALTHY: Record = Record::new(&[
    field("interval", SECONDS)
        .default(Int(0))
        .doc("Seconds between probes; 0 is off."),
    field("http_statuses", STATUSES)
        .default(Ints(&[429, 404, 500, 501, 502, 503, 504, 505]))
        .doc("Failures."),
    field("tcp_failures", COUNTER)
        .default(Int(0))
        .doc("Until unhealthy; 0 is off."),
    field("timeouts", COUNTER)
        .default(Int(0))
        .doc("Until unhealthy; 0 is off."),
    field("http_failures", COUNTER)
        .default(Int(0))
        .doc("Until unhealthy; 0 is off."),
]);

static PASSIVE: Record = Record::new(&[
    field("type", CHECK_TYPE)
        .default(Str("http"))
        .doc("What the traffic is judged as."),
    field("probation", SECONDS)
        .default(Int(30))
        .doc("Ours: seconds until an unhealthy target gets a trial request."),
    field("healthy", record(&PASSIVE_HEALTHY))
        .required()
        .doc("Towards healthy."),
    field("unhealthy", record(&PASSIVE_UNHEALTHY))
        .required()
        .doc("Towards unhealthy."),
]);

static PASSIVE_HEALTHY: Record = Record::new(&[
    field("http_statuses", STATUSES)
        .default(Ints(&[
            200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306,
            307, 308,
        ]))
        .doc("Successes."),
    field("successes", COUNTER)
        .default(Int(0))
        .doc("Successes until healthy; 0 is off."),
]);

static PASSIVE_UNHEALTHY: Record = Record::new(&[
    field("http_statuses", STATUSES)
        .default(Ints(&[429, 500, 503]))
        .doc("Failures."),
    field("tcp_failures", COUNTER)
        .default(Int(0))
        .doc("Until unhealthy; 0 is off."),
    field("timeouts", COUNTER)
        .default(Int(0))
        .doc("Until unhealthy; 0 is off."),
    field("http_failures", COUNTER)
        .default(Int(0))
        .doc("Until unhealthy; 0 is off."),
]);

static LIMITS: Record = Record::new(&[
    field("max_connections", integer().between(1, 1_000_000))
        .doc("Connections, busy and idle; beyond that requests wait for one."),
    field("max_requests", integer().between(1, 1_000_000)).doc("Requests; beyond that 503."),
    field("max_pending", integer().between(1, 1_000_000))
        .required()
        .default(Int(1024))
        .doc("Requests that wait for a connection; beyond that 503."),
    field("retry_budget", number().between(0, 100))
        .doc("Requests that are tried again, in percent of all; 3 may always be."),
]);

static OUTLIERS: Record = Record::new(&[
    field("consecutive_failures", integer().between(0, 65535))
        .required()
        .default(Int(5))
        .doc("Answers 502, 503, 504 or none, in a row, until a target is out; 0 is off."),
    field("latency_factor", number().between(1, 1000))
        .doc("Out is who takes so many times the median time of all, over two intervals."),
    field("interval", number().between(1, 3600))
        .required()
        .default(Int(10))
        .doc("Seconds between looks at the times and at who may come back."),
    field("ejection_time", number().between(1, 86_400))
        .required()
        .default(Int(30))
        .doc("Seconds of the first ejection; the second in a row twice as long, and so on."),
    field("max_ejection_time", number().between(1, 86_400))
        .required()
        .default(Int(300))
        .doc("Seconds of the longest ejection."),
    field("max_ejection_percent", number().between(0, 100))
        .required()
        .default(Int(10))
        .doc("Most targets that are out, in percent; one always may be."),
]);

static DISCOVERY: Record = Record::new(&[field("consul", record(&CONSUL))
    .required()
    .doc("Consul's catalogue.")]);

static CONSUL: Record = Record::new(&[
    field("service", text()).required().doc("Service name."),
    field("tags", array(&text())).doc("Tags that an instance must all have."),
    field("datacenter", text()).doc("Datacenter, if not the agent's."),
    field("filter", text()).doc("Filter expression."),
    field("passing_only", boolean())
        .required()
        .default(Bool(false))
        .doc("Without warnings."),
    field("namespace", text()).doc("Namespace."),
    field("partition", text()).doc("Admin partition."),
    field("token", text())
        .secret()
        .doc("ACL token, if not the process's."),
]);
