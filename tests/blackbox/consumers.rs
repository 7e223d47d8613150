//! Who the client is, found out while the request is under way: credentials with public keys, and
//! plugin instances that belong to a consumer.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::json;

use crate::support::{Request, Response, Upstream, gateway};

/// A key pair, and what signs with it.
struct Signer {
    algorithm: Algorithm,
    public: String,
    private: EncodingKey,
}

impl Signer {
    fn new(algorithm: Algorithm) -> Self {
        let pair =
            |algorithm: &'static SignatureAlgorithm| KeyPair::generate_for(algorithm).unwrap();
        let (pair, private) = match algorithm {
            Algorithm::ES256 => {
                let pair = pair(&PKCS_ECDSA_P256_SHA256);
                let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes());
                (pair, key)
            }
            _ => {
                let pair = pair(&PKCS_RSA_SHA256);
                let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes());
                (pair, key)
            }
        };
        Self {
            algorithm,
            public: pair.public_key_pem(),
            private: private.unwrap(),
        }
    }

    /// A token of this issuer.
    fn sign(&self, issuer: &str) -> String {
        let claims = json!({"iss": issuer});
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, &self.private).unwrap()
    }
}

#[test]
fn tokens_signed_with_private_keys() {
    let (rsa, ec) = (Signer::new(Algorithm::RS256), Signer::new(Algorithm::ES256));
    let config = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}], plugins: [{name: jwt}]}]
consumers:
- username: rita
  jwt_secrets: [{key: rsa, algorithm: RS256, rsa_public_key: <rsa>}]
- username: eve
  jwt_secrets: [{key: ec, algorithm: ES256, rsa_public_key: <ec>}]";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config)
        .fill("up", &upstream)
        .fill_text("rsa", &rsa.public)
        .fill_text("ec", &ec.public)
        .start();
    let ask = |token: String| {
        let value = format!("Bearer {token}");
        gateway.send(Request::get("/").header("Authorization", &value))
    };
    for (signer, issuer, consumer) in [(&rsa, "rsa", "rita"), (&ec, "ec", "eve")] {
        assert_eq!(ask(signer.sign(issuer)).text(), "hello", "{issuer}");
        let seen = upstream.last();
        assert_eq!(seen.header("x-consumer-username"), Some(consumer));
        assert_eq!(seen.header("x-credential-identifier"), Some(issuer));
    }
    // Somebody else's key of the right kind.
    for (algorithm, issuer) in [(Algorithm::RS256, "rsa"), (Algorithm::ES256, "ec")] {
        let response = ask(Signer::new(algorithm).sign(issuer));
        assert_eq!(
            (response.status, response.message()),
            refused("Invalid signature")
        );
    }
    // The key of another algorithm, and the public key taken for a shared secret.
    let crossed = ask(ec.sign("rsa"));
    assert_eq!(
        (crossed.status, crossed.message()),
        refused("Invalid algorithm")
    );
    let confused = Signer {
        algorithm: Algorithm::HS256,
        public: String::new(),
        private: EncodingKey::from_secret(rsa.public.as_bytes()),
    };
    let confused = ask(confused.sign("rsa"));
    assert_eq!(
        (confused.status, confused.message()),
        refused("Invalid algorithm")
    );
    assert_eq!(upstream.requests().len(), 2);
}

fn refused(message: &str) -> (u16, String) {
    (401, message.to_owned())
}

/// The limit for a year that an answer tells.
fn limit(response: &Response) -> Option<u32> {
    let limit = response.header("x-ratelimit-limit-year");
    limit.map(|limit| limit.parse().unwrap())
}

#[test]
fn an_instance_for_the_consumer_replaces_the_service_s() {
    let config = "
services:
- url: http://<up>
  plugins: [{name: key-auth}, {name: rate-limiting, config: {year: 10}}]
  routes:
  - {name: plain, paths: [/plain]}
  - {name: special, paths: [/special]}
consumers:
- username: ann
  keyauth_credentials: [{key: ann-key}]
  plugins: [{name: rate-limiting, config: {year: 2}}]
- {username: bob, keyauth_credentials: [{key: bob-key}]}
- {username: eve, keyauth_credentials: [{key: eve-key}]}
plugins:
- {name: rate-limiting, consumer: bob, route: special, config: {year: 3}}
- {name: rate-limiting, consumer: eve, enabled: false, config: {year: 1}}";
    let upstream = Upstream::saying("hello");
    let gateway = gateway(config).fill("up", &upstream).start();
    let ask = |path: &str, key: &str| gateway.send(Request::get(path).header("apikey", key));
    for (path, key, expected) in [
        ("/plain", "ann-key", 2),
        ("/plain", "bob-key", 10),
        ("/special", "bob-key", 3),
        ("/plain", "eve-key", 10),
        ("/special", "ann-key", 2),
    ] {
        let response = ask(path, key);
        assert_eq!(
            (response.status, limit(&response)),
            (200, Some(expected)),
            "{path} {key}"
        );
    }
    // Ann's two are used up on either route; Bob's are his own.
    for path in ["/plain", "/special"] {
        assert_eq!(ask(path, "ann-key").status, 429);
    }
    assert_eq!(ask("/special", "bob-key").status, 200);
    // Who is nobody is refused before anything is counted.
    let stranger = ask("/plain", "no-key");
    assert_eq!((stranger.status, limit(&stranger)), (401, None));
}
