//! # request-termination
//!
//! Answers every request itself, instead of the upstream: for maintenance, for paths that must not
//! be reachable, for the anonymous consumer of a route that asks for authentication.
//!
//! It runs after all other plugins of the request phase. With `trigger`, only requests with that
//! header or query parameter are answered.
//!
//! The answer is `{"message":"…"}` with `message`, or with the words of the status where they are
//! known (401, 404, 405, 500, 502, 503), else without a body. `body` is sent as it is; without
//! `content_type` it has no `Content-Type`. With `echo`, the answer shows as JSON the request, what
//! the route's expression captured, the matched route and service, and which gateway answers;
//! request bodies up to 64 KiB are part of it.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use crate::config::known::KnownPlugin;
use crate::config::schema::{Literal, Record, Rule, boolean, field, header_name, integer, text};
use crate::config::{Fields, Parsed, Report};
use crate::message::{Entity, Known, Reply, ReplyBody, RequestHead, query};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, Verdict, instance};
use crate::router::Captures;
use crate::util::ids::node_id;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "request-termination",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 2,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build,
};

static CONFIG: Record = Record::new(&[
    field("status_code", integer().between(100, 599))
        .required()
        .default(Literal::Int(503))
        .doc("Status of the answer."),
    field("message", text()).doc("Words of the answer."),
    field("content_type", text()).doc("Content type of `body`."),
    field("body", text()).doc("Body of the answer, sent as it is."),
    field("echo", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Answer with what was asked."),
    field("trigger", header_name())
        .doc("Answer only requests with this header or query parameter."),
])
.rules(&[Rule::Check(exclusive)]);

fn exclusive(fields: &Fields<'_>, report: &mut Report) {
    let raw = ["content_type", "body"]
        .into_iter()
        .find(|name| fields.has(name));
    if let (true, Some(_)) = (fields.has("message"), raw) {
        let message = "message cannot be used with content_type or body";
        fields.error(report, "message", message);
    }
    if fields.has("content_type") && !fields.has("body") {
        fields.error(report, "content_type", "content_type requires a body");
    }
    if let (true, Some(name)) = (fields.bool("echo"), raw) {
        fields.error(
            report,
            name,
            "echo cannot be used with content_type and body",
        );
    }
    if fields.int::<u16>("status_code") < 200 {
        let message = "a 1xx status ends no request: clients go on waiting";
        fields.warning(report, "status_code", message);
    }
}

/// Longest request body that `echo` shows, in bytes.
const ECHO_LIMIT: usize = 64 * 1024;

#[derive(Clone, Debug)]
struct Termination {
    /// The answer, rendered once; with `echo`, its status and words.
    reply: Reply,
    echo: bool,
    trigger: Option<String>,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let status = fields.int("status_code");
    let message = fields.opt_string("message").map(Into::into);
    let words = message.or(default_words(status).map(Into::into));
    let body = match (fields.opt_string("body"), words) {
        (Some(body), _) => {
            let content_type = fields.opt_string("content_type").map(Into::into);
            ReplyBody::Bytes(body.into(), content_type)
        }
        (None, Some(words)) => ReplyBody::Message(words),
        (None, None) => ReplyBody::Empty,
    };
    let reply = Reply {
        body,
        ..Reply::empty(status)
    };
    Some(Parsed::new(Termination {
        reply,
        echo: fields.bool("echo"),
        trigger: fields.opt_string("trigger"),
    }))
}

fn default_words(status: u16) -> Option<&'static str> {
    Some(match status {
        401 => "Unauthorized",
        404 => "Not found",
        405 => "Method not allowed",
        500 => "An unexpected error occurred",
        502 => "Bad Gateway",
        503 => "Service unavailable",
        _ => return None,
    })
}

fn build(parsed: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Termination| Arc::new(config.clone()))
}

impl Plugin for Termination {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if !self.triggered(cx.request) {
            return Flow::Next;
        }
        if !self.echo {
            return self.reply.clone().into();
        }
        Flow::Wait(Box::pin(self.echo(cx)))
    }
}

impl Termination {
    fn triggered(&self, request: &RequestHead) -> bool {
        self.trigger.as_ref().is_none_or(|name| {
            request.headers.contains(name) || request.query_param(name).is_some()
        })
    }

