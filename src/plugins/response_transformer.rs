//! # response-transformer
//!
//! Edits responses on their way to the client: header fields, then the members of JSON bodies.
//!
//! The steps run in this order, entry by entry in the order of the file:
//!
//! | Step | Does |
//! | --- | --- |
//! | `remove` | takes all values of the name out |
//! | `rename` | gives all values of the old name to the new one, whose own are lost |
//! | `replace` | puts one value in the place of those that are there; nothing where none is |
//! | `add` | sets the value where the name has none |
//! | `append` | adds a further value |
//!
//! Entries are `name`, or `name:value` (`old:new` for `rename`); a value may hold colons.
//!
//! It runs on every response of the route, also on those that other plugins or the gateway make.
//! Fields that the gateway adds behind all plugins (`Via`, `Server`, `X-Kong-…`) are added after it.
//! `Content-Length` and `Transfer-Encoding` are refused: they are right after every edit.
//!
//! ## JSON
//!
//! Bodies of `application/json` and of types that end in `+json` are read whole, up to 8 MiB, and
//! edited at the top level. Longer bodies, compressed ones, and those that are no JSON object pass
//! unchanged. Members that are not named keep their text, so no number loses a digit.
//!
//! Values are texts, unless `json_types`, which runs parallel to `json`, says `number` or `boolean`.
//! `append` makes a list of what is there and the new value, or of the new value alone.

use std::sync::Arc;

use super::transform::Edits;
use super::transform::entries::{self, split};
use super::transform::fields::{HeaderFields, is_hop_by_hop};
use super::transform::object::Object;
use crate::config::known::KnownPlugin;
use crate::config::schema::{Field, Kind, Literal, Record, array, checked, field, one_of, record};
use crate::config::{Fields, Parsed, Report};
use crate::message::{BodyWish, Known, ResponseHead};
use crate::plugin::{BodyCx, Build, Flow, Phases, Plugin, PluginDef, ResponseCx, instance};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "response-transformer",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 800,
    phases: Phases::RESPONSE,
    credentials: None,
    anonymous: None,
    build,
};

/// Longest body that is edited, in bytes.
const LIMIT: usize = 8 * 1024 * 1024;

const NAME: Kind = checked("name", entries::name);
const HEADER: Kind = checked("header name", entries::header);
const HEADER_RENAME: Kind = checked("old:new", entries::header_rename);
const HEADER_VALUE: Kind = checked("header:value", entries::header_value);
const PAIR: Kind = checked("name:value", entries::pair);
const RENAME: Kind = checked("old:new", entries::pair_with_value);
const TYPE: Kind = one_of(&["boolean", "number", "string"]);

const fn list(name: &'static str, of: &'static Kind, doc: &'static str) -> Field {
    let kind = array(of);
    let field = field(name, kind).required();
    field.default(Literal::Strs(&[])).doc(doc)
}

static REMOVE: Record = Record::new(&[
    list("json", &NAME, "Members of the body."),
    list("headers", &HEADER, "Header fields."),
]);
static RENAMES: Record = Record::new(&[
    list("json", &RENAME, "Members of the body."),
    list("headers", &HEADER_RENAME, "Header fields."),
]);
static VALUES: Record = Record::new(&[
    list("json", &PAIR, "Members of the body."),
    list(
        "json_types",
        &TYPE,
        "Types of the values of `json`; text where none is given.",
    ),
    list("headers", &HEADER_VALUE, "Header fields."),
]);

static CONFIG: Record = Record::new(&[
    field("remove", record(&REMOVE))
        .required()
        .doc("Names to take out."),
    field("rename", record(&RENAMES))
        .required()
        .doc("Names to change."),
    field("replace", record(&VALUES))
        .required()
        .doc("Values for what is there."),
    field("add", record(&VALUES))
        .required()
        .doc("Values for what is not there."),
    field("append", record(&VALUES))
        .required()
        .doc("Further values."),
]);

#[derive(Clone, Debug)]
struct Transformer {
    headers: Edits<String>,
    /// Values are JSON texts; new names are not.
    json: Edits<String>,
}

type Pairs = Vec<(String, String)>;

fn parse(fields: &Fields<'_>, report: &mut Report) -> Option<Parsed> {
    let errors = report.error_count();
    let removed = |pairs: Pairs| pairs.into_iter().map(|(name, _)| name).collect();
    let headers = Edits {
        remove: removed(headers(fields, "remove", report)),
        rename: headers(fields, "rename", report),
        replace: headers(fields, "replace", report),
        add: headers(fields, "add", report),
        append: headers(fields, "append", report),
    };
    let json = Edits {
        remove: removed(names(fields, "remove")),
        rename: names(fields, "rename"),
        replace: values(fields, "replace", report),
        add: values(fields, "add", report),
        append: values(fields, "append", report),
    };
    (report.error_count() == errors).then(|| Parsed::new(Transformer { headers, json }))
}

