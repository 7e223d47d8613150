//! The entities of the file as tables: fields, defaults, ranges and rules after Kong 3.x.
//!
//! Invariant: what can be said of one entity by itself is said here; what takes two is in `links`.

use super::known::ENTITY;
use super::schema::*;

use Literal::{Bool, Int, Ints, Str, Strs};

/// Every protocol word.
const PROTOCOLS: &[&str] = &[
    "grpc",
    "grpcs",
    "http",
    "https",
    "tcp",
    "tls",
    "tls_passthrough",
    "udp",
];
const PROTOCOL: Kind = one_of(PROTOCOLS);
const NAME: Kind = checked("name", texts::name);
const TIMEOUT: Kind = integer().between(1, 2_147_483_646);
const ONLY_TLS: Is = Is::NoneOf(&["https", "tls"]);
const HEADER_VALUES: Kind = array(&text()).at_least(1);

const fn only_with_tls(field: &'static str) -> Rule {
    Rule::When {
        field: "protocol",
        is: ONLY_TLS,
        then: field,
        must: Is::Null,
    }
}

pub(super) static SERVICE: Record = Record::new(&[
    field("name", NAME).doc("Unique name."),
    field("url", checked("URL", super::route::url_shorthand))
        .doc("Shorthand for `protocol`, `host`, `port` and `path`; it wins."),
    field("protocol", PROTOCOL)
        .required()
        .default(Str("http"))
        .doc("What to speak upstream."),
    field("host", host())
        .required()
        .doc("Host name, address, or the name of an upstream."),
    field("port", port())
        .required()
        .default(Int(80))
        .doc("80 also for https, unless `url` says."),
    field("path", checked("path", texts::path)).doc("Put before the path of every request."),
    field("retries", integer().between(0, 32767))
        .default(Int(5))
        .doc("Further attempts."),
    field("connect_timeout", TIMEOUT)
        .default(Int(60_000))
        .doc("Milliseconds."),
    field("write_timeout", TIMEOUT)
        .default(Int(60_000))
        .doc("Milliseconds between writes."),
    field("read_timeout", TIMEOUT)
        .default(Int(60_000))
        .doc("Milliseconds between reads."),
    field("enabled", boolean())
        .required()
        .default(Bool(true))
        .doc("`false` hides its routes."),
    field("client_certificate", Kind::Reference).doc("Certificate to show the upstream."),
    field("tls_verify", boolean()).doc("Verify the upstream's certificate; off by default."),
    field("tls_verify_depth", integer().between(0, 64)).doc("Longest chain."),
    field("ca_certificates", array(&uuid())).doc("Ids of the `ca_certificates` to trust."),
    field("http2", boolean())
        .required()
        .default(Bool(false))
        .doc("Ours: speak HTTP/2 with an https service, or h2c with an http one."),
])
.rules(&[
    Rule::When {
        field: "protocol",
        is: Is::OneOf(&["tcp", "tls", "tls_passthrough", "udp", "grpc", "grpcs"]),
        then: "path",
        must: Is::Null,
    },
    Rule::When {
        field: "http2",
        is: Is::Bool(true),
        then: "protocol",
        must: Is::OneOf(&["http", "https"]),
    },
    only_with_tls("client_certificate"),
    only_with_tls("tls_verify"),
    only_with_tls("tls_verify_depth"),
    only_with_tls("ca_certificates"),
])
.with(&ENTITY);

static STREAM_ADDRESS: Record = Record::new(&[
    field("ip", ip_or_cidr()).doc("Address or range."),
    field("port", port()).doc("Port."),
])
.rules(&[Rule::AtLeastOne(&["ip", "port"])]);

pub(super) static ROUTE: Record = Record::new(&[
    field("name", NAME).doc("Unique name."),
    field("service", Kind::Reference).doc("Where matching requests go; implied when nested."),
    field("protocols", set(&PROTOCOL).at_least(1))
        .required()
        .default(Strs(&["http", "https"]))
        .doc("What a request may come over."),
    field("methods", set(&checked("method", super::route::method))).doc("Upper-case methods."),
    field("hosts", array(&checked("host", super::route::host)))
        .doc("Hosts, optionally with a port; `*` as the leftmost or rightmost label."),
    field("paths", array(&checked("path", super::route::path)))
        .doc("Prefixes, or `~` and a regular expression."),
    field(
        "headers",
        map_with_keys("header name", super::route::header, &HEADER_VALUES),
    )
    .doc("Every name must have one of its values; `~*` begins a regular expression."),
    field("snis", set(&checked("server name", super::route::sni))).doc("TLS server names."),
    field("sources", set(&record(&STREAM_ADDRESS))).doc("Stream routes only: not supported."),
    field("destinations", set(&record(&STREAM_ADDRESS))).doc("Stream routes only: not supported."),
    field(
        "https_redirect_status_code",
        Kind::Integer { min: 301, max: 426 },
    )
    .required()
    .default(Int(426))
    .doc("Answer to plain requests where only https is allowed: 426, 301, 302, 307 or 308."),
    field("strip_path", boolean())
        .default(Bool(true))
        .doc("Take the matched path off; always `false` for gRPC."),
    field("preserve_host", boolean())
        .required()
        .default(Bool(false))
        .doc("Keep the Host header."),
    field("path_handling", one_of(&["v0", "v1"]))
        .default(Str("v0"))
        .doc("How paths are joined; `v1` counts in `router_flavor: traditional` alone."),
    field("regex_priority", integer())
        .default(Int(0))
        .doc("Order of regular expressions."),
    field("request_buffering", boolean())
        .required()
        .default(Bool(true))
        .doc("Accepted; bodies always stream."),
    field("response_buffering", boolean())
        .required()
        .default(Bool(true))
        .doc("Accepted; bodies always stream."),
])
.rules(&[Rule::Check(super::route::whole)])
.with(&ENTITY);

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

