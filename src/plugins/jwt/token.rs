//! A compact JWT taken apart (RFC 7515 section 3.1, RFC 7519 section 7.2). Nothing is believed yet.

use serde_json::{Map, Value};

use super::Refusal;
use super::key::Algorithm;
use crate::util::base64;

/// The parts of a token.
#[derive(Debug)]
pub(super) struct Token<'t> {
    /// What its header says the signature was made with.
    pub(super) algorithm: Algorithm,
    /// Header and claims as they were signed.
    pub(super) signed: &'t str,
    pub(super) signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

/// A claim that must be a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Claim {
    Number(f64),
    /// Absent, or something else.
    Unfit,
}

const JSON: &str = "Bad token; invalid JSON";
const ALG: &str = "Bad token; invalid alg";
const CLAIMS: &str = "Bad token; invalid claims";
const SIGNATURE: &str = "Bad token; invalid signature";

impl<'t> Token<'t> {
    /// Takes a token apart; the checks come in Kong's order.
    pub(super) fn parse(text: &'t str) -> Result<Token<'t>, Refusal> {
        let mut parts = text.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JSON.into());
        };
        let signed = &text[..header.len() + 1 + claims.len()];
        let (header, claims) = (json(header)?, json(claims)?);
        let Value::Object(header) = header else {
            return Err(ALG.into());
        };
        let algorithm = header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.and_then(Algorithm::named).ok_or(ALG)?;
        let Value::Object(claims) = claims else {
            return Err(CLAIMS.into());
        };
        let signature = base64::decode(signature.as_bytes()).unwrap_or_default();
        if signature.is_empty() {
            return Err(SIGNATURE.into());
        }
        Ok(Token {
            algorithm,
            signed,
            signature,
            header,
            claims,
        })
    }

    /// The claim that names the credential: of the claims, else of the header.
    pub(super) fn key(&self, name: &str) -> Option<&Value> {
        let given = |value: &&Value| !matches!(value, Value::Null | Value::Bool(false));
        let claim = self.claims.get(name).filter(given);
        claim.or_else(|| self.header.get(name).filter(given))
    }

    /// The key's name in the token's header.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// Whether its header names extensions that must be understood.
    pub(super) fn has_critical(&self) -> bool {
        self.header.contains_key("crit")
    }

    /// A claim as it stands.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// A claim that must be a number.
    pub(super) fn claim(&self, name: &str) -> Claim {
        let number = self.claims.get(name).and_then(Value::as_f64);
        number.map_or(Claim::Unfit, Claim::Number)
    }
}

fn json(part: &str) -> Result<Value, Refusal> {
    let bytes = base64::decode(part.as_bytes()).ok_or(JSON)?;
    serde_json::from_slice(&bytes).map_err(|_| JSON.into())
}