    async fn echo(&self, cx: &mut RequestCx<'_>) -> Verdict {
        let raw_body = match cx.body(ECHO_LIMIT).await {
            Ok(body) => String::from_utf8_lossy(body).into_owned(),
            // Too long or broken off: the answer does without it.
            Err(_) => String::new(),
        };
        let shown = present(json!({
            "message": Some(self.reply.words()).filter(|words| !words.is_empty()),
            "kong": {
                "node_id": node_id(),
                "worker_pid": std::process::id(),
                "hostname": hostname(),
            },
            "request": present(request_json(cx, &raw_body)),
            "matched_route": entity_json(cx.place.route),
            "matched_service": entity_json(cx.place.service),
        }));
        Reply::json(self.reply.status, shown.to_string()).into()
    }
}

/// What there is: as in Kong, members without a value are left out.
fn present(mut object: Value) -> Value {
    if let Value::Object(members) = &mut object {
        members.retain(|_, value| !value.is_null());
    }
    object
}

/// The machine's name, read once.
fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let read = std::fs::read_to_string("/proc/sys/kernel/hostname");
        read.unwrap_or_default().trim().to_owned()
    })
}

fn entity_json(entity: Option<&Entity>) -> Value {
    entity.map_or(Value::Null, |entity| entity.json.clone())
}

fn request_json(cx: &RequestCx<'_>, raw_body: &str) -> Value {
    let request = &*cx.request;
    let fields = request.headers.iter().map(|(name, value)| {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        (name, String::from_utf8_lossy(value).into_owned())
    });
    let (host, _) = crate::config::schema::texts::split_port(request.host());
    json!({
        "scheme": cx.conn.scheme(),
        "host": host,
        "port": cx.conn.listen_port,
        "method": request.method(),
        "path": request.path(),
        "query": grouped(query::pairs(request.query()).map(decoded)),
        "headers": grouped(fields),
        "body": body_json(request, raw_body),
        "raw_body": raw_body,
        "uri_captures": captures_json(&cx.facts.captures),
    })
}

/// The groups of the route's expression: by name, and by number from 1.
fn captures_json(captures: &Captures) -> Value {
    let unnamed = (1..captures.len()).map(|group| captures.get(group));
    let named = captures.named();
    let named = named.map(|(name, text)| (name.to_owned(), Value::from(text)));
    json!({
        "named": named.collect::<Map<_, _>>(),
        "unnamed": unnamed.collect::<Vec<_>>(),
    })
}

fn decoded((name, value): (&str, &str)) -> (String, String) {
    (
        query::decode(name).into_owned(),
        query::decode(value).into_owned(),
    )
}

/// The body as far as it can be read: JSON or a form.
fn body_json(request: &RequestHead, body: &str) -> Value {
    let content_type = request
        .headers
        .known(Known::ContentType)
        .unwrap_or_default();
    if content_type.starts_with(b"application/json") {
        serde_json::from_str(body).unwrap_or_default()
    } else if content_type.starts_with(b"application/x-www-form-urlencoded") {
        grouped(query::pairs(body).map(decoded))
    } else {
        Value::Null
    }
}

