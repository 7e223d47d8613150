//! A small table of plugins for tests of this floor.

use std::any::Any;
use std::sync::Arc;

use crate::config::Report;
use crate::config::known::{CredentialId, KnownCredential, KnownPlugin, Parsed, credential};
use crate::config::schema::{Fields, Record, field, text};
use crate::plugin::{Build, CredentialDef, CredentialRow, Phases, Plugin, PluginDef};

static AUTH: Record = Record::new(&[field("anonymous", text())]);
static TAG: Record = Record::new(&[field("tag", text()), field("token", text()).secret()]);
static KEY: Record = credential(&[field("key", text()).required().secret()]);

/// Does nothing.
struct Idle;

impl Plugin for Idle {}

fn parse_auth(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(fields.opt_string("anonymous")))
}

fn parse_text(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(fields.opt_string("tag").unwrap_or_default()))
}

fn parse_key(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(fields.string("key")))
}

fn idle(_: &Parsed, _: &Build<'_>) -> Arc<dyn Plugin> {
    Arc::new(Idle)
}

/// Keys with their consumers, in the file's order.
pub(super) type Keys = Vec<(String, usize)>;

fn index(rows: Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync> {
    let row = |row: CredentialRow| Some((row.parsed.get::<String>()?.clone(), row.consumer.ix()));
    Arc::new(rows.into_iter().filter_map(row).collect::<Keys>())
}

static AUTH_DEF: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "auth",
        config: &AUTH,
        parse: parse_auth,
        on_consumer: false,
        on_routes: true,
    },
    priority: 1000,
    phases: Phases::REQUEST,
    credentials: Some(CredentialDef {
        known: KnownCredential {
            key: "auth_keys",
            record: &KEY,
            parse: parse_key,
            unique: &["key"],
            generated: &[],
            stored: &[],
            id: CredentialId::Field("key"),
        },
        index,
    }),
    anonymous: Some(|parsed| parsed.get::<Option<String>>()?.as_deref()),
    build: idle,
};

static TAG_DEF: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "tag",
        config: &TAG,
        parse: parse_text,
        on_consumer: true,
        on_routes: true,
    },
    priority: 10,
    phases: Phases::RESPONSE,
    credentials: None,
    anonymous: None,
    build: idle,
};

/// `auth` with the credentials `auth_keys`, and `tag`.
pub(super) static TABLE: &[&PluginDef] = &[&AUTH_DEF, &TAG_DEF];
