//! # request-transformer
//!
//! Edits requests on their way to the upstream: path, method, header fields, body and query.
//!
//! The stages run in this order: `replace.uri`, `http_method`, headers, body, query. In each of the
//! last three, the steps run in this one, entry by entry in the order of the file:
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
//! ## Values from the request
//!
//! Values, and `replace.uri`, may hold places that each request fills:
//!
//! | Place | Filled with |
//! | --- | --- |
//! | `$(headers.x)`, `$(headers["x-a"])` | the first value of a header; `_` also finds `-` |
//! | `$(query_params.x)` | the first value of a parameter, decoded; `true` for one without `=` |
//! | `$(uri_captures.x)`, `$(uri_captures[1])` | what a group of the route's expression captured; 0 is the whole match |
//! | `$(consumer.username)`, `.id`, `.custom_id` | who the client is (not in Kong) |
//! | `$("text")` | the text, to write `$("$(")` |
//!
//! `$(headers.x or query_params.x or "none")` takes the first of these that is there; where none
//! is, the place stays empty. Places see the request as it was before this plugin. Kong runs them
//! as Lua; anything but such lookups is refused by `check`, `shared` too, which nothing here fills.
//!
//! ## Headers
//!
//! `Host` changes through `replace` alone, whether or not the client sent one. Fields that the
//! gateway writes itself, such as `X-Forwarded-For`, `Via` or `Connection`, cannot be changed:
//! `check` warns. `Content-Length` and `Transfer-Encoding` are refused; they are right after every
//! edit.
//!
//! ## Body
//!
//! The members of a JSON object, the fields of an urlencoded form, the parts of a multipart form,
//! by `Content-Type` (as the header stage left it). Values are texts. In JSON, `append` makes a list
//! of what is there and the new value, or of the new value alone; nothing is appended to multipart
//! forms. An empty body takes `add` and `append`. Members and fields that are not named stay as they
//! were, byte for byte. Other bodies, compressed ones, and those that are not what their type says,
//! pass unchanged.
//! Bodies up to 1 MiB are read for it, longer ones are answered 413.
//!
//! ## Path and method
//!
//! `replace.uri` is the whole path for the upstream, in place of service path and route path; it
//! does not change the route. The query stays; a query in `replace.uri` comes before it. Values in
//! it cannot begin a query, and dot segments go.
//!
//! With `http_method` GET, HEAD or TRACE the fields of an urlencoded body move into the query.

use std::sync::Arc;

use super::form::{self, Form};
use super::transform::entries::{self, split};
use super::transform::fields::{HeaderFields, is_written_anew};
use super::transform::object::Object;
use super::transform::pairs::{Pairs, form_text};
use super::transform::parts::{self, Parts};
use super::transform::template::{Source, Template};
use super::transform::{Edits, Named};
use crate::config::known::KnownPlugin;
use crate::config::schema::{Field, Kind, Literal, Record, array, checked, field, record};
use crate::config::{Fields, Parsed, Report};
use crate::message::{BodyError, Known, Reply, RequestHead, uri};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, Verdict, instance};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "request-transformer",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 801,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

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

static CONFIG: Record = Record::new(&[
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

#[derive(Clone, Debug, Default)]
struct Transformer {
    method: Option<String>,
    /// Every value; edits hold their places in here.
    templates: Vec<Template>,
    uri: Option<Template>,
    host: Option<usize>,
    headers: Edits<usize>,
    body: Edits<usize>,
    query: Edits<usize>,
    /// Some value has places.
    renders: bool,
}

fn parse(fields: &Fields<'_>, report: &mut Report) -> Option<Parsed> {
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
            let (name, value) = split(entry);
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

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Transformer| Arc::new(config.clone()))
}

/// The values for one request: those without places are taken from the configuration.
struct Texts<'a> {
    templates: &'a [Template],
    rendered: Vec<String>,
}

impl Texts<'_> {
    fn of(&self, place: usize) -> &str {
        match self.rendered.get(place) {
            Some(text) => text,
            None => {
                let template = self.templates.get(place);
                template.and_then(Template::literal).unwrap_or_default()
            }
        }
    }
}

impl Plugin for Transformer {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let (texts, target) = self.render(cx);
        if let Some(target) = target
            && let Err(refusal) = set_target(cx, &target)
        {
            return refusal.into();
        }
        let moves = self.moves_body(cx.request);
        cx.facts.upstream_method.clone_from(&self.method);
        self.edit_headers(cx, &texts);
        let form = self.form(cx.request, moves);
        if let Some(form) = form {
            return Flow::Wait(Box::pin(self.with_body(cx, texts, form, moves)));
        }
        self.edit_query(cx.request, &texts);
        announce_nothing(cx);
        Flow::Next
    }
}

