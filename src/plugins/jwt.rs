//! # jwt
//!
//! Lets in clients that present a JSON Web Token (RFC 7519) signed with a key of a consumer.
//!
//! Tokens are looked for in the query parameters `uri_param_names`, the cookies `cookie_names`, and
//! behind `Bearer` in the headers `header_names`. Whose token it is, its claim `key_claim_name`
//! says (in the claims, else in the token's header): it names a row of `jwt_secrets`. That row says
//! which algorithm the token must be signed with, whatever the token claims: HS256, HS384, HS512,
//! RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA (Ed25519).
//!
//! Refusals are 401 with `WWW-Authenticate: Bearer`, in this order:
//!
//! | When | Body |
//! | --- | --- |
//! | no token | `{"message":"Unauthorized"}` |
//! | tokens that differ | `{"message":"Multiple tokens provided"}` |
//! | not three parts of base64url, the first two JSON | `{"message":"Bad token; invalid JSON"}` |
//! | its header's `alg` is unknown | `{"message":"Bad token; invalid alg"}` |
//! | its claims are no object · no signature | `{"message":"Bad token; invalid claims"}` · `{"message":"Bad token; invalid signature"}` |
//! | no key claim | `{"message":"No mandatory 'iss' in claims"}` |
//! | an empty key claim | `{"message":"Invalid 'iss' in claims"}` |
//! | no credential for it | `{"message":"No credentials found for given 'iss'"}` |
//! | `alg` is not the credential's | `{"message":"Invalid algorithm"}` |
//! | the credential has no usable key | `{"message":"Invalid key/secret"}` |
//! | the signature is wrong | `{"message":"Invalid signature"}` |
//! | `exp` or `nbf` do not hold | `{"exp":"token expired"}`, `{"nbf":"token not valid yet"}`, `{"exp":"must be a number"}` |
//! | `exp` is too far away | `{"exp":"exceeds maximum allowed expiration"}` |
//!
//! Times are compared in whole seconds, without leeway. **Without `exp` in `claims_to_verify` tokens
//! never expire**, as in Kong; the check warns of it. The token itself is passed on.
//!
//! A client that is let in is known to the upstream by `X-Consumer-ID`, `X-Consumer-Custom-ID`,
//! `X-Consumer-Username` and `X-Credential-Identifier` (the credential's `key`). With `anonymous`
//! nobody is refused: without a valid token the client is that consumer; a client that another
//! plugin has let in stays who it is.
//!
//! What a token says is verified once and remembered (up to 2048 tokens an instance, until the next
//! reload); its times are compared on every request.

mod cache;
mod collect;
mod credentials;
mod key;
mod token;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use self::cache::Cache;
use self::collect::{Collected, Places};
use self::credentials::{CREDENTIALS, Secret, Secrets};
use self::token::{Claim, Token};
use super::auth::{Gate, challenge};
use crate::config::known::KnownPlugin;
use crate::config::schema::{
    Kind, Literal, Record, Rule, array, boolean, checked, field, header_name, number, one_of, set,
    text, texts, url,
};
use crate::config::{Fields, Parsed, Report};
use crate::message::{Reply, RequestHead};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, instance};
use crate::util::clock;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "jwt",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    priority: 1450,
    phases: Phases::REQUEST,
    credentials: Some(credentials::DEF),
    anonymous: Some(|parsed| parsed.get::<Config>()?.anonymous.as_deref()),
    build,
};

const NAME: Kind = text();
const HEADER: Kind = header_name();
const COOKIE: Kind = checked("cookie name", texts::cookie_name);
const CLAIM: Kind = one_of(&["exp", "nbf"]);
const JWKS: &str = "keys from a JWKS document are not available yet; write the keys as jwt_secrets";

