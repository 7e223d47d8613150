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
//! ## Keys from an issuer
//!
//! With `jwks_uri`, or with `issuer` alone, whose `/.well-known/openid-configuration` then says where
//! its keys are, tokens need no row of `jwt_secrets`: those whose key claim names one use that, all
//! others the issuer's keys. (Not in Kong.)
//!
//! The set is fetched when the configuration loads, again when its `Cache-Control: max-age` is over
//! (10 minutes where there is none; between a minute and a day), and at most once in 10 s when a token
//! names a key that is not in it. While the source is away, or answers with nothing of use, the last
//! set stays. Redirects are not followed, and no proxy of the environment is used. RSA keys of less
//! than 2048 bits are left out. A key is used only for
//! algorithms that fit it and its `alg`, and that `algorithms` allows; HS algorithms never are.
//!
//! `exp` is required and checked whatever `claims_to_verify` says, `nbf` where it is there. `iss` must
//! be `issuer`, and `aud` one of `audiences`, where those are set. The consumer is the one whose username
//! or custom_id is the text of the claim `consumer_claim`; a token that fits none is let in without a
//! consumer. `X-Credential-Identifier` is the claim `sub`.
//!
//! | When | Answer |
//! | --- | --- |
//! | its header has `crit` | 401 `{"message":"Bad token; unknown crit"}` |
//! | `alg` is not allowed | 401 `{"message":"Invalid algorithm"}` |
//! | no key of that name, or none that fits | 401 `{"message":"No key found for the token"}` |
//! | the signature is wrong | 401 `{"message":"Invalid signature"}` |
//! | another issuer, another audience | 401 `{"iss":"not the expected issuer"}`, `{"aud":"not an expected audience"}` |
//! | the keys were never fetched | 503 `{"message":"The keys to verify tokens with are not available"}` |
//!
//! `/health` has a check `jwks:URL`; metrics are `sluicegate_jwks_up`, `…_keys`, `…_age_seconds` and
//! `…_fetches_total`.
//!
//! What a token says is verified once and remembered (up to 2048 tokens an instance, over reloads that change
//! neither the instance nor a consumer or a credential); its times are compared on every request.

mod cache;
mod collect;
mod credentials;
mod issued;
mod key;
mod token;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use self::cache::Cache;
use self::collect::{Collected, Places};
use self::credentials::{CREDENTIALS, Secret, Secrets};
use self::issued::Issued;
use self::token::{Claim, Token};
use super::auth::{Gate, challenge};
use crate::config::known::KnownPlugin;
use crate::config::schema::{
    Kind, Literal, Record, Rule, array, boolean, checked, field, header_name, number, one_of, set,
    text, texts, url,
};
use crate::config::{Fields, Parsed, Report};
use crate::identity::{Credential, Identity};
use crate::message::{Known, Reply};
use crate::plugin::{Build, Flow, Phases, Plugin, PluginDef, RequestCx, Verdict, instance};
use crate::remote::jwks::{KeySource, KeySources};
use crate::util::clock;
use crate::util::ids::ConsumerIx;

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
const PUBLIC: Kind = one_of(issued::NAMES);

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
    field("jwks_uri", url()).doc("Where the issuer's keys are (not in Kong)."),
    field("issuer", url()).doc(
        "What `iss` must be, and whose discovery document says where its keys are (not in Kong).",
    ),
    field("audiences", array(&text())).doc("`aud` must be one of them."),
    field("algorithms", set(&PUBLIC).at_least(1))
        .default(Literal::Strs(&["RS256", "PS256", "ES256", "EdDSA"]))
        .doc("Algorithms that tokens of the issuer may be signed with."),
    field("consumer_claim", text())
        .default(Literal::Str("sub"))
        .doc("Claim that is a consumer's username or custom_id."),
])
.rules(&[Rule::Check(expiry), Rule::Check(issuer)]);

