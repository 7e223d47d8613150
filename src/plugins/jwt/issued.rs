//! Tokens that are verified by the keys of an issuer (RFC 7517, OpenID Connect).
//!
//! Invariant: a key verifies only what its kind, its own `alg` and the configuration allow.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::key::{Algorithm, Verifier};
use super::token::Token;
use super::{Refusal, Verified};
use crate::config::Fields;
use crate::identity::{Credential, Identity};
use crate::remote::jwks::{Jwk, KeySet, Made, Place};
use crate::util::base64;

/// Algorithms with a public key.
pub(super) const NAMES: &[&str] = &[
    "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
];

/// What the file says of an issuer.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    /// Where its keys are.
    pub(super) place: Place,
    issuer: Option<String>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    consumer_claim: String,
}

/// The keys of a set by name, each ready for every algorithm that it may be used with.
#[derive(Debug, Default)]
struct Keys {
    named: HashMap<String, Vec<Verifiers>>,
    all: Vec<Arc<Vec<(Algorithm, Verifier)>>>,
}

type Verifiers = Arc<Vec<(Algorithm, Verifier)>>;

/// Keys without a name that a token without one is tried with.
const TRIES: usize = 8;

impl Issued {
    /// What a configuration says; nothing where it names no issuer.
    pub(super) fn read(fields: &Fields<'_>) -> Option<Issued> {
        let issuer = fields.opt_string("issuer");
        let place = match fields.opt_string("jwks_uri") {
            Some(uri) => Place::Uri(uri),
            None => Place::Issuer(issuer.clone()?),
        };
        let algorithms = fields.strings("algorithms");
        let algorithms = algorithms.iter().filter_map(|name| Algorithm::named(name));
        Some(Issued {
            place,
            issuer,
            audiences: fields.strings("audiences"),
            algorithms: algorithms.collect(),
            consumer_claim: fields.string("consumer_claim"),
        })
    }

    /// Everything about a token that does not depend on the time.
    pub(super) fn verify(
        &self,
        token: &Token<'_>,
        set: &KeySet,
        identity: &Identity,
    ) -> Result<Verified, Refusal> {
        // Extensions that must be understood (RFC 7515 section 4.1.11): none is.
        if token.has_critical() {
            return Err("Bad token; unknown crit".into());
        }
        if !self.algorithms.contains(&token.algorithm) {
            return Err("Invalid algorithm".into());
        }
        let keys = set.made::<Keys>().ok_or(Refusal::NoKeys)?;
        let mut fitting = keys.fitting(token.kid(), token.algorithm).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::NoKey);
        }
        let signed = token.signed.as_bytes();
        if !fitting.any(|key| key.accepts(signed, &token.signature)) {
            return Err("Invalid signature".into());
        }
        self.check_claims(token)?;
        let text = |name: &str| token.value(name).and_then(Value::as_str);
        let subject = text("sub").unwrap_or_default();
        Ok(Verified {
            consumer: text(&self.consumer_claim).and_then(|name| identity.by_claim(name)),
            credential: Arc::new(Credential {
                id: subject.to_owned(),
                identifier: subject.to_owned(),
            }),
            exp: token.claim("exp"),
            nbf: token.claim("nbf"),
            keys: set.generation,
        })
    }

    fn check_claims(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let mut wrong = Map::new();
        if let Some(issuer) = &self.issuer
            && token.value("iss").and_then(Value::as_str) != Some(issuer)
        {
            wrong.insert("iss".to_owned(), "not the expected issuer".into());
        }
        if !self.audiences.is_empty() && !self.is_audience(token.value("aud")) {
            wrong.insert("aud".to_owned(), "not an expected audience".into());
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(Refusal::Claims(Value::Object(wrong).to_string())),
        }
    }

    /// `aud` is a text or a list of texts (RFC 7519 section 4.1.3).
    fn is_audience(&self, claim: Option<&Value>) -> bool {
        let one = |value: &Value| {
            let text = value.as_str();
            text.is_some_and(|text| self.audiences.iter().any(|known| known == text))
        };
        match claim {
            Some(Value::Array(list)) => list.iter().any(one),
            Some(value) => one(value),
            None => false,
        }
    }
}

impl Keys {
    fn of(set: &[Jwk]) -> Keys {
        let mut keys = Keys::default();
        for jwk in set {
            let verifiers = verifiers(jwk);
            if verifiers.is_empty() {
                continue;
            }
            let verifiers = Arc::new(verifiers);
            if let Some(kid) = &jwk.kid {
                keys.named
                    .entry(kid.clone())
                    .or_default()
                    .push(verifiers.clone());
            }
            keys.all.push(verifiers);
        }
        keys
    }

    /// The keys that may have signed: those of that name, or, where the token names none, all.
    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &Verifier> {
        let named = |kid| self.named.get(kid).map(Vec::as_slice).unwrap_or_default();
        let some = kid.map_or(self.all.as_slice(), named);
        let fits = move |key: &'_ &(Algorithm, Verifier)| key.0 == algorithm;
        let keys = some.iter().flat_map(|key| key.iter());
        keys.filter(fits).map(|key| &key.1).take(TRIES)
    }
}

/// What tokens are verified by, out of a set.
pub(super) fn make(set: &[Jwk]) -> Made {
    Box::new(Keys::of(set))
}

/// A key for every algorithm that it may be used with.
fn verifiers(jwk: &Jwk) -> Vec<(Algorithm, Verifier)> {
    let Some(raw) = raw(jwk) else {
        return Vec::new();
    };
    let own = |algorithm: &Algorithm| {
        let alg = jwk.alg.as_deref();
        alg.is_none_or(|alg| Algorithm::named(alg) == Some(*algorithm))
    };
    let possible = algorithms(jwk)
        .iter()
        .filter_map(|name| Algorithm::named(name));
    possible
        .filter(own)
        .filter_map(|algorithm| Some((algorithm, Verifier::raw(algorithm, &raw)?)))
        .collect()
}

/// The algorithms of a kind of key (RFC 7518 section 6, RFC 8037).
fn algorithms(jwk: &Jwk) -> &'static [&'static str] {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
        ("EC", Some("P-256")) => &["ES256"],
        ("EC", Some("P-384")) => &["ES384"],
        ("EC", Some("P-521")) => &["ES512"],
        ("OKP", Some("Ed25519")) => &["EdDSA"],
        _ => &[],
    }
}

/// The key as its algorithms take it.
fn raw(jwk: &Jwk) -> Option<Vec<u8>> {
    let part = |part: &Option<String>| base64::decode(part.as_ref()?.as_bytes());
    match jwk.kty.as_str() {
        "RSA" => Some(pkcs1(&part(&jwk.n)?, &part(&jwk.e)?)),
        "EC" => {
            let size = match jwk.crv.as_deref()? {
                "P-256" => 32,
                "P-384" => 48,
                "P-521" => 66,
                _ => return None,
            };
            let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
            // RFC 7518 section 6.2.1.2: always of full length.
            (x.len() == size && y.len() == size).then(|| [vec![4], x, y].concat())
        }
        "OKP" => part(&jwk.x).filter(|key| key.len() == 32),
        _ => None,
    }
}

/// RSAPublicKey of RFC 8017 appendix A.1.1 in DER.
fn pkcs1(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [integer(modulus), integer(exponent)].concat();
    tagged(0x30, &numbers)
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0);
    let digits = start.map_or(&[0][..], |start| &bytes[start..]);
    // A leading bit would make it negative.
    let sign: &[u8] = if digits[0] & 0x80 != 0 { &[0] } else { &[] };
    tagged(2, &[sign, digits].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        0x80..0x100 => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
    out
}
