//! What a path expression captured: numbered and named groups (Kong's `uri_captures`).
//!
//! Invariant: owns its text, so that it outlives the request's buffers; costs one word, and no
//! allocation, for a match without groups.

use std::fmt;

use super::pattern::{GroupNames, PathRegex};

/// The groups of the expression that matched; empty for prefixes and patterns without groups.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Captures(Option<Box<Groups>>);

#[derive(Clone, PartialEq, Eq)]
struct Groups {
    names: GroupNames,
    /// The whole match.
    text: Box<str>,
    /// Per group its place in `text`, if it took part in the match.
    spans: Box<[Option<(u32, u32)>]>,
}

impl Captures {
    /// Runs the expression once more, for its groups.
    pub(super) fn read(regex: &PathRegex, path: &str) -> Self {
        let Some(names) = &regex.groups else {
            return Self::default();
        };
        let mut slots = regex.regex.capture_locations();
        let Some(whole) = regex.regex.captures_read(&mut slots, path) else {
            return Self::default();
        };
        // Paths are far below 4 GiB, and the match starts at 0: it is anchored.
        let span = |at| slots.get(at).map(|(from, to)| (from as u32, to as u32));
        let spans = (0..slots.len()).map(span).collect();
        Self(Some(Box::new(Groups {
            names: names.clone(),
            text: whole.as_str().into(),
            spans,
        })))
    }

    /// Whether there are no groups.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The number of groups, the whole match (group 0) included; 0 without groups.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |groups| groups.spans.len())
    }

    /// The text of a group by number; 0 is the whole match. `None` when the pattern has no such
    /// group, or when it took no part in the match.
    pub fn get(&self, group: usize) -> Option<&str> {
        let groups = self.0.as_ref()?;
        let (from, to) = (*groups.spans.get(group)?)?;
        groups.text.get(from as usize..to as usize)
    }

    /// The text of a group by name.
    pub fn name(&self, name: &str) -> Option<&str> {
        let names = &self.0.as_ref()?.names;
        self.get(
            names
                .iter()
                .position(|known| known.as_deref() == Some(name))?,
        )
    }

    /// The named groups that took part in the match, in the order of the pattern.
    pub fn named(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = self
            .0
            .iter()
            .flat_map(|groups| groups.names.iter().enumerate());
        names.filter_map(|(at, name)| Some((name.as_deref()?, self.get(at)?)))
    }
}

impl fmt::Debug for Captures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries((0..self.len()).map(|at| self.get(at)))
            .finish()
    }
}