/// What has no effect, and what cannot be asked.
fn issuer(fields: &Fields<'_>, report: &mut Report) {
    let is_http = |url: &str| url.starts_with("https://") || url.starts_with("http://");
    for name in ["jwks_uri", "issuer"] {
        if fields.opt_str(name).is_some_and(|url| !is_http(url)) {
            fields.error(report, name, "expected an http or https URL");
        }
    }
    if fields.has("jwks_uri") || fields.has("issuer") {
        return;
    }
    for name in ["audiences", "algorithms", "consumer_claim"] {
        if fields.is_written(name) {
            let message = "has no effect without jwks_uri or issuer";
            fields.warning(report, name, message);
        }
    }
}

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
    issued: Option<Issued>,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let verified = fields.strings("claims_to_verify");
    Some(Parsed::new(Config {
        places: Places {
            parameters: fields.strings("uri_param_names"),
            cookies: fields.strings("cookie_names"),
            headers: named(fields.strings("header_names")),
        },
        key_claim: fields.string("key_claim_name"),
        secret_is_base64: fields.bool("secret_is_base64"),
        verify_exp: verified.iter().any(|claim| claim == "exp"),
        verify_nbf: verified.iter().any(|claim| claim == "nbf"),
        maximum_expiration: fields.number("maximum_expiration"),
        anonymous: fields.opt_string("anonymous"),
        realm: fields.opt_string("realm"),
        on_preflight: fields.bool("run_on_preflight"),
        issued: Issued::read(fields),
    }))
}

/// Names of fields with what each is known as.
fn named(names: Vec<String>) -> Vec<(Known, String)> {
    let named = |name: String| (Known::of(name.as_bytes()), name);
    names.into_iter().map(named).collect()
}

struct Jwt {
    config: Config,
    gate: Gate,
    secrets: Arc<Secrets>,
    /// The issuer's keys, where there is an issuer.
    keys: Option<Arc<KeySource>>,
    verified: Arc<Cache<Verified>>,
    /// Challenge for clients without a token.
    plain: String,
    /// Challenge for tokens that are not good enough.
    invalid: String,
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        let plain = challenge("Bearer", config.realm.as_deref());
        let comma = if config.realm.is_some() { "," } else { "" };
        let secrets: Arc<Secrets> = build.credentials.table(CREDENTIALS);
        // A verified token names its consumer by position.
        let kept = Kept {
            instance: build.scope.id.clone(),
            config: format!("{config:?}"),
            secrets: secrets.digest,
            consumers: build.identity.digest(),
        };
        let keep = build.keeps.of::<Kept, Cache<Verified>>();
        Arc::new(Jwt {
            gate: Gate::new(config.anonymous.as_deref(), config.on_preflight, build),
            secrets,
            keys: config.issued.as_ref().and_then(|issued| {
                let sources = build.handles.get::<KeySources>()?;
                Some(sources.get(&issued.place, issued::make))
            }),
            verified: keep.adopt(kept, Cache::new),
            invalid: format!("{plain}{comma} error=\"invalid_token\""),
            plain,
            config: config.clone(),
        })
    })
}

/// What verified tokens are kept under over a reload: everything that they were verified by.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kept {
    instance: String,
    config: String,
    secrets: u64,
    consumers: u64,
}

/// What stays true of a token whose signature was right.
#[derive(Clone, Debug)]
struct Verified {
    consumer: Option<ConsumerIx>,
    credential: Arc<Credential>,
    exp: Claim,
    nbf: Claim,
    /// Verified by the issuer's keys of this generation; 0: by a secret, which changes only with
    /// the instance.
    keys: u64,
}

/// Why a client is refused.
#[derive(Debug, PartialEq)]
enum Refusal {
    NoToken,
    Message(Cow<'static, str>),
    /// A JSON object: what is wrong with each claim.
    Claims(String),
    /// The issuer's keys that are known do not have this one.
    NoKey,
    /// The issuer's keys are not known at all.
    NoKeys,
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
        match (self.verified_of(cx), &self.keys) {
            // Newer keys may have it.
            (Err(Refusal::NoKey | Refusal::NoKeys), Some(keys)) => {
                Flow::Wait(Box::pin(self.with_newer(cx, keys)))
            }
            (found, _) => self.decide(cx, found).into(),
        }
    }
}

impl Jwt {
    async fn with_newer(&self, cx: &mut RequestCx<'_>, keys: &KeySource) -> Verdict {
        keys.renew().await;
        let found = self.verified_of(cx);
        self.decide(cx, found)
    }

