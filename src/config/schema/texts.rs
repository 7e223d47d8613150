//! Checks of texts, in Kong's words.

use std::net::IpAddr;

/// `Ok` when a condition holds, else the message.
fn require(ok: bool, message: impl Into<String>) -> Result<(), String> {
    if ok { Ok(()) } else { Err(message.into()) }
}

fn invalid(value: &str) -> String {
    format!("invalid value: {value}")
}

/// An IP address; an IPv6 one may stand in brackets.
#[must_use]
pub fn ip(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().ok()
}

/// Whether a text is a host name: labels of letters, digits, `-` and `_`, at most 253 bytes.
#[must_use]
pub fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    text.len() <= 253 && text.split('.').all(label_ok)
}

/// Cuts a trailing `:port` off a host; an IPv6 address keeps its brackets.
#[must_use]
pub fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    }
}

/// A host name or an address, without a port (Kong `typedefs.host`).
///
/// # Errors
/// The message for the report.
pub fn host(text: &str) -> Result<(), String> {
    if ip(text).is_some() {
        return Ok(());
    }
    let (bare, port) = split_port(text);
    require(
        port.is_none() || !(is_hostname(bare) || ip(bare).is_some()),
        "must not have a port",
    )?;
    require(is_hostname(text), invalid(text))
}

/// A host with an optional port (Kong `typedefs.host_with_optional_port`).
///
/// # Errors
/// The message for the report.
pub fn host_and_port(text: &str) -> Result<(), String> {
    if ip(text).is_some() {
        return Ok(());
    }
    let (bare, port) = split_port(text);
    require(
        port.is_none_or(|port| port.parse::<u16>().is_ok_and(|p| p > 0)),
        "invalid port number",
    )?;
    require(is_hostname(bare) || ip(bare).is_some(), invalid(text))
}

/// The name of a header (RFC 9110 `token`).
///
/// # Errors
/// The message for the report.
pub fn header_name(text: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let message =
        || format!("bad header name '{text}', allowed characters are A-Z, a-z, 0-9, '_', and '-'");
    if !text.is_empty() && text.bytes().all(token) {
        Ok(())
    } else {
        Err(message())
    }
}

/// The value of a header (RFC 9110 §5.5): no control characters.
///
/// # Errors
/// The message for the report.
pub fn header_value(text: &str) -> Result<(), String> {
    let fits = |b: u8| b >= b' ' && b != 0x7f || b == b'\t';
    require(
        text.bytes().all(fits),
        "bad header value: control characters cannot be sent",
    )
}

/// The name of a cookie (RFC 6265: a token).
///
/// # Errors
/// The message for the report.
pub fn cookie_name(text: &str) -> Result<(), String> {
    header_name(text).map_err(|_| format!("bad cookie name '{text}'"))
}

/// An IP address or a CIDR range.
///
/// # Errors
/// The message for the report.
pub fn ip_or_cidr(text: &str) -> Result<(), String> {
    let ok = text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok();
    require(ok, format!("invalid ip or cidr range: '{text}'"))
}

/// A UUID in the usual form with hyphens.
///
/// # Errors
/// The message for the report.
pub fn uuid(text: &str) -> Result<(), String> {
    require(
        text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
        "expected a valid UUID",
    )
}

/// A regular expression of the `regex` crate.
///
/// # Errors
/// The first line of the crate's explanation that says what is wrong.
pub fn regex(text: &str) -> Result<(), String> {
    // Compiling costs twenty times as much, and says no more unless counts make it too large.
    let is_small = text.len() < 256 && !text.contains('{');
    if is_small && regex_syntax::parse(text).is_ok() {
        return Ok(());
    }
    regex::Regex::new(text)
        .map(|_| ())
        .map_err(|error| regex_message(&error))
}

/// The reason out of the many lines of the crate's message.
#[must_use]
pub fn regex_message(error: &regex::Error) -> String {
    let full = error.to_string();
    let last = full.lines().last().unwrap_or_default();
    format!(
        "invalid regex: {}",
        last.strip_prefix("error: ").unwrap_or(last)
    )
}

/// A URL taken apart, as far as a gateway needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlParts<'t> {
    /// Scheme in the spelling of the text, if there is one.
    pub scheme: Option<&'t str>,
    /// Host, IPv6 in its brackets.
    pub host: &'t str,
    /// Port, if written and a number below 65536.
    pub port: Option<u16>,
    /// Path without query and fragment, if written.
    pub path: Option<&'t str>,
}

/// Takes `[scheme://][user@]host[:port][/path][?query][#fragment]` apart; `None` without a host or
/// with a port that is none.
#[must_use]
pub fn url_parts(text: &str) -> Option<UrlParts<'_>> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, text),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let (host, port) = split_port(authority);
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    let path = tail
        .split(['?', '#'])
        .next()
        .filter(|path| !path.is_empty());
    (!host.is_empty()).then_some(UrlParts {
        scheme,
        host,
        port,
        path,
    })
}

/// A URL with scheme and host.
///
/// # Errors
/// The message for the report.
pub fn url(text: &str) -> Result<(), String> {
    let parts = url_parts(text).ok_or("missing host in url")?;
    let scheme = parts.scheme.ok_or("missing scheme in url")?;
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    require(
        !scheme.is_empty() && scheme.bytes().all(letters),
        "invalid scheme in url",
    )?;
    require(
        is_hostname(parts.host) || ip(parts.host).is_some(),
        "invalid host in url",
    )
}

/// A path that begins with `/`, has no empty segment, only RFC 3986's characters and whole
/// percent triplets (Kong `typedefs.path`).
///
/// # Errors
/// The message for the report.
pub fn path(text: &str) -> Result<(), String> {
    require(text.starts_with('/'), "should start with: /")?;
    require(!text.contains("//"), "must not have empty segments")?;
    path_characters(text)
}

/// Only characters that RFC 3986 allows in a path, and whole percent triplets.
///
/// # Errors
/// The message for the report.
pub fn path_characters(text: &str) -> Result<(), String> {
    // Letters beyond ASCII are escaped on the wire, as the normal form of requests has it.
    let allowed = |c: &char| {
        c.is_ascii_alphanumeric() || "-._~:/@!$&'()*+,;=%".contains(*c) || c.is_alphanumeric()
    };
    if let Some(wrong) = text.chars().find(|c| !allowed(c)) {
        return Err(format!(
            "invalid path: '{text}' (characters outside of the reserved list of RFC 3986 found: '{wrong}')"
        ));
    }
    let triplets = text.split('%').skip(1).all(|rest| {
        rest.as_bytes()
            .get(..2)
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    require(triplets, "invalid url-encoded value in path")
}

/// A tag: printable ASCII without `,` and `/`, or UTF-8.
///
/// # Errors
/// The message for the report.
pub fn tag(text: &str) -> Result<(), String> {
    let ok = text
        .chars()
        .all(|c| !c.is_control() && !matches!(c, ',' | '/'));
    require(
        ok,
        format!(
            "invalid tag '{text}': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
        ),
    )
}

/// An entity's name: ASCII letters, digits and `. - _ ~`, or any other UTF-8.
///
/// # Errors
/// The message for the report.
pub fn name(text: &str) -> Result<(), String> {
    let ok = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || ".-_~".contains(c);
    let message = format!(
        "invalid value '{text}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
    );
    require(text.chars().all(ok), message)
}
