//! Single values against their kinds.

use super::{Checker, push_key};
use crate::config::node::{Node, Value};
use crate::config::report::did_you_mean;
use crate::config::schema::fields::{Item, Slot, whole};
use crate::config::schema::{Kind, Text, key_path};

impl Checker<'_, '_> {
    pub(super) fn value<'n>(&mut self, node: &'n Node, kind: &Kind) -> Slot<'n> {
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

    pub(super) fn mismatch<'n>(&mut self, node: &Node, expected: &str) -> Slot<'n> {
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
fn type_name(kind: &Kind) -> &'static str {
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
