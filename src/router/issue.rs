//! What is wrong with a route, said so that it can be put right.
//!
//! Invariant: names the route, the field and the element; the caller adds file, line and column.

use std::fmt;

use crate::util::ids::RouteIx;

/// A part of a route that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteIssue {
    /// The route, by its position in the list that was compiled.
    pub route: RouteIx,
    /// The element that is wrong.
    pub field: RouteField,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// An element of a route; displayed as its path inside the route (`paths[1]`, `headers.x-a[0]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteField {
    /// An element of `hosts`.
    Host(usize),
    /// An element of `paths`.
    Path(usize),
    /// An element of `methods`.
    Method(usize),
    /// A name in `headers`.
    Header(String),
    /// A value of a name in `headers`.
    HeaderValue(String, usize),
    /// An element of `snis`.
    Sni(usize),
}

impl fmt::Display for RouteField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteField::Host(at) => write!(f, "hosts[{at}]"),
            RouteField::Path(at) => write!(f, "paths[{at}]"),
            RouteField::Method(at) => write!(f, "methods[{at}]"),
            RouteField::Header(name) => write!(f, "headers.{name}"),
            RouteField::HeaderValue(name, at) => write!(f, "headers.{name}[{at}]"),
            RouteField::Sni(at) => write!(f, "snis[{at}]"),
        }
    }
}

impl fmt::Display for RouteIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// A problem before it is known where it stands: message and hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
