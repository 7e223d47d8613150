//! Tokens of an issuer that publishes its keys.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
};
use serde_json::{Value, json};

use crate::support::upstream::reply;
use crate::support::x509::Authority;
use crate::support::{Gateway, Request, Response, Setup, Upstream, eventually, gateway};

/// An issuer's key and what it publishes of it.
struct Key {
    kid: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    public: Value,
}

fn base64url(bytes: &[u8]) -> String {
    crate::support::sign::base64(bytes)
        .replace('+', "-")
        .replace('/', "_")
        .trim_end_matches('=')
        .to_owned()
}

impl Key {
    fn ec(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        Self {
            kid,
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public: on_curve("P-256", "ES256", kid, pair.public_key_raw()),
        }
    }

    fn p384(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        Self {
            kid,
            algorithm: Algorithm::ES384,
            private: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public: on_curve("P-384", "ES384", kid, pair.public_key_raw()),
        }
    }

    fn rsa(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        // PKCS#1: a sequence of the modulus, 257 bytes with its sign, and the exponent, 3 bytes.
        let der = pair.public_key_raw();
        let exponent = der.len() - 3;
        let modulus = exponent - 2 - 256;
        Self {
            kid,
            algorithm: Algorithm::RS256,
            private: EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public: json!({
                "kty": "RSA", "kid": kid,
                "n": base64url(&der[modulus..modulus + 256]), "e": base64url(&der[exponent..]),
            }),
        }
    }

    fn ed(kid: &'static str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self {
            kid,
            algorithm: Algorithm::EdDSA,
            private: EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap(),
            public: json!({
                "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(pair.public_key_raw()),
            }),
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.kid.to_owned());
        jsonwebtoken::encode(&header, claims, &self.private).unwrap()
    }
}

fn soon() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 600
}

fn on_curve(curve: &str, algorithm: &str, kid: &str, point: &[u8]) -> Value {
    // An uncompressed point: 4, then both coordinates.
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({
        "kty": "EC", "crv": curve, "kid": kid, "alg": algorithm, "use": "sig",
        "x": base64url(x), "y": base64url(y),
    })
}

/// A server of documents: status and body by path.
struct Issuer {
    server: Upstream,
    documents: Documents,
}

type Documents = Arc<Mutex<Vec<(&'static str, u16, String)>>>;

impl Issuer {
    fn start() -> Self {
        let documents = Documents::default();
        let ours = documents.clone();
        let server = Upstream::answering(move |request| {
            let documents = ours.lock().unwrap();
            let target = request.target();
            let found = documents.iter().find(|(path, ..)| *path == target);
            match found {
                Some((_, status, body)) => reply(*status, &[], body.as_bytes()),
                None => reply(404, &[], b""),
            }
        });
        Self { server, documents }
    }

    fn serve(&self, path: &'static str, status: u16, body: impl ToString) {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|(known, ..)| *known != path);
        documents.push((path, status, body.to_string()));
    }

    fn keys(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
        self.serve("/keys", 200, json!({ "keys": keys }));
    }

    fn fetches(&self) -> usize {
        let requests = self.server.requests();
        requests
            .iter()
            .filter(|request| request.target() == "/keys")
            .count()
    }
}

fn setup(upstream: &Upstream, config: &str) -> Setup {
    let text = "
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]
plugins: [{name: jwt, config: {claims_to_verify: [exp], <config>}}]
consumers:
- {username: ann, custom_id: a-1, jwt_secrets: [{key: local, secret: s3cret}]}";
    gateway(text).fill("up", upstream).fill("config", config)
}

fn ask(gateway: &Gateway, token: &str) -> Response {
    gateway.send(Request::get("/").header("Authorization", &format!("Bearer {token}")))
}

#[track_caller]
fn refused(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status, response.text().as_str()), (status, body));
}

