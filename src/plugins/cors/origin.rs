//! Which origins are allowed, and what is said to each.
//!
//! Invariant: a pattern matches the whole of what it is tested against, or not at all.

use std::borrow::Cow;

use regex::Regex;

/// The configured origins.
#[derive(Clone, Debug)]
pub(super) enum Origins {
    /// None, or only `*`.
    Any,
    /// One plain entry: said to everybody.
    Single(String),
    /// A list or a pattern; with `*` among the entries, everybody who names an origin is allowed.
    Listed { star: bool, entries: Vec<Entry> },
}

#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// An origin in its normal form.
    Plain(String),
    /// A pattern for the whole origin.
    Whole(Regex),
    /// A pattern for the host.
    Host(Regex),
}

/// What `Access-Control-Allow-Origin` is to say.
#[derive(Debug, PartialEq)]
pub(super) enum Allow<'a> {
    /// `*`.
    All,
    /// This origin.
    One(Cow<'a, str>),
    /// Nothing.
    No,
}

/// Accepts an entry of `origins`.
pub(super) fn judge(entry: &str) -> Result<(), String> {
    if entry == "*" || is_plain(entry) {
        return Ok(());
    }
    anchored(entry)
        .map(|_| ())
        .map_err(|error| crate::config::schema::texts::regex_message(&error))
}

fn is_plain(entry: &str) -> bool {
    entry
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b".:/-".contains(&b))
}

fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

impl Origins {
    /// From entries that [`judge`] has accepted.
    pub(super) fn new(list: &[String]) -> Origins {
        match list {
            [] => Origins::Any,
            [one] if one == "*" => Origins::Any,
            [one] if is_plain(one) => Origins::Single(one.clone()),
            _ => Origins::Listed {
                star: list.iter().any(|entry| entry == "*"),
                entries: list.iter().filter_map(|entry| Entry::new(entry)).collect(),
            },
        }
    }

    /// What to say to a request with this origin, and whether that depends on the origin.
    pub(super) fn allow<'a>(&'a self, origin: Option<&'a str>) -> (Allow<'a>, bool) {
        let allow = match (self, origin) {
            (Origins::Any, _) => return (Allow::All, false),
            (Origins::Single(entry), _) => Allow::One(entry.into()),
            (Origins::Listed { .. }, None) => Allow::No,
            (Origins::Listed { star: true, .. }, Some(_)) => Allow::All,
            (Origins::Listed { entries, .. }, Some(origin)) => {
                let (normal, host) = normal(origin);
                let fits = entries.iter().any(|entry| entry.fits(&normal, host));
                if fits { Allow::One(normal) } else { Allow::No }
            }
        };
        (allow, true)
    }
}

impl Entry {
    fn new(entry: &str) -> Option<Entry> {
        if is_plain(entry) {
            return Some(Entry::Plain(normal(entry).0.into_owned()));
        }
        let regex = anchored(entry).ok()?;
        Some(if entry.contains(':') {
            Entry::Whole(regex)
        } else {
            Entry::Host(regex)
        })
    }

    fn fits(&self, origin: &str, host: &str) -> bool {
        match self {
            Entry::Plain(entry) => entry == origin,
            Entry::Whole(regex) => regex.is_match(origin),
            Entry::Host(regex) => regex.is_match(host),
        }
    }
}

/// An origin without user, path and default port, and its host; what has no host (`null`, a bare
/// name) stays as it is and counts as its own host.
fn normal(origin: &str) -> (Cow<'_, str>, &str) {
    let Some((scheme, rest)) = origin.split_once("://") else {
        return (origin.into(), origin);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, rest)| rest);
    let (host, port) = crate::config::schema::texts::split_port(authority);
    if host.is_empty() {
        return (origin.into(), origin);
    }
    let default = match scheme {
        "http" => Some("80"),
        "https" => Some("443"),
        _ => None,
    };
    let port = port.filter(|port| Some(*port) != default);
    let length = scheme.len() + "://".len() + host.len() + port.map_or(0, |port| 1 + port.len());
    let normal = match port {
        // Nothing was left out, so nothing need be put together.
        _ if length == origin.len() => return (origin.into(), host),
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    (normal.into(), host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_lose_what_does_not_tell_them_apart() {
        for (origin, want, host) in [
            ("http://a.com", "http://a.com", "a.com"),
            ("http://a.com:80", "http://a.com", "a.com"),
            ("https://a.com:443", "https://a.com", "a.com"),
            ("https://a.com:80", "https://a.com:80", "a.com"),
            ("http://a.com/p?q", "http://a.com", "a.com"),
            ("http://u:p@a.com", "http://a.com", "a.com"),
            ("http://[::1]:80", "http://[::1]", "[::1]"),
            ("null", "null", "null"),
            ("a.com", "a.com", "a.com"),
            ("http://", "http://", "http://"),
        ] {
            assert_eq!(normal(origin), (want.into(), host), "{origin}");
        }
    }
}
