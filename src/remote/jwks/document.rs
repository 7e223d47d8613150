//! Documents about keys: a JWK set (RFC 7517), an issuer's discovery document.
//!
//! Invariant: a key that makes no sense is left out alone; one that holds a secret is never kept.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::JwksError;

/// Most keys of a set.
const MOST: usize = 1000;

/// A public key as it is published; parts are base64url.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Jwk {
    /// Its kind: `RSA`, `EC`, `OKP`.
    pub kty: String,
    /// What tokens call it by.
    pub kid: Option<String>,
    /// The only algorithm that it is for.
    pub alg: Option<String>,
    /// What it is for: `sig`, `enc`.
    #[serde(rename = "use")]
    pub purpose: Option<String>,
    /// What may be done with it.
    pub key_ops: Option<Vec<String>>,
    /// Curve.
    pub crv: Option<String>,
    /// RSA: modulus.
    pub n: Option<String>,
    /// RSA: exponent.
    pub e: Option<String>,
    /// Curves: first coordinate.
    pub x: Option<String>,
    /// Curves: second coordinate.
    pub y: Option<String>,
}

impl Jwk {
    fn is_for_signatures(&self) -> bool {
        let signs = self.purpose.as_deref().is_none_or(|of| of == "sig");
        let verifies = self.key_ops.as_ref();
        signs && verifies.is_none_or(|ops| ops.iter().any(|op| op == "verify"))
    }
}

/// The public keys for signatures in a set.
///
/// # Errors
/// When it is no set.
pub fn keys(text: &[u8]) -> Result<Vec<Jwk>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text).map_err(|_| "not an object with a list of keys")?;
    let secret = |key: &Value| {
        ["d", "k", "p", "q"]
            .iter()
            .any(|part| key.get(part).is_some())
    };
    let public = set.keys.into_iter().filter(|key| !secret(key));
    let read = public.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    Ok(read.filter(Jwk::is_for_signatures).take(MOST).collect())
}

/// Where an issuer's discovery document says that its keys are.
pub(super) fn jwks_uri(text: &[u8], issuer: &str) -> Result<String, JwksError> {
    #[derive(Deserialize)]
    struct Discovery {
        issuer: String,
        jwks_uri: String,
    }
    let found: Result<Discovery, _> = serde_json::from_slice(text);
    let found = found.map_err(|_| JwksError::Malformed("no issuer and jwks_uri in it"))?;
    if found.issuer != issuer {
        return Err(JwksError::OtherIssuer);
    }
    if !found.jwks_uri.starts_with("https://") && !found.jwks_uri.starts_with("http://") {
        return Err(JwksError::Malformed("jwks_uri is no URL"));
    }
    // Who is asked over TLS does not send anybody to clear text.
    if issuer.starts_with("https://") && !found.jwks_uri.starts_with("https://") {
        return Err(JwksError::Malformed("jwks_uri is not https"));
    }
    Ok(found.jwks_uri)
}

/// `max-age` of `Cache-Control`; nothing where the document must not be kept.
pub(super) fn max_age(control: &str) -> Option<Duration> {
    let mut directives = control.split(',').map(str::trim);
    let age = directives.find_map(|directive| {
        let (name, age) = directive.split_once('=')?;
        name.trim().eq_ignore_ascii_case("max-age").then_some(age)
    })?;
    age.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_keys_for_signatures_are_kept() {
        let text = br#"{"keys": [
            {"kty":"RSA","kid":"good","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"enc","use":"enc","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"private","n":"AQAB","e":"AQAB","d":"AQAB"},
            {"kty":"oct","kid":"secret","k":"AQAB"},
            {"kty":"EC","kid":"wraps","key_ops":["wrapKey"],"crv":"P-256","x":"a","y":"b"},
            {"kty":7}, 5, null, {},
            {"kty":"OKP","kid":"ed","use":"sig","crv":"Ed25519","x":"a","more":{}}
        ]}"#;
        let kids: Vec<_> = keys(text).unwrap().into_iter().map(|key| key.kid).collect();
        assert_eq!(kids, [Some("good".to_owned()), Some("ed".to_owned())]);
        for text in ["", "[]", "{}", r#"{"keys":5}"#, "\u{fffd}"] {
            assert!(keys(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_discovery_document_must_be_the_issuers_own() {
        let uri = |text: &str| jwks_uri(text.as_bytes(), "https://a");
        let good = r#"{"issuer":"https://a","jwks_uri":"https://a/keys"}"#;
        assert_eq!(uri(good).unwrap(), "https://a/keys");
        let other = good.replace(r#""https://a","#, r#""https://b","#);
        assert_eq!(uri(&other), Err(JwksError::OtherIssuer));
        assert!(uri(&good.replace("https://a/keys", "http://a/keys")).is_err());
        assert!(uri(&good.replace("https://a/keys", "file:///etc/passwd")).is_err());
        assert!(uri("{}").is_err());
    }

    #[test]
    fn ages_are_read() {
        for (text, want) in [
            ("max-age=60", Some(60)),
            ("public, max-age=3600, must-revalidate", Some(3600)),
            ("no-cache, Max-Age=\"5\"", Some(5)),
            ("no-store", None),
            ("max-age=x", None),
        ] {
            assert_eq!(max_age(text), want.map(Duration::from_secs), "{text}");
        }
    }
}
