//! Queries and urlencoded forms as named values.
//!
//! Invariant: a pair that no edit names stays as it was, byte for byte.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Named;
use crate::message::query;

/// The pairs of a query or a form, in order.
pub(in crate::plugins) struct Pairs<'a> {
    list: Vec<Pair<'a>>,
    changed: bool,
}

struct Pair<'a> {
    /// Decoded.
    name: Cow<'a, str>,
    /// As it stands in the text.
    raw: Cow<'a, str>,
}

impl<'a> Pairs<'a> {
    /// Of a query, with or without its question mark.
    pub(in crate::plugins) fn of_query(query: &'a str) -> Pairs<'a> {
        Pairs::of_form(query.strip_prefix('?').unwrap_or(query))
    }

    /// Of a form.
    pub(in crate::plugins) fn of_form(form: &'a str) -> Pairs<'a> {
        let raw = form.split('&').filter(|raw| !raw.is_empty());
        let list = raw.map(|raw| Pair {
            name: query::decode(raw.split_once('=').map_or(raw, |(name, _)| name)),
            raw: raw.into(),
        });
        Pairs {
            list: list.collect(),
            changed: false,
        }
    }

    /// Adds the pairs of a form as they are.
    pub(in crate::plugins) fn extend(&mut self, form: &'a str) {
        let more = Pairs::of_form(form).list;
        self.changed |= !more.is_empty();
        self.list.extend(more);
    }

    /// The text, if it is another one now.
    pub(in crate::plugins) fn changed(&self) -> Option<String> {
        let raw: Vec<&str> = self.list.iter().map(|pair| &*pair.raw).collect();
        self.changed.then(|| raw.join("&"))
    }

    fn count(&self, name: &str) -> usize {
        self.list.iter().filter(|pair| pair.name == name).count()
    }

    /// Drops all pairs of the name but the first so many.
    fn keep(&mut self, name: &str, mut first: usize) {
        self.list.retain(|pair| {
            let keep = pair.name != name || first > 0;
            if pair.name == name {
                first = first.saturating_sub(1);
            }
            keep
        });
    }
}

impl Named for Pairs<'_> {
    fn has(&self, name: &str) -> bool {
        self.list.iter().any(|pair| pair.name == name)
    }

    fn remove(&mut self, name: &str) {
        self.changed |= self.count(name) > 0;
        self.keep(name, 0);
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.keep(to, 0);
        for pair in self.list.iter_mut().filter(|pair| pair.name == from) {
            let value = pair.raw.find('=').map_or("", |at| &pair.raw[at..]);
            let mut raw = String::new();
            encode(to, &mut raw);
            raw.push_str(value);
            *pair = Pair {
                name: to.to_owned().into(),
                raw: raw.into(),
            };
        }
        self.changed = true;
    }

    fn set(&mut self, name: &str, value: &str) {
        self.keep(name, 1);
        match self.list.iter_mut().find(|pair| pair.name == name) {
            Some(pair) => pair.raw = joined(name, value).into(),
            None => self.append(name, value),
        }
        self.changed = true;
    }

    fn append(&mut self, name: &str, value: &str) {
        self.list.push(Pair {
            name: name.to_owned().into(),
            raw: joined(name, value).into(),
        });
        self.changed = true;
    }
}

fn joined(name: &str, value: &str) -> String {
    let mut raw = String::with_capacity(name.len() + value.len() + 1);
    encode(name, &mut raw);
    raw.push('=');
    encode(value, &mut raw);
    raw
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(super) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A form's bytes as text that means the same: what is not ASCII becomes triplets, so that a byte
/// that is no text hides no field.
pub(in crate::plugins) fn form_text(body: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(body) {
        Ok(text) if text.is_ascii() => text.into(),
        _ => {
            let mut out = String::with_capacity(body.len() + 16);
            for &byte in body {
                if byte.is_ascii() {
                    out.push(byte as char);
                } else {
                    let _ = write!(out, "%{byte:02X}");
                }
            }
            out.into()
        }
    }
}
