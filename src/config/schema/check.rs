//! A node against its description: every mistake is reported, with Kong's words.
//!
//! Invariant: no value is coerced; a text never counts as a number, nor a number as a text.

use super::fields::{Cell, Item, Slot, literal_json, whole};
use super::{Field, Fields, Is, Kind, Literal, Record, Rule, Text};
use crate::config::node::{Entry, Map, Node, Pos, Value};
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
            rule_holds(rule, &fields, self.report);
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

    fn value<'n>(&mut self, node: &'n Node, kind: &Kind) -> Slot<'n> {
        match kind {
            Kind::Boolean => self.boolean(node),
            Kind::Integer { min, max } => self.integer(node, *min, *max),
            Kind::Number { min, max, above } => self.number(node, *min, *max, *above),
            Kind::Text(text) => self.text(node, text),
            Kind::Array { of, min } => self.list(node, of, *min, "an array"),
            Kind::Set { of, min } => self.list(node, of, *min, "a set"),
            Kind::Map { keys, of } => self.map(node, keys, of),
            Kind::Record(record) => match self.record(node, record, &[]) {
                Some(fields) => Slot::Record(Box::new(fields)),
                None => Slot::Bad,
            },
            Kind::Either(kinds) => self.either(node, kinds),
            Kind::Reference => self.reference(node),
            Kind::Any => Slot::Scalar,
        }
    }

    fn mismatch<'n>(&mut self, node: &Node, expected: &str) -> Slot<'n> {
        let got = self.describe(node);
        let hint = mismatch_hint(node, expected).filter(|_| !self.secret);
        self.error(node, format!("expected {expected}, got {got}"))
            .hint = hint;
        Slot::Bad
    }

    /// A value for a message: short, and without what is secret.
    fn describe(&self, node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::String(_) if self.secret => "a string".to_owned(),
            Value::Int(_) | Value::Float(_) if self.secret => "a number".to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::String(text) if text.chars().count() > 40 => {
                format!(
                    "\"{}…\"",
                    text.chars().take(40).collect::<String>().escape_debug()
                )
            }
            Value::String(text) => format!("\"{}\"", text.escape_debug()),
        }
    }

    fn boolean<'n>(&mut self, node: &'n Node) -> Slot<'n> {
        match node.value {
            Value::Bool(_) => Slot::Scalar,
            _ => self.mismatch(node, "a boolean"),
        }
    }

    fn integer<'n>(&mut self, node: &'n Node, min: i64, max: i64) -> Slot<'n> {
        let Some(number) = whole(node) else {
            return self.mismatch(node, "an integer");
        };
        if (min..=max).contains(&number) {
            return Slot::Scalar;
        }
        let message = if max == i64::MAX {
            format!("value must be greater than {}", min - 1)
        } else {
            format!("value should be between {min} and {max}")
        };
        self.error(node, message);
        Slot::Bad
    }

    fn number<'n>(&mut self, node: &'n Node, min: f64, max: f64, above: Option<f64>) -> Slot<'n> {
        let number = match node.value {
            Value::Int(number) => number as f64,
            Value::Float(number) if number.is_finite() => number,
            _ => return self.mismatch(node, "a number"),
        };
        let message = if above.is_some_and(|bound| number <= bound) {
            format!("value must be greater than {}", above.unwrap_or_default())
        } else if number < min && max == f64::INFINITY {
            format!("value should be at least {min}")
        } else if number < min || number > max {
            format!("value should be between {min} and {max}")
        } else {
            return Slot::Scalar;
        };
        self.error(node, message);
        Slot::Bad
    }

    fn text<'n>(&mut self, node: &'n Node, rules: &Text) -> Slot<'n> {
        let Some(text) = node.as_str() else {
            return self.mismatch(node, "a string");
        };
        let Err((message, hint)) = judge_text(text, rules) else {
            return Slot::Scalar;
        };
        let hidden = self.secret.then(|| "invalid value".to_owned());
        self.error(node, hidden.unwrap_or(message)).hint = hint;
        Slot::Bad
    }

    fn list<'n>(&mut self, node: &'n Node, of: &Kind, min: usize, what: &str) -> Slot<'n> {
        // An empty map is what tools that come from Lua write for an empty list.
        let list = match &node.value {
            Value::List(list) => list.as_slice(),
            Value::Map(map) if map.is_empty() => &[],
            _ => return self.mismatch(node, what),
        };
        if list.len() < min {
            self.error(node, format!("length must be at least {min}"));
            return Slot::Bad;
        }
        let unique = what == "a set";
        let mut items: Vec<Item<'n>> = Vec::with_capacity(list.len());
        let mut seen = std::collections::HashSet::new();
        for (index, node) in list.iter().enumerate() {
            let slot = self.within(
                |path| path.push_str(&format!("[{index}]")),
                |checker| checker.value(node, of),
            );
            let repeated = unique && node.as_str().is_some_and(|text| !seen.insert(text));
            if !repeated {
                items.push(Item { node, slot });
            }
        }
        Slot::List(items)
    }

    fn map<'n>(&mut self, node: &'n Node, keys: &Text, of: &Kind) -> Slot<'n> {
        let map = match &node.value {
            Value::Map(map) => map,
            // The same tools write an empty map as an empty list.
            Value::List(list) if list.is_empty() => return Slot::Map(Vec::new()),
            _ => return self.mismatch(node, "a map"),
        };
        let mut entries = Vec::with_capacity(map.len());
        for entry in map.entries() {
            if let Err((message, hint)) = judge_text(&entry.key, keys) {
                let path = key_path(&self.path, &entry.key);
                self.report.error(entry.key_at, path, message).hint = hint;
            }
            let slot = self.within(
                |path| push_key(path, &entry.key),
                |checker| checker.value(&entry.node, of),
            );
            entries.push((entry, slot));
        }
        Slot::Map(entries)
    }

    fn either<'n>(&mut self, node: &'n Node, kinds: &[Kind]) -> Slot<'n> {
        match kinds.iter().find(|kind| type_fits(node, kind)) {
            Some(kind) => self.value(node, kind),
            None => {
                let names: Vec<&str> = kinds.iter().map(type_name).collect();
                self.mismatch(node, &names.join(" or "))
            }
        }
    }

    fn reference<'n>(&mut self, node: &'n Node) -> Slot<'n> {
        let named = node.as_map().filter(|map| map.len() == 1).and_then(|map| {
            let entry = map.entries().first()?;
            matches!(&*entry.key, "id" | "name" | "username").then_some(&entry.node)
        });
        match (&node.value, named) {
            (Value::String(_), _) => self.text(node, &Text::ANY),
            (_, Some(inner)) => self.text(inner, &Text::ANY),
            _ => self.mismatch(node, "a string (name or id), {id: ..} or {name: ..}"),
        }
    }
}

