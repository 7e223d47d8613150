//! # basic-auth
//!
//! Lets in clients that present the username and password of a consumer (RFC 7617).
//!
//! `Proxy-Authorization` is looked at first, then `Authorization`: the first that holds a known
//! username decides. The username is what stands before the first colon. Every refusal is 401
//! `Unauthorized` with `WWW-Authenticate: Basic realm="service"`; an unknown username takes as long
//! as a wrong password.
//!
//! A client that is let in is known to the upstream by `X-Consumer-ID`, `X-Consumer-Custom-ID`,
//! `X-Consumer-Username` and `X-Credential-Identifier` (the username). With `hide_credentials` the
//! upstream does not get the fields that were looked at and hold Basic credentials. With
//! `anonymous` nobody is refused: without a valid password the client is that consumer, and the
//! upstream gets `X-Anonymous-Consumer: true`; a client that another plugin has let in stays who it
//! is.
//!
//! In a file with `_transform: false`, as Kong exports one from its database, `password` is what
//! Kong stores: the SHA-1 of password and consumer id, 40 hexadecimal digits.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::auth::{FIELDS, Gate, challenge, unauthorized};
use crate::config::known::{CredentialId, KnownCredential, KnownPlugin, credential};
use crate::config::schema::{Literal, Record, Rule, boolean, field, text};
use crate::config::{Fields, Parsed, Report};
use crate::identity::Credential;
use crate::message::{Reply, authorization};
use crate::plugin::{
    Build, CredentialDef, CredentialRow, Flow, Phases, Plugin, PluginDef, RequestCx, instance,
};
use crate::util::ids::ConsumerIx;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "basic-auth",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 1100,
    phases: Phases::REQUEST,
    credentials: Some(CredentialDef {
        known: KnownCredential {
            key: CREDENTIALS,
            record: &CREDENTIAL,
            parse: parse_row,
            unique: &["username"],
            generated: &[],
            stored: &[("password", is_digest)],
            id: CredentialId::Field("username"),
        },
        index,
    }),
    anonymous: Some(|parsed| parsed.get::<Config>()?.anonymous.as_deref()),
    build,
};

const CREDENTIALS: &str = "basicauth_credentials";

static CONFIG: Record = Record::new(&[
    field("hide_credentials", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Take the credentials out of what the upstream receives."),
    field("anonymous", text())
        .doc("Username or id of the consumer for clients without a valid password."),
    field("realm", text())
        .default(Literal::Str("service"))
        .doc("Realm in `WWW-Authenticate`."),
]);

static CREDENTIAL: Record = credential(&[
    field("username", text())
        .required()
        .doc("Unique name of the client; without a colon."),
    field("password", text())
        .required()
        .secret()
        .doc("The password; with `_transform: false` its SHA-1 with the consumer's id."),
])
.rules(&[Rule::Check(no_colon)]);

fn no_colon(fields: &Fields<'_>, report: &mut Report) {
    if fields.str("username").contains(':') {
        fields
            .warning(report, "username", "no client can present this username")
            .hint("it is sent as username:password: nothing behind a colon belongs to the name");
    }
}

#[derive(Clone, Debug)]
struct Config {
    hide: bool,
    anonymous: Option<String>,
    /// Made once.
    refusal: Reply,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let challenge = challenge("Basic", fields.opt_str("realm"));
    Some(Parsed::new(Config {
        hide: fields.bool("hide_credentials"),
        anonymous: fields.opt_string("anonymous"),
        refusal: unauthorized("Unauthorized", &challenge),
    }))
}

/// A row as written.
#[derive(Clone, Debug)]
struct Row {
    username: String,
    password: String,
}

fn parse_row(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(Row {
        username: fields.string("username"),
        password: fields.string("password"),
    }))
}

/// SHA-1 of the password and the consumer's id, as Kong stores it.
type Digest = [u8; 20];

fn is_digest(text: &str) -> Result<(), String> {
    match read_digest(text) {
        Some(_) => Ok(()),
        None => Err("expected 40 hexadecimal digits: SHA-1 of password and consumer id".to_owned()),
    }
}

fn read_digest(text: &str) -> Option<Digest> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| Some(digit.to_digit(16)? as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 40)?;
    let mut digest = [0; 20];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(digest)
}

fn digest(password: &[u8], consumer_id: &str) -> Digest {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(password);
    context.update(consumer_id.as_bytes());
    let mut digest = [0; 20];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Every username of a file.
#[derive(Debug, Default)]
struct Logins(HashMap<String, Login>);

#[derive(Debug)]
struct Login {
    credential: Credential,
    consumer: ConsumerIx,
    consumer_id: String,
    digest: Digest,
}

fn index(rows: Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync> {
    Arc::new(Logins(rows.into_iter().filter_map(login).collect()))
}

fn login(row: CredentialRow) -> Option<(String, Login)> {
    let Row { username, password } = row.parsed.get::<Row>()?.clone();
    let digest = if row.stored {
        read_digest(&password)?
    } else {
        digest(password.as_bytes(), &row.consumer_id)
    };
    let login = Login {
        credential: Credential {
            id: row.id,
            identifier: username.clone(),
        },
        consumer: row.consumer,
        consumer_id: row.consumer_id,
        digest,
    };
    Some((username, login))
}

impl Logins {
    fn named(&self, user: &[u8]) -> Option<&Login> {
        self.0.get(std::str::from_utf8(user).ok()?)
    }
}

impl Login {
    fn accepts(&self, password: &[u8]) -> bool {
        let given = digest(password, &self.consumer_id);
        constant_time::verify_slices_are_equal(&given, &self.digest).is_ok()
    }
}

struct BasicAuth {
    config: Config,
    gate: Gate,
    logins: Arc<Logins>,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        Arc::new(BasicAuth {
            gate: Gate::new(config.anonymous.as_deref(), true, build),
            logins: build.credentials.table(CREDENTIALS),
            config: config.clone(),
        })
    })
}

impl Plugin for BasicAuth {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if self.gate.is_open(cx) {
            return Flow::Next;
        }
        match self.login_of(cx) {
            Some(login) => {
                cx.authenticate(Some(login.consumer), &login.credential);
                Flow::Next
            }
            None => self.gate.refuse(cx, self.config.refusal.clone()).into(),
        }
    }
}

impl BasicAuth {
    /// Whose password the request presents.
    fn login_of(&self, cx: &mut RequestCx<'_>) -> Option<&Login> {
        for field in FIELDS {
            let value = cx.request.headers.known(field).unwrap_or_default();
            let is_ours = authorization::is_scheme(value, "basic");
            let basic = authorization::basic(value);
            if is_ours && self.config.hide {
                cx.request.headers.remove_known(field);
            }
            let Some(basic) = basic else { continue };
            match self.logins.named(basic.user()) {
                Some(login) => return login.accepts(basic.password()).then_some(login),
                // For the time that it takes.
                None => drop(digest(basic.password(), NOBODY)),
            }
        }
        None
    }
}

/// As long as a consumer's id.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

#[cfg(test)]
mod tests;
