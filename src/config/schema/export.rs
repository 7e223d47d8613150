//! Descriptions as JSON Schema (draft 2020-12) and as tables for the documentation.

use serde_json::{Map, Value, json};

use super::fields::literal_json;
use super::{Field, Kind, Literal, Record, Rule, Text};

/// JSON Schema of a record.
#[must_use]
pub fn json_schema(record: &Record) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let all = record
        .fields
        .iter()
        .chain(record.base.map_or(&[][..], |base| base.fields));
    for field in all {
        properties.insert(field.name.to_owned(), field_schema(field));
        for alias in field.aliases {
            properties.insert((*alias).to_owned(), older(kind_schema(&field.kind)));
        }
        for (flat, _) in field.flat {
            properties.insert((*flat).to_owned(), older(json!({})));
        }
        let by_alias = !field.aliases.is_empty() || !field.flat.is_empty();
        if field.required
            && field.default == Literal::None
            && !by_alias
            && !fills_itself(&field.kind)
        {
            required.push(field.name);
        }
    }
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    insert_list(
        &mut schema,
        "required",
        required.iter().map(|name| json!(name)).collect(),
    );
    let rules = record
        .rules
        .iter()
        .chain(record.base.map_or(&[][..], |base| base.rules));
    insert_list(
        &mut schema,
        "allOf",
        rules.filter_map(|rule| rule_schema(record, rule)).collect(),
    );
    schema
}

fn insert_list(schema: &mut Value, key: &str, list: Vec<Value>) {
    if let (false, Some(object)) = (list.is_empty(), schema.as_object_mut()) {
        object.insert(key.to_owned(), Value::Array(list));
    }
}

/// Whether an absent record is complete by its defaults.
fn fills_itself(kind: &Kind) -> bool {
    let complete = |field: &Field| {
        !field.required || field.default != Literal::None || fills_itself(&field.kind)
    };
    matches!(kind, Kind::Record(record) if record.all_fields().all(complete))
}

fn older(mut schema: Value) -> Value {
    if let Some(object) = schema.as_object_mut() {
        object.insert("deprecated".to_owned(), Value::Bool(true));
    }
    schema
}

fn field_schema(field: &Field) -> Value {
    let mut schema = kind_schema(&field.kind);
    if !field.required {
        schema = nullable(schema);
    }
    if let Some(object) = schema.as_object_mut() {
        if !field.doc.is_empty() {
            object.insert("description".to_owned(), json!(field.doc));
        }
        if field.default != Literal::None {
            object.insert("default".to_owned(), literal_json(field.default));
        }
    }
    schema
}

/// Also allows `null`.
fn nullable(mut schema: Value) -> Value {
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    if let Some(Value::String(kind)) = object.get("type").cloned() {
        object.insert("type".to_owned(), json!([kind, "null"]));
        if let Some(Value::Array(values)) = object.get_mut("enum") {
            values.push(Value::Null);
        }
        schema
    } else if let Some(Value::Array(kinds)) = object.get_mut("anyOf") {
        kinds.push(json!({"type": "null"}));
        schema
    } else {
        schema
    }
}

fn kind_schema(kind: &Kind) -> Value {
    match kind {
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Integer { min, max } => bounded(
            "integer",
            (*min != i64::MIN).then(|| json!(min)),
            (*max != i64::MAX).then(|| json!(max)),
        ),
        Kind::Number { min, max, above } => {
            let mut schema = bounded("number", finite(*min), finite(*max));
            if let (Some(bound), Some(object)) = (above, schema.as_object_mut()) {
                object.insert("exclusiveMinimum".to_owned(), json!(bound));
            }
            schema
        }
        Kind::Text(text) => text_schema(text),
        Kind::Array { of, min } => list_schema(of, *min, false),
        Kind::Set { of, min } => list_schema(of, *min, true),
        Kind::Map { keys, of } => json!({
            "type": "object",
            "propertyNames": text_schema(keys),
            "additionalProperties": kind_schema(of),
        }),
        Kind::Record(record) => json_schema(record),
        Kind::Either(kinds) => {
            json!({"anyOf": kinds.iter().map(kind_schema).collect::<Vec<_>>()})
        }
        Kind::Reference => json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
             "properties": {"id": {"type": "string"}, "name": {"type": "string"}, "username": {"type": "string"}}},
        ]}),
        Kind::Any => json!({}),
    }
}

fn finite(number: f64) -> Option<Value> {
    number.is_finite().then(|| json!(number))
}

fn bounded(kind: &str, min: Option<Value>, max: Option<Value>) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!(kind));
    object.extend(min.map(|min| ("minimum".to_owned(), min)));
    object.extend(max.map(|max| ("maximum".to_owned(), max)));
    Value::Object(object)
}

