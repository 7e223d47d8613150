//! Host patterns of routes, the Host header of requests, and the map between them.
//!
//! Invariant: both sides are lower-cased and lose one trailing dot before they meet; a port that
//! the header does not name is the scheme's.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use super::issue::Problem;

/// Longer text is no DNS name (RFC 1035): such a Host satisfies no `hosts` criterion.
const MAX_NAME: usize = 255;

const BRACKETS: &str = "an IPv6 address is written `[::1]` or `[::1]:8080`";

/// The shape of a configured name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Shape {
    /// Compared whole.
    Plain,
    /// `*.a.test`, kept as `.a.test`.
    Suffix,
    /// `a.*`, kept as `a.`.
    Prefix,
}

/// A configured host or SNI: `*` stands for one or more characters, dots included.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostPattern {
    pub(super) shape: Shape,
    /// Lower case; IPv6 in brackets.
    pub(super) name: Box<str>,
    pub(super) port: Option<u16>,
}

impl HostPattern {
    /// Reads an element of `hosts`.
    pub(super) fn host(text: &str) -> Result<Self, Problem> {
        if text.parse::<Ipv6Addr>().is_ok() {
            return Self::name(&format!("[{text}]"));
        }
        if text.starts_with('[') && !text.contains(']') {
            return Err(not_a_name(text, BRACKETS));
        }
        if text.contains('/') {
            return Err(not_a_name(
                text,
                "give the name alone, without scheme and path",
            ));
        }
        let (name, port) = split_configured(text)?;
        Ok(Self {
            port,
            ..Self::name(name)?
        })
    }

    /// Reads an element of `snis`.
    pub(super) fn sni(text: &str) -> Result<Self, Problem> {
        if text.contains([':', '/']) {
            return Err(not_a_name(
                text,
                "a server name has no scheme, port or path",
            ));
        }
        Self::name(text)
    }

    fn name(text: &str) -> Result<Self, Problem> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let (shape, kept, bare) = match (name.strip_prefix("*."), name.strip_suffix(".*")) {
            (Some(rest), None) => (Shape::Suffix, &name[1..], rest),
            (None, Some(rest)) => (Shape::Prefix, &name[..name.len() - 1], rest),
            _ => (Shape::Plain, name.as_str(), name.as_str()),
        };
        if bare.contains('*') {
            return Err(misplaced_wildcard(text));
        }
        check_name(text, bare)?;
        Ok(Self {
            shape,
            name: kept.into(),
            port: None,
        })
    }

    /// Whether the name of the pattern accepts this (lower-cased, bare) name.
    pub(super) fn accepts_name(&self, name: &str) -> bool {
        match self.shape {
            Shape::Plain => name == &*self.name,
            Shape::Suffix => name.len() > self.name.len() && name.ends_with(&*self.name),
            Shape::Prefix => name.len() > self.name.len() && name.starts_with(&*self.name),
        }
    }

    /// Whether every name that `other` accepts is accepted by this pattern too, ports apart.
    pub(super) fn covers_name(&self, other: &HostPattern) -> bool {
        match (self.shape, other.shape) {
            (_, Shape::Plain) => self.accepts_name(&other.name),
            (Shape::Suffix, Shape::Suffix) => other.name.ends_with(&*self.name),
            (Shape::Prefix, Shape::Prefix) => other.name.starts_with(&*self.name),
            _ => false,
        }
    }
}

fn not_a_name(text: &str, hint: &str) -> Problem {
    Problem::new(format!("`{text}` is not a host name")).hint(hint)
}

fn misplaced_wildcard(text: &str) -> Problem {
    Problem::new(format!("`{text}` has a wildcard in the wrong place")).hint(match text {
        "*" => "leave the list out to accept every name",
        _ => "one `*` may stand for the first or the last label: `*.a.test`, `a.*`",
    })
}

fn check_name(text: &str, bare: &str) -> Result<(), Problem> {
    if let Some(rest) = bare.strip_prefix('[') {
        let address = rest.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return match address {
            Some(Ok(_)) => Ok(()),
            _ => Err(not_a_name(text, BRACKETS)),
        };
    }
    if !text.is_ascii() {
        return Err(not_a_name(
            text,
            "write an international name in its `xn--` form",
        ));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| !label.is_empty() && label.bytes().all(fits);
    if bare.len() > MAX_NAME || !bare.split('.').all(label) {
        let hint = "labels of letters, digits, `-` and `_`, separated by dots, at most 255 bytes";
        return Err(not_a_name(text, hint));
    }
    Ok(())
}

/// Cuts the port off a configured host.
fn split_configured(text: &str) -> Result<(&str, Option<u16>), Problem> {
    let tail = text.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = text[tail..].find(':').map(|at| at + tail) else {
        return Ok((text, None));
    };
    let digits = &text[colon + 1..];
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok((&text[..colon], Some(port))),
        _ => Err(Problem::new(format!("`{digits}` is not a port"))
            .hint("a port is a number from 1 to 65535")),
    }
}

/// The Host of a request, ready to be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HostName<'a> {
    /// Lower case, without port and trailing dot.
    pub(super) name: &'a str,
    /// The port that the header names.
    pub(super) port: Option<u16>,
    /// That port, else the scheme's: 443 over TLS, else 80.
    pub(super) effective_port: u16,
}

