//! A token that the demonstration's own configuration accepts (RFC 7519, HS256).

use aws_lc_rs::hmac;

use crate::util::base64::encode_url;

/// Signs claims that say who issued the token and when it ends.
pub fn sign(issuer: &str, secret: &str, expires: u64) -> String {
    let head = encode_url(br#"{"alg":"HS256","typ":"JWT"}"#);
    let claims = serde_json::json!({"iss": issuer, "exp": expires}).to_string();
    let signed = format!("{head}.{}", encode_url(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = encode_url(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}