fn list_schema(of: &Kind, min: usize, unique: bool) -> Value {
    let mut schema = json!({"type": "array", "items": kind_schema(of)});
    if let Some(object) = schema.as_object_mut() {
        if min > 0 {
            object.insert("minItems".to_owned(), json!(min));
        }
        if unique {
            object.insert("uniqueItems".to_owned(), json!(true));
        }
    }
    schema
}

fn text_schema(text: &Text) -> Value {
    let mut object = Map::new();
    object.insert("type".to_owned(), json!("string"));
    if !text.one_of.is_empty() {
        object.insert("enum".to_owned(), json!(text.one_of));
    } else if text.min > 0 {
        object.insert("minLength".to_owned(), json!(text.min));
    }
    if let Some(pattern) = text.pattern {
        object.insert("pattern".to_owned(), json!(pattern));
    }
    Value::Object(object)
}

/// What JSON Schema can say of a rule: nothing where defaults or older names count too.
fn rule_schema(record: &Record, rule: &Rule) -> Option<Value> {
    let plain = |name: &&str| {
        record.field(name).is_some_and(|field| {
            field.default == Literal::None && field.aliases.is_empty() && field.flat.is_empty()
        })
    };
    let each = |names: &[&str]| -> Option<Vec<Value>> {
        let one = |name: &&str| json!({"required": [name], "properties": {*name: {"not": {"type": "null"}}}});
        names
            .iter()
            .all(plain)
            .then(|| names.iter().map(one).collect())
    };
    match rule {
        Rule::AtLeastOne(names) => Some(json!({"anyOf": each(names)?})),
        Rule::ExactlyOne(names) => Some(json!({"oneOf": each(names)?})),
        _ => None,
    }
}

/// The fields as a Markdown table, nested records with dotted names.
#[must_use]
pub fn markdown_table(record: &Record) -> String {
    let mut out = String::from("| Field | Type | Default | Meaning |\n| --- | --- | --- | --- |\n");
    rows(record, "", &mut out);
    out
}

fn rows(record: &Record, prefix: &str, out: &mut String) {
    for field in record.fields {
        let name = format!("{prefix}{}", field.name);
        let default = match field.default {
            Literal::None if field.required && !fills_itself(&field.kind) => "required".to_owned(),
            Literal::None => String::new(),
            literal => format!("`{}`", literal_json(literal)),
        };
        let doc = match field.unsupported {
            Some(why) => format!("Not supported: {why}"),
            None => field.doc.to_owned(),
        };
        let kind = kind_words(&field.kind);
        out.push_str(&format!(
            "| `{name}` | {kind} | {default} | {} |\n",
            doc.replace('|', "\\|")
        ));
        let inner = match &field.kind {
            Kind::Record(inner) => Some((inner, format!("{name}."))),
            Kind::Array {
                of: Kind::Record(inner),
                ..
            } => Some((inner, format!("{name}[]."))),
            Kind::Map {
                of: Kind::Record(inner),
                ..
            } => Some((inner, format!("{name}.*."))),
            _ => None,
        };
        if let Some((inner, prefix)) = inner {
            rows(inner, &prefix, out);
        }
    }
}

fn kind_words(kind: &Kind) -> String {
    match kind {
        Kind::Boolean => "boolean".to_owned(),
        Kind::Integer { min, max } if *max == i64::MAX && *min == i64::MIN => "integer".to_owned(),
        Kind::Integer { min, max } if *max == i64::MAX => format!("integer ≥ {min}"),
        Kind::Integer { min, max } => format!("integer {min}–{max}"),
        Kind::Number {
            above: Some(above), ..
        } => format!("number > {above}"),
        Kind::Number { min, max, .. } if max.is_finite() => format!("number {min}–{max}"),
        Kind::Number { min, .. } if min.is_finite() => format!("number ≥ {min}"),
        Kind::Number { .. } => "number".to_owned(),
        Kind::Text(text) if !text.one_of.is_empty() => {
            let quoted: Vec<String> = text.one_of.iter().map(|v| format!("`{v}`")).collect();
            quoted.join(", ")
        }
        Kind::Text(text) => text.what.to_owned(),
        Kind::Array { of, .. } => format!("list of {}", kind_words(of)),
        Kind::Set { of, .. } => format!("set of {}", kind_words(of)),
        Kind::Map { keys, of } => format!("map from {} to {}", keys.what, kind_words(of)),
        Kind::Record(_) => "record".to_owned(),
        Kind::Either(kinds) => kinds
            .iter()
            .map(kind_words)
            .collect::<Vec<_>>()
            .join(" or "),
        Kind::Reference => "name or id".to_owned(),
        Kind::Any => "anything".to_owned(),
    }
}
