//! Key pairs of every kind, made once, and tokens signed with them.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};

/// Something that signs tokens.
pub enum Signer<'k> {
    /// Algorithm and secret.
    Secret(&'static str, &'k str),
    /// Algorithm and key pair.
    Pair(&'static str, &'k Pair),
}

/// A key pair.
pub struct Pair {
    private: Private,
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

enum Private {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A signer for the algorithm.
pub fn signer(name: &'static str) -> Signer<'static> {
    static RSA: OnceLock<Pair> = OnceLock::new();
    static P256: OnceLock<Pair> = OnceLock::new();
    static P384: OnceLock<Pair> = OnceLock::new();
    static P521: OnceLock<Pair> = OnceLock::new();
    static ED: OnceLock<Pair> = OnceLock::new();
    let pair = match name {
        "ES256" => P256.get_or_init(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        "ES384" => P384.get_or_init(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING)),
        "ES512" => P521.get_or_init(|| ec(&ECDSA_P521_SHA512_FIXED_SIGNING)),
        "EdDSA" => ED.get_or_init(ed),
        hs if hs.starts_with("HS") => return Signer::Secret(name, "a long enough secret"),
        _ => RSA.get_or_init(rsa),
    };
    Signer::Pair(name, pair)
}

fn rsa() -> Pair {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        pkcs8: pkcs8.as_ref().to_vec(),
        public: public.as_ref().to_vec(),
        private: Private::Rsa(pair),
    }
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        pkcs8: pkcs8.as_ref().to_vec(),
        public: public.as_ref().to_vec(),
        private: Private::Ec(pair),
    }
}

fn ed() -> Pair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair {
        pkcs8: pkcs8.as_ref().to_vec(),
        public: public.as_ref().to_vec(),
        private: Private::Ed(pair),
    }
}

impl Signer<'_> {
    /// A token with this header, whatever it says, and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| base64(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        format!("{signed}.{}", base64(&self.signature(signed.as_bytes())))
    }

    fn signature(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Signer::Secret(name, secret) => {
                let algorithm = match *name {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                let key = hmac::Key::new(algorithm, secret.as_bytes());
                hmac::sign(&key, bytes).as_ref().to_vec()
            }
            Signer::Pair(name, pair) => pair.signature(name, bytes),
        }
    }

    /// A token made by another implementation; it has no ES512.
    pub fn sign_elsewhere(&self, name: &str, claims: &Value) -> String {
        use jsonwebtoken::{EncodingKey, Header, encode};
        let key = match self {
            Signer::Secret(_, secret) => EncodingKey::from_secret(secret.as_bytes()),
            Signer::Pair(_, pair) => match pair.private {
                // Behind the 26 bytes of its PKCS#8 envelope.
                Private::Rsa(_) => EncodingKey::from_rsa_der(&pair.pkcs8[26..]),
                Private::Ec(_) => EncodingKey::from_ec_der(&pair.pkcs8),
                Private::Ed(_) => EncodingKey::from_ed_der(&pair.pkcs8),
            },
        };
        encode(&Header::new(name.parse().unwrap()), claims, &key).unwrap()
    }

    /// A row of `jwt_secrets` in flow style.
    pub fn row(&self, key: &str) -> String {
        match self {
            Signer::Secret(name, secret) => {
                format!("{{key: {key}, algorithm: {name}, secret: {secret}}}")
            }
            Signer::Pair(name, _) => {
                let pem = json!(pem(self));
                format!("{{key: {key}, algorithm: {name}, rsa_public_key: {pem}}}")
            }
        }
    }
}

impl Pair {
    fn signature(&self, name: &str, bytes: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Ec(pair) => pair
                .sign(&SystemRandom::new(), bytes)
                .unwrap()
                .as_ref()
                .to_vec(),
            Private::Ed(pair) => pair.sign(bytes).as_ref().to_vec(),
            Private::Rsa(pair) => {
                let padding: &'static dyn RsaEncoding = match name {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; 256];
                pair.sign(padding, &SystemRandom::new(), bytes, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

/// The public key in PEM.
pub fn pem(signer: &Signer<'_>) -> String {
    let Signer::Pair(_, pair) = signer else {
        panic!("a secret has no public key");
    };
    let digits = base64(&pair.public);
    let lines: Vec<&str> = digits
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

/// Base64url without padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let mut padded = [0; 3];
        padded[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for at in 0..=group.len() {
            out.push(DIGITS[(bits >> (18 - 6 * at) & 63) as usize] as char);
        }
    }
    out
}
