//! Types of settings and how they are read from text. An error's second line is a hint.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// With TLS.
    pub tls: bool,
    /// Asked for HTTP/2: TLS listeners offer it anyway, plain ones accept prior knowledge.
    pub http2: bool,
    /// Each connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Asked to be told of connections only once they have data. Nothing here can ask the kernel
    /// for that, which takes an unsafe call: the operator is told so.
    pub deferred: bool,
    /// Length of the accept queue, if asked for.
    pub backlog: Option<u32>,
}

/// Which order of routes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouterFlavor {
    /// Kong's default.
    #[default]
    TraditionalCompatible,
    /// The older order.
    Traditional,
}

/// Who accepts connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// Every worker, at sockets of its own: the kernel spreads them.
    #[default]
    Reuseport,
    /// One worker for all: each connection goes to the worker that has the fewest.
    Balance,
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// A file.
    File(PathBuf),
}

/// What a line of the access log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// As Apache and nginx write it.
    #[default]
    Combined,
    /// One flat JSON object.
    Json,
    /// The record of Kong's log plugins.
    Kong,
}

/// Which headers of our own responses carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseHeaders {
    /// `Server` on our own answers.
    pub server: bool,
    /// `Via` on proxied ones.
    pub via: bool,
    /// `X-Kong-Proxy-Latency`
    pub proxy_latency: bool,
    /// `X-Kong-Upstream-Latency`
    pub upstream_latency: bool,
    /// `X-Kong-Response-Latency`
    pub response_latency: bool,
    /// `X-Kong-Upstream-Status`
    pub upstream_status: bool,
    /// `X-Kong-Request-Id`
    pub request_id: bool,
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

/// How it is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// JSON lines.
    Json,
}

type Read<T> = Result<T, String>;

/// Splits a comma list; blanks around items do not count.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// `off`, or addresses with flags.
pub(super) fn listeners(text: &str) -> Read<Vec<Listener>> {
    if text.trim() == "off" {
        return Ok(Vec::new());
    }
    let all: Vec<Listener> = items(text).map(listener).collect::<Read<_>>()?;
    if all.is_empty() {
        return Err("an address is needed\nwrite ADDR:PORT, or off".to_owned());
    }
    Ok(all)
}

fn listener(text: &str) -> Read<Listener> {
    let mut words = text.split_whitespace();
    let addr = address(words.next().unwrap_or_default())?;
    let mut listener = Listener {
        addr,
        tls: false,
        http2: false,
        proxy_protocol: false,
        deferred: false,
        backlog: None,
    };
    for word in words {
        match word {
            "tls" | "ssl" => listener.tls = true,
            "http2" => listener.http2 = true,
            "proxy_protocol" => listener.proxy_protocol = true,
            "deferred" => listener.deferred = true,
            // Every address has sockets of its own, one for each worker where they accept.
            "reuseport" | "bind" => {}
            other => listener.backlog = Some(backlog(other)?),
        }
    }
    Ok(listener)
}

fn backlog(word: &str) -> Read<u32> {
    let number = word
        .strip_prefix("backlog=")
        .and_then(|number| number.parse().ok());
    number.filter(|number| *number > 0).ok_or_else(|| {
        format!("unknown word '{word}' after an address\nknown are tls, http2, proxy_protocol, reuseport, deferred, backlog=N")
    })
}

fn address(text: &str) -> Read<SocketAddr> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| {
        format!("'{text}' is no address to listen on\nwrite ADDR:PORT, IPv6 in brackets: [::]:8000")
    })
}

/// Addresses of DNS servers; the port is 53 where none is named.
pub(super) fn servers(text: &str) -> Read<Vec<SocketAddr>> {
    items(text).map(server).collect()
}

fn server(text: &str) -> Read<SocketAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let alone = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    alone.or_else(|_| text.parse()).map_err(|_| {
        format!("'{text}' is no address of a DNS server\nwrite ADDR or ADDR:PORT, IPv6 in brackets: [::1]:53")
    })
}

/// What a DNS server can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsKind {
    /// Services: hosts with ports and weights.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Addresses of both families.
    Both,
}

/// Kong's list. Its `LAST` and `CNAME` are taken and ask for nothing: a kind that answered last
/// gets no precedence here, and an alias is followed by whoever asks for addresses.
pub(super) fn dns_order(text: &str) -> Read<Vec<DnsKind>> {
    let mut order = Vec::new();
    for item in items(text) {
        let kind = match item.to_ascii_uppercase().as_str() {
            "SRV" => DnsKind::Srv,
            "A" => DnsKind::A,
            "AAAA" => DnsKind::Aaaa,
            "A+AAAA" => DnsKind::Both,
            "LAST" | "CNAME" => continue,
            _ => {
                return Err(format!(
                    "'{item}' is no kind of record\nwrite some of SRV, A, AAAA and A+AAAA, with commas between them"
                ));
            }
        };
        if order.contains(&kind) {
            return Err(format!("'{item}' stands there twice"));
        }
        order.push(kind);
    }
    match order.is_empty() {
        true => Err("needs one of SRV, A, AAAA and A+AAAA".to_owned()),
        false => Ok(order),
    }
}

