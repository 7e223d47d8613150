//! The router as the documentation words it: every entry tested, the order applied literally.
//! Shares no code with the index; slow, and meant to be read against the reference.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;

use regex::Regex;

use super::{Flavor, Lookup, RouteSpec};

/// A request that owns its text.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) tls: bool,
    pub(super) sni: Option<String>,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            method: &self.method,
            host: &self.host,
            tls: self.tls,
            sni: self.sni.as_deref(),
            path: &self.path,
            headers: &self.headers,
        }
    }
}

/// A route with one of its paths that matched.
struct Entry<'s> {
    route: usize,
    spec: &'s RouteSpec,
    path: Option<&'s str>,
    path_at: usize,
    matched: usize,
    literal: bool,
}

/// The winner and how many bytes of the path it matched.
pub(super) fn find(
    specs: &[RouteSpec],
    flavor: Flavor,
    request: &Request,
) -> Option<(usize, usize)> {
    let mut entries = Vec::new();
    for (route, spec) in specs.iter().enumerate() {
        let Some(literal) = host_matches(spec, request) else {
            continue;
        };
        if !others_match(spec, flavor, request) {
            continue;
        }
        let entry = |path, path_at, matched| Entry {
            route,
            spec,
            path,
            path_at,
            matched,
            literal,
        };
        if spec.paths.is_empty() {
            entries.push(entry(None, 0, 0));
        }
        for (at, path) in spec.paths.iter().enumerate() {
            if let Some(matched) = path_matches(path, &request.path) {
                entries.push(entry(Some(path), at, matched));
            }
        }
    }
    let best = entries.into_iter().min_by(|a, b| match flavor {
        Flavor::Traditional => traditional(a, b),
        Flavor::TraditionalCompatible => compatible(a, b),
    })?;
    Some((best.route, best.matched))
}

fn more<T: Ord>(a: T, b: T) -> Ordering {
    b.cmp(&a)
}

fn traditional(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    let host_class = |e: &Entry<'_>| 4 * i32::from(wildcard_port(e)) + 2 * i32::from(plain(e));
    more(criteria(a), criteria(b))
        .then(more(kind(a), kind(b)))
        .then(more(host_class(a), host_class(b)))
        .then(literal(a, b))
        .then(more(is_regex(a), is_regex(b)))
        .then(more(a.spec.headers.len(), b.spec.headers.len()))
        .then(path_details(a, b))
        .then(last_ties(a, b))
}

fn compatible(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    more(criteria(a), criteria(b))
        .then(more(plain(a), plain(b)))
        .then(literal(a, b))
        .then(more(a.spec.headers.len(), b.spec.headers.len()))
        .then(more(is_regex(a), is_regex(b)))
        .then(path_details(a, b))
        .then(more(kind(a), kind(b)))
        .then(more(wildcard_port(a), wildcard_port(b)))
        .then(last_ties(a, b))
}

fn criteria(e: &Entry<'_>) -> u32 {
    kind(e).count_ones()
}

fn kind(e: &Entry<'_>) -> u32 {
    let s = e.spec;
    16 * u32::from(!s.hosts.is_empty())
        + 8 * u32::from(!s.headers.is_empty())
        + 4 * u32::from(!s.paths.is_empty())
        + 2 * u32::from(!s.methods.is_empty())
        + u32::from(!s.snis.is_empty())
}

fn plain(e: &Entry<'_>) -> bool {
    !e.spec.hosts.is_empty() && !e.spec.hosts.iter().any(|h| h.contains('*'))
}

fn wildcard_port(e: &Entry<'_>) -> bool {
    e.spec
        .hosts
        .iter()
        .any(|h| h.contains('*') && h.contains(':'))
}

fn is_regex(e: &Entry<'_>) -> bool {
    e.path.is_some_and(|p| p.starts_with('~'))
}

/// Of two plain hosts the one that equals the header wins.
fn literal(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    if plain(a) && plain(b) {
        more(a.literal, b.literal)
    } else {
        Ordering::Equal
    }
}

fn path_details(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    if is_regex(a) && is_regex(b) {
        return more(a.spec.regex_priority, b.spec.regex_priority);
    }
    let length = |e: &Entry<'_>| {
        if is_regex(e) {
            0
        } else {
            e.path.map_or(0, str::len)
        }
    };
    more(length(a), length(b))
}

fn last_ties(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    let age = |e: &Entry<'_>| e.spec.created_at.unwrap_or(i64::MAX);
    age(a)
        .cmp(&age(b))
        .then(a.route.cmp(&b.route))
        .then(a.path_at.cmp(&b.path_at))
}

/// Whether some host matches and, if so, whether one equals the header.
fn host_matches(spec: &RouteSpec, request: &Request) -> Option<bool> {
    if spec.hosts.is_empty() {
        return Some(false);
    }
    let sent = request.host.to_ascii_lowercase();
    let (name, port) = split(&sent);
    let implied = port.unwrap_or(if request.tls { "443" } else { "80" });
    let mut any = None;
    for host in &spec.hosts {
        let host = host.to_ascii_lowercase();
        let (pattern, wanted) = split(&host);
        let fits = pattern_matches(pattern, name) && wanted.is_none_or(|wanted| wanted == implied);
        if fits {
            let equal = !pattern.contains('*') && wanted == port;
            any = Some(any.unwrap_or(false) | equal);
        }
    }
    any
}

fn split(host: &str) -> (&str, Option<&str>) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    (name.strip_suffix('.').unwrap_or(name), port)
}

fn pattern_matches(pattern: &str, name: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix('*') {
        return name.len() > suffix.len() && name.ends_with(suffix);
    }
    if let Some(prefix) = pattern.strip_suffix('*') {
        return name.len() > prefix.len() && name.starts_with(prefix);
    }
    pattern == name
}

fn path_matches(path: &str, sent: &str) -> Option<usize> {
    match path.strip_prefix('~') {
        Some(pattern) => regex(&format!("^(?:{pattern})"))
            .find(sent)
            .map(|found| found.end()),
        None => sent.starts_with(path).then_some(path.len()),
    }
}

/// Few patterns, many requests: compiled once each.
fn regex(pattern: &str) -> Regex {
    thread_local!(static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default());
    let compile = || Regex::new(pattern).unwrap();
    KNOWN.with_borrow_mut(|known| {
        known
            .entry(pattern.to_owned())
            .or_insert_with(compile)
            .clone()
    })
}

fn others_match(spec: &RouteSpec, flavor: Flavor, request: &Request) -> bool {
    let method = spec.methods.is_empty() || spec.methods.contains(&request.method);
    let sni = spec.snis.is_empty()
        || !request.tls
        || spec.snis.iter().any(|pattern| {
            let sent = request.sni.as_deref().map(str::to_ascii_lowercase);
            let pattern = pattern.to_ascii_lowercase();
            let pattern = pattern.strip_suffix('.').unwrap_or(&pattern).to_owned();
            sent.is_some_and(|sent| pattern_matches(&pattern, &sent))
        });
    let header = |(name, wanted): &(String, Vec<String>)| {
        let sent = request
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let sent: Vec<String> = sent.map(|(_, value)| value.to_ascii_lowercase()).collect();
        wanted
            .iter()
            .any(|wanted_value| match wanted_value.strip_prefix("~*") {
                Some(pattern) if flavor == Flavor::TraditionalCompatible || wanted.len() == 1 => {
                    let regex = regex(pattern);
                    sent.iter().any(|value| regex.is_match(value))
                }
                _ => sent.contains(&wanted_value.to_ascii_lowercase()),
            })
    };
    method && sni && spec.headers.iter().all(header)
}
