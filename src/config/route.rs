//! Rules of services' and routes' values, and how those of a route go together.

use super::model::Protocol;
use super::paths;
use super::report::Report;
use super::schema::{Fields, texts};

/// `url` of a service: what is wrong with its host is said of `host`.
pub(super) fn url_shorthand(text: &str) -> Result<(), String> {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    match texts::split_port(authority).1 {
        Some(port) if port.parse::<u16>().is_err() => Err("invalid port in url".to_owned()),
        _ => Ok(()),
    }
}

/// Upper-case letters.
pub(super) fn method(text: &str) -> Result<(), String> {
    if text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    Err(format!(
        "invalid value: {text}\nmethods are upper-case letters: {}",
        text.to_uppercase()
    ))
}

/// A host with an optional port; `*` may be the leftmost or the rightmost label.
pub(super) fn host(text: &str) -> Result<(), String> {
    match text.matches('*').count() {
        0 => texts::host_and_port(text),
        1 => {
            let (bare, port) = texts::split_port(text);
            if port.is_some_and(|port| port.parse::<u16>().map_or(true, |port| port == 0)) {
                return Err("invalid port number".to_owned());
            }
            wildcard(bare)
        }
        _ => Err("only one wildcard must be specified".to_owned()),
    }
}

fn wildcard(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix("*.").or_else(|| text.strip_suffix(".*")) else {
        return Err("wildcard must be leftmost or rightmost character".to_owned());
    };
    if texts::is_hostname(rest) {
        Ok(())
    } else {
        Err(format!("invalid value: {text}"))
    }
}

/// A server name on a route: a host name without port, or one wildcard label.
pub(super) fn sni(text: &str) -> Result<(), String> {
    if texts::ip(text).is_some() {
        return Err("must not be an IP".to_owned());
    }
    match text.matches('*').count() {
        0 if texts::split_port(text).1.is_some() => Err("must not have a port".to_owned()),
        0 if texts::is_hostname(text) => Ok(()),
        0 => Err(format!("invalid value: {text}")),
        1 => wildcard(text),
        _ => Err("only one wildcard must be specified".to_owned()),
    }
}

/// A server name of a certificate: as on a route, or `*` for all.
pub(super) fn wildcard_sni(text: &str) -> Result<(), String> {
    if text == "*" { Ok(()) } else { sni(text) }
}

/// A header to match by.
pub(super) fn header(text: &str) -> Result<(), String> {
    if text.eq_ignore_ascii_case("host") {
        let message =
            "cannot contain 'host' header, which must be specified in the 'hosts' attribute";
        return Err(message.to_owned());
    }
    texts::header_name(text)
}

/// A prefix in its normal form, or `~` and a regular expression.
pub(super) fn path(text: &str) -> Result<(), String> {
    if let Some(pattern) = text.strip_prefix('~') {
        if !pattern.starts_with('/') {
            return Err("should start with: / (fixed path) or ~/ (regex path)".to_owned());
        }
        return texts::regex(pattern);
    }
    if !text.starts_with('/') {
        let hint = format!("write /{text}");
        return Err(format!(
            "should start with: / (fixed path) or ~/ (regex path)\n{hint}"
        ));
    }
    texts::path(text).map_err(|message| {
        let looks_regex = text.contains(['\\', '[', '(', '^', '|', '{']) || text.ends_with('$');
        if looks_regex {
            format!("{message}\na regular expression begins with ~: ~{text}")
        } else {
            message
        }
    })?;
    let normal = paths::normalise(text);
    if normal == text {
        return Ok(());
    }
    Err(format!(
        "non-normalized path, consider use '{normal}' instead"
    ))
}

