//! The members of a JSON object as named values, each a piece of JSON text.
//!
//! Invariant: a member that no edit names keeps its text, so no number loses a digit and no member
//! its place.

use std::borrow::Cow;

use serde_json::Value;

use super::Named;
use crate::plugins::form::json;

/// A JSON object in the five steps. Values given to it are JSON texts. A list takes a further value;
/// any other value becomes a list with it, and `null` and nothing a list of it alone.
pub(in crate::plugins) struct Object<'a> {
    members: Vec<Member<'a>>,
    changed: bool,
}

struct Member<'a> {
    /// Decoded; `None` where it is no text.
    name: Option<String>,
    key: Cow<'a, [u8]>,
    value: Cow<'a, [u8]>,
}

impl<'a> Object<'a> {
    /// The empty object.
    pub(in crate::plugins) fn empty() -> Object<'a> {
        Object {
            members: Vec::new(),
            changed: false,
        }
    }

    /// The object that a body is; `None` if it is anything else.
    pub(in crate::plugins) fn read(body: &'a [u8]) -> Option<Object<'a>> {
        let member = |member: json::Member| {
            let (key, value) = (&body[member.key], &body[member.value]);
            Member {
                name: serde_json::from_slice(key).ok(),
                key: key.into(),
                value: value.into(),
            }
        };
        let members = json::members(body)?.into_iter().map(member).collect();
        Some(Object {
            members,
            changed: false,
        })
    }

    /// The text, if it is another one now.
    pub(in crate::plugins) fn changed(&self) -> Option<Vec<u8>> {
        self.changed.then(|| self.text())
    }

    fn text(&self) -> Vec<u8> {
        let mut out = b"{".to_vec();
        for member in &self.members {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&member.key);
            out.push(b':');
            out.extend_from_slice(&member.value);
        }
        out.push(b'}');
        out
    }

    /// The last of equal members, which is the one that counts.
    fn place(&self, name: &str) -> Option<usize> {
        self.members.iter().rposition(|member| member.is(name))
    }

    /// Leaves of all members of the name only that which counts.
    fn single(&mut self, name: &str) {
        let (last, mut at) = (self.place(name), 0);
        self.members.retain(|member| {
            at += 1;
            !member.is(name) || last == Some(at - 1)
        });
    }
}

impl Member<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }

    fn new(name: &str, value: &[u8]) -> Member<'static> {
        Member {
            name: Some(name.to_owned()),
            key: Value::from(name).to_string().into_bytes().into(),
            value: value.to_vec().into(),
        }
    }
}

impl Named for Object<'_> {
    fn has(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn remove(&mut self, name: &str) {
        let before = self.members.len();
        self.members.retain(|member| !member.is(name));
        self.changed |= self.members.len() < before;
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.remove(to);
        self.single(from);
        if let Some(at) = self.place(from) {
            let value = std::mem::take(&mut self.members[at].value);
            self.members[at] = Member::new(to, &value);
        }
        self.changed = true;
    }

    fn set(&mut self, name: &str, value: &str) {
        self.single(name);
        match self.place(name) {
            Some(at) => self.members[at].value = value.as_bytes().to_vec().into(),
            None => self.members.push(Member::new(name, value.as_bytes())),
        }
        self.changed = true;
    }

    fn append(&mut self, name: &str, value: &str) {
        let old = self.place(name).map(|at| &*self.members[at].value);
        let list = appended(old.unwrap_or(b"null"), value.as_bytes());
        self.set(name, &String::from_utf8_lossy(&list));
    }
}

/// A list with one value more; a value that is no list becomes one.
fn appended(old: &[u8], value: &[u8]) -> Vec<u8> {
    let inner = match old {
        [b'[', inner @ .., b']'] => inner,
        b"null" => b"",
        other => other,
    };
    let blank = inner.iter().all(u8::is_ascii_whitespace);
    let before = if blank { b"" } else { inner };
    let comma: &[u8] = if blank { b"" } else { b"," };
    [b"[", before, comma, value, b"]"].concat()
}
