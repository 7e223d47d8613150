//! # hmac-auth
//!
//! Lets in clients that sign their requests with a secret of a consumer.
//!
//! ```text
//! Authorization: hmac username="u", algorithm="hmac-sha256", headers="date @request-target", signature="<base64>"
//! ```
//!
//! `Proxy-Authorization` is looked at first, then `Authorization`. What is signed are the listed
//! headers in that order, joined by line feeds:
//!
//! | In the list | Signed |
//! | --- | --- |
//! | `@request-target` | `@request-target: get /path?query`: method in lower case, path and query as sent |
//! | `request-line` | `GET /path?query HTTP/1.1` |
//! | a header | `name: value`, the name as listed; several values are joined by a comma and a blank |
//! | a header that is not there | `name:` |
//!
//! Over HTTP/2 the request line ends in `HTTP/2.0`, and `host` is the authority.
//!
//! Refusals are 401 with `WWW-Authenticate: hmac`, in this order:
//!
//! | When | Message |
//! | --- | --- |
//! | neither header is there | `Unauthorized` |
//! | neither `X-Date` nor `Date` is within `clock_skew` of now | `HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication` |
//! | parameters are missing, a header of `enforce_headers` is not listed, the algorithm is not allowed, nobody has the username | `HMAC signature cannot be verified` |
//! | the signature is wrong, or the body is not what `Digest` says | `HMAC signature does not match` |
//!
//! With `validate_request_body`, `Digest: SHA-256=<base64>` must be that of the body; without the
//! header the body must be empty. It is read once the signature was right, up to 8 MiB; longer ones
//! are answered 413. **What `enforce_headers` does not name need not be signed**: without `date` (or
//! `x-date`) in it a signature that was overheard serves with any later date, and without `digest`
//! the body is anybody's. The check warns of both.
//!
//! A client that is let in is known to the upstream by `X-Consumer-ID`, `X-Consumer-Custom-ID`,
//! `X-Consumer-Username` and `X-Credential-Identifier` (the username). With `hide_credentials` the
//! upstream does not get the signature. With `anonymous` nobody is refused: without a right
//! signature the client is that consumer; a client that another plugin has let in stays who it is.

mod signed;

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use self::signed::Algorithm;
use super::auth::{FIELDS, Gate, challenge, unauthorized};
use super::form;
use crate::config::known::{CredentialId, KnownCredential, KnownPlugin, credential};
use crate::config::schema::{
    Kind, Literal, Record, Rule, array, boolean, checked, field, number, one_of, text, texts,
};
use crate::config::{Fields, Parsed, Report};
use crate::identity::Credential;
use crate::message::authorization::{self, Signature};
use crate::message::{Known, Reply, RequestHead, date};
use crate::plugin::{
    Build, CredentialDef, CredentialRow, Flow, Phases, Plugin, PluginDef, RequestCx, Verdict,
    instance,
};
use crate::util::clock;
use crate::util::ids::ConsumerIx;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "hmac-auth",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 1030,
    phases: Phases::REQUEST,
    credentials: Some(CredentialDef {
        known: KnownCredential {
            key: CREDENTIALS,
            record: &CREDENTIAL,
            parse: parse_row,
            unique: &["username"],
            generated: &["secret"],
            stored: &[],
            id: CredentialId::Field("username"),
        },
        index,
    }),
    anonymous: Some(|parsed| parsed.get::<Config>()?.anonymous.as_deref()),
    build,
};

const CREDENTIALS: &str = "hmacauth_credentials";
const ALGORITHM: Kind = one_of(signed::NAMES);
const SIGNABLE: Kind = checked("header name, `@request-target` or `request-line`", signable);

