//! Every setting: name, default, meaning, reader.

use super::Settings;
use super::consul::{
    check_url, consul_address, host_and_port, path, server_name, switch_or, words,
};
use super::token::Token;
use super::values::*;
use crate::config::schema::{
    Field, Kind, Record, array, boolean, either, field, integer, text, text_or_empty,
};

/// One setting. Its flag is `--proxy-listen`, its variable `SLUICEGATE_PROXY_LISTEN`, its key in the
/// file `gateway.proxy_listen`.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// The text that stands for it when nobody says anything; empty for none.
    pub default: &'static str,
    /// What it does, for `--help` and the documentation.
    pub doc: &'static str,
    /// Whether `KONG_<NAME>` is read too.
    pub kong: bool,
    /// Other variables that are read when nobody says anything.
    pub also: &'static [&'static str],
    /// Not to be shown.
    pub secret: bool,
    /// Reads a text into the settings; an error's second line is a hint.
    pub set: fn(&mut Settings, &str) -> Result<(), String>,
}

/// A setting of ours.
const fn ours(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Setting {
    Setting {
        name,
        default,
        doc,
        kong: false,
        also: &[],
        secret: false,
        set,
    }
}

/// A setting that Kong has too.
const fn kongs(
    name: &'static str,
    default: &'static str,
    doc: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Setting {
    Setting {
        name,
        default,
        doc,
        kong: true,
        also: &[],
        secret: false,
        set,
    }
}

/// A setting of ours that Consul's own programs read from these variables.
const fn consuls(
    name: &'static str,
    also: &'static [&'static str],
    doc: &'static str,
    set: fn(&mut Settings, &str) -> Result<(), String>,
) -> Setting {
    Setting {
        also,
        ..ours(name, "", doc, set)
    }
}

fn put<T>(place: &mut T, read: Result<T, String>) -> Result<(), String> {
    *place = read?;
    Ok(())
}

/// Puts a value that was read into its place.
macro_rules! put {
    ($field:ident, $read:expr) => {
        |settings, text| {
            let read: fn(&str) -> Result<_, String> = $read;
            settings.$field = read(text)?;
            Ok(())
        }
    };
}

const MAX_CONNECTIONS: usize = 100_000_000;

/// All of them.
pub const SETTINGS: &[Setting] = &[
    kongs(
        "proxy_listen",
        "0.0.0.0:8000, 0.0.0.0:8443 tls",
        "where clients connect: ADDR:PORT [tls] [http2] [proxy_protocol], ..",
        put!(proxy_listen, listeners),
    ),
    kongs(
        "admin_listen",
        "127.0.0.1:8001",
        "where the admin API, metrics and dashboard are, or off",
        put!(admin_listen, listeners),
    ),
    Setting {
        secret: true,
        ..ours(
            "admin_token",
            "",
            "what requests to the admin API must carry; none: nothing",
            put!(admin_token, |t| optional(t).map(Token::new).transpose()),
        )
    },
    kongs(
        "status_listen",
        "off",
        "where /health, /ready and /metrics alone are, or off",
        put!(status_listen, listeners),
    ),
    kongs(
        "router_flavor",
        "traditional_compatible",
        "order of routes: traditional_compatible or traditional",
        put!(router_flavor, |t| word(
            t,
            &[
                (
                    "traditional_compatible",
                    RouterFlavor::TraditionalCompatible
                ),
                ("traditional", RouterFlavor::Traditional),
            ]
        )),
    ),
    ours(
        "access_log",
        "off",
        "off, stdout, or a file",
        put!(access_log, access_log),
    ),
    ours(
        "access_log_format",
        "combined",
        "combined, json or kong",
        put!(access_log_format, |t| word(
            t,
            &[
                ("combined", AccessLogFormat::Combined),
                ("json", AccessLogFormat::Json),
                ("kong", AccessLogFormat::Kong),
            ]
        )),
    ),
    kongs(
        "ssl_cert",
        "",
        "PEM file of the default certificate, read again when it changes",
        put!(ssl_cert, |t| Ok(paths(t))),
    ),
    kongs(
        "ssl_cert_key",
        "",
        "PEM file of its key",
        put!(ssl_cert_key, |t| Ok(paths(t))),
    ),
    ours(
        "workers",
        "auto",
        "data-plane threads; auto is one a core",
        put!(workers, |t| count_or_auto(t, 1, 1024)),
    ),
    ours(
        "accept",
        "reuseport",
        "reuseport: each worker for itself; balance: to the worker with the fewest connections",
        put!(accept, |t| word(
            t,
            &[
                ("reuseport", Accept::Reuseport),
                ("balance", Accept::Balance)
            ]
        )),
    ),
    consuls(
        "consul_http_addr",
        &["CONSUL_HTTP_ADDR"],
        "where Consul's HTTP API is: host:port, http://, https://, unix://; none is 127.0.0.1:8500",
        |s, t| put(&mut s.consul.http_addr, consul_address(t)),
    ),
    Setting {
        secret: true,
        ..consuls(
            "consul_token",
            &["CONSUL_HTTP_TOKEN"],
            "ACL token for Consul",
            |s, t| put(&mut s.consul.token, Ok(optional(t))),
        )
    },
    consuls(
        "consul_token_file",
        &["CONSUL_HTTP_TOKEN_FILE"],
        "file with that token, read again for every call",
        |s, t| put(&mut s.consul.token_file, Ok(path(t))),
    ),
    Setting {
        secret: true,
        ..consuls(
            "consul_http_auth",
            &["CONSUL_HTTP_AUTH"],
            "user:password for a proxy in front of Consul",
            |s, t| put(&mut s.consul.http_auth, Ok(optional(t))),
        )
    },
    consuls(
        "consul_http_ssl",
        &["CONSUL_HTTP_SSL"],
        "an address without a scheme is https",
        |s, t| put(&mut s.consul.http_ssl, switch_or(t, false)),
    ),
    consuls(
        "consul_tls_verify",
        &["CONSUL_HTTP_SSL_VERIFY"],
        "whether Consul's certificate is verified; it is unless this says off",
        |s, t| put(&mut s.consul.tls_verify, switch_or(t, true)),
    ),
    consuls(
        "consul_ca_cert",
        &["CONSUL_CACERT"],
        "PEM file of authorities for Consul's certificate",
        |s, t| put(&mut s.consul.ca_cert, Ok(path(t))),
    ),
    consuls(
        "consul_ca_path",
        &["CONSUL_CAPATH"],
        "folder of such files",
        |s, t| put(&mut s.consul.ca_path, Ok(path(t))),
    ),
    consuls(
        "consul_client_cert",
        &["CONSUL_CLIENT_CERT"],
        "PEM file of the certificate that is shown to Consul",
        |s, t| put(&mut s.consul.client_cert, Ok(path(t))),
    ),
    consuls(
        "consul_client_key",
        &["CONSUL_CLIENT_KEY"],
        "PEM file of its key",
        |s, t| put(&mut s.consul.client_key, Ok(path(t))),
    ),
    consuls(
        "consul_tls_server_name",
        &["CONSUL_TLS_SERVER_NAME"],
        "name that Consul's certificate must have, if not the address's",
        |s, t| put(&mut s.consul.tls_server_name, server_name(t)),
    ),
    consuls(
        "consul_datacenter",
        &[],
        "Consul datacenter to ask for, if not the agent's",
        |s, t| put(&mut s.consul.datacenter, Ok(optional(t))),
    ),
    consuls(
        "consul_namespace",
        &["CONSUL_NAMESPACE"],
        "Consul namespace to ask for",
        |s, t| put(&mut s.consul.namespace, Ok(optional(t))),
    ),
    consuls(
        "consul_partition",
        &["CONSUL_PARTITION"],
        "Consul admin partition to ask for",
        |s, t| put(&mut s.consul.partition, Ok(optional(t))),
    ),
    consuls(
        "consul_register",
        &[],
        "name of the service that the gateway registers itself as; none: it does not",
        |s, t| put(&mut s.consul.register, Ok(optional(t))),
    ),
    consuls(
        "consul_register_address",
        &[],
        "its HOST[:PORT]; none are the agent's address and the first proxy listener's port",
        |s, t| put(&mut s.consul.register_address, host_and_port(t)),
    ),
    consuls(
        "consul_register_tags",
        &[],
        "its tags, with commas between them",
        |s, t| put(&mut s.consul.register_tags, Ok(words(t))),
    ),
    consuls(
        "consul_register_check",
        &[],
        "URL that the agent checks, or off; none is /ready of the status or admin listener",
        |s, t| put(&mut s.consul.register_check, check_url(t)),
    ),
    kongs(
        "dns_resolver",
        "",
        "DNS servers, ADDR[:PORT], ..; none are those of /etc/resolv.conf",
        put!(dns_resolver, servers),
    ),
    kongs(
        "dns_order",
        "SRV,A+AAAA",
        "records that names are asked for, in this order: SRV, A, AAAA; A+AAAA together",
        put!(dns_order, dns_order),
    ),
    kongs(
        "trusted_ips",
        "",
        "peers that may speak for clients: addresses, ranges, unix:",
        |settings, text| {
            (settings.trusted_ips, settings.trusted_unix) = networks(text)?;
            Ok(())
        },
    ),
    kongs(
        "real_ip_header",
        "X-Real-IP",
        "the header in which they name the client; proxy_protocol for that",
        put!(real_ip_header, |t| optional(t)
            .ok_or_else(|| "a header name is needed".to_owned())),
    ),
    kongs(
        "real_ip_recursive",
        "off",
        "look past every trusted address in it",
        put!(real_ip_recursive, switch),
    ),
    kongs(
        "headers",
        "server_tokens, latency_tokens, X-Kong-Request-Id",
        "which headers of the gateway's own responses carry, or off",
        put!(headers, response_headers),
    ),
    ours(
        "client_header_timeout",
        "10s",
        "bound for a request's head",
        put!(client_header_timeout, some_time),
    ),
    ours(
        "client_body_timeout",
        "60s",
        "bound between two reads of a request's body",
        put!(client_body_timeout, some_time),
    ),
    ours(
        "client_idle_timeout",
        "75s",
        "how long an idle client connection is kept",
        put!(client_idle_timeout, some_time),
    ),
    ours(
        "client_max_uri_size",
        "8KiB",
        "longest request target; over it: 414",
        put!(client_max_uri_size, some_size),
    ),
    ours(
        "client_max_header_size",
        "32KiB",
        "largest request head; over it: 431",
        put!(client_max_header_size, some_size),
    ),
    ours(
        "client_max_headers",
        "100",
        "most request headers; over it: 431",
        put!(client_max_headers, |t| count(t, 1, 10_000)),
    ),
    ours(
        "client_max_body_size",
        "0",
        "largest request body; over it: 413; 0 is unlimited",
        put!(client_max_body_size, size),
    ),
    ours(
        "max_connections",
        "auto",
        "most client connections; auto comes from the descriptor limit",
        put!(max_connections, |t| count_or_auto(t, 1, MAX_CONNECTIONS)),
    ),
    ours(
        "max_connections_per_ip",
        "0",
        "most connections of a client address (of IPv6: of a /64), trusted peers apart; 0 is unlimited",
        put!(max_connections_per_ip, |t| {
            count(t, 0, MAX_CONNECTIONS).map(|most| most as u32)
        }),
    ),
    ours(
        "drain_delay",
        "0s",
        "how long listeners stay open after SIGTERM",
        put!(drain_delay, duration),
    ),
    ours(
        "drain_timeout",
        "30s",
        "how long requests may take after that",
        put!(drain_timeout, duration),
    ),
    ours(
        "upgrade_timeout",
        "60s",
        "how long a fresh copy (SIGUSR2) may take until it serves",
        put!(upgrade_timeout, some_time),
    ),
    ours(
        "upstream_idle_timeout",
        "60s",
        "how long an idle upstream connection is kept",
        put!(upstream_idle_timeout, duration),
    ),
    ours(
        "upstream_max_idle",
        "512",
        "most idle upstream connections a worker",
        put!(upstream_max_idle, |t| count(t, 0, 1_000_000)),
    ),
    ours(
        "log_level",
        "info",
        "error, warn, info, debug or trace",
        put!(log_level, |t| word(
            t,
            &[
                ("error", LogLevel::Error),
                ("warn", LogLevel::Warn),
                ("info", LogLevel::Info),
                ("debug", LogLevel::Debug),
                ("trace", LogLevel::Trace),
            ]
        )),
    ),
    ours(
        "log_format",
        "auto",
        "text, json, or auto: text on a terminal",
        put!(log_format, |t| word(
            t,
            &[
                ("auto", LogFormat::Auto),
                ("text", LogFormat::Text),
                ("json", LogFormat::Json)
            ]
        )),
    ),
];

const SETTING_VALUE: Kind = either(&[text_or_empty(), integer(), boolean(), array(&text())]);

const SECTION_FIELDS: [Field; SETTINGS.len()] = {
    let mut fields = [field("", SETTING_VALUE); SETTINGS.len()];
    let mut index = 0;
    while index < SETTINGS.len() {
        let described = field(SETTINGS[index].name, SETTING_VALUE).doc(SETTINGS[index].doc);
        fields[index] = if SETTINGS[index].secret {
            described.secret()
        } else {
            described
        };
        index += 1;
    }
    fields
};

/// What the `gateway:` section may hold.
pub static SECTION: Record = Record::new(&SECTION_FIELDS);