/// Room for a name that has to be lower-cased.
pub(super) type NameBuf = [u8; MAX_NAME];

impl<'a> HostName<'a> {
    /// Reads a raw Host header value; `buf` is used only when it holds capitals.
    pub(super) fn read(raw: &'a str, tls: bool, buf: &'a mut Option<NameBuf>) -> Self {
        let (name, port) = split_received(raw);
        let name = name.strip_suffix('.').unwrap_or(name);
        let effective_port = port.unwrap_or(if tls { 443 } else { 80 });
        HostName {
            name: lowered(name, buf),
            port,
            effective_port,
        }
    }
}

/// `name`, `name:80`, `name:` (no port, RFC 3986 3.2.3), `[::1]:80`; anything else is all name.
fn split_received(raw: &str) -> (&str, Option<u16>) {
    let tail = if raw.starts_with('[') {
        raw.rfind(']').unwrap_or(0)
    } else {
        0
    };
    let Some(colon) = memchr::memchr(b':', &raw.as_bytes()[tail..]) else {
        return (raw, None);
    };
    let (name, digits) = (&raw[..tail + colon], &raw[tail + colon + 1..]);
    match digits.parse::<u16>() {
        Ok(port) if !digits.starts_with('+') => (name, Some(port)),
        _ if digits.is_empty() => (name, None),
        _ => (raw, None),
    }
}

/// The name in lower case; nothing for one that is too long.
pub(super) fn lowered<'a>(name: &'a str, buf: &'a mut Option<NameBuf>) -> &'a str {
    if name.len() > MAX_NAME {
        return "";
    }
    // A fold, not `any`: without the early end it runs many bytes at once.
    if !name
        .bytes()
        .fold(false, |capital, b| capital | b.is_ascii_uppercase())
    {
        return name;
    }
    let room = &mut buf.insert([0; MAX_NAME])[..name.len()];
    room.copy_from_slice(name.as_bytes());
    room.make_ascii_lowercase();
    std::str::from_utf8(room).unwrap_or_default()
}

/// Names to whatever is kept for them. Wildcards are found label by label, over at most as many
/// labels as the longest configured one has, whatever the request sends.
#[derive(Debug)]
pub(super) struct NameMap<T> {
    maps: [HashMap<Box<str>, T, foldhash::fast::RandomState>; 3],
    suffix_labels: usize,
    prefix_labels: usize,
}

impl<T> Default for NameMap<T> {
    fn default() -> Self {
        Self {
            maps: Default::default(),
            suffix_labels: 0,
            prefix_labels: 0,
        }
    }
}

impl<T: Default> NameMap<T> {
    /// What is kept for the name of this pattern; the default when it is new.
    pub(super) fn entry(&mut self, pattern: &HostPattern) -> &mut T {
        let labels = pattern.name.bytes().filter(|&b| b == b'.').count();
        match pattern.shape {
            Shape::Plain => {}
            Shape::Suffix => self.suffix_labels = self.suffix_labels.max(labels),
            Shape::Prefix => self.prefix_labels = self.prefix_labels.max(labels),
        }
        self.maps[pattern.shape as usize]
            .entry(pattern.name.clone())
            .or_default()
    }
}

impl<T> NameMap<T> {
    /// What is kept for this very name or wildcard.
    pub(super) fn get(&self, shape: Shape, name: &str) -> Option<&T> {
        let map = &self.maps[shape as usize];
        if map.is_empty() { None } else { map.get(name) }
    }

    /// Visits everything that is kept, in no order.
    pub(super) fn each_mut(&mut self, mut visit: impl FnMut(Shape, &mut T)) {
        for (map, shape) in self
            .maps
            .iter_mut()
            .zip([Shape::Plain, Shape::Suffix, Shape::Prefix])
        {
            map.values_mut().for_each(|kept| visit(shape, kept));
        }
    }

    /// Calls `visit` for the plain name and every wildcard that accepts `name`.
    #[inline]
    pub(super) fn each<'s>(&'s self, name: &str, mut visit: impl FnMut(&'s T)) {
        if let Some(found) = self.get(Shape::Plain, name) {
            visit(found);
        }
        if self.suffix_labels > 0 {
            self.each_suffix(name, &mut visit);
        }
        if self.prefix_labels > 0 {
            self.each_prefix(name, &mut visit);
        }
    }

    fn each_suffix<'s>(&'s self, name: &str, visit: &mut impl FnMut(&'s T)) {
        let dots = memchr::memrchr_iter(b'.', name.as_bytes()).take(self.suffix_labels);
        for at in dots.filter(|&at| at > 0) {
            if let Some(found) = self.get(Shape::Suffix, &name[at..]) {
                visit(found);
            }
        }
    }

    fn each_prefix<'s>(&'s self, name: &str, visit: &mut impl FnMut(&'s T)) {
        let dots = memchr::memchr_iter(b'.', name.as_bytes()).take(self.prefix_labels);
        for at in dots.filter(|&at| at + 1 < name.len()) {
            if let Some(found) = self.get(Shape::Prefix, &name[..=at]) {
                visit(found);
            }
        }
    }
}

#[cfg(test)]
mod tests;