#[test]
fn tokens_of_every_kind_of_key_are_let_in() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let keys = [
        Key::ec("ec"),
        Key::p384("p384"),
        Key::rsa("rsa"),
        Key::ed("ed"),
    ];
    issuer.keys(&keys.iter().collect::<Vec<_>>());
    let config = format!(
        "algorithms: [ES256, ES384, RS256, EdDSA], jwks_uri: 'http://{}/keys'",
        issuer.server
    );
    let gateway = setup(&upstream, &config).start();
    for key in &keys {
        let token = key.sign(&json!({"sub": "ann", "exp": soon()}));
        for _ in 0..2 {
            let response = ask(&gateway, &token);
            assert_eq!(response.status, 200, "{}: {}", key.kid, response.text());
        }
        let seen = upstream.last();
        assert_eq!(seen.header("X-Consumer-Username"), Some("ann"));
        assert_eq!(seen.header("X-Credential-Identifier"), Some("ann"));
    }
    // A stranger to the file is let in without a consumer.
    let token = keys[0].sign(&json!({"sub": "bob", "exp": soon()}));
    assert_eq!(ask(&gateway, &token).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.header("X-Consumer-Username"), None);
    assert_eq!(seen.header("X-Credential-Identifier"), Some("bob"));
    // One fetch serves them all, and is told.
    assert_eq!(issuer.fetches(), 1);
    let health = gateway.ask("/health").json();
    let name = format!("jwks:http://{}/keys", issuer.server);
    assert_eq!(health["checks"][&name]["status"], "healthy", "{health}");
    assert!(
        gateway
            .ask("/metrics")
            .text()
            .contains("sluicegate_jwks_up{")
    );
}

