//! The entities of the file as tables: fields, defaults, ranges and rules after Kong 3.x.
//!
//! Invariant: what can be said of one entity by itself is said here; what takes two is in `links`.

mod upstream;

use super::known::ENTITY;
use super::schema::*;

use Literal::{Bool, Int, Str, Strs};
pub(super) use upstream::UPSTREAM;

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
const RETRY_WORDS: &[&str] = &[
    "connect-failure",
    "reset",
    "timeout",
    "malformed",
    "cancelled",
    "deadline-exceeded",
    "resource-exhausted",
    "internal",
    "unavailable",
];
const RETRY_ON: Kind = either(&[
    checked("condition, status or range of statuses", retry_condition),
    integer().between(100, 999),
]);
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
    field("retry_on", array(&RETRY_ON))
        .doc("Ours: what is tried again: `connect-failure`, `reset`, `timeout`, `malformed`, statuses (`503`, `502-504`), and for gRPC `cancelled`, `deadline-exceeded`, `resource-exhausted`, `internal`, `unavailable`; if absent all failures without an answer."),
    field("retry_methods", array(&checked("method", super::route::method)))
        .doc("Ours: methods that may be sent twice; if absent GET, HEAD, OPTIONS, TRACE, PUT, DELETE."),
    field("deadline", TIMEOUT)
        .doc("Ours: milliseconds for all attempts together, until the response head."),
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

fn retry_condition(text: &str) -> Result<(), String> {
    match RETRY_WORDS.contains(&text) || crate::util::codes::range(text).is_some() {
        true => Ok(()),
        false => Err(format!(
            "expected a status, a range of statuses, or one of: {}",
            RETRY_WORDS.join(", ")
        )),
    }
}

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