static CONFIG: Record = Record::new(&[
    field("uri_param_names", set(&NAME))
        .default(Literal::Strs(&["jwt"]))
        .doc("Query parameters that may hold a token."),
    field("cookie_names", set(&COOKIE))
        .default(Literal::Strs(&[]))
        .doc("Cookies that may hold a token."),
    field("header_names", set(&HEADER))
        .default(Literal::Strs(&["authorization"]))
        .doc("Headers that may hold `Bearer` and a token."),
    field("key_claim_name", text())
        .default(Literal::Str("iss"))
        .doc("Claim that names the credential."),
    field("secret_is_base64", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Secrets of HS algorithms are base64 texts of the real ones."),
    field("claims_to_verify", set(&CLAIM)).doc("Times to check."),
    field("maximum_expiration", number().between(0, 31_536_000))
        .default(Literal::Int(0))
        .doc("Seconds from now that `exp` may be away at most; 0: any."),
    field("anonymous", text()).doc("Username or id of the consumer for clients without a token."),
    field("realm", text()).doc("Realm in `WWW-Authenticate`."),
    field("run_on_preflight", boolean())
        .required()
        .default(Literal::Bool(true))
        .doc("Ask `OPTIONS` requests too."),
    field("jwks_uri", url()).unsupported(JWKS),
    field("issuer", url()).unsupported(JWKS),
    field("audiences", array(&NAME)).unsupported(JWKS),
    field("algorithms", array(&NAME)).unsupported(JWKS),
    field("consumer_claim", text()).unsupported(JWKS),
])
.rules(&[Rule::Check(expiry)]);

fn expiry(fields: &Fields<'_>, report: &mut Report) {
    if fields
        .strings("claims_to_verify")
        .iter()
        .any(|claim| claim == "exp")
    {
        return;
    }
    if fields.number("maximum_expiration") > 0.0 {
        fields
            .error(report, "claims_to_verify", "expected to contain: exp")
            .hint("maximum_expiration has a meaning only where exp is checked");
        return;
    }
    fields
        .warning(
            report,
            "claims_to_verify",
            "without exp in it, tokens never expire",
        )
        .hint("write claims_to_verify: [exp]");
}

#[derive(Clone, Debug)]
struct Config {
    places: Places,
    key_claim: String,
    secret_is_base64: bool,
    verify_exp: bool,
    verify_nbf: bool,
    /// Seconds; 0 for any.
    maximum_expiration: f64,
    anonymous: Option<String>,
    realm: Option<String>,
    on_preflight: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let verified = fields.strings("claims_to_verify");
    Some(Parsed::new(Config {
        places: Places {
            parameters: fields.strings("uri_param_names"),
            cookies: fields.strings("cookie_names"),
            headers: fields.strings("header_names"),
        },
        key_claim: fields.string("key_claim_name"),
        secret_is_base64: fields.bool("secret_is_base64"),
        verify_exp: verified.iter().any(|claim| claim == "exp"),
        verify_nbf: verified.iter().any(|claim| claim == "nbf"),
        maximum_expiration: fields.number("maximum_expiration"),
        anonymous: fields.opt_string("anonymous"),
        realm: fields.opt_string("realm"),
        on_preflight: fields.bool("run_on_preflight"),
    }))
}

struct Jwt {
    config: Config,
    gate: Gate,
    secrets: Arc<Secrets>,
    verified: Cache<Verified>,
    /// Challenge for clients without a token.
    plain: String,
    /// Challenge for tokens that are not good enough.
    invalid: String,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        let plain = challenge("Bearer", config.realm.as_deref());
        let comma = if config.realm.is_some() { "," } else { "" };
        Arc::new(Jwt {
            gate: Gate::new(config.anonymous.as_deref(), config.on_preflight, build),
            secrets: build.credentials.table(CREDENTIALS),
            verified: Cache::new(),
            invalid: format!("{plain}{comma} error=\"invalid_token\""),
            plain,
            config: config.clone(),
        })
    })
}

/// What stays true of a token whose signature was right: the secrets change only with the instance.
#[derive(Clone, Debug)]
struct Verified {
    secret: Arc<Secret>,
    exp: Claim,
    nbf: Claim,
}

/// Why a client is refused.
#[derive(Debug, PartialEq)]
enum Refusal {
    NoToken,
    Message(Cow<'static, str>),
    /// A JSON object: what is wrong with each claim.
    Claims(String),
}

impl From<&'static str> for Refusal {
    fn from(words: &'static str) -> Refusal {
        Refusal::Message(words.into())
    }
}