#[test]
fn what_a_token_says_must_hold() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let (key, stranger) = (Key::ec("k"), Key::ec("k"));
    issuer.keys(&[&key]);
    let config = format!(
        "jwks_uri: 'http://{0}/keys', issuer: 'http://{0}', audiences: [api, web], consumer_claim: cid",
        issuer.server
    );
    let gateway = setup(&upstream, &config).start();
    let iss = format!("http://{}", issuer.server);
    let good = json!({"iss": iss, "aud": ["x", "web"], "sub": "s", "cid": "a-1", "exp": soon()});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        key.sign(&claims)
    };
    assert_eq!(ask(&gateway, &key.sign(&good)).status, 200);
    assert_eq!(upstream.last().header("X-Consumer-Username"), Some("ann"));
    let past = json!(soon() - 1200);
    for (token, body) in [
        (
            with("iss", json!("http://other")),
            r#"{"iss":"not the expected issuer"}"#,
        ),
        (
            with("aud", json!("other")),
            r#"{"aud":"not an expected audience"}"#,
        ),
        (with("exp", past), r#"{"exp":"token expired"}"#),
        (with("exp", Value::Null), r#"{"exp":"must be a number"}"#),
        (
            with("nbf", json!(soon())),
            r#"{"nbf":"token not valid yet"}"#,
        ),
        (stranger.sign(&good), r#"{"message":"Invalid signature"}"#),
        (
            Key::ed("k").sign(&good),
            r#"{"message":"No key found for the token"}"#,
        ),
    ] {
        refused(&ask(&gateway, &token), 401, body);
    }
    // Nobody knows what its header says must be known.
    let header = json!({"alg": "ES256", "kid": "k", "crit": ["exp"]}).to_string();
    let parts = [header, good.to_string()].map(|part| base64url(part.as_bytes()));
    let signed = parts.join(".");
    let made = jsonwebtoken::crypto::sign(signed.as_bytes(), &key.private, key.algorithm);
    let critical = format!("{signed}.{}", made.unwrap());
    let unknown = r#"{"message":"Bad token; unknown crit"}"#;
    refused(&ask(&gateway, &critical), 401, unknown);
    // A public key is no secret to sign with.
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("k".to_owned());
    let public = EncodingKey::from_secret(key.public.to_string().as_bytes());
    let forged = jsonwebtoken::encode(&header, &good, &public).unwrap();
    refused(
        &ask(&gateway, &forged),
        401,
        r#"{"message":"Invalid algorithm"}"#,
    );
    // Who has a secret in the file uses that.
    let secret = EncodingKey::from_secret(b"s3cret");
    let claims = json!({"iss": "local", "exp": soon()});
    let own = jsonwebtoken::encode(&Header::default(), &claims, &secret).unwrap();
    assert_eq!(ask(&gateway, &own).status, 200);
    assert_eq!(
        upstream.last().header("X-Credential-Identifier"),
        Some("local")
    );
}

#[test]
fn an_unknown_key_is_looked_for_but_not_too_often() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    issuer.keys(&[&old]);
    let config = format!("jwks_uri: 'http://{}/keys'", issuer.server);
    let gateway = setup(&upstream, &config).start();
    let claims = json!({"sub": "ann", "exp": soon()});
    assert_eq!(ask(&gateway, &old.sign(&claims)).status, 200);
    issuer.keys(&[&new]);
    assert_eq!(
        ask(&gateway, &new.sign(&claims)).status,
        200,
        "it is fetched"
    );
    assert_eq!(issuer.fetches(), 2);
    // The old key is the issuer's no more; a token of it was remembered.
    let gone = r#"{"message":"No key found for the token"}"#;
    refused(&ask(&gateway, &old.sign(&claims)), 401, gone);
    for _ in 0..5 {
        refused(&ask(&gateway, &Key::ec("other").sign(&claims)), 401, gone);
    }
    assert_eq!(issuer.fetches(), 2, "not again within ten seconds");
}

#[test]
fn a_source_that_is_away_costs_nothing_that_was_known() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let key = Key::ec("k");
    issuer.serve("/keys", 500, "");
    let config = format!("jwks_uri: 'http://{}/keys'", issuer.server);
    let gateway = setup(&upstream, &config).start();
    let token = key.sign(&json!({"sub": "ann", "exp": soon()}));
    let away = r#"{"message":"The keys to verify tokens with are not available"}"#;
    refused(&ask(&gateway, &token), 503, away);
    assert_eq!(gateway.ask("/health").json()["status"], "degraded");
    // Without a token nobody waits for keys.
    assert_eq!(gateway.get("/").status, 401);
    issuer.keys(&[&key]);
    eventually("the keys come", || ask(&gateway, &token).status == 200);
    for (status, body) in [
        (500, String::new()),
        (200, r#"{"keys":[]}"#.to_owned()),
        (200, "nonsense".to_owned()),
        (200, "x".repeat(2 << 20)),
    ] {
        issuer.serve("/keys", status, body);
        let other = Key::ec("unknown").sign(&json!({"exp": soon()}));
        assert_eq!(ask(&gateway, &other).status, 401);
        assert_eq!(ask(&gateway, &token).status, 200);
    }
    // Over a reload too.
    issuer.serve("/keys", 500, "");
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    gateway.load(&text.replace("a-1", "a-2"));
    assert_eq!(ask(&gateway, &token).status, 200);
}

#[test]
fn keys_come_from_nowhere_else() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let key = Key::ec("k");
    issuer.keys(&[&key]);
    let elsewhere = format!("http://{}/keys", issuer.server);
    let sent = elsewhere.clone();
    let redirecting = Upstream::answering(move |_| reply(302, &[("Location", &sent)], b""));
    let config = format!("jwks_uri: 'http://{redirecting}/keys'");
    let setup = setup(&upstream, &config);
    // Neither a redirect nor the environment says where they are.
    let gateway = setup
        .env("HTTP_PROXY", &format!("http://{}", issuer.server))
        .start();
    let token = key.sign(&json!({"sub": "ann", "exp": soon()}));
    assert_eq!(ask(&gateway, &token).status, 503);
    assert!(!redirecting.requests().is_empty());
    assert_eq!(issuer.server.requests().len(), 0);
}