impl Transformer {
    /// Fills all places, before anything is edited.
    fn render<'a>(&'a self, cx: &RequestCx<'_>) -> (Texts<'a>, Option<String>) {
        let source = Source {
            request: cx.request,
            captures: &cx.facts.captures,
            consumer: cx.consumer(),
        };
        let templates = &self.templates;
        let rendered = match self.renders {
            true => templates.iter().map(|it| it.render(&source)).collect(),
            false => Vec::new(),
        };
        let target = self.uri.as_ref().map(|uri| uri.render_target(&source));
        (
            Texts {
                templates,
                rendered,
            },
            target,
        )
    }

    /// Whether the body goes into the query.
    fn moves_body(&self, request: &RequestHead) -> bool {
        matches!(self.method.as_deref(), Some("GET" | "HEAD" | "TRACE"))
            && !request.framing.is_none()
            && Form::of(request) == Some(Form::Urlencoded)
    }

    fn edit_headers(&self, cx: &mut RequestCx<'_>, texts: &Texts<'_>) {
        let mut headers = HeaderFields(&mut cx.request.headers);
        self.headers.apply(&mut headers, |place| texts.of(*place));
        if let Some(place) = self.host {
            cx.facts.upstream_host = Some(texts.of(place).trim().to_owned());
        }
    }

    /// The form of a body that has to be read.
    fn form(&self, request: &RequestHead, moves: bool) -> Option<Form> {
        let wanted = match request.framing.is_none() {
            true => self.body.grows(),
            false => !self.body.is_empty(),
        };
        match (moves, wanted) {
            (true, _) => Some(Form::of(request).unwrap_or(Form::Urlencoded)),
            (false, true) => Form::of(request),
            (false, false) => None,
        }
    }

    async fn with_body(
        &self,
        cx: &mut RequestCx<'_>,
        texts: Texts<'_>,
        form: Form,
        moves: bool,
    ) -> Verdict {
        let body = match cx.body(form::LIMIT).await {
            Ok(body) => body.to_vec(),
            Err(error) => return refused(cx, error).into(),
        };
        if !is_coded(cx.request, &body) {
            let kept = if moves { &[] } else { &*body };
            let edited = self.edit_body(&form, kept, &texts);
            if moves {
                move_to_query(cx.request, &body);
            }
            if let Some(edited) = edited.or(moves.then(Vec::new)) {
                cx.replace_body(edited);
            }
        }
        self.edit_query(cx.request, &texts);
        announce_nothing(cx);
        Verdict::Next
    }

    /// The edited body, if it is another one now.
    fn edit_body(&self, form: &Form, body: &[u8], texts: &Texts<'_>) -> Option<Vec<u8>> {
        let text = |place: &usize| texts.of(*place);
        match form {
            Form::Urlencoded => {
                let form = form_text(body);
                let mut pairs = Pairs::of_form(&form);
                self.body.apply(&mut pairs, text);
                pairs.changed().map(String::into_bytes)
            }
            Form::Json => {
                // Readers that skip a byte order mark would see what was not edited.
                let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
                let mut object = match body.trim_ascii().is_empty() {
                    true => Object::empty(),
                    false => Object::read(body)?,
                };
                self.body.apply(&mut Strings(&mut object), text);
                object.changed()
            }
            Form::Multipart(boundary) => {
                let body = parts::closed(body, boundary);
                let mut parts = Parts::read(&body, boundary)?;
                self.body.apply(&mut parts, text);
                parts.changed()
            }
        }
    }

    fn edit_query(&self, request: &mut RequestHead, texts: &Texts<'_>) {
        if self.query.is_empty() {
            return;
        }
        let mut pairs = Pairs::of_query(request.query());
        self.query.apply(&mut pairs, |place| texts.of(*place));
        if let Some(query) = pairs.changed() {
            set_query(request, &query);
        }
    }
}

/// Whether a body is compressed: it says so, and is no text.
fn is_coded(request: &RequestHead, body: &[u8]) -> bool {
    request.headers.contains("Content-Encoding") && std::str::from_utf8(body).is_err()
}

/// A JSON object that is given texts.
struct Strings<'o, 'a>(&'o mut Object<'a>);

impl Named for Strings<'_, '_> {
    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.0.rename(from, to);
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0
            .set(name, &serde_json::Value::from(value).to_string());
    }

    fn append(&mut self, name: &str, value: &str) {
        self.0
            .append(name, &serde_json::Value::from(value).to_string());
    }
}

fn set_query(request: &mut RequestHead, query: &str) {
    request.set_query(match query {
        "" => String::new(),
        query => format!("?{query}"),
    });
}

fn move_to_query(request: &mut RequestHead, body: &[u8]) {
    let form = form_text(body);
    let mut pairs = Pairs::of_query(request.query());
    pairs.extend(&form);
    if let Some(query) = pairs.changed() {
        set_query(request, &query);
    }
}

/// Sets the path for the upstream, and puts its query in front of the client's.
fn set_target(cx: &mut RequestCx<'_>, target: &str) -> Result<(), Reply> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.starts_with('/') {
        return Err(Reply::gateway(500, "An unexpected error occurred"));
    }
    let path = uri::normalise(path.as_bytes()).map_err(|_| Reply::gateway(400, "Bad request"))?;
    let mut escaped = Vec::with_capacity(path.len());
    uri::escape_into(&mut escaped, &path);
    cx.facts.upstream_path = String::from_utf8(escaped).ok();
    if !query.is_empty() {
        let rest = cx.request.query();
        let rest = rest.strip_prefix('?').unwrap_or(rest);
        let joined = match rest {
            "" => query.to_owned(),
            rest => format!("{query}&{rest}"),
        };
        set_query(cx.request, &joined);
    }
    Ok(())
}

/// A request that got a method with a body, but none, says so (RFC 9110 §8.6).
fn announce_nothing(cx: &mut RequestCx<'_>) {
    let method = cx.facts.upstream_method.as_deref();
    let request = &mut *cx.request;
    if matches!(method, Some("POST" | "PUT" | "PATCH"))
        && request.framing.is_none()
        && !request.headers.has(Known::ContentLength)
    {
        request.headers.append("Content-Length", "0");
    }
}

/// What a client is told whose body could not be read.
fn refused(cx: &mut RequestCx<'_>, error: BodyError) -> Reply {
    let own = match error {
        BodyError::TooLarge => cx.facts.oversize.take(),
        _ => None,
    };
    own.map_or_else(|| form::unreadable(error), |reply| *reply)
}

#[cfg(test)]
mod tests;
