//! A node against its description: every mistake is reported, with Kong's words.
//!
//! Invariant: no value is coerced; a text never counts as a number, nor a number as a text.

mod rules;
mod values;

use super::fields::{Cell, Slot, literal_json};
use super::{Field, Fields, Kind, Literal, Record};
use crate::config::node::{Entry, Map, Node, Pos};
use crate::config::report::{Issue, Report, did_you_mean};

/// Checks a record; `None` when anything in it is wrong.
#[must_use]
pub fn check<'n>(
    node: &'n Node,
    record: &'static Record,
    path: &str,
    report: &mut Report,
) -> Option<Fields<'n>> {
    inspect(node, record, path, report).filter(Fields::is_ok)
}

/// Checks a record and gives away what is right in it, so that its children can be looked at
/// although it is refused; `None` when it is no record at all.
#[must_use]
pub fn inspect<'n>(
    node: &'n Node,
    record: &'static Record,
    path: &str,
    report: &mut Report,
) -> Option<Fields<'n>> {
    inspect_among(node, record, &[], path, report)
}

/// As [`inspect`], with keys besides the record's own that are somebody else's to check.
pub(in crate::config) fn inspect_among<'n>(
    node: &'n Node,
    record: &'static Record,
    others: &[&str],
    path: &str,
    report: &mut Report,
) -> Option<Fields<'n>> {
    let mut checker = Checker {
        path: path.to_owned(),
        around: node.at,
        secret: false,
        others,
        report,
    };
    checker.record(node, record, &[])
}

/// Path of the value under a key.
#[must_use]
pub fn key_path(parent: &str, key: &str) -> String {
    let mut path = parent.to_owned();
    push_key(&mut path, key);
    path
}

fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !plain {
        path.push_str(&format!("[{key:?}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

struct Checker<'r, 'o> {
    path: String,
    /// Where the nearest record begins that is written: the place of what is missing.
    around: Pos,
    secret: bool,
    /// Keys of the outermost record that are not its own.
    others: &'o [&'o str],
    report: &'r mut Report,
}

/// Values that older flat keys put into a nested record: field name and entry.
type Extra<'n> = (&'static str, &'n Entry);

impl Checker<'_, '_> {
    fn within<T>(
        &mut self,
        enter: impl FnOnce(&mut String),
        run: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let length = self.path.len();
        enter(&mut self.path);
        let result = run(self);
        self.path.truncate(length);
        result
    }

    fn error(&mut self, node: &Node, message: impl Into<String>) -> &mut Issue {
        let at = if node.at.is_known() {
            node.at
        } else {
            self.around
        };
        self.report.error(at, self.path.clone(), message)
    }

    fn record<'n>(
        &mut self,
        node: &'n Node,
        record: &'static Record,
        extra: &[Extra<'n>],
    ) -> Option<Fields<'n>> {
        let Some(map) = node.as_map() else {
            self.mismatch(node, "a record");
            return None;
        };
        let errors = self.report.error_count();
        let others = std::mem::take(&mut self.others);
        let outside = self.around;
        if node.at.is_known() {
            self.around = node.at;
        }
        let cells = record
            .all_fields()
            .map(|field| self.cell(node, map, field, extra))
            .collect();
        self.unknown_keys(map, record, others);
        let (path, at) = (self.path.clone(), self.around);
        self.around = outside;
        let mut fields = Fields {
            record,
            node,
            at,
            path,
            cells,
            ok: true,
        };
        let bases = record.base.map_or(&[][..], |base| base.rules);
        for rule in record.rules.iter().chain(bases) {
            fields.ok = self.report.error_count() == errors;
            rules::holds_or_report(rule, &fields, self.report);
        }
        fields.ok = self.report.error_count() == errors;
        Some(fields)
    }

    fn unknown_keys(&mut self, map: &Map, record: &'static Record, others: &[&str]) {
        let known = |key: &str| {
            others.contains(&key)
                || record.all_fields().any(|field| {
                    field.name == key
                        || field.aliases.contains(&key)
                        || field.flat.iter().any(|(flat, _)| *flat == key)
                })
        };
        for entry in map.entries().iter().filter(|entry| !known(&entry.key)) {
            let issue = self.report.error(
                entry.key_at,
                key_path(&self.path, &entry.key),
                "unknown field",
            );
            issue.hint = did_you_mean(&entry.key, record.all_fields().map(|field| field.name));
        }
    }

    fn cell<'n>(
        &mut self,
        parent: &'n Node,
        map: &'n Map,
        field: &'static Field,
        extra: &[Extra<'n>],
    ) -> Cell<'n> {
        let entry = self.entry_for(map, field, extra);
        let secret = self.secret;
        self.secret |= field.secret;
        let slot = self.within(
            |path| push_key(path, field.name),
            |checker| match entry {
                Some(entry) if entry.node.is_null() => checker.null(&entry.node, field),
                Some(entry) => checker.given(&entry.node, map, field),
                None => checker.absent(parent, map, field),
            },
        );
        self.secret = secret;
        Cell { field, entry, slot }
    }

    /// The entry under the field's name, else under an older one.
    fn entry_for<'n>(
        &mut self,
        map: &'n Map,
        field: &'static Field,
        extra: &[Extra<'n>],
    ) -> Option<&'n Entry> {
        if let Some(entry) = map.entry(field.name) {
            return Some(entry);
        }
        if let Some((_, entry)) = extra.iter().find(|(name, _)| *name == field.name) {
            return Some(entry);
        }
        let entry = field.aliases.iter().find_map(|alias| map.entry(alias))?;
        let path = key_path(&self.path, &entry.key);
        self.report
            .warning(
                entry.key_at,
                path,
                format!("an older name of `{}`", field.name),
            )
            .hint(format!("write `{}`", field.name));
        Some(entry)
    }

    fn null<'n>(&mut self, node: &'n Node, field: &Field) -> Slot<'n> {
        if !field.required {
            return Slot::Null;
        }
        let issue = self.error(node, "required field missing");
        if field.default != Literal::None {
            let default = literal_json(field.default);
            issue.hint(format!("leave the key out for the default, {default}"));
        }
        Slot::Bad
    }

    fn absent<'n>(&mut self, parent: &'n Node, map: &'n Map, field: &'static Field) -> Slot<'n> {
        if let Kind::Record(record) = field.kind {
            let extra = self.flat(map, field);
            if !field.required && extra.is_empty() {
                return Slot::Absent;
            }
            // An absent record reports what is missing in it at the place of its parent.
            let checked = self.record(&EMPTY, record, &extra);
            return checked.map_or(Slot::Bad, |fields| Slot::Record(Box::new(fields)));
        }
        if field.required && field.default == Literal::None {
            self.error(parent, "required field missing");
            return Slot::Bad;
        }
        Slot::Absent
    }

    fn given<'n>(&mut self, node: &'n Node, map: &'n Map, field: &'static Field) -> Slot<'n> {
        let slot = match field.kind {
            Kind::Record(record) => {
                let extra = self.flat(map, field);
                let checked = self.record(node, record, &extra);
                checked.map_or(Slot::Bad, |fields| Slot::Record(Box::new(fields)))
            }
            kind => self.value(node, &kind),
        };
        let special = field.unsupported.is_some() || field.note.is_some();
        if !special || is_empty(node) || node.to_json() == literal_json(field.default) {
            return slot;
        }
        if let Some(why) = field.unsupported {
            self.error(node, format!("not supported: {why}"));
            return Slot::Bad;
        }
        if let Some(note) = field.note {
            self.report.warning(node.at, self.path.clone(), note);
        }
        slot
    }

    fn flat<'n>(&mut self, map: &'n Map, field: &'static Field) -> Vec<Extra<'n>> {
        let mut extra = Vec::new();
        for (flat, inner) in field.flat {
            if let Some(entry) = map.entry(flat) {
                let new = format!("{}.{inner}", field.name);
                let parent = self.path.len() - field.name.len();
                let path = key_path(self.path[..parent].trim_end_matches('.'), flat);
                self.report
                    .warning(entry.key_at, path, format!("an older name of `{new}`"))
                    .hint(format!("write `{new}`"));
                extra.push((*inner, entry));
            }
        }
        extra
    }
}

static EMPTY: Node = Node::EMPTY_MAP;

/// An empty list or map asks for nothing.
fn is_empty(node: &Node) -> bool {
    node.as_list().is_some_and(<[Node]>::is_empty) || node.as_map().is_some_and(Map::is_empty)
}
