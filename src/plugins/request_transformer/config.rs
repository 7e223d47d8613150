//! What the file says to request-transformer, compiled.
//!
//! Invariant: an entry that can do nothing is not here; `check` has warned of it.

use crate::config::schema::{Field, Kind, Literal, Record, array, checked, field, record};
use crate::config::{Fields, Parsed, Report};
use crate::plugins::transform::Edits;
use crate::plugins::transform::entries::{self, split};
use crate::plugins::transform::fields::is_written_anew;
use crate::plugins::transform::template::Template;

const NAME: Kind = checked("name", entries::name);
const HEADER: Kind = checked("header name", entries::header);
const HEADER_RENAME: Kind = checked("old:new", entries::header_rename);
const HEADER_VALUE: Kind = checked("header:value", entries::header_template);
const PAIR: Kind = checked("name:value", entries::pair_template);
const RENAME: Kind = checked("old:new", entries::pair_template);

const fn list(name: &'static str, of: &'static Kind, doc: &'static str) -> Field {
    let kind = array(of);
    let field = field(name, kind).required();
    field.default(Literal::Strs(&[])).doc(doc)
}

static REMOVE: Record = Record::new(&[
    list("body", &NAME, "Fields of the body."),
    list("headers", &HEADER, "Header fields."),
    list("querystring", &NAME, "Parameters."),
]);
static RENAMES: Record = Record::new(&[
    list("body", &RENAME, "Fields of the body."),
    list("headers", &HEADER_RENAME, "Header fields."),
    list("querystring", &RENAME, "Parameters."),
]);
static VALUES: Record = Record::new(&[
    list("body", &PAIR, "Fields of the body."),
    list("headers", &HEADER_VALUE, "Header fields."),
    list("querystring", &PAIR, "Parameters."),
]);
static REPLACE: Record = Record::new(&[
    list("body", &PAIR, "Fields of the body."),
    list("headers", &HEADER_VALUE, "Header fields."),
    list("querystring", &PAIR, "Parameters."),
    field("uri", checked("path with places", entries::path_template)).doc("Path for the upstream."),
]);

/// What the file may hold.
pub(super) static CONFIG: Record = Record::new(&[
    field("http_method", checked("method", method)).doc("Method for the upstream."),
    field("remove", record(&REMOVE))
        .required()
        .doc("Names to take out."),
    field("rename", record(&RENAMES))
        .required()
        .doc("Names to change."),
    field("replace", record(&REPLACE))
        .required()
        .doc("Values for what is there."),
    field("add", record(&VALUES))
        .required()
        .doc("Values for what is not there."),
    field("append", record(&VALUES))
        .required()
        .doc("Further values."),
]);

fn method(text: &str) -> Result<(), String> {
    match text {
        "CONNECT" => Err("CONNECT is not supported".to_owned()),
        text if text.bytes().all(|b| b.is_ascii_uppercase()) => Ok(()),
        other => Err(format!("invalid value: {other}")),
    }
}

/// A configuration, compiled.
#[derive(Clone, Debug, Default)]
pub(super) struct Transformer {
    /// Method for the upstream.
    pub(super) method: Option<String>,
    /// Every value; edits hold their places in here.
    pub(super) templates: Vec<Template>,
    /// Path for the upstream.
    pub(super) uri: Option<Template>,
    /// Place of the value for `Host`.
    pub(super) host: Option<usize>,
    /// What becomes of header fields.
    pub(super) headers: Edits<usize>,
    /// What becomes of the body.
    pub(super) body: Edits<usize>,
    /// What becomes of the query.
    pub(super) query: Edits<usize>,
    /// Some value has places.
    pub(super) renders: bool,
}

/// Compiles what the check has accepted.
pub(super) fn parse(fields: &Fields<'_>, report: &mut Report) -> Option<Parsed> {
    let mut out = Transformer {
        method: fields.opt_string("http_method"),
        ..Transformer::default()
    };
    let replace = fields.record("replace");
    let uri = replace.and_then(|replace| replace.opt_str("uri"));
    out.uri = uri.and_then(|text| Template::compile(text).ok());
    out.headers = out.edits(fields, "headers", report);
    out.body = out.edits(fields, "body", report);
    out.query = out.edits(fields, "querystring", report);
    out.renders = out.templates.iter().any(|it| it.literal().is_none());
    Some(Parsed::new(out))
}

impl Transformer {
    /// The five steps over one kind of values.
    fn edits(&mut self, fields: &Fields<'_>, kind: &str, report: &mut Report) -> Edits<usize> {
        let removed = self.entries(fields, "remove", kind, report);
        Edits {
            remove: removed.into_iter().map(|(name, _)| name).collect(),
            rename: self.entries(fields, "rename", kind, report),
            replace: self.entries(fields, "replace", kind, report),
            add: self.entries(fields, "add", kind, report),
            append: self.entries(fields, "append", kind, report),
        }
    }

    /// The entries of one step that can do something; those that cannot are warned of.
    fn entries(
        &mut self,
        fields: &Fields<'_>,
        step: &str,
        kind: &str,
        report: &mut Report,
    ) -> Vec<(String, usize)> {
        let Some(record) = fields.record(step) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (at, entry) in record.strings(kind).iter().enumerate() {
            let (name, value) = match step {
                "remove" => (split(entry).0, ""),
                _ => split(entry),
            };
            let idle = (kind == "headers").then(|| idle_header(step, name, value));
            if let Some(why) = idle.flatten() {
                report.warning(record.at_item(kind, at), record.path_item(kind, at), why);
                continue;
            }
            let Ok(template) = Template::compile(value) else {
                continue;
            };
            self.templates.push(template);
            let place = self.templates.len() - 1;
            if kind == "headers" && is_host(name) {
                self.host = Some(place);
            } else {
                out.push((name.to_owned(), place));
            }
        }
        out
    }
}

fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host")
}

/// Why an entry for a header can do nothing, if so.
fn idle_header(step: &str, name: &str, value: &str) -> Option<String> {
    let names = [name, if step == "rename" { value } else { "" }];
    if let Some(name) = names.into_iter().find(|name| is_written_anew(name)) {
        return Some(format!(
            "{name} is written by the gateway itself: this does nothing"
        ));
    }
    if step != "replace" && names.into_iter().any(is_host) {
        return Some("Host changes only through replace: this does nothing".to_owned());
    }
    let needs_value = step != "remove" && value.is_empty();
    needs_value.then(|| format!("key '{name}' has no value: this does nothing"))
}
