//! Tokens and the keys that they are signed with.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

pub const ISSUER: &str = "issuer";
pub const SECRET: &str = "secret-of-the-issuer-which-is-long";

/// The keys of one run.
#[derive(Clone, Serialize, Deserialize)]
pub struct Keys {
    pub algorithm: Algorithm,
    /// What signs: the secret, or a private key as PEM.
    pub private: String,
    /// What proves: the secret, or a public key as PEM.
    pub public: String,
}

impl Keys {
    pub fn new(algorithm: Algorithm) -> Keys {
        let scheme = match algorithm {
            Algorithm::Hs256 => {
                return Keys {
                    algorithm,
                    private: SECRET.into(),
                    public: SECRET.into(),
                };
            }
            Algorithm::Rs256 => &rcgen::PKCS_RSA_SHA256,
            Algorithm::Es256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        };
        let pair = rcgen::KeyPair::generate_for(scheme).unwrap();
        Keys {
            algorithm,
            private: pair.serialize_pem(),
            public: pair.public_key_pem(),
        }
    }

    /// As the header of a token and the gateway's file say it.
    pub fn name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Es256 => "ES256",
        }
    }

    /// What makes tokens.
    pub fn mint(&self) -> Mint {
        let pem = self.private.as_bytes();
        let (algorithm, key) = match self.algorithm {
            Algorithm::Hs256 => (
                jsonwebtoken::Algorithm::HS256,
                EncodingKey::from_secret(pem),
            ),
            Algorithm::Rs256 => (
                jsonwebtoken::Algorithm::RS256,
                EncodingKey::from_rsa_pem(pem).unwrap(),
            ),
            Algorithm::Es256 => (
                jsonwebtoken::Algorithm::ES256,
                EncodingKey::from_ec_pem(pem).unwrap(),
            ),
        };
        Mint {
            header: Header::new(algorithm),
            key,
        }
    }
}

pub struct Mint {
    header: Header,
    key: EncodingKey,
}

impl Mint {
    /// The token of that number: another for each.
    pub fn token(&self, number: u64) -> String {
        let claims = json!({"iss": ISSUER, "exp": 4_000_000_000_u64, "jti": number});
        encode(&self.header, &claims, &self.key).unwrap()
    }
}