/// What must hold between the fields of a route.
pub(super) fn whole(fields: &Fields<'_>, report: &mut Report) {
    let protocols = protocols(fields);
    if !one_group(fields, &protocols, report) {
        return;
    }
    status_code(fields, report);
    matchers(fields, &protocols, report);
    stream_fields(fields, &protocols, report);
    if protocols.iter().any(|p| p.is_grpc()) {
        let why = "when 'protocols' is 'grpc' or 'grpcs'";
        if fields.is_written("strip_path") && fields.bool("strip_path") {
            fields.error(
                report,
                "strip_path",
                format!("cannot set 'strip_path' {why}"),
            );
        }
        if !fields.strings("methods").is_empty() {
            fields.error(report, "methods", format!("cannot set 'methods' {why}"));
        }
    }
    let names_sni = protocols.iter().any(|p| p.is_tls());
    if fields.has("snis") && !fields.strings("snis").is_empty() && !names_sni {
        let message = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'";
        fields.error(report, "snis", message);
    }
}

/// The protocols of a route.
pub(super) fn protocols(fields: &Fields<'_>) -> Vec<Protocol> {
    fields
        .strings("protocols")
        .iter()
        .filter_map(|word| Protocol::from_word(word))
        .collect()
}

/// Which protocols may stand together on a route.
const GROUPS: [&[Protocol]; 4] = [
    &[Protocol::Http, Protocol::Https],
    &[Protocol::Tcp, Protocol::Tls, Protocol::Udp],
    &[Protocol::TlsPassthrough],
    &[Protocol::Grpc, Protocol::Grpcs],
];

fn one_group(fields: &Fields<'_>, protocols: &[Protocol], report: &mut Report) -> bool {
    let used: Vec<_> = GROUPS
        .iter()
        .filter(|group| protocols.iter().any(|p| group.contains(p)))
        .collect();
    if used.len() < 2 {
        return true;
    }
    let words = |group: &&&[Protocol]| {
        let quoted: Vec<String> = group.iter().map(|p| format!("'{}'", p.word())).collect();
        format!("({})", quoted.join(", "))
    };
    let sets: Vec<String> = used.iter().map(words).collect();
    let message = format!("these sets are mutually exclusive: {}", sets.join(", "));
    fields.error(report, "protocols", message);
    false
}

fn status_code(fields: &Fields<'_>, report: &mut Report) {
    let name = "https_redirect_status_code";
    if ![301, 302, 307, 308, 426].contains(&fields.int::<u16>(name)) {
        fields.error(report, name, "expected one of: 426, 301, 302, 307, 308");
    }
}

/// At least one matcher that the protocols understand.
fn matchers(fields: &Fields<'_>, protocols: &[Protocol], report: &mut Report) {
    let all: &[&str] = match protocols {
        p if p.iter().any(|p| p.is_stream()) => return,
        p if p.contains(&Protocol::Https) => &["methods", "hosts", "headers", "paths", "snis"],
        p if p.contains(&Protocol::Http) => &["methods", "hosts", "headers", "paths"],
        p if p.contains(&Protocol::Grpcs) => &["hosts", "headers", "paths", "snis"],
        _ => &["hosts", "headers", "paths"],
    };
    let given = |name: &&str| match *name {
        "headers" => !fields.map_entries("headers").is_empty(),
        name => !fields.strings(name).is_empty(),
    };
    if all.iter().any(given) {
        return;
    }
    let names: Vec<String> = all.iter().map(|name| format!("'{name}'")).collect();
    let strictest = [
        Protocol::Https,
        Protocol::Http,
        Protocol::Grpcs,
        Protocol::Grpc,
    ];
    let word = strictest
        .iter()
        .find(|p| protocols.contains(p))
        .map_or("", |p| p.word());
    let message = format!(
        "must set one of {} when 'protocols' is '{word}'",
        names.join(", ")
    );
    fields.error(report, "", message);
}

/// `sources` and `destinations` mean nothing to requests.
fn stream_fields(fields: &Fields<'_>, protocols: &[Protocol], report: &mut Report) {
    if protocols.iter().any(|p| p.is_stream()) {
        return;
    }
    for name in ["sources", "destinations"] {
        if !fields.nodes(name).is_empty() {
            let words: Vec<String> = protocols
                .iter()
                .map(|p| format!("'{}'", p.word()))
                .collect();
            let words = words.join(", ");
            fields.error(
                report,
                name,
                format!("cannot set '{name}' when 'protocols' is {words}"),
            );
        }
    }
}
