//! A record that was checked, read by field name.
//!
//! Invariant: readers never fail. A field without a value reads as its default, and without a
//! default as zero, false or empty; the `opt_*` readers tell the difference.

use std::str::FromStr;
use std::time::Duration;

pub use super::slots::MASK;
pub(super) use super::slots::{Cell, Item, Slot, literal_json, whole};
use super::slots::{literal_number, literal_strings, strings_of};
use super::{Literal, Record};
use crate::config::node::{Entry, Node, Pos, Value};
use crate::config::report::{Issue, Report};

/// A checked record: typed readers, and places for further issues.
#[derive(Clone, Debug)]
pub struct Fields<'n> {
    pub(super) record: &'static Record,
    pub(super) node: &'n Node,
    pub(super) at: Pos,
    pub(super) path: String,
    pub(super) cells: Vec<Cell<'n>>,
    pub(super) ok: bool,
}

impl<'n> Fields<'n> {
    fn cell(&self, name: &str) -> Option<&Cell<'n>> {
        let found = self.cells.iter().find(|cell| cell.field.name == name);
        debug_assert!(
            found.is_some(),
            "no field `{name}` in the description of {}",
            self.path
        );
        found
    }

    /// The node in force: the written value, unless absent, null or refused.
    fn value(&self, name: &str) -> Option<&'n Node> {
        let cell = self.cell(name)?;
        match cell.slot {
            Slot::Absent | Slot::Null | Slot::Bad => None,
            _ => cell.entry.map(|entry| &entry.node),
        }
    }

    /// The default, unless a value is written.
    fn literal(&self, name: &str) -> Literal {
        self.cell(name)
            .map_or(Literal::None, |cell| cell.field.default)
    }

    /// The default, if it counts: not against a written `null`.
    fn opt_literal(&self, name: &str) -> Literal {
        match self.cell(name) {
            Some(cell) if matches!(cell.slot, Slot::Absent | Slot::Bad) => cell.field.default,
            _ => Literal::None,
        }
    }

    /// Whether every field was right. [`super::check`] gives only such records away.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// The description this was checked by.
    #[must_use]
    pub fn record_type(&self) -> &'static Record {
        self.record
    }

    /// The record as written.
    #[must_use]
    pub fn node(&self) -> &'n Node {
        self.node
    }

    /// Where the record begins; for an absent one, the record around it.
    #[must_use]
    pub fn start(&self) -> Pos {
        self.at
    }

    /// Path of the record in the file.
    #[must_use]
    pub fn own_path(&self) -> &str {
        &self.path
    }

    /// Path of a field of it.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        super::key_path(&self.path, name)
    }

    /// The fields that are written, with the places of their values.
    #[must_use]
    pub fn all_written(&self) -> Vec<(&'static str, Pos)> {
        let written = self
            .cells
            .iter()
            .filter_map(|c| Some((c.field.name, c.entry?.node.at)));
        written.collect()
    }

    /// Where the value of a field is written, else where the record begins.
    #[must_use]
    pub fn at(&self, name: &str) -> Pos {
        let written = self.cell(name).and_then(|cell| cell.entry);
        written.map_or(self.at, |entry| entry.node.at)
    }

    /// The value of a field as written, also `null` and refused ones.
    #[must_use]
    pub fn written(&self, name: &str) -> Option<&'n Node> {
        self.cell(name)?.entry.map(|entry| &entry.node)
    }

    /// Where item `index` of a list field is written.
    #[must_use]
    pub fn at_item(&self, name: &str, index: usize) -> Pos {
        let list = self.written(name).and_then(Node::as_list);
        list.and_then(|list| list.get(index))
            .map_or(self.at(name), |node| node.at)
    }

    /// Path of item `index` of a list field.
    #[must_use]
    pub fn path_item(&self, name: &str, index: usize) -> String {
        format!("{}[{index}]", self.path(name))
    }

    /// Whether the field has a value, written or by default.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self.cell(name) {
            Some(Cell {
                slot: Slot::Absent,
                field,
                ..
            }) => field.default != Literal::None,
            Some(Cell {
                slot: Slot::Null, ..
            })
            | None => false,
            Some(_) => true,
        }
    }

    /// Whether the field is written and not `null`.
    #[must_use]
    pub fn is_written(&self, name: &str) -> bool {
        self.written(name).is_some_and(|node| !node.is_null())
    }

    /// Adds an error at a field; an empty name means the whole record.
    pub fn error<'r>(
        &self,
        report: &'r mut Report,
        name: &str,
        message: impl Into<String>,
    ) -> &'r mut Issue {
        let (at, path) = self.place(name);
        report.error(at, path, message)
    }

    /// Adds a warning at a field; an empty name means the whole record.
    pub fn warning<'r>(
        &self,
        report: &'r mut Report,
        name: &str,
        message: impl Into<String>,
    ) -> &'r mut Issue {
        let (at, path) = self.place(name);
        report.warning(at, path, message)
    }

    fn place(&self, name: &str) -> (Pos, String) {
        if name.is_empty() {
            (self.at, self.path.clone())
        } else {
            (self.at(name), self.path(name))
        }
    }

    /// A boolean.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        self.opt_bool(name)
            .unwrap_or(self.literal(name) == Literal::Bool(true))
    }

    /// A boolean, if there is one.
    #[must_use]
    pub fn opt_bool(&self, name: &str) -> Option<bool> {
        match self.value(name).map(|node| &node.value) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => match self.opt_literal(name) {
                Literal::Bool(flag) => Some(flag),
                _ => None,
            },
        }
    }

    /// A whole number in the type that the bounds of the description fit into.
    #[must_use]
    pub fn int<T: TryFrom<i64> + Default>(&self, name: &str) -> T {
        let fallback = match self.literal(name) {
            Literal::Int(number) => T::try_from(number).ok(),
            _ => None,
        };
        self.opt_int(name).or(fallback).unwrap_or_default()
    }

    /// A whole number, if there is one.
    #[must_use]
    pub fn opt_int<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        let number = match self.value(name).and_then(whole) {
            Some(number) => number,
            None => match self.opt_literal(name) {
                Literal::Int(number) => number,
                _ => return None,
            },
        };
        T::try_from(number).ok()
    }

    /// A number.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        self.opt_number(name)
            .unwrap_or_else(|| literal_number(self.literal(name)).unwrap_or(0.0))
    }

    /// A number, if there is one.
    #[must_use]
    pub fn opt_number(&self, name: &str) -> Option<f64> {
        match self.value(name).map(|node| &node.value) {
            Some(Value::Int(number)) => Some(*number as f64),
            Some(Value::Float(number)) => Some(*number),
            _ => literal_number(self.opt_literal(name)),
        }
    }

    /// A whole number of milliseconds as a time.
    #[must_use]
    pub fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.int(name))
    }

    /// A number of seconds, fractions allowed, as a time.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Duration {
        Duration::try_from_secs_f64(self.number(name)).unwrap_or_default()
    }

    /// A text.
    #[must_use]
    pub fn str(&self, name: &str) -> &'n str {
        match (self.opt_str(name), self.literal(name)) {
            (Some(text), _) | (None, Literal::Str(text)) => text,
            _ => "",
        }
    }

    /// A text, if there is one.
    #[must_use]
    pub fn opt_str(&self, name: &str) -> Option<&'n str> {
        match self.value(name).and_then(Node::as_str) {
            Some(text) => Some(text),
            None => match self.opt_literal(name) {
                Literal::Str(text) => Some(text),
                _ => None,
            },
        }
    }

    /// A text of one's own.
    #[must_use]
    pub fn string(&self, name: &str) -> String {
        self.str(name).to_owned()
    }

    /// A text of one's own, if there is one.
    #[must_use]
    pub fn opt_string(&self, name: &str) -> Option<String> {
        self.opt_str(name).map(str::to_owned)
    }

    /// A text read by its type's `FromStr`: for enums behind [`super::one_of`].
    #[must_use]
    pub fn parse<T: FromStr>(&self, name: &str) -> Option<T> {
        self.str(name).parse().ok()
    }

    /// A list of texts.
    #[must_use]
    pub fn strings(&self, name: &str) -> Vec<String> {
        self.opt_strings(name)
            .unwrap_or_else(|| literal_strings(self.literal(name)))
    }

    /// A list of texts, if there is one; an empty list is one.
    #[must_use]
    pub fn opt_strings(&self, name: &str) -> Option<Vec<String>> {
        match self.cell(name).map(|cell| &cell.slot) {
            Some(Slot::List(items)) => Some(strings_of(items)),
            _ => match self.opt_literal(name) {
                Literal::None => None,
                literal => Some(literal_strings(literal)),
            },
        }
    }

    /// A list of whole numbers.
    #[must_use]
    pub fn ints<T: TryFrom<i64>>(&self, name: &str) -> Vec<T> {
        let numbers: Vec<i64> = match self.cell(name).map(|cell| &cell.slot) {
            Some(Slot::List(items)) => items.iter().filter_map(|item| whole(item.node)).collect(),
            _ => match self.literal(name) {
                Literal::Ints(numbers) => numbers.to_vec(),
                _ => Vec::new(),
            },
        };
        numbers
            .into_iter()
            .filter_map(|number| T::try_from(number).ok())
            .collect()
    }

    /// The items of a list as nodes: for lists of [`super::either`] and [`super::any`].
    #[must_use]
    pub fn nodes(&self, name: &str) -> Vec<&'n Node> {
        match self.cell(name).map(|cell| &cell.slot) {
            Some(Slot::List(items)) => items.iter().map(|item| item.node).collect(),
            _ => Vec::new(),
        }
    }

    /// A nested record.
    #[must_use]
    pub fn record(&self, name: &str) -> Option<&Fields<'n>> {
        match &self.cell(name)?.slot {
            Slot::Record(fields) => Some(fields),
            _ => None,
        }
    }

    /// The records in a list; items of other kinds are left out.
    #[must_use]
    pub fn records(&self, name: &str) -> Vec<&Fields<'n>> {
        match self.cell(name).map(|cell| &cell.slot) {
            Some(Slot::List(items)) => items.iter().filter_map(|item| item.slot.record()).collect(),
            _ => Vec::new(),
        }
    }

    /// A map of texts, in the order of the file. Numbers and booleans are left out.
    #[must_use]
    pub fn string_map(&self, name: &str) -> Vec<(String, String)> {
        let entries = self.entries(name).iter();
        entries
            .filter_map(|(e, _)| Some((e.key.clone(), e.node.as_str()?.to_owned())))
            .collect()
    }

    /// A map of lists of texts, in the order of the file.
    #[must_use]
    pub fn strings_map(&self, name: &str) -> Vec<(String, Vec<String>)> {
        let list = |slot: &Slot<'n>| match slot {
            Slot::List(items) => Some(strings_of(items)),
            _ => None,
        };
        let entries = self.entries(name).iter();
        entries
            .filter_map(|(e, slot)| Some((e.key.clone(), list(slot)?)))
            .collect()
    }

    /// A map of records, in the order of the file.
    #[must_use]
    pub fn record_map(&self, name: &str) -> Vec<(&'n str, &Fields<'n>)> {
        let entries = self.entries(name).iter();
        entries
            .filter_map(|(e, slot)| Some((e.key.as_str(), slot.record()?)))
            .collect()
    }

    /// The entries of a map as written, in the order of the file.
    #[must_use]
    pub fn map_entries(&self, name: &str) -> Vec<&'n Entry> {
        self.entries(name).iter().map(|(entry, _)| *entry).collect()
    }

    fn entries(&self, name: &str) -> &[(&'n Entry, Slot<'n>)] {
        match self.cell(name).map(|cell| &cell.slot) {
            Some(Slot::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// The value of a field as JSON, default included: for plugins that pass values on.
    #[must_use]
    pub fn json(&self, name: &str) -> serde_json::Value {
        match self.value(name) {
            Some(node) => node.to_json(),
            None => literal_json(self.opt_literal(name)),
        }
    }

    /// The whole record as JSON with every default in its place.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.as_json(false)
    }

    /// As [`Self::to_json`], secrets masked: what may be shown.
    #[must_use]
    pub fn shown(&self) -> serde_json::Value {
        self.as_json(true)
    }

    pub(super) fn as_json(&self, mask: bool) -> serde_json::Value {
        let pair = |cell: &Cell<'n>| {
            let value = match &cell.slot {
                Slot::Absent | Slot::Bad => literal_json(cell.field.default),
                Slot::Null => serde_json::Value::Null,
                _ if mask && cell.field.secret => MASK.into(),
                slot => slot.to_json(cell.entry.map(|entry| &entry.node), mask),
            };
            (cell.field.name.to_owned(), value)
        };
        serde_json::Value::Object(self.cells.iter().map(pair).collect())
    }
}
