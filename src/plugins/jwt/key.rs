//! Keys that signatures are verified with (RFC 7518 section 3, RFC 8037).
//!
//! Invariant: a [`Verifier`] is bound to one algorithm when it is made; a token cannot choose.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};

use crate::util::base64;

/// A JWS algorithm, as `alg` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

/// Every name that `alg` may have.
pub(super) const NAMES: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA",
];

impl Algorithm {
    const ALL: [Algorithm; 13] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::ES512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::EdDSA,
    ];

    /// The algorithm of that name, in that very case.
    pub(super) fn named(name: &str) -> Option<Algorithm> {
        let at = NAMES.iter().position(|known| *known == name)?;
        Algorithm::ALL.get(at).copied()
    }

    /// The secret's algorithm, where both sides know one secret.
    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Algorithm::HS256 => Some(hmac::HMAC_SHA256),
            Algorithm::HS384 => Some(hmac::HMAC_SHA384),
            Algorithm::HS512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    /// Whether both sides know one secret.
    pub(super) fn is_hmac(self) -> bool {
        self.hmac().is_some()
    }

    /// Whether Kong lets no credential be without a public key.
    pub(super) fn needs_key(self) -> bool {
        let elliptic = matches!(self, Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512);
        !self.is_hmac() && !elliptic
    }

    /// The public key's algorithm, and the fewest bits of an RSA key for it.
    fn public(self) -> Option<(&'static dyn VerificationAlgorithm, usize)> {
        Some(match self {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => return None,
            // Files from Kong still hold RSA keys of 1024 bits; new ones are warned of.
            Algorithm::RS256 => (
                &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                1024,
            ),
            Algorithm::RS384 => (&signature::RSA_PKCS1_2048_8192_SHA384, 2048),
            Algorithm::RS512 => (
                &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                1024,
            ),
            Algorithm::PS256 => (&signature::RSA_PSS_2048_8192_SHA256, 2048),
            Algorithm::PS384 => (&signature::RSA_PSS_2048_8192_SHA384, 2048),
            Algorithm::PS512 => (&signature::RSA_PSS_2048_8192_SHA512, 2048),
            Algorithm::ES256 => (&signature::ECDSA_P256_SHA256_FIXED, 0),
            Algorithm::ES384 => (&signature::ECDSA_P384_SHA384_FIXED, 0),
            Algorithm::ES512 => (&signature::ECDSA_P521_SHA512_FIXED, 0),
            Algorithm::EdDSA => (&signature::ED25519, 0),
        })
    }

    /// What kind of key it wants, for messages.
    fn wants(self) -> &'static str {
        match self {
            Algorithm::ES256 => "an EC key on the curve P-256",
            Algorithm::ES384 => "an EC key on the curve P-384",
            Algorithm::ES512 => "an EC key on the curve P-521",
            Algorithm::EdDSA => "an Ed25519 key",
            _ => "an RSA key",
        }
    }
}

/// A key and its algorithm, ready to verify.
#[derive(Debug)]
pub(super) enum Verifier {
    /// A shared secret.
    Hmac(Box<hmac::Key>),
    /// A public key.
    Public(ParsedPublicKey),
}

impl Verifier {
    /// A secret for an HS algorithm; `None` for other algorithms and for an empty secret, which
    /// anybody could guess.
    pub(super) fn secret(algorithm: Algorithm, secret: &[u8]) -> Option<Verifier> {
        let hmac = algorithm.hmac().filter(|_| !secret.is_empty())?;
        Some(Verifier::Hmac(Box::new(hmac::Key::new(hmac, secret))))
    }

    /// A public key in PEM; the error says what is wrong with it, a second line what to do.
    pub(super) fn public(algorithm: Algorithm, pem: &str) -> Result<Verifier, String> {
        let wrong = || format!("invalid key: {:?} needs {}", algorithm, algorithm.wants());
        let der = public_der(pem)?;
        let (public, least) = algorithm.public().ok_or_else(wrong)?;
        let key = ParsedPublicKey::new(public, der).map_err(|_| wrong())?;
        if rsa_bits(&key, least) < least {
            let words = "invalid key: this algorithm needs an RSA key of at least";
            return Err(format!("{words} {least} bits"));
        }
        Ok(Verifier::Public(key))
    }

    /// A public key in its own form: PKCS#1, an uncompressed point, the bytes of an Ed25519 key. RSA
    /// keys of less than 2048 bits are none (RFC 7518 section 3.3).
    pub(super) fn raw(algorithm: Algorithm, key: &[u8]) -> Option<Verifier> {
        let (public, _) = algorithm.public()?;
        let verifier = Verifier::Public(ParsedPublicKey::new(public, key).ok()?);
        (!verifier.is_weak()).then_some(verifier)
    }

    /// Whether the key is an RSA key of less than 2048 bits.
    pub(super) fn is_weak(&self) -> bool {
        match self {
            Verifier::Hmac(_) => false,
            Verifier::Public(key) => rsa_bits(key, 2048) < 2048,
        }
    }

    /// Whether the signature is this key's on these bytes. Secrets are compared in constant time.
    pub(super) fn accepts(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            Verifier::Hmac(key) => hmac::verify(key, signed, signature).is_ok(),
            Verifier::Public(key) => key.verify_sig(signed, signature).is_ok(),
        }
    }
}

/// About how many bits an RSA key has; `enough` for keys of other kinds.
fn rsa_bits(key: &ParsedPublicKey, enough: usize) -> usize {
    /// Object identifier 1.2.840.113549.1.1.1 in DER.
    const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
    /// Most bytes that a SubjectPublicKeyInfo has beside the modulus, exponent of 3 bytes.
    const AROUND: usize = 38;
    let der: Result<PublicKeyX509Der<'_>, _> = key.as_der();
    match der {
        Ok(der) if memchr::memmem::find(der.as_ref(), RSA).is_some() => {
            // Moduli come in steps that dwarf what the length of the exponent adds.
            (der.as_ref().len().saturating_sub(AROUND) * 8).next_multiple_of(64)
        }
        _ => enough,
    }
}

/// The bytes in a PEM block with a public key: SubjectPublicKeyInfo or PKCS#1.
fn public_der(pem: &str) -> Result<Vec<u8>, String> {
    let begin = "-----BEGIN ";
    let start = pem
        .find(begin)
        .ok_or("invalid key: expected PEM\nbegin with -----BEGIN PUBLIC KEY-----")?;
    let (label, rest) = pem[start + begin.len()..]
        .split_once("-----")
        .unwrap_or_default();
    match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => {}
        "CERTIFICATE" => {
            return Err("invalid key: this is a certificate\ntake the key out of it: openssl x509 -pubkey -noout".to_owned());
        }
        label if label.ends_with("PRIVATE KEY") => {
            return Err("invalid key: this is a private key, which the gateway must not have\ntake the public one out of it: openssl pkey -pubout".to_owned());
        }
        label => return Err(format!("invalid key: a PEM block of {label}")),
    }
    let (body, _) = rest
        .split_once(&format!("-----END {label}-----"))
        .ok_or("invalid key: the PEM block does not end")?;
    let digits: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    base64::decode(&digits)
        .filter(|der| !der.is_empty())
        .ok_or_else(|| "invalid key: the PEM block is no base64".to_owned())
}