#[test]
fn tokens_need_not_name_their_key() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let (one, two) = (Key::ec("one"), Key::ec("two"));
    issuer.keys(&[&one, &two]);
    let config = format!("jwks_uri: 'http://{}/keys'", issuer.server);
    let gateway = setup(&upstream, &config).start();
    let claims = json!({"sub": "ann", "exp": soon()});
    let header = Header::new(Algorithm::ES256);
    let nameless = jsonwebtoken::encode(&header, &claims, &two.private).unwrap();
    assert_eq!(ask(&gateway, &nameless).status, 200);
    let stranger = jsonwebtoken::encode(&header, &claims, &Key::ec("x").private).unwrap();
    refused(
        &ask(&gateway, &stranger),
        401,
        r#"{"message":"Invalid signature"}"#,
    );
}

#[test]
fn an_issuer_says_itself_where_its_keys_are() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let key = Key::rsa("k");
    issuer.keys(&[&key]);
    let own = format!("http://{}", issuer.server);
    let document = json!({"issuer": own, "jwks_uri": format!("{own}/keys"), "more": []});
    issuer.serve("/.well-known/openid-configuration", 200, &document);
    let gateway = setup(&upstream, &format!("issuer: '{own}'")).start();
    let token = key.sign(&json!({"iss": own, "sub": "ann", "exp": soon()}));
    assert_eq!(ask(&gateway, &token).status, 200);
    // Another issuer's document is not believed.
    let other = json!({"issuer": "http://other", "jwks_uri": format!("{own}/keys")});
    issuer.serve("/other/.well-known/openid-configuration", 200, other);
    let gateway = setup(&upstream, &format!("issuer: '{own}/other'")).start();
    assert_eq!(ask(&gateway, &token).status, 503);
    gateway.err.wait("names another issuer");
}

/// How many stores of verified tokens the last reload kept.
fn kept(gateway: &Gateway) -> u64 {
    let status = gateway.ask("/status").json();
    let state = &status["configuration"]["last_reload"]["outcome"]["state"];
    state["verified_tokens"]["kept"]
        .as_u64()
        .unwrap_or_else(|| panic!("{status:#}"))
}

/// A remembered token belongs to the credential and the consumer that it was verified for.
#[test]
fn a_reload_forgets_what_it_changes() {
    let upstream = Upstream::echo();
    let config = "key_claim_name: iss";
    let gateway = setup(&upstream, config).start();
    let secret = EncodingKey::from_secret(b"s3cret");
    let claims = json!({"iss": "local", "exp": soon()});
    let token = jsonwebtoken::encode(&Header::default(), &claims, &secret).unwrap();
    assert_eq!(ask(&gateway, &token).status, 200);
    let text = std::fs::read_to_string(gateway.file()).unwrap();
    // Something else has changed: the consumer is still the right one.
    let more = "consumers:\n- {username: first}";
    gateway.load(&text.replace("consumers:", more));
    assert_eq!(kept(&gateway), 0);
    assert_eq!(ask(&gateway, &token).status, 200);
    assert_eq!(upstream.last().header("X-Consumer-Username"), Some("ann"));
    let elsewhere = text
        .replace("consumers:", more)
        .replace("['/']", "['/', '/other']");
    gateway.load(&elsewhere);
    assert_eq!(kept(&gateway), 1);
    assert_eq!(ask(&gateway, &token).status, 200);
    gateway.load(&text.replace("s3cret", "other"));
    assert_eq!(kept(&gateway), 0);
    assert_eq!(ask(&gateway, &token).status, 401);
}

