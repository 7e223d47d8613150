//! A file as it may be shown: without its secrets.
//!
//! Invariant: what the descriptions call secret is masked wherever it stands; places for anchors,
//! which may hold anything, are left out. References to the environment are no secrets.

use super::known::Known;
use super::node::{Node, Value};
use super::report::Report;
use super::rows::{self, Kind};
use super::schema::{self, Kind as FieldKind, MASK, Record};
use super::top::TOP;
use super::version;
use super::yaml::{self, SyntaxError};

/// Reads a file and masks its secrets. What is written short (`url`, decK's shared configurations,
/// paths before 3.0) comes back in its full form; the order of keys is kept.
///
/// # Errors
/// When the text is neither YAML nor JSON.
pub fn masked(text: &str, known: &Known) -> Result<Node, SyntaxError> {
    let mut top = yaml::parse(text)?;
    // What is wrong in the file is not the matter here.
    let mut unheard = Report::default();
    version::normalise(&mut top, known, &mut unheard);
    mask(&mut top, &TOP);
    if let Value::Map(map) = &mut top.value {
        map.remove("_plugin_configs");
        if let Some(node) = map.get_mut("_format_version") {
            node.value = Value::String("3.0".to_owned());
        }
    }
    rows::each_mut(&mut top, known, &mut |kind, node, _| {
        mask(node, kind.record(known));
        if kind == Kind::Plugin {
            mask_plugin(node, known);
        }
    });
    Ok(top)
}

fn mask_plugin(plugin: &mut Node, known: &Known) {
    let name = plugin
        .get("name")
        .and_then(Node::as_str)
        .and_then(|name| known.plugin(name));
    let Value::Map(map) = &mut plugin.value else {
        return;
    };
    if let (Some(name), Some(config)) = (name, map.get_mut("config")) {
        mask(config, name.config);
    }
}

/// Masks the secret fields of a record, nested ones too.
fn mask(node: &mut Node, record: &'static Record) {
    let Value::Map(map) = &mut node.value else {
        return;
    };
    map.remove("_ignore");
    for entry in map.entries_mut() {
        let written = |field: &&schema::Field| {
            field.name == entry.key || field.aliases.contains(&&*entry.key)
        };
        let field = record.all_fields().find(written);
        match field {
            Some(field) if field.secret => hide(&mut entry.node),
            Some(field) => mask_value(&mut entry.node, &field.kind),
            None => {
                if flat_secret(record, &entry.key) {
                    hide(&mut entry.node);
                }
            }
        }
    }
}

/// Whether an older flat key means a secret field of a nested record.
fn flat_secret(record: &'static Record, key: &str) -> bool {
    record.all_fields().any(|field| {
        let FieldKind::Record(inner) = field.kind else {
            return false;
        };
        let target = field.flat.iter().find(|(flat, _)| *flat == key);
        target
            .and_then(|(_, name)| inner.field(name))
            .is_some_and(|field| field.secret)
    })
}

fn mask_value(node: &mut Node, kind: &FieldKind) {
    match (kind, &mut node.value) {
        (FieldKind::Record(record), _) => mask(node, record),
        (FieldKind::Array { of, .. } | FieldKind::Set { of, .. }, Value::List(list)) => {
            list.iter_mut().for_each(|item| mask_value(item, of));
        }
        (FieldKind::Map { of, .. }, Value::Map(map)) => {
            map.entries_mut()
                .iter_mut()
                .for_each(|entry| mask_value(&mut entry.node, of));
        }
        _ => {}
    }
}

fn hide(node: &mut Node) {
    let from_outside = |text: &str| text.starts_with("{vault://") || text.starts_with("${{");
    if !node.is_null() && !node.as_str().is_some_and(from_outside) {
        node.value = Value::String(MASK.to_owned());
    }
}