/// Pairs by name; a name that comes again has a list.
fn grouped(pairs: impl Iterator<Item = (String, String)>) -> Value {
    let mut out: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        match out.get_mut(&name) {
            None => {
                out.insert(name, value.into());
            }
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::{Kit, config_issues};

    fn answer(config: &str, request: &str) -> (u16, String, Option<String>) {
        let answer = Kit::of(&PLUGIN, config).send(request);
        assert!(!answer.passed());
        let content_type = answer.header("Content-Type").map(str::to_owned);
        (answer.status, answer.body, content_type)
    }

    #[test]
    fn the_words_follow_the_status() {
        for (config, status, body) in [
            ("{}", 503, r#"{"message":"Service unavailable"}"#),
            ("{status_code: 401}", 401, r#"{"message":"Unauthorized"}"#),
            ("{status_code: 404}", 404, r#"{"message":"Not found"}"#),
            (
                "{status_code: 405}",
                405,
                r#"{"message":"Method not allowed"}"#,
            ),
            (
                "{status_code: 500}",
                500,
                r#"{"message":"An unexpected error occurred"}"#,
            ),
            ("{status_code: 502}", 502, r#"{"message":"Bad Gateway"}"#),
            (
                "{status_code: 403, message: nay}",
                403,
                r#"{"message":"nay"}"#,
            ),
            ("{status_code: 403}", 403, ""),
        ] {
            let (got, text, content_type) = answer(config, "GET / HTTP/1.1");
            assert_eq!((got, text.as_str()), (status, body), "{config}");
            let json = (!body.is_empty()).then_some("application/json; charset=utf-8");
            assert_eq!(content_type.as_deref(), json);
        }
    }

    #[test]
    fn a_body_is_sent_as_it_is() {
        let config = "{status_code: 200, body: <p>hi, content_type: text/html}";
        let html = (200, "<p>hi".to_owned(), Some("text/html".to_owned()));
        assert_eq!(answer(config, "GET / HTTP/1.1"), html);
        let bare = answer("{body: hi}", "GET / HTTP/1.1");
        assert_eq!(bare, (503, "hi".to_owned(), None));
    }

    #[test]
    fn a_trigger_is_a_header_or_a_query_parameter() {
        let kit = Kit::of(&PLUGIN, "{trigger: X-Stop}");
        assert!(kit.send("GET /?a=1 HTTP/1.1\nX-Go: 1").passed());
        assert!(!kit.send("GET / HTTP/1.1\nx-stop: 0").passed());
        assert!(!kit.send("GET /?X-Stop HTTP/1.1").passed());
        assert!(!kit.send("GET /?X-Stop=1 HTTP/1.1").passed());
    }

    #[test]
    fn echo_shows_what_was_asked() {
        let request = "POST /p?a=1&a=2&b HTTP/1.1\nHost: h:8000\nX-A: 1\nContent-Type: application/json\n\n{\"k\":1}";
        let (status, body, _) = answer("{echo: true, status_code: 200, message: hi}", request);
        let shown: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(shown["message"], "hi");
        assert_eq!(shown["matched_route"]["name"], "route");
        assert_eq!(shown["matched_service"]["name"], "service");
        assert_eq!(
            shown["request"],
            json!({
                "scheme": "http", "host": "h", "port": 8000, "method": "POST", "path": "/p",
                "query": {"a": ["1", "2"], "b": ""},
                "headers": {"host": "h:8000", "x-a": "1", "content-type": "application/json"},
                "body": {"k": 1}, "raw_body": "{\"k\":1}",
                "uri_captures": {"named": {}, "unnamed": []},
            })
        );
        assert_eq!(shown["kong"]["worker_pid"], std::process::id());
        assert_eq!(shown["kong"]["node_id"], node_id());
        let (_, body, _) = answer("{echo: true, status_code: 403}", "GET / HTTP/1.1");
        let bare: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(bare.get("message"), None);
        assert_eq!(bare["request"].get("body"), None);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{status_code: 99}",
                "f:3:25: error: plugins[0].config.status_code: value should be between 100 and 599",
            ),
            (
                "{status_code: 600}",
                "f:3:25: error: plugins[0].config.status_code: value should be between 100 and 599",
            ),
            (
                "{message: a, body: b}",
                "f:3:21: error: plugins[0].config.message: message cannot be used with content_type or body",
            ),
            (
                "{content_type: a/b}",
                "f:3:26: error: plugins[0].config.content_type: content_type requires a body",
            ),
            (
                "{echo: true, body: b}",
                "f:3:30: error: plugins[0].config.body: echo cannot be used with content_type and body",
            ),
            (
                "{echo: 'yes'}",
                "f:3:18: error: plugins[0].config.echo: expected a boolean, got \"yes\"",
            ),
            (
                "{trigger: 'a b'}",
                "f:3:21: error: plugins[0].config.trigger: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
            ),
            (
                "{status_code: 100}",
                "f:3:25: warning: plugins[0].config.status_code: a 1xx status ends no request: clients go on waiting",
            ),
        ] {
            assert_eq!(config_issues(&PLUGIN, config)[0], want);
        }
    }
}