/// The entries of one step for headers; those that can do nothing are warned of.
fn headers(fields: &Fields<'_>, step: &str, report: &mut Report) -> Pairs {
    let Some(record) = fields.record(step) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (at, entry) in record.strings("headers").iter().enumerate() {
        let (name, value) = split(entry);
        match idle(step, name, value) {
            Some(why) => {
                let (place, path) = (
                    record.at_item("headers", at),
                    record.path_item("headers", at),
                );
                report.warning(place, path, why);
            }
            None => out.push((name.to_owned(), value.to_owned())),
        }
    }
    out
}

/// Why an entry for a header can do nothing, if so.
fn idle(step: &str, name: &str, value: &str) -> Option<String> {
    let names = [name, if step == "rename" { value } else { "" }];
    if let Some(name) = names.into_iter().find(|name| is_hop_by_hop(name)) {
        return Some(format!(
            "{name} is about one connection alone: this does nothing"
        ));
    }
    let needs_value = step != "remove" && value.is_empty();
    needs_value.then(|| format!("key '{name}' has no value: this does nothing"))
}

/// The entries of one step for names of members.
fn names(fields: &Fields<'_>, step: &str) -> Pairs {
    let entries = fields.record(step).map(|record| record.strings("json"));
    let pair = |entry: String| {
        let (name, value) = split(&entry);
        (name.to_owned(), value.to_owned())
    };
    entries.unwrap_or_default().into_iter().map(pair).collect()
}

/// The entries of one step for members, their values as JSON.
fn values(fields: &Fields<'_>, step: &str, report: &mut Report) -> Pairs {
    let Some(record) = fields.record(step) else {
        return Vec::new();
    };
    let types = record.strings("json_types");
    let mut pairs = names(fields, step);
    if types.len() > pairs.len() {
        let message = "there are more types than entries in json";
        record.error(report, "json_types", message);
    }
    for (at, (_, value)) in pairs.iter_mut().enumerate() {
        match as_json(value, types.get(at).map(String::as_str)) {
            Ok(json) => *value = json,
            Err(message) => {
                let (place, path) = (record.at_item("json", at), record.path_item("json", at));
                report.error(place, path, message);
            }
        }
    }
    pairs
}

fn as_json(value: &str, kind: Option<&str>) -> Result<String, String> {
    match kind {
        Some("boolean") if matches!(value, "true" | "false") => Ok(value.to_owned()),
        Some("boolean") => Err(format!("'{value}' is neither true nor false")),
        Some("number") => {
            let number = serde_json::from_str::<serde_json::Number>(value);
            match number {
                Ok(_) => Ok(value.trim().to_owned()),
                Err(_) => Err(format!("'{value}' is no number")),
            }
        }
        _ => Ok(serde_json::Value::from(value).to_string()),
    }
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Transformer| Arc::new(config.clone()))
}

impl Plugin for Transformer {
    fn on_response(&self, cx: &mut ResponseCx<'_>) -> BodyWish {
        let mut headers = HeaderFields(&mut cx.response.headers);
        self.headers.apply(&mut headers, |value| value);
        if self.json.is_empty() || !is_json(cx.response) {
            return BodyWish::Pass;
        }
        if cx.request.method() == "HEAD" || cx.response.status == 304 {
            // It says the length of a body that would have been edited.
            cx.response.headers.remove_known(Known::ContentLength);
            return BodyWish::Pass;
        }
        BodyWish::Collect(LIMIT)
    }

    fn on_body<'a>(&'a self, cx: &'a mut BodyCx<'_>) -> Flow<'a> {
        let edited = Object::read(cx.body).and_then(|mut object| {
            self.json.apply(&mut object, |value| value);
            object.changed()
        });
        if let Some(edited) = edited {
            *cx.body = edited;
        }
        Flow::Next
    }
}

/// Whether the body can be JSON that is readable here.
fn is_json(response: &ResponseHead) -> bool {
    let headers = &response.headers;
    let kinds = headers.known(Known::ContentType).unwrap_or_default();
    let kinds = String::from_utf8_lossy(kinds).to_ascii_lowercase();
    let encoded = headers
        .get("Content-Encoding")
        .is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    !encoded && kinds.split(',').any(is_json_type)
}

/// `application/json`, `application/problem+json`; not `application/stream+json`, which never ends.
fn is_json_type(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.strip_prefix("application/")
        .is_some_and(|rest| rest == "json" || rest != "stream+json" && rest.ends_with("+json"))
}

#[cfg(test)]
mod tests;
