//! Targets and names of upstreams.

use super::schema::texts;

/// Port of a target that names none (Kong).
pub const DEFAULT_PORT: u16 = 8000;

/// Host without brackets and port of a target; `None` when it is none.
#[must_use]
pub fn parse(text: &str) -> Option<(String, u16)> {
    if let Ok(ip) = text.parse::<std::net::IpAddr>() {
        return Some((ip.to_string(), DEFAULT_PORT));
    }
    let (host, port) = texts::split_port(text);
    let port = match port {
        Some(port) => port.parse::<u16>().ok()?,
        None => DEFAULT_PORT,
    };
    if let Some(ip) = texts::ip(host) {
        return Some((ip.to_string(), port));
    }
    texts::is_hostname(host).then(|| (host.to_owned(), port))
}

/// A target as it may be written.
pub(super) fn check(text: &str) -> Result<(), String> {
    if parse(text).is_some() {
        return Ok(());
    }
    Err(format!(
        "Invalid target ('{text}'); not a valid hostname or ip address"
    ))
}

/// The name of an upstream: a host name without port.
pub(super) fn upstream_name(text: &str) -> Result<(), String> {
    let why = if texts::ip(text).is_some() {
        "no ip addresses allowed"
    } else if texts::split_port(text).1.is_some() {
        "no port allowed"
    } else if !texts::is_hostname(text) {
        "must be a valid hostname"
    } else {
        return Ok(());
    };
    Err(format!("Invalid name ('{text}'); {why}"))
}