impl Plugin for Jwt {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        if self.gate.is_open(cx) {
            return Flow::Next;
        }
        match self.secret_of(cx.request) {
            Ok(secret) => {
                cx.authenticate(Some(secret.consumer), &secret.credential);
                Flow::Next
            }
            Err(refusal) => self.gate.refuse(cx, self.reply(refusal)).into(),
        }
    }
}

impl Jwt {
    fn reply(&self, refusal: Refusal) -> Reply {
        let (reply, challenge) = match refusal {
            Refusal::NoToken => (Reply::message(401, "Unauthorized"), &self.plain),
            Refusal::Message(words) => (Reply::message(401, words), &self.invalid),
            Refusal::Claims(body) => (Reply::json(401, body), &self.invalid),
        };
        reply.with("WWW-Authenticate", challenge.clone())
    }

    /// The credential that the request's token proves.
    fn secret_of(&self, request: &RequestHead) -> Result<Arc<Secret>, Refusal> {
        let token = match self.config.places.collect(request) {
            Collected::One(token) => token,
            Collected::Nothing => return Err(Refusal::NoToken),
            Collected::Several => return Err("Multiple tokens provided".into()),
        };
        let verified = match self.verified.get(&token) {
            Some(verified) => verified,
            None => self.verify(&token)?,
        };
        self.check_times(&verified)?;
        Ok(verified.secret)
    }

    /// Everything about a token that does not depend on the time.
    fn verify(&self, text: &str) -> Result<Verified, Refusal> {
        let token = Token::parse(text)?;
        let name = &self.config.key_claim;
        let words = |words: String| Refusal::Message(words.into());
        let key = match token.key(name) {
            None => return Err(words(format!("No mandatory '{name}' in claims"))),
            Some(Value::String(key)) if key.is_empty() => {
                return Err(words(format!("Invalid '{name}' in claims")));
            }
            Some(key) => key.as_str(),
        };
        let secret = key
            .and_then(|key| self.secrets.get(key))
            .ok_or_else(|| words(format!("No credentials found for given '{name}'")))?;
        if token.algorithm != secret.algorithm {
            return Err("Invalid algorithm".into());
        }
        let verifier = secret
            .verifier(self.config.secret_is_base64)
            .ok_or("Invalid key/secret")?;
        if !verifier.accepts(token.signed.as_bytes(), &token.signature) {
            return Err("Invalid signature".into());
        }
        let verified = Verified {
            secret: secret.clone(),
            exp: token.claim("exp"),
            nbf: token.claim("nbf"),
        };
        self.verified.put(text, verified.clone());
        Ok(verified)
    }

    fn check_times(&self, token: &Verified) -> Result<(), Refusal> {
        let now = clock::unix_secs() as f64;
        let mut wrong = Map::new();
        if self.config.verify_exp {
            note(&mut wrong, "exp", token.exp, |exp| {
                (exp <= now).then_some("token expired")
            });
        }
        if self.config.verify_nbf {
            note(&mut wrong, "nbf", token.nbf, |nbf| {
                (nbf > now).then_some("token not valid yet")
            });
        }
        let limit = self.config.maximum_expiration;
        if wrong.is_empty() && limit > 0.0 {
            note(&mut wrong, "exp", token.exp, |exp| {
                (exp - now > limit).then_some("exceeds maximum allowed expiration")
            });
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Claims(Value::Object(wrong).to_string()))
        }
    }
}

/// Notes what is wrong with a claim, if anything is.
fn note(
    wrong: &mut Map<String, Value>,
    name: &str,
    claim: Claim,
    check: impl FnOnce(f64) -> Option<&'static str>,
) {
    let issue = match claim {
        Claim::Number(number) => check(number),
        Claim::Unfit => Some("must be a number"),
    };
    if let Some(issue) = issue {
        wrong.insert(name.to_owned(), issue.into());
    }
}

#[cfg(test)]
mod tests;
