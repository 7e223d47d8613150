//! Where a request may hold its token.

use std::borrow::Cow;

use crate::message::{Known, RequestHead, cookie, query};

/// The places to look at.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) parameters: Vec<String>,
    pub(super) cookies: Vec<String>,
    /// Each with what it is known as.
    pub(super) headers: Vec<(Known, String)>,
}

/// What was found there; the same token in two places counts once.
#[derive(Debug, PartialEq)]
pub(super) enum Collected<'r> {
    Nothing,
    One(Cow<'r, str>),
    Several,
}

impl<'r> Collected<'r> {
    fn add(&mut self, token: Cow<'r, str>) {
        match self {
            _ if token.is_empty() => {}
            Collected::Nothing => *self = Collected::One(token),
            Collected::One(first) if *first == token => {}
            Collected::One(_) | Collected::Several => *self = Collected::Several,
        }
    }
}

impl Places {
    /// Every token of a request.
    pub(super) fn collect<'r>(&'r self, request: &'r RequestHead) -> Collected<'r> {
        let mut found = Collected::Nothing;
        if !request.query().is_empty() {
            for name in &self.parameters {
                for value in request.query_params(name) {
                    found.add(query::decode(value));
                }
            }
        }
        for name in &self.cookies {
            if let Some(value) = cookie(request, name) {
                found.add(value.into());
            }
        }
        for (known, name) in &self.headers {
            let value = match known {
                Known::Other => request.headers.get(name),
                known => request.headers.known(*known),
            };
            if let Some(token) = value.and_then(bearer) {
                found.add(token.into());
            }
        }
        found
    }
}

/// The first cookie of that name.
fn cookie<'r>(request: &'r RequestHead, name: &str) -> Option<&'r str> {
    let mut lines = request.headers.all_known(Known::Cookie);
    let value = lines.find_map(|line| cookie::find(line, name))?;
    std::str::from_utf8(value).ok()
}

/// What stands behind the first `Bearer` or `bearer` that blanks follow.
fn bearer(value: &[u8]) -> Option<&str> {
    let value = std::str::from_utf8(value).ok()?;
    // As nearly every client writes it: no search is set up for these.
    if let Some(token) = value
        .strip_prefix("Bearer ")
        .or_else(|| value.strip_prefix("bearer "))
        && token.starts_with(|first: char| first.is_ascii_graphic())
    {
        return Some(token);
    }
    let words = memchr::memmem::find_iter(value.as_bytes(), b"earer");
    words
        .filter(|at| {
            at.checked_sub(1)
                .is_some_and(|at| b"Bb".contains(&value.as_bytes()[at]))
        })
        .find_map(|at| {
            let rest = &value[at + "earer".len()..];
            let token = rest.trim_start();
            (token.len() < rest.len() && !token.is_empty()).then_some(token)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_may_stand_anywhere() {
        for (value, token) in [
            ("Bearer a.b.c", Some("a.b.c")),
            ("bearer   a", Some("a")),
            ("x, Bearer a b", Some("a b")),
            ("Bearerx Bearer y", Some("y")),
            ("BEARER a", None),
            ("Bearer", None),
            ("Bearer ", None),
            ("earer a", None),
            ("Basic YTpi", None),
        ] {
            assert_eq!(bearer(value.as_bytes()), token, "{value}");
        }
        assert_eq!(bearer(b"Bearer \xff"), None);
    }
}
