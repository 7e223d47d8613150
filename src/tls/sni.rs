//! Which certificate belongs to a server name: the file's `snis`.
//!
//! Invariant: names are kept in lower case without a final dot. A look-up tries the exact name,
//! then `*.` in place of the first label, then `.*` in place of the last, then `*`, in Kong's
//! order.

use std::collections::HashMap;
use std::net::IpAddr;

use thiserror::Error;

use crate::tls::cert::Certificate;

/// A server name as the file writes it: a host name, `*.b.c`, `a.*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SniName {
    /// One name.
    Exact(Box<str>),
    /// `*.b.c`, held as `b.c`: one more label in front.
    FirstLabel(Box<str>),
    /// `a.b.*`, held as `a.b`: one more label behind.
    LastLabel(Box<str>),
    /// `*`: every name.
    Any,
}

/// What is wrong with a server name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SniError {
    /// Addresses are never sent as SNI.
    #[error("must not be an IP")]
    Ip,
    /// A name has no port.
    #[error("must not have a port")]
    Port,
    /// More than one `*`.
    #[error("only one wildcard must be specified")]
    Wildcards,
    /// A `*` that does not stand for the whole first or last label.
    #[error("wildcard must be leftmost or rightmost character")]
    Wildcard,
    /// Not a host name.
    #[error("invalid hostname: {0}")]
    Host(String),
}

impl SniName {
    /// Reads a name as the file writes it.
    pub fn parse(name: &str) -> Result<Self, SniError> {
        if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(SniError::Ip);
        }
        if name.contains(':') {
            return Err(SniError::Port);
        }
        let lower = lower(name);
        let host = |text: &str| match is_host(text) {
            true => Ok(text.into()),
            false => Err(SniError::Host(name.to_owned())),
        };
        match (
            lower.matches('*').count(),
            lower.strip_prefix("*."),
            lower.strip_suffix(".*"),
        ) {
            (0, ..) => host(&lower).map(Self::Exact),
            (1, Some(rest), _) => host(rest).map(Self::FirstLabel),
            (1, _, Some(rest)) => host(rest).map(Self::LastLabel),
            (1, ..) if lower == "*" => Ok(Self::Any),
            (1, ..) => Err(SniError::Wildcard),
            _ => Err(SniError::Wildcards),
        }
    }
}

fn lower(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Labels of letters, digits, hyphens and underscores; RFC 1035 lengths.
fn is_host(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.len() <= 253
        && name
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(letter))
}

/// The certificates of a configuration by server name.
#[derive(Clone, Debug, Default)]
pub struct CertTable {
    exact: HashMap<Box<str>, Certificate>,
    first_label: HashMap<Box<str>, Certificate>,
    last_label: HashMap<Box<str>, Certificate>,
    any: Option<Certificate>,
}

impl CertTable {
    /// A table without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a certificate under a name, in place of another; that one comes back.
    pub fn insert(&mut self, name: SniName, certificate: Certificate) -> Option<Certificate> {
        match name {
            SniName::Exact(name) => self.exact.insert(name, certificate),
            SniName::FirstLabel(rest) => self.first_label.insert(rest, certificate),
            SniName::LastLabel(rest) => self.last_label.insert(rest, certificate),
            SniName::Any => self.any.replace(certificate),
        }
    }

    /// Whether there is no name at all: every client gets the default certificate.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.first_label.is_empty()
            && self.last_label.is_empty()
            && self.any.is_none()
    }

    /// The certificate for what a client asks for; `None` is the default certificate. A client
    /// that sends no name always gets the default.
    pub fn find(&self, name: Option<&str>) -> Option<&Certificate> {
        let name = lower(name?);
        self.exact
            .get(name.as_str())
            .or_else(|| self.by_first_label(&name))
            .or_else(|| self.by_last_label(&name))
            .or(self.any.as_ref())
    }

    /// `a.b.c` asks for `*.b.c`; a name of two labels has no such parent.
    fn by_first_label(&self, name: &str) -> Option<&Certificate> {
        let (_, rest) = name.split_once('.')?;
        if rest.contains('.') {
            self.first_label.get(rest)
        } else {
            None
        }
    }

    /// `a.b.c` asks for `a.b.*`.
    fn by_last_label(&self, name: &str) -> Option<&Certificate> {
        let (rest, _) = name.rsplit_once('.')?;
        self.last_label.get(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{authority, leaf};

    #[test]
    fn names_are_read_or_refused_with_a_reason() {
        let read = |name| SniName::parse(name);
        assert_eq!(read("A.Test."), Ok(SniName::Exact("a.test".into())));
        assert_eq!(read("*.a.test"), Ok(SniName::FirstLabel("a.test".into())));
        assert_eq!(read("a.*"), Ok(SniName::LastLabel("a".into())));
        assert_eq!(read("*"), Ok(SniName::Any));
        for (name, want) in [
            ("10.0.0.1", "must not be an IP"),
            ("[::1]", "must not be an IP"),
            ("::1", "must not be an IP"),
            ("a.test:443", "must not have a port"),
            ("*.a.*", "only one wildcard must be specified"),
            (
                "a.*.test",
                "wildcard must be leftmost or rightmost character",
            ),
            (
                "*a.test",
                "wildcard must be leftmost or rightmost character",
            ),
            ("", "invalid hostname: "),
            ("a..test", "invalid hostname: a..test"),
            ("a b", "invalid hostname: a b"),
        ] {
            assert_eq!(read(name).unwrap_err().to_string(), want);
        }
    }

    /// Looks up `asked` in a table of `names`; the name that won.
    fn winner<'a>(names: &[&'a str], asked: Option<&str>) -> Option<&'a str> {
        let ca = authority("Root");
        let made: Vec<_> = names
            .iter()
            .map(|name| (*name, leaf(&ca, &["x"]).certificate()))
            .collect();
        let mut table = CertTable::new();
        for (name, certificate) in &made {
            assert!(
                table
                    .insert(SniName::parse(name).unwrap(), certificate.clone())
                    .is_none()
            );
        }
        let found = table.find(asked)?;
        made.iter()
            .find(|(_, certificate)| certificate == found)
            .map(|(name, _)| *name)
    }

    #[test]
    fn the_closest_name_wins() {
        let all = ["a.b.test", "*.b.test", "a.b.*", "*", "test.*"];
        for (asked, want) in [
            ("a.b.test", "a.b.test"),
            ("A.B.TEST.", "a.b.test"),
            ("c.b.test", "*.b.test"),
            ("a.b.other", "a.b.*"),
            ("d.c.b.test", "*"),
            ("b.test", "*"),
            ("test.org", "test.*"),
            ("localhost", "*"),
        ] {
            assert_eq!(winner(&all, Some(asked)), Some(want), "{asked}");
        }
        assert_eq!(winner(&all, None), None);
    }

    #[test]
    fn names_that_nothing_covers_get_the_default() {
        assert_eq!(winner(&["*.test"], Some("a.test")), None);
        assert_eq!(winner(&["*.b.test", "a.*"], Some("b.test")), None);
        assert_eq!(winner(&[], Some("a")), None);
    }
}
