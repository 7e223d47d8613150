//! # key-auth
//!
//! Lets in clients that present a key of a consumer.
//!
//! For each name of `key_names` the key is looked for in a header, then in the query, then in the
//! body; the first place that has the name decides. In header names `_` and `-` are the same. In a
//! body the key is a field of an urlencoded form, a member of a JSON object, or a part of a
//! multipart form; bodies up to 1 MiB are read for it, longer ones are answered 413.
//!
//! | Refusal, all 401 with `WWW-Authenticate: Key` | When |
//! | --- | --- |
//! | `No API key found in request` | no name is there, or its value is empty |
//! | `Duplicate API key found` | the header, parameter or field comes more than once |
//! | `Unauthorized` | no credential has the key, or its time is over |
//!
//! A client that is let in is known to the upstream by `X-Consumer-ID`, `X-Consumer-Custom-ID`,
//! `X-Consumer-Username` and `X-Credential-Identifier` (the credential's id). With `anonymous`
//! nobody is refused: without a valid key the client is that consumer, and the upstream gets
//! `X-Anonymous-Consumer: true`; a client that another plugin has let in stays who it is.
//!
//! A credential's `ttl` counts from its `created_at`, or else from when the file was loaded.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::auth::{Gate, challenge, unauthorized};
use super::form::{self, Field, Form};
use crate::config::known::{CredentialId, KnownCredential, KnownPlugin, credential};
use crate::config::schema::{
    Kind, Literal, Record, array, boolean, field, header_name, integer, text,
};
use crate::config::{Fields, Parsed, Report};
use crate::identity::Credential;
use crate::message::{Reply, RequestHead, query};
use crate::plugin::{
    Build, CredentialDef, CredentialRow, Flow, Phases, Plugin, PluginDef, RequestCx, Verdict,
    instance,
};
use crate::util::clock;
use crate::util::ids::ConsumerIx;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "key-auth",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 1250,
    phases: Phases::REQUEST,
    credentials: Some(CredentialDef {
        known: KnownCredential {
            key: CREDENTIALS,
            record: &CREDENTIAL,
            parse: parse_key,
            unique: &["key"],
            generated: &["key"],
            stored: &[],
            id: CredentialId::Content,
        },
        index,
    }),
    anonymous: Some(|parsed| parsed.get::<Config>()?.anonymous.as_deref()),
    build,
};

const CREDENTIALS: &str = "keyauth_credentials";
const NAME: Kind = header_name();

