//! The path that goes upstream: the matched prefix stripped, the rest joined to the service's path.
//!
//! Invariant: works on the normalised path and keeps it normal: what is left behind a prefix
//! cannot climb out of the service's path.

use super::spec::Flavor;
use crate::message::uri;

/// How service path and rest are joined (Kong's `path_handling`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathHandling {
    /// With exactly one slash between them.
    #[default]
    V0,
    /// End to end, without doubling a slash. Deprecated.
    V1,
}

impl PathHandling {
    /// What is done under a flavor: the default one joins every path as v0.
    pub fn under(self, flavor: Flavor) -> Self {
        match flavor {
            Flavor::Traditional => self,
            Flavor::TraditionalCompatible => Self::V0,
        }
    }
}

/// How a route's request paths become upstream paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamPath<'a> {
    /// The service's path; empty is `/`.
    pub base: &'a str,
    /// The route's `strip_path`.
    pub strip: bool,
    /// The route's `path_handling` [under](PathHandling::under) the flavor.
    pub handling: PathHandling,
}

impl UpstreamPath<'_> {
    /// Appends the upstream path (without query), escaped for the wire. `prefix_len` is that of
    /// the [`super::Match`].
    pub fn write(&self, out: &mut Vec<u8>, path: &str, prefix_len: usize) {
        let (head, rest) = match (self.strips(prefix_len), self.handling) {
            (true, PathHandling::V0) => self.strip_v0(path, below(path, prefix_len)),
            (true, PathHandling::V1) => self.strip_v1(below(path, prefix_len)),
            (false, PathHandling::V1) => (self.base(), unslashed(path)),
            (false, PathHandling::V0) => self.keep_v0(path),
        };
        uri::escape_into(out, head);
        if self.needs_slash(head, rest, prefix_len) {
            out.push(b'/');
        }
        uri::escape_into(out, rest);
    }

    /// The stripped prefix, as `X-Forwarded-Prefix` has it before escaping; `None` when nothing
    /// was stripped.
    pub fn forwarded_prefix<'p>(&self, path: &'p str, prefix_len: usize) -> Option<&'p str> {
        self.strips(prefix_len)
            .then(|| path.get(..prefix_len))
            .flatten()
    }

    /// A prefix of `/` is not a strip, and neither is that of a route without paths.
    fn strips(&self, prefix_len: usize) -> bool {
        self.strip && prefix_len > 1
    }

    fn base(&self) -> &str {
        if self.base.is_empty() { "/" } else { self.base }
    }

    fn keep_v0<'s>(&'s self, path: &'s str) -> (&'s str, &'s str) {
        match self.base() {
            base if base.ends_with('/') => (base, unslashed(path)),
            base if path == "/" => (base, ""),
            base => (base, path),
        }
    }

    fn strip_v0<'s>(&'s self, path: &str, rest: &'s str) -> (&'s str, &'s str) {
        let bare = self.base.strip_suffix('/').unwrap_or(self.base);
        match rest {
            "" if path.ends_with('/') && path.len() > 1 => (bare, "/"),
            "" if bare.is_empty() => ("", "/"),
            _ => (bare, rest),
        }
    }

    fn strip_v1<'s>(&'s self, rest: &'s str) -> (&'s str, &'s str) {
        match self.base() {
            base if base.ends_with('/') => (base, unslashed(rest)),
            base => (base, rest),
        }
    }

    /// Whether v0 has to put the slash between base and rest.
    fn needs_slash(&self, head: &str, rest: &str, prefix_len: usize) -> bool {
        self.handling == PathHandling::V0
            && self.strips(prefix_len)
            && !rest.is_empty()
            && !rest.starts_with('/')
            && !head.ends_with('/')
    }
}

fn unslashed(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

/// What is left behind the prefix. A prefix that ends inside a segment can leave dots at the
/// start (`/route` of `/route../x`), which must not become a dot segment.
fn below(path: &str, prefix_len: usize) -> &str {
    let rest = path.get(prefix_len..).unwrap_or("");
    match rest {
        "." | ".." => "",
        _ => rest
            .strip_prefix("./")
            .or_else(|| rest.strip_prefix("../"))
            .unwrap_or(rest),
    }
}

#[cfg(test)]
mod tests;
