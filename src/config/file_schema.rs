//! JSON Schema of the whole file, for editors: `sluicegate schema`.

use serde_json::{Map, Value, json};

use super::known::{Known, KnownPlugin};
use super::rows::{Kind, TABLES};
use super::schema::json_schema;
use super::top::TOP;

/// JSON Schema (draft 2020-12) of a file with these plugins and credentials.
#[must_use]
pub fn file_schema(known: &Known) -> Value {
    let mut schema = json_schema(&TOP);
    let mut definitions = Map::new();
    let credentials = (0..known.credentials.len()).map(Kind::Credential);
    for kind in TABLES.iter().map(|(_, kind)| *kind).chain(credentials) {
        let table = kind.table(known);
        set(&mut schema, "/properties", table, list_of(table));
        definitions.insert(table.to_owned(), entity(kind, known));
    }
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        object.insert(
            "title".into(),
            json!("sluicegate declarative configuration"),
        );
        object.insert("$defs".into(), Value::Object(definitions));
    }
    set(
        &mut schema,
        "/properties",
        "_format_version",
        json!({"enum": ["1.1", "2.1", "3.0", 1.1, 2.1, 3]}),
    );
    schema
}

fn list_of(table: &str) -> Value {
    json!({"type": ["array", "null"], "items": {"$ref": format!("#/$defs/{table}")}})
}

fn set(schema: &mut Value, pointer: &str, key: &str, value: Value) {
    if let Some(object) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
        object.insert(key.to_owned(), value);
    }
}

fn entity(kind: Kind, known: &Known) -> Value {
    let mut schema = json_schema(kind.record(known));
    for (key, child, _) in kind.nested(known) {
        let items = list_of(child.table(known));
        set(&mut schema, "/properties", key, items);
    }
    match kind {
        Kind::Plugin => plugins(&mut schema, known),
        Kind::Service => without_host(&mut schema),
        Kind::Certificate => {
            let either = json!({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/snis"}]});
            set(
                &mut schema,
                "/properties",
                "snis",
                json!({"type": ["array", "null"], "items": either}),
            );
        }
        _ => {}
    }
    schema
}

/// A service needs `host` or `url`.
fn without_host(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("required");
        let each = json!([{"required": ["host"]}, {"required": ["url"]}]);
        object.insert("anyOf".to_owned(), each);
    }
}

/// The name decides what `config` is.
fn plugins(schema: &mut Value, known: &Known) {
    let names: Vec<&str> = known.plugins.iter().map(|plugin| plugin.name).collect();
    set(schema, "/properties", "name", json!({"enum": names}));
    set(schema, "/properties", "_config", json!({"type": "string"}));
    let config = |plugin: &KnownPlugin| {
        json!({
            "if": {"properties": {"name": {"const": plugin.name}}},
            "then": {"properties": {"config": {"anyOf": [json_schema(plugin.config), {"type": "null"}]}}},
        })
    };
    let all: Vec<Value> = known.plugins.iter().map(config).collect();
    if let (false, Some(object)) = (all.is_empty(), schema.as_object_mut()) {
        object.insert("allOf".to_owned(), Value::Array(all));
    }
}