    fn decide(&self, cx: &mut RequestCx<'_>, found: Result<Verified, Refusal>) -> Verdict {
        match found {
            Ok(verified) => {
                cx.authenticate(verified.consumer, &verified.credential);
                Verdict::Next
            }
            // Nobody can say whether the token is good: that is not the client's fault.
            Err(Refusal::NoKeys) => {
                let words = "The keys to verify tokens with are not available";
                Reply::message(503, words).into()
            }
            Err(refusal) => self.gate.refuse(cx, self.reply(refusal)),
        }
    }

    fn reply(&self, refusal: Refusal) -> Reply {
        let (reply, challenge) = match refusal {
            Refusal::NoToken => (Reply::message(401, "Unauthorized"), &self.plain),
            Refusal::Message(words) => (Reply::message(401, words), &self.invalid),
            Refusal::Claims(body) => (Reply::json(401, body), &self.invalid),
            Refusal::NoKey | Refusal::NoKeys => (
                Reply::message(401, "No key found for the token"),
                &self.invalid,
            ),
        };
        reply.with("WWW-Authenticate", challenge.clone())
    }

    /// What the request's token proves.
    fn verified_of(&self, cx: &RequestCx<'_>) -> Result<Verified, Refusal> {
        let token = match self.config.places.collect(cx.request) {
            Collected::One(token) => token,
            Collected::Nothing => return Err(Refusal::NoToken),
            Collected::Several => return Err("Multiple tokens provided".into()),
        };
        let known = self.verified.get(&token);
        let verified = match known.filter(|verified| self.is_current(verified)) {
            Some(verified) => verified,
            None => self.verify(&token, cx.identity)?,
        };
        self.check_times(&verified)?;
        Ok(verified)
    }

    /// Whether the key that a token was verified by is still the issuer's.
    fn is_current(&self, verified: &Verified) -> bool {
        let current = || self.keys.as_ref()?.current().map(|set| set.generation);
        verified.keys == 0 || current() == Some(verified.keys)
    }

    /// Everything about a token that does not depend on the time.
    fn verify(&self, text: &str, identity: &Identity) -> Result<Verified, Refusal> {
        let token = Token::parse(text)?;
        let name = &self.config.key_claim;
        let words = |words: String| Refusal::Message(words.into());
        let key = token.key(name);
        let secret = key.and_then(Value::as_str);
        let secret = secret.and_then(|key| self.secrets.get(key));
        let verified = match (secret, &self.config.issued, key) {
            (Some(secret), _, _) => self.by_secret(&token, secret)?,
            (None, Some(issued), _) => {
                let set = self.keys.as_ref().and_then(|keys| keys.current());
                let set = set.ok_or(Refusal::NoKeys)?;
                issued.verify(&token, &set, identity)?
            }
            (None, None, None) => return Err(words(format!("No mandatory '{name}' in claims"))),
            (None, None, Some(Value::String(key))) if key.is_empty() => {
                return Err(words(format!("Invalid '{name}' in claims")));
            }
            (None, None, Some(_)) => {
                return Err(words(format!("No credentials found for given '{name}'")));
            }
        };
        self.verified.put(text, verified.clone());
        Ok(verified)
    }

    fn by_secret(&self, token: &Token<'_>, secret: &Secret) -> Result<Verified, Refusal> {
        if token.algorithm != secret.algorithm {
            return Err("Invalid algorithm".into());
        }
        let verifier = secret
            .verifier(self.config.secret_is_base64)
            .ok_or("Invalid key/secret")?;
        if !verifier.accepts(token.signed.as_bytes(), &token.signature) {
            return Err("Invalid signature".into());
        }
        Ok(Verified {
            consumer: Some(secret.consumer),
            credential: secret.credential.clone(),
            exp: token.claim("exp"),
            nbf: token.claim("nbf"),
            keys: 0,
        })
    }

    fn check_times(&self, token: &Verified) -> Result<(), Refusal> {
        let now = clock::unix_secs() as f64;
        let mut wrong = Map::new();
        let issued = token.keys != 0;
        if self.config.verify_exp || issued {
            note(&mut wrong, "exp", token.exp, |exp| {
                (exp <= now).then_some("token expired")
            });
        }
        if self.config.verify_nbf && !issued || issued && token.nbf != Claim::Unfit {
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