static CONFIG: Record = Record::new(&[
    field("clock_skew", number().above(0))
        .default(Literal::Int(300))
        .doc("Seconds that the date of a request may be off."),
    field("enforce_headers", array(&SIGNABLE))
        .default(Literal::Strs(&[]))
        .doc("What a signature must cover at least."),
    field("algorithms", array(&ALGORITHM).at_least(1))
        .default(Literal::Strs(signed::NAMES))
        .doc("Algorithms that clients may use."),
    field("validate_request_body", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("The body must be what `Digest` says."),
    field("hide_credentials", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Take the signature out of what the upstream receives."),
    field("anonymous", text())
        .doc("Username or id of the consumer for clients without a right signature."),
    field("realm", text()).doc("Realm in `WWW-Authenticate`."),
])
.rules(&[Rule::Check(unsigned)]);

static CREDENTIAL: Record = credential(&[
    field("username", text())
        .required()
        .doc("Unique name of the client; without a double quote."),
    field("secret", text())
        .secret()
        .doc("What requests are signed with; a random text if absent."),
])
.rules(&[Rule::Check(no_quote)]);

fn signable(text: &str) -> Result<(), String> {
    match text {
        signed::TARGET => Ok(()),
        other => texts::header_name(other),
    }
}

/// Warns of what anybody may change.
fn unsigned(fields: &Fields<'_>, report: &mut Report) {
    let enforced = fields.strings("enforce_headers");
    let signs = |name: &str| {
        enforced
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    if !signs("date") && !signs("x-date") {
        fields
            .warning(report, "enforce_headers", "a signature need not cover the date")
            .hint("write enforce_headers: [date, request-line], or a request can be sent again at any time");
    }
    if fields.bool("validate_request_body") && !signs("digest") {
        fields
            .warning(
                report,
                "enforce_headers",
                "a signature need not cover the digest of the body",
            )
            .hint("write digest into enforce_headers, or body and digest can be exchanged");
    }
}

fn no_quote(fields: &Fields<'_>, report: &mut Report) {
    if fields.str("username").contains('"') {
        fields
            .warning(report, "username", "no client can present this username")
            .hint("it is sent between double quotes");
    }
}

#[derive(Clone, Debug)]
struct Config {
    clock_skew: f64,
    enforced: Vec<String>,
    algorithms: Vec<Algorithm>,
    validate_body: bool,
    hide: bool,
    anonymous: Option<String>,
    challenge: String,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let algorithms = fields.strings("algorithms");
    Some(Parsed::new(Config {
        clock_skew: fields.number("clock_skew"),
        enforced: fields.strings("enforce_headers"),
        algorithms: algorithms
            .iter()
            .filter_map(|name| Algorithm::named(name))
            .collect(),
        validate_body: fields.bool("validate_request_body"),
        hide: fields.bool("hide_credentials"),
        anonymous: fields.opt_string("anonymous"),
        challenge: challenge("hmac", fields.opt_str("realm")),
    }))
}

/// A row as written.
#[derive(Clone, Debug)]
struct Row {
    username: String,
    secret: String,
}

fn parse_row(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let random = || Uuid::new_v4().simple().to_string();
    Some(Parsed::new(Row {
        username: fields.string("username"),
        secret: fields.opt_string("secret").unwrap_or_else(random),
    }))
}

/// Every username of a file.
#[derive(Debug, Default)]
struct Secrets(HashMap<String, Secret>);

#[derive(Debug)]
struct Secret {
    credential: Credential,
    consumer: ConsumerIx,
    secret: String,
}

fn index(rows: Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync> {
    let secret = |row: CredentialRow| {
        let Row { username, secret } = row.parsed.get::<Row>()?.clone();
        let credential = Credential {
            id: row.id,
            identifier: username.clone(),
        };
        let consumer = row.consumer;
        let secret = Secret {
            credential,
            consumer,
            secret,
        };
        Some((username, secret))
    };
    Arc::new(Secrets(rows.into_iter().filter_map(secret).collect()))
}

struct HmacAuth {
    config: Config,
    gate: Gate,
    secrets: Arc<Secrets>,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        Arc::new(HmacAuth {
            gate: Gate::new(config.anonymous.as_deref(), true, build),
            secrets: build.credentials.table(CREDENTIALS),
            config: config.clone(),
        })
    })
}

const NO_DATE: &str = "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication";
const UNVERIFIABLE: &str = "HMAC signature cannot be verified";
const MISMATCH: &str = "HMAC signature does not match";
/// Longest body whose digest is checked, in bytes.
const LIMIT: usize = 8 * 1024 * 1024;

impl Plugin for HmacAuth {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if self.gate.is_open(cx) {
            return Flow::Next;
        }
        let proved = self.signer(cx.request);
        if self.config.hide {
            hide(cx.request);
        }
        match proved {
            Err(words) => self.refuse(cx, words).into(),
            Ok(secret) if !self.config.validate_body => admit(cx, secret).into(),
            Ok(secret) if cx.request.framing.is_none() => {
                self.judge(cx, secret, &signed::sha256(b""), true).into()
            }
            Ok(secret) => Flow::Wait(Box::pin(self.with_body(cx, secret))),
        }
    }
}

fn admit(cx: &mut RequestCx<'_>, secret: &Secret) -> Verdict {
    cx.authenticate(Some(secret.consumer), &secret.credential);
    Verdict::Next
}

impl HmacAuth {
    fn refuse(&self, cx: &mut RequestCx<'_>, words: &'static str) -> Verdict {
        let refusal: Reply = unauthorized(words, &self.config.challenge);
        self.gate.refuse(cx, refusal)
    }

    /// Whose signature the request bears.
    fn signer(&self, request: &RequestHead) -> Result<&Secret, &'static str> {
        if !FIELDS.iter().any(|field| request.headers.has(*field)) {
            return Err("Unauthorized");
        }
        if !self.is_timely(request) {
            return Err(NO_DATE);
        }
        let signature = signature(request).ok_or(UNVERIFIABLE)?;
        let algorithm = self.allowed(&signature).ok_or(UNVERIFIABLE)?;
        let secret = self.secrets.0.get(signature.username);
        let secret = secret.ok_or(UNVERIFIABLE)?;
        let is_right = signed::verify(algorithm, secret.secret.as_bytes(), &signature, request);
        is_right.then_some(secret).ok_or(MISMATCH)
    }

    fn is_timely(&self, request: &RequestHead) -> bool {
        let now = clock::unix_secs();
        let x_date = request.headers.get("X-Date");
        let dates = [x_date, request.headers.known(Known::Date)];
        let mut known = dates.into_iter().flatten().filter_map(date::parse);
        known.any(|date| date.abs_diff(now) as f64 <= self.config.clock_skew)
    }

    /// The algorithm, if it may be used and everything is signed that must be.
    fn allowed(&self, signature: &Signature<'_>) -> Option<Algorithm> {
        let mut enforced = self.config.enforced.iter();
        let covers = enforced.all(|name| signed::lists(signature.headers, name));
        let algorithm = Algorithm::named(signature.algorithm)?;
        let allowed = covers && self.config.algorithms.contains(&algorithm);
        allowed.then_some(algorithm)
    }

    async fn with_body(&self, cx: &mut RequestCx<'_>, secret: &Secret) -> Verdict {
        match cx.body(LIMIT).await {
            Ok(body) => {
                let (sha256, is_empty) = (signed::sha256(body), body.is_empty());
                self.judge(cx, secret, &sha256, is_empty)
            }
            Err(error) => form::unreadable(error).into(),
        }
    }

    /// The signature was right: is the body what it says?
    fn judge(
        &self,
        cx: &mut RequestCx<'_>,
        secret: &Secret,
        sha256: &[u8],
        is_empty: bool,
    ) -> Verdict {
        if signed::states(cx.request, sha256, is_empty) {
            admit(cx, secret)
        } else {
            self.refuse(cx, MISMATCH)
        }
    }
}

/// The signature, in the first field that holds one.
fn signature(request: &RequestHead) -> Option<Signature<'_>> {
    let mut values = FIELDS
        .iter()
        .filter_map(|field| request.headers.known(*field));
    values.find_map(authorization::hmac)
}

/// Takes the fields out that hold our scheme, up to the one that counts.
fn hide(request: &mut RequestHead) {
    for field in FIELDS {
        let value = request.headers.known(field).unwrap_or_default();
        let counts = authorization::hmac(value).is_some();
        if authorization::is_scheme(value, "hmac") {
            request.headers.remove_known(field);
        }
        if counts {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