static EMPTY: Node = Node::EMPTY_MAP;

/// An empty list or map asks for nothing.
fn is_empty(node: &Node) -> bool {
    node.as_list().is_some_and(<[Node]>::is_empty) || node.as_map().is_some_and(Map::is_empty)
}

/// Judges a text; the error is message and hint.
fn judge_text(text: &str, rules: &Text) -> Result<(), (String, Option<String>)> {
    if text.chars().take(rules.min).count() < rules.min {
        return Err((format!("length must be at least {}", rules.min), None));
    }
    if !rules.one_of.is_empty() && !rules.one_of.contains(&text) {
        let hint = did_you_mean(text, rules.one_of.iter().copied());
        return Err((
            format!("expected one of: {}", rules.one_of.join(", ")),
            hint,
        ));
    }
    match rules.check {
        Some(check) => check(text).map_err(|message| match message.split_once('\n') {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (message, None),
        }),
        None => Ok(()),
    }
}

/// What to do about a value of the wrong type.
fn mismatch_hint(node: &Node, expected: &str) -> Option<String> {
    let numeric = matches!(expected, "an integer" | "a number");
    let hint = match (&node.value, expected) {
        (Value::String(text), _) if numeric && text.parse::<f64>().is_ok() => "remove the quotes",
        (Value::String(text), "a boolean") if matches!(&**text, "true" | "false") => {
            "remove the quotes"
        }
        (Value::Bool(_), "a string") => "put it in quotes: YAML reads yes, no, on, off as booleans",
        (Value::Int(_) | Value::Float(_), "a string") => "put it in quotes",
        (Value::String(_), "an array" | "a set") => "put it in brackets: [value]",
        (Value::Null, "a record") => {
            "nothing is written after the colon: is the indentation right?"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn type_fits(node: &Node, kind: &Kind) -> bool {
    matches!(
        (&node.value, kind),
        (Value::Bool(_), Kind::Boolean)
            | (Value::Int(_), Kind::Integer { .. } | Kind::Number { .. })
            | (Value::Float(_), Kind::Number { .. })
            | (Value::String(_), Kind::Text(_) | Kind::Reference)
            | (Value::List(_), Kind::Array { .. } | Kind::Set { .. })
            | (Value::Map(_), Kind::Map { .. } | Kind::Record(_))
            | (_, Kind::Any)
    )
}

/// A kind as Kong names it in messages.
pub(super) fn type_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Boolean => "a boolean",
        Kind::Integer { .. } => "an integer",
        Kind::Number { .. } => "a number",
        Kind::Text(_) | Kind::Reference => "a string",
        Kind::Array { .. } => "an array",
        Kind::Set { .. } => "a set",
        Kind::Map { .. } => "a map",
        Kind::Record(_) => "a record",
        Kind::Either(_) | Kind::Any => "a value",
    }
}

fn rule_holds(rule: &Rule, fields: &Fields<'_>, report: &mut Report) {
    let given = |names: &[&str]| names.iter().filter(|name| fields.has(name)).count();
    let broken = |report: &mut Report, message: &str, names: &[&str]| {
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        fields.error(report, "", format!("{message}: {}", quoted.join(", ")));
    };
    match rule {
        Rule::AtLeastOne(names) if given(names) == 0 => {
            broken(
                report,
                "at least one of these fields must be non-empty",
                names,
            );
        }
        Rule::ExactlyOne(names) if given(names) != 1 => {
            broken(
                report,
                "exactly one of these fields must be non-empty",
                names,
            );
        }
        Rule::AtMostOne(names) if given(names) > 1 => {
            broken(report, "only one of these fields must be non-empty", names);
        }
        Rule::AllOrNone(names) if given(names) != 0 && given(names) != names.len() => {
            broken(report, "all or none of these fields must be set", names);
        }
        Rule::Distinct(names) if repeated(fields, names) => {
            broken(report, "values of these fields must be distinct", names);
        }
        Rule::When {
            field,
            is,
            then,
            must,
        } => conditional(fields, (field, is), (then, must), report),
        Rule::Check(run) if fields.is_ok() => run(fields, report),
        _ => {}
    }
}

fn repeated(fields: &Fields<'_>, names: &[&str]) -> bool {
    let values: Vec<_> = names
        .iter()
        .map(|name| fields.json(name))
        .filter(|v| !v.is_null())
        .collect();
    values
        .iter()
        .enumerate()
        .any(|(index, value)| values[..index].contains(value))
}

fn conditional(
    fields: &Fields<'_>,
    (field, is): (&str, &Is),
    (then, must): (&str, &Is),
    report: &mut Report,
) {
    if !holds(fields, field, is) || holds(fields, then, must) {
        return;
    }
    let message = match must {
        Is::Null => "value must be null".to_owned(),
        Is::Given => "required field missing".to_owned(),
        Is::OneOf(values) => format!("expected one of: {}", values.join(", ")),
        Is::NoneOf(values) => format!("value must not be one of: {}", values.join(", ")),
        Is::Bool(flag) => format!("value must be {flag}"),
        Is::Above(bound) => format!("value must be greater than {bound}"),
    };
    let why = format!("failed conditional validation given value of field '{field}'");
    fields.error(report, then, format!("{message} ({why})"));
}

/// Whether a field is so. Texts of a list count as a whole: none of them may, or each must, fit.
fn holds(fields: &Fields<'_>, name: &str, is: &Is) -> bool {
    let value = fields.json(name);
    let texts = || match &value {
        serde_json::Value::Array(items) => items.iter().filter_map(|item| item.as_str()).collect(),
        other => other.as_str().into_iter().collect::<Vec<_>>(),
    };
    match is {
        Is::Null => !fields.has(name),
        Is::Given => fields.has(name),
        Is::OneOf(values) => {
            let texts = texts();
            !texts.is_empty() && texts.iter().all(|text| values.contains(text))
        }
        Is::NoneOf(values) => !texts().iter().any(|text| values.contains(text)),
        Is::Bool(flag) => value.as_bool() == Some(*flag),
        Is::Above(bound) => value.as_f64().is_some_and(|number| number > *bound as f64),
    }
}