static CONFIG: Record = Record::new(&[
    field("key_names", array(&NAME).at_least(1))
        .required()
        .default(Literal::Strs(&["apikey"]))
        .doc("Names of the header, parameter or field that holds the key."),
    field("key_in_header", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Look in headers."),
    field("key_in_query", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Look in the query."),
    field("key_in_body", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Look in the body."),
    field("hide_credentials", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Take the key out of what the upstream receives."),
    field("anonymous", text()).doc("Username or id of the consumer for clients without a key."),
    field("realm", text()).doc("Realm in `WWW-Authenticate`."),
    field("run_on_preflight", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Ask `OPTIONS` requests too."),
]);

static CREDENTIAL: Record = credential(&[
    field("key", text())
        .secret()
        .doc("The key; a random one if absent."),
    field("ttl", integer().at_least(0))
        .doc("Seconds that the key is valid; 0 or absent: for ever."),
]);

#[derive(Clone, Debug)]
struct Config {
    names: Vec<String>,
    in_header: bool,
    in_query: bool,
    in_body: bool,
    hide: bool,
    anonymous: Option<String>,
    challenge: String,
    on_preflight: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(Config {
        names: fields.strings("key_names"),
        in_header: fields.bool("key_in_header"),
        in_query: fields.bool("key_in_query"),
        in_body: fields.bool("key_in_body"),
        hide: fields.bool("hide_credentials"),
        anonymous: fields.opt_string("anonymous"),
        challenge: challenge("Key", fields.opt_str("realm")),
        on_preflight: fields.bool("run_on_preflight"),
    }))
}

/// One row of the table, and its place in the index.
#[derive(Clone, Debug)]
struct Key {
    key: String,
    /// Seconds since 1970 from which on it is void.
    expires: Option<u64>,
}

fn parse_key(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let created = fields.opt_number("created_at");
    let since = created.map_or_else(clock::unix_secs, |seconds| seconds as u64);
    let ttl = fields.opt_int::<u64>("ttl").filter(|ttl| *ttl > 0);
    let random = || Uuid::new_v4().simple().to_string();
    Some(Parsed::new(Key {
        key: fields.opt_string("key").unwrap_or_else(random),
        expires: ttl.map(|ttl| since.saturating_add(ttl)),
    }))
}

/// Every key of a file, by its text: a hash map with random keys, so that nobody can tell from
/// answering times how much of a guess was right.
#[derive(Debug, Default)]
struct Keys(HashMap<String, Holder>);

#[derive(Debug)]
struct Holder {
    credential: Credential,
    consumer: ConsumerIx,
    expires: Option<u64>,
}

fn index(rows: Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync> {
    let holder = |row: CredentialRow| {
        let key = row.parsed.get::<Key>()?.clone();
        let holder = Holder {
            credential: Credential {
                identifier: row.id.clone(),
                id: row.id,
            },
            consumer: row.consumer,
            expires: key.expires,
        };
        Some((key.key, holder))
    };
    Arc::new(Keys(rows.into_iter().filter_map(holder).collect()))
}

struct KeyAuth {
    config: Config,
    gate: Gate,
    keys: Arc<Keys>,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        Arc::new(KeyAuth {
            gate: Gate::new(config.anonymous.as_deref(), config.on_preflight, build),
            keys: build.credentials.table(CREDENTIALS),
            config: config.clone(),
        })
    })
}

/// What a request presents.
enum Presented<'p> {
    /// A key under one of the names; whose it is, unless nobody's.
    Key {
        name: &'p str,
        is_empty: bool,
        holder: Option<&'p Holder>,
    },
    /// More than one key under the same name.
    Repeated,
    /// No key.
    Nothing,
    /// Perhaps one in the body.
    AskBody,
}

/// A body that was read.
struct Body {
    form: Form,
    bytes: Vec<u8>,
}

impl Plugin for KeyAuth {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if self.gate.is_open(cx) {
            return Flow::Next;
        }
        let form = self.form_of(cx.request);
        let presented = self.presented(cx.request, None, form.is_some());
        let wanted = match presented {
            Presented::AskBody => form,
            Presented::Key { .. } if self.config.hide => form,
            _ => None,
        };
        match wanted {
            Some(form) => Flow::Wait(Box::pin(self.with_body(cx, form))),
            None => self.decide(cx, presented, None).into(),
        }
    }
}

impl KeyAuth {
    /// The form of a body that may hold a key.
    fn form_of(&self, request: &RequestHead) -> Option<Form> {
        let readable = self.config.in_body && !request.framing.is_none();
        readable.then(|| Form::of(request)).flatten()
    }

    async fn with_body(&self, cx: &mut RequestCx<'_>, form: Form) -> Verdict {
        let bytes = match cx.body(form::LIMIT).await {
            Ok(bytes) => bytes.to_vec(),
            Err(error) => return form::unreadable(error).into(),
        };
        let body = Body { form, bytes };
        let presented = self.presented(cx.request, Some(&body), false);
        self.decide(cx, presented, Some(&body))
    }

    /// Looks for a key: per name in the header, the query, the body.
    fn presented(
        &self,
        request: &RequestHead,
        body: Option<&Body>,
        may_ask: bool,
    ) -> Presented<'_> {
        for name in &self.config.names {
            let mut found = Field::Absent;
            if self.config.in_header {
                found = in_header(request, name);
            }
            if found == Field::Absent && self.config.in_query {
                found = in_query(request, name);
            }
            if found == Field::Absent && may_ask {
                return Presented::AskBody;
            }
            if let (Field::Absent, Some(body)) = (&found, body) {
                found = body.form.field(&body.bytes, name);
            }
            match found {
                Field::Text(key) => {
                    return Presented::Key {
                        name,
                        is_empty: key.is_empty(),
                        holder: self.keys.holder(&key),
                    };
                }
                Field::Repeated => return Presented::Repeated,
                Field::Absent | Field::Other => {}
            }
        }
        Presented::Nothing
    }

    fn decide(
        &self,
        cx: &mut RequestCx<'_>,
        presented: Presented<'_>,
        body: Option<&Body>,
    ) -> Verdict {
        let words = match presented {
            Presented::Key {
                name,
                is_empty,
                holder,
            } => {
                if self.config.hide {
                    hide(cx, name, body);
                }
                match holder {
                    Some(holder) => {
                        cx.authenticate(Some(holder.consumer), &holder.credential);
                        return Verdict::Next;
                    }
                    None if is_empty => NOTHING,
                    None => "Unauthorized",
                }
            }
            Presented::Repeated => "Duplicate API key found",
            Presented::Nothing | Presented::AskBody => NOTHING,
        };
        let refusal: Reply = unauthorized(words, &self.config.challenge);
        self.gate.refuse(cx, refusal)
    }
}

const NOTHING: &str = "No API key found in request";

impl Keys {
    fn holder(&self, key: &str) -> Option<&Holder> {
        let valid = |holder: &&Holder| holder.expires.is_none_or(|end| clock::unix_secs() < end);
        self.0.get(key).filter(valid)
    }
}

/// Whether two header names are the same where `_` is as good as `-`.
fn same_name(name: &[u8], wanted: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.len() == wanted.len()
        && name
            .iter()
            .zip(wanted.bytes())
            .all(|(a, b)| fold(*a) == fold(b))
}

fn in_header<'a>(request: &'a RequestHead, wanted: &str) -> Field<'a> {
    let mut named = request
        .headers
        .iter()
        .filter(|(name, _)| same_name(name, wanted));
    match (named.next(), named.next()) {
        (None, _) => Field::Absent,
        (Some((_, value)), None) => Field::Text(String::from_utf8_lossy(value)),
        (Some(_), Some(_)) => Field::Repeated,
    }
}

fn in_query<'a>(request: &'a RequestHead, name: &'a str) -> Field<'a> {
    let mut values = request.query_params(name);
    match (values.next(), values.next()) {
        (None, _) => Field::Absent,
        (Some(value), None) => Field::Text(query::decode(value)),
        (Some(_), Some(_)) => Field::Repeated,
    }
}

/// Takes the name out of header, query and body.
fn hide(cx: &mut RequestCx<'_>, wanted: &str, body: Option<&Body>) {
    let names = cx.request.headers.iter().map(|(name, _)| name);
    let named: Vec<String> = names
        .filter(|name| same_name(name, wanted))
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    for name in named {
        cx.request.headers.remove(&name);
    }
    if cx.request.query_param(wanted).is_some() {
        let rest = query::without(cx.request.query(), wanted);
        cx.request.set_query(rest);
    }
    if let Some(rest) = body.and_then(|body| body.form.without(&body.bytes, wanted)) {
        cx.replace_body(rest);
    }
}

#[cfg(test)]
mod tests;
