//! What a record says as one number, secrets included, to tell a changed entity from an unchanged
//! one without keeping or showing what it says.
//!
//! Invariant: a default counts as if it were written, and what means nothing (comments, places for
//! anchors) does not count. References are left to whoever knows what they lead to.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::FixedState;

use super::slots::{Cell, Slot};
use super::{Fields, Kind, Literal};
use crate::config::node::{Node, Value};

/// Fields of entities that change nothing, are the identity itself, or were spread over others before (`url`).
const SILENT: &[&str] = &["id", "updated_at", "_comment", "_ignore", "url"];

impl Fields<'_> {
    /// The number of this record; equal records have equal ones. `except` is not looked at.
    #[must_use]
    pub fn digest(&self, except: &str) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        self.feed(&mut hasher, except);
        hasher.finish()
    }

    fn feed(&self, into: &mut impl Hasher, except: &str) {
        let is_entity = self.cells.iter().any(|cell| cell.field.name == "id");
        for cell in &self.cells {
            let name = cell.field.name;
            let is_silent = is_entity && SILENT.contains(&name) || name == except;
            if !is_silent && !matches!(cell.field.kind, Kind::Reference) {
                feed_text(into, name);
                feed_cell(into, cell);
            }
        }
    }
}

fn feed_cell(into: &mut impl Hasher, cell: &Cell<'_>) {
    match &cell.slot {
        Slot::Absent | Slot::Bad => feed_literal(into, cell.field.default),
        slot => feed_slot(into, slot, cell.entry.map(|entry| &entry.node)),
    }
}

fn feed_slot(into: &mut impl Hasher, slot: &Slot<'_>, node: Option<&Node>) {
    match (slot, node) {
        (Slot::Record(fields), _) => fields.feed(into, ""),
        (Slot::List(items), _) => {
            into.write_usize(items.len());
            for item in items {
                feed_slot(into, &item.slot, Some(item.node));
            }
        }
        (Slot::Map(entries), _) => {
            into.write_usize(entries.len());
            for (entry, slot) in entries {
                feed_text(into, &entry.key);
                feed_slot(into, slot, Some(&entry.node));
            }
        }
        (Slot::Null, _) | (_, None) => into.write_u8(NULL),
        (_, Some(node)) => feed_node(into, node),
    }
}

const NULL: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const TEXT: u8 = 4;

fn feed_node(into: &mut impl Hasher, node: &Node) {
    match &node.value {
        Value::Null => into.write_u8(NULL),
        Value::Bool(flag) => feed_bool(into, *flag),
        Value::Int(number) => feed_int(into, *number),
        Value::Float(number) => feed_number(into, *number),
        Value::String(text) => feed_text(into, text),
        Value::List(list) => {
            into.write_usize(list.len());
            list.iter().for_each(|node| feed_node(into, node));
        }
        Value::Map(map) => {
            into.write_usize(map.len());
            for entry in map.entries() {
                feed_text(into, &entry.key);
                feed_node(into, &entry.node);
            }
        }
    }
}

fn feed_literal(into: &mut impl Hasher, literal: Literal) {
    match literal {
        Literal::None => into.write_u8(NULL),
        Literal::Bool(flag) => feed_bool(into, flag),
        Literal::Int(number) => feed_int(into, number),
        Literal::Number(number) => feed_number(into, number),
        Literal::Str(text) => feed_text(into, text),
        Literal::Strs(texts) => {
            into.write_usize(texts.len());
            texts.iter().for_each(|text| feed_text(into, text));
        }
        Literal::Ints(numbers) => {
            into.write_usize(numbers.len());
            numbers.iter().for_each(|number| feed_int(into, *number));
        }
    }
}

fn feed_bool(into: &mut impl Hasher, flag: bool) {
    into.write(&[BOOL, u8::from(flag)]);
}

fn feed_int(into: &mut impl Hasher, number: i64) {
    into.write_u8(INT);
    into.write_i64(number);
}

/// A whole number is the same with and without a fraction of zero.
fn feed_number(into: &mut impl Hasher, number: f64) {
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return feed_int(into, number as i64);
    }
    into.write_u8(FLOAT);
    into.write_u64(number.to_bits());
}

fn feed_text(into: &mut impl Hasher, text: &str) {
    into.write_u8(TEXT);
    into.write_usize(text.len());
    into.write(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use crate::config::report::Report;
    use crate::config::{entities, schema, yaml};

    fn digest(text: &str) -> u64 {
        let node = yaml::parse(text).unwrap();
        let mut report = Report::default();
        let fields = schema::check(&node, &entities::SERVICE, "", &mut report);
        fields.unwrap().digest("")
    }

    #[test]
    fn what_means_the_same_has_the_same_number() {
        let plain = digest("{host: a}");
        for same in [
            "{host: a, port: 80, retries: 5}",
            "{retries: 5, host: 'a'}",
            "{host: a, _comment: x, updated_at: 7}",
            "{host: a, id: 11111111-1111-4111-8111-111111111111}",
            "{host: a, path: null}",
        ] {
            assert_eq!(digest(same), plain, "{same}");
        }
    }

    #[test]
    fn what_differs_has_another_one() {
        let plain = digest("{host: a}");
        for other in [
            "{host: b}",
            "{host: a, retries: 4}",
            "{host: a, retries: null}",
            "{host: a, tags: [x]}",
            "{host: a, name: a}",
            "{host: a, path: /a}",
        ] {
            assert_ne!(digest(other), plain, "{other}");
        }
        assert_ne!(
            digest("{host: a, tags: [x, y]}"),
            digest("{host: a, tags: [xy]}")
        );
    }
}
