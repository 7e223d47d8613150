//! What a user sees: files in, models and reports out.

use std::collections::HashMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::known::{CredentialId, KnownCredential, KnownPlugin, credential};
use super::model::*;
use super::schema::*;
use super::*;

mod fixtures;
mod links;
mod model_rules;
mod robust;

/// A plugin's own type.
#[derive(Debug, PartialEq)]
struct Limit {
    minute: u32,
    policy: String,
}

static RATE_LIMITING: Record = Record::new(&[
    field("minute", integer().at_least(1)),
    field("hour", integer().at_least(1)),
    field("policy", one_of(&["local", "redis"]))
        .required()
        .default(Literal::Str("local")),
    field("secret", text()).secret(),
    field("http_endpoint", url()),
    field("headers", map(&text())),
])
.rules(&[Rule::AtLeastOne(&["minute", "hour"])]);

fn parse_limit(fields: &Fields<'_>, report: &mut Report) -> Option<Parsed> {
    if fields.opt_int::<u32>("hour") < fields.opt_int("minute") && fields.has("hour") {
        fields.error(report, "hour", "must not be lower than 'minute'");
        return None;
    }
    Some(Parsed::new(Limit {
        minute: fields.int("minute"),
        policy: fields.string("policy"),
    }))
}

static EXACT: Record = Record::new(&[
    field("a", integer()),
    field("b", integer()),
    field("many", integer().at_least(1)),
])
.rules(&[Rule::ExactlyOne(&["a", "b"])]);

static EMPTY: Record = Record::new(&[]);

fn parse_nothing(_: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(()))
}

static KEYAUTH: Record = credential(&[field("key", text()).secret(), field("ttl", integer())]);
static BASICAUTH: Record = credential(&[
    field("username", text()).required(),
    field("password", text()).required().secret(),
]);
static ACLS: Record = credential(&[field("group", text()).required()]);

fn parse_key(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(fields.string("key")))
}

fn known() -> Known {
    let plugin = |name, config, parse, on_consumer| KnownPlugin {
        name,
        config,
        parse,
        on_consumer,
        on_routes: true,
    };
    let table = |key, record, unique, generated, id| KnownCredential {
        key,
        record,
        parse: parse_key_or_nothing(key),
        unique,
        generated,
        stored: &[],
        id,
    };
    Known {
        plugins: vec![
            plugin("rate-limiting", &RATE_LIMITING, parse_limit, true),
            plugin("exact-one", &EXACT, parse_nothing, true),
            plugin("cors", &EMPTY, parse_nothing, false),
            plugin("jwt", &EMPTY, parse_nothing, false),
            plugin("acl", &EMPTY, parse_nothing, false),
            plugin("prometheus", &EMPTY, parse_nothing, true),
            KnownPlugin {
                on_routes: false,
                ..plugin("acme", &EMPTY, parse_nothing, false)
            },
        ],
        credentials: vec![
            table(
                "keyauth_credentials",
                &KEYAUTH,
                &["key"],
                &["key"],
                CredentialId::Content,
            ),
            table(
                "basicauth_credentials",
                &BASICAUTH,
                &["username"],
                &[],
                CredentialId::Field("username"),
            ),
            table(
                "acls",
                &ACLS,
                &[],
                &[],
                CredentialId::ConsumerAndField("group"),
            ),
        ],
    }
}

fn parse_key_or_nothing(key: &str) -> super::known::Parse {
    if key == "keyauth_credentials" {
        parse_key
    } else {
        parse_nothing
    }
}

fn read_with(text: &str, env: &[(&str, &str)]) -> (Option<Model>, Report) {
    let env: HashMap<String, String> = env
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    read(text, "f.yaml", &|name| env.get(name).cloned(), &known())
}

/// The model of a right file.
fn model(text: &str) -> Model {
    let (model, report) = read_with(text, &[]);
    model.unwrap_or_else(|| panic!("{}", report.to_text()))
}

/// The lines of the report.
fn lines(text: &str) -> Vec<String> {
    read_with(text, &[])
        .1
        .to_text()
        .lines()
        .map(str::to_owned)
        .collect()
}