pub(super) static UPSTREAM: Record = Record::new(&[
    field("name", checked("host name", super::target::upstream_name))
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
    field("host_header", checked("host", texts::host_and_port)).doc("Host header to send."),
    field("client_certificate", Kind::Reference).doc("Used when the service names none."),
    field("use_srv_name", boolean())
        .default(Bool(false))
        .doc("SRV target as Host header."),
    field("healthchecks", record(&HEALTHCHECKS))
        .required()
        .doc("Health checks."),
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

pub(super) static TARGET: Record = Record::new(&[
    field("target", checked("host and port", super::target::check))
        .required()
        .doc("`host`, `host:port`, `ip`, `ip:port` or `[ipv6]:port`; port 8000 if none."),
    field("weight", integer().between(0, 65535))
        .default(Int(100))
        .doc("0: out of rotation."),
    field("upstream", Kind::Reference).doc("Its upstream; implied when nested."),
])
.with(&ENTITY);

pub(super) static CONSUMER: Record = Record::new(&[
    field("username", text()).doc("Unique name."),
    field("custom_id", text()).doc("Unique name in another system."),
])
.rules(&[Rule::AtLeastOne(&["custom_id", "username"])])
.with(&ENTITY);

pub(super) static PLUGIN: Record = Record::new(&[
    field("name", text()).required().doc("Which plugin."),
    field("instance_name", NAME).doc("Unique name of this instance."),
    field("route", Kind::Reference).doc("Only this route; implied when nested."),
    field("service", Kind::Reference).doc("Only this service; implied when nested."),
    field("consumer", Kind::Reference).doc("Only this consumer; implied when nested."),
    field("config", any()).doc("The plugin's own fields."),
    field("protocols", set(&PROTOCOL).at_least(1))
        .required()
        .default(Strs(&["grpc", "grpcs", "http", "https"]))
        .doc("Where it may be attached."),
    field("enabled", boolean())
        .required()
        .default(Bool(true))
        .doc("`false`: as if absent."),
])
.with(&ENTITY);

pub(super) static CERTIFICATE: Record = Record::new(&[
    field("cert", text())
        .required()
        .doc("Chain in PEM, leaf first."),
    field("key", text())
        .required()
        .secret()
        .doc("Private key in PEM."),
    field("cert_alt", text()).doc("A second chain whose key is of another type."),
    field("key_alt", text())
        .secret()
        .doc("The second chain's key."),
])
.rules(&[Rule::AllOrNone(&["cert_alt", "key_alt"])])
.with(&ENTITY);

pub(super) static SNI: Record = Record::new(&[
    field("name", checked("server name", super::route::wildcard_sni))
        .required()
        .doc("Unique host name, `*.name`, `name.*` or `*`."),
    field("certificate", Kind::Reference).doc("Its certificate; implied when nested."),
])
.with(&ENTITY);

pub(super) static CA_CERTIFICATE: Record = Record::new(&[
    field("cert", text())
        .required()
        .doc("One certificate in PEM."),
    field("cert_digest", text()).doc("SHA-256 in hexadecimal; derived when absent."),
])
.with(&ENTITY);

static VAULT_CONFIG: Record =
    Record::new(&[field("prefix", text()).doc("Put before the names of variables.")]);

pub(super) static VAULT: Record = Record::new(&[
    field("prefix", checked("prefix", super::vault::prefix))
        .required()
        .doc("What references say: `{vault://<prefix>/<name>}`."),
    field("name", one_of(&["env"]))
        .required()
        .doc("Only `env`."),
    field("description", text()).doc("For people."),
    field("config", record(&VAULT_CONFIG))
        .required()
        .doc("Of the `env` strategy."),
])
.with(&ENTITY);
