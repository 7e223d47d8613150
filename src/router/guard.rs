//! The criteria that are tested one by one: methods, headers, SNI.
//!
//! Invariant: only headers that some route names are ever asked for.

use std::sync::Arc;

use regex::bytes::Regex;

use super::find::{HeaderValues, Lookup};
use super::host::HostPattern;

/// Sets of methods, a bit per name.
#[derive(Debug, Default)]
pub(super) struct Methods {
    names: Vec<Box<str>>,
}

/// Accepts every method.
pub(super) const ANY_METHOD: u64 = u64::MAX;
/// The bit of the methods that no route names; set in `ANY_METHOD` alone.
const OTHER: u64 = 1 << 63;

impl Methods {
    /// The bit of a method's name; `None` when there are too many names.
    pub(super) fn intern(&mut self, name: &str) -> Option<u64> {
        let bit = self.bit(name);
        if bit != OTHER {
            return Some(bit);
        }
        self.names.push(name.into());
        (self.names.len() < 64).then(|| self.bit(name))
    }

    /// The bit of a request's method.
    #[inline]
    pub(super) fn bit(&self, name: &str) -> u64 {
        match self.names.iter().position(|known| **known == *name) {
            Some(at) if at < 63 => 1 << at,
            _ => OTHER,
        }
    }
}

/// Header and SNI criteria of one route.
#[derive(Debug, Default)]
pub(super) struct Guard {
    pub(super) headers: Box<[HeaderTest]>,
    pub(super) snis: Box<[HostPattern]>,
}

/// A header name and what its value may be.
#[derive(Debug)]
pub(super) struct HeaderTest {
    /// Lower case.
    pub(super) name: Arc<str>,
    pub(super) values: Box<[ValueTest]>,
}

/// One accepted value.
#[derive(Debug)]
pub(super) enum ValueTest {
    /// Equal without regard to case; kept in lower case.
    Text(Box<str>),
    /// Searched in the lower-cased value.
    Pattern(Regex),
}

impl PartialEq for ValueTest {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Pattern(a), Self::Pattern(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Guard {
    /// Whether there is nothing to test.
    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.snis.is_empty()
    }

    /// Whether the request satisfies all of it.
    pub(super) fn admits(&self, lookup: &Lookup<'_>) -> bool {
        self.admits_sni(lookup) && self.headers.iter().all(|test| test.admits(lookup.headers))
    }

    /// On plain HTTP there is no SNI and the criterion counts as satisfied. The name of the
    /// look-up is in lower case by now.
    pub(super) fn admits_sni(&self, lookup: &Lookup<'_>) -> bool {
        self.snis.is_empty()
            || !lookup.tls
            || lookup
                .sni
                .is_some_and(|sni| self.snis.iter().any(|test| test.accepts_name(sni)))
    }
}

impl HeaderTest {
    /// Whether some value of the request is accepted.
    pub(super) fn admits(&self, headers: &dyn HeaderValues) -> bool {
        headers.any(&self.name, &mut |value| {
            self.values.iter().any(|test| test.admits(value))
        })
    }
}

impl ValueTest {
    fn admits(&self, value: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.as_bytes().eq_ignore_ascii_case(value),
            Self::Pattern(regex) if value.iter().any(u8::is_ascii_uppercase) => {
                regex.is_match(&value.to_ascii_lowercase())
            }
            Self::Pattern(regex) => regex.is_match(value),
        }
    }
}
