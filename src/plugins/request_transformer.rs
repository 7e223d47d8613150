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

mod config;

use std::sync::Arc;

use self::config::{CONFIG, Transformer, parse};
use super::form::{self, Form};
use super::transform::Named;
use super::transform::fields::HeaderFields;
use super::transform::object::Object;
use super::transform::pairs::{Pairs, form_text};
use super::transform::parts::{self, Parts};
use super::transform::template::{Source, Template};
use crate::config::Parsed;
use crate::config::known::KnownPlugin;
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