#[test]
fn slow_keys_hold_up_nobody_without_a_token() {
    let upstream = Upstream::echo();
    let silent = Upstream::raw(|mut serving| {
        serving.request();
        serving.left();
    });
    let config = format!("jwks_uri: 'http://{silent}/keys', anonymous: ann");
    let gateway = setup(&upstream, &config).start();
    silent.wait("it is asked", |seen| seen.requests.len() == 1);
    let begin = std::time::Instant::now();
    assert_eq!(gateway.get("/").status, 200);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

/// The widest curve: the issuer's own signature, made without a library of tokens.
#[test]
fn es512_is_verified_where_it_is_allowed() {
    let (issuer, upstream) = (Issuer::start(), Upstream::echo());
    let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let public = on_curve("P-521", "ES512", "k", pair.public_key().as_ref());
    issuer.serve("/keys", 200, json!({"keys": [public]}));
    let header = json!({"alg": "ES512", "kid": "k"}).to_string();
    let claims = json!({"sub": "ann", "exp": soon()}).to_string();
    let signed = [header, claims].map(|part| base64url(part.as_bytes()));
    let signed = signed.join(".");
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", base64url(signature.as_ref()));
    let at = format!("jwks_uri: 'http://{}/keys'", issuer.server);
    let gateway = setup(&upstream, &format!("algorithms: [ES512], {at}")).start();
    assert_eq!(ask(&gateway, &token).status, 200);
    assert_eq!(upstream.last().header("X-Consumer-Username"), Some("ann"));
    // Not one of those that are allowed where the file says nothing.
    let gateway = setup(&upstream, &at).start();
    let unasked = r#"{"message":"Invalid algorithm"}"#;
    refused(&ask(&gateway, &token), 401, unasked);
}

#[test]
fn keys_come_over_tls_from_a_known_authority_alone() {
    let (authority, upstream) = (Authority::new(), Upstream::echo());
    let key = Key::ec("k");
    let document = json!({"keys": [&key.public]}).to_string();
    let pair = authority.issue(&["localhost"]);
    let issuer = Upstream::answering_tls(pair.server(&[]), move |_| {
        reply(200, &[], document.as_bytes())
    });
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let ca = ca.path().display().to_string();
    let token = key.sign(&json!({"sub": "ann", "exp": soon()}));
    let at = |host: &str| format!("jwks_uri: 'https://{host}:{}/keys'", issuer.port());
    let gateway = setup(&upstream, &at("localhost")).env("SSL_CERT_FILE", &ca);
    assert_eq!(ask(&gateway.start(), &token).status, 200);
    // Neither a stranger nor somebody else of the same authority is believed.
    for setup in [
        setup(&upstream, &at("localhost")),
        setup(&upstream, &at("127.0.0.1")).env("SSL_CERT_FILE", &ca),
    ] {
        let gateway = setup.start();
        let away = r#"{"message":"The keys to verify tokens with are not available"}"#;
        refused(&ask(&gateway, &token), 503, away);
        gateway.err.wait("certificate");
    }
    assert_eq!(issuer.requests().len(), 1);
}

/// A token that comes before the keys waits for them, and nobody waits for it.
#[test]
fn a_token_waits_for_slow_keys() {
    let upstream = Upstream::echo();
    let key = Key::ec("k");
    let document = json!({"keys": [&key.public]}).to_string();
    let (go, may) = std::sync::mpsc::channel::<()>();
    let may = Mutex::new(may);
    let slow = Upstream::raw(move |mut serving| {
        serving.request();
        may.lock().unwrap().recv().unwrap();
        serving.reply(200, &[], document.as_bytes());
    });
    let config = format!("jwks_uri: 'http://{slow}/keys'");
    let gateway = setup(&upstream, &config).start();
    slow.wait("it is asked", |seen| seen.requests.len() == 1);
    let token = key.sign(&json!({"sub": "ann", "exp": soon()}));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&gateway, &token));
        assert_eq!(gateway.get("/").status, 401);
        assert!(!waiting.is_finished());
        go.send(()).unwrap();
        assert_eq!(waiting.join().unwrap().status, 200);
    });
    assert_eq!(slow.requests().len(), 1, "one fetch");
}

#[test]
fn wrong_values_are_refused() {
    for (config, message) in [
        ("jwks_uri: 'ftp://a/keys'", "expected an http or https URL"),
        ("jwks_uri: keys", "jwks_uri"),
        (
            "jwks_uri: 'http://a', algorithms: [HS256]",
            "expected one of: RS256",
        ),
        ("jwks_uri: 'http://a', algorithms: []", "algorithms"),
        ("audiences: [a]", "has no effect without jwks_uri or issuer"),
    ] {
        let text = format!("plugins: [{{name: jwt, config: {{{config}}}}}]");
        let mut command = crate::support::command();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let output = command.arg("check").arg(file.path()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(message), "{config}: {told}");
    }
}