/// One word of a few.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Read<T> {
    let found = words.iter().find(|(word, _)| *word == text.trim());
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = crate::config::report::did_you_mean(text, names.iter().copied());
        let hint = hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
        format!("expected one of: {}{hint}", names.join(", "))
    })
}

/// `on` or `off`, `true` or `false`.
pub(super) fn switch(text: &str) -> Read<bool> {
    word(
        text,
        &[
            ("on", true),
            ("off", false),
            ("true", true),
            ("false", false),
        ],
    )
}

/// `250ms`, `10s`, `1m`, `2h`, `1d`, `0`.
pub(super) fn duration(text: &str) -> Read<Duration> {
    let bad = || format!("'{text}' is no time\nwrite 250ms, 10s or 1m");
    let text = text.trim();
    let split = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| bad())?;
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        "" if number == 0.0 => 1.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|_| bad())
}

/// A duration greater than zero.
pub(super) fn some_time(text: &str) -> Read<Duration> {
    match duration(text)? {
        Duration::ZERO => Err("value must be greater than 0".to_owned()),
        time => Ok(time),
    }
}

/// `32KiB`, `8m`, `1GiB`, `4096`: bytes, units by 1024.
pub(super) fn size(text: &str) -> Read<u64> {
    let bad = || format!("'{text}' is no size\nwrite 4096, 32KiB or 8m");
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| bad())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(bad()),
    };
    number.checked_mul(1 << shift).ok_or_else(bad)
}

/// A size greater than zero that fits into memory.
pub(super) fn some_size(text: &str) -> Read<usize> {
    let bytes = usize::try_from(size(text)?).map_err(|_| "too large".to_owned())?;
    if bytes == 0 {
        Err("value must be greater than 0".to_owned())
    } else {
        Ok(bytes)
    }
}

/// A whole number between two bounds.
pub(super) fn count(text: &str, min: usize, max: usize) -> Read<usize> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| format!("value should be a whole number between {min} and {max}"))
}

/// A whole number, or `auto`.
pub(super) fn count_or_auto(text: &str, min: usize, max: usize) -> Read<Option<usize>> {
    if text.trim() == "auto" {
        Ok(None)
    } else {
        count(text, min, max).map(Some)
    }
}

/// A text; empty is none.
pub(super) fn optional(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Addresses and ranges, and whether `unix:` is among them.
pub(super) fn networks(text: &str) -> Read<(Vec<ipnet::IpNet>, bool)> {
    let mut networks = Vec::new();
    let mut unix = false;
    for item in items(text) {
        if item == "unix:" {
            unix = true;
            continue;
        }
        let single = item.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
        let network = single.or_else(|_| item.parse());
        networks.push(network.map_err(|_| format!("invalid ip or cidr range: '{item}'"))?);
    }
    Ok((networks, unix))
}

/// Where the access log goes.
pub(super) fn access_log(text: &str) -> Read<AccessLog> {
    match text.trim() {
        "off" | "" => Ok(AccessLog::Off),
        "stdout" | "/dev/stdout" | "on" => Ok(AccessLog::Stdout),
        path => Ok(AccessLog::File(PathBuf::from(path))),
    }
}

/// Kong's `headers`.
pub(super) fn response_headers(text: &str) -> Read<ResponseHeaders> {
    let mut all = ResponseHeaders::default();
    for item in items(text).filter(|item| *item != "off") {
        match item.to_ascii_lowercase().as_str() {
            "server_tokens" => (all.server, all.via) = (true, true),
            "latency_tokens" => {
                all.proxy_latency = true;
                all.upstream_latency = true;
                all.response_latency = true;
            }
            "server" => all.server = true,
            "via" => all.via = true,
            "x-kong-proxy-latency" => all.proxy_latency = true,
            "x-kong-upstream-latency" => all.upstream_latency = true,
            "x-kong-response-latency" => all.response_latency = true,
            "x-kong-upstream-status" => all.upstream_status = true,
            "x-kong-request-id" => all.request_id = true,
            _ => {
                return Err(format!(
                    "unknown header '{item}'\nknown are server_tokens, latency_tokens, Server, Via, X-Kong-Proxy-Latency, X-Kong-Upstream-Latency, X-Kong-Response-Latency, X-Kong-Upstream-Status, X-Kong-Request-Id, off"
                ));
            }
        }
    }
    Ok(all)
}

/// Paths of files.
pub(super) fn paths(text: &str) -> Vec<PathBuf> {
    items(text).map(PathBuf::from).collect()
}
