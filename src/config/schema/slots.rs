//! What the text has for the fields of a record, after the check.

use super::{Field, Fields, Literal};
use crate::config::node::{Entry, Node, Value};

/// What stands in one field, list item or map entry.
#[derive(Clone, Debug)]
pub(super) enum Slot<'n> {
    /// The key is absent: the default counts.
    Absent,
    /// `null`: no value, and no default either.
    Null,
    /// A value that was refused.
    Bad,
    /// A scalar, or anything for `Kind::Any` and `Kind::Reference`.
    Scalar,
    /// A list.
    List(Vec<Item<'n>>),
    /// A map.
    Map(Vec<(&'n Entry, Slot<'n>)>),
    /// A record.
    Record(Box<Fields<'n>>),
}

/// An item of a list.
#[derive(Clone, Debug)]
pub(super) struct Item<'n> {
    pub(super) node: &'n Node,
    pub(super) slot: Slot<'n>,
}

/// One field of the record with what the text has for it.
#[derive(Clone, Debug)]
pub(super) struct Cell<'n> {
    pub(super) field: &'static Field,
    /// Key and value as written; the key may be an older name.
    pub(super) entry: Option<&'n Entry>,
    pub(super) slot: Slot<'n>,
}

impl<'n> Slot<'n> {
    pub(super) fn record(&self) -> Option<&Fields<'n>> {
        match self {
            Self::Record(fields) => Some(fields),
            _ => None,
        }
    }

    pub(super) fn to_json(&self, node: Option<&Node>, mask: bool) -> serde_json::Value {
        match self {
            Self::Record(fields) => fields.as_json(mask),
            Self::List(items) => items
                .iter()
                .map(|item| item.slot.to_json(Some(item.node), mask))
                .collect(),
            Self::Map(entries) => entries
                .iter()
                .map(|(entry, slot)| (entry.key.clone(), slot.to_json(Some(&entry.node), mask)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            _ => node.map_or(serde_json::Value::Null, Node::to_json),
        }
    }
}

/// What stands for a secret that is not shown.
pub const MASK: &str = "***";

/// A whole number, also one that is written with a fraction of zero.
pub(super) fn whole(node: &Node) -> Option<i64> {
    match node.value {
        Value::Int(number) => Some(number),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
        _ => None,
    }
}

pub(super) fn strings_of(items: &[Item<'_>]) -> Vec<String> {
    items
        .iter()
        .filter_map(|item| item.node.as_str().map(str::to_owned))
        .collect()
}

pub(super) fn literal_strings(literal: Literal) -> Vec<String> {
    match literal {
        Literal::Strs(texts) => texts.iter().map(|text| (*text).to_owned()).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn literal_number(literal: Literal) -> Option<f64> {
    match literal {
        Literal::Int(number) => Some(number as f64),
        Literal::Number(number) => Some(number),
        _ => None,
    }
}

/// A default as JSON.
pub(super) fn literal_json(literal: Literal) -> serde_json::Value {
    match literal {
        Literal::None => serde_json::Value::Null,
        Literal::Bool(flag) => flag.into(),
        Literal::Int(number) => number.into(),
        Literal::Number(number) => number.into(),
        Literal::Str(text) => text.into(),
        Literal::Strs(texts) => texts.into(),
        Literal::Ints(numbers) => numbers.into(),
    }
}
