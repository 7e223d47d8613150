//! Tokens of every kind, good and bad, as a client presents them.

mod keys;

use proptest::prelude::*;
use serde_json::json;

use self::keys::{Signer, base64, pem, signer};
use super::*;
use crate::plugin::testkit::{Answer, Kit, config_issues, issues};

const NOW: u64 = 1_700_000_000;
const SECRET: &str = "s3cr3t";

/// A consumer `alice` with these rows of `jwt_secrets`, and one configuration.
fn file(rows: &str, config: &str) -> String {
    format!(
        "consumers:
- username: nobody
- username: alice
  jwt_secrets: [{rows}]
plugins:
- name: jwt
  config: {config}
"
    )
}

fn hs256(key: &str) -> String {
    format!("{{id: 22222222-2222-4222-8222-222222222222, key: {key}, secret: {SECRET}}}")
}

fn kit(rows: &str, config: &str) -> Kit {
    clock::set_wall(NOW * 1000);
    Kit::new(&[&PLUGIN], &file(rows, config))
}

fn with_token(token: &str) -> String {
    format!("GET / HTTP/1.1\nAuthorization: Bearer {token}")
}

/// A token that `alice` could have signed with her secret.
fn token(claims: Value) -> String {
    Signer::Secret("HS256", SECRET).sign(&json!({"typ": "JWT", "alg": "HS256"}), &claims)
}

/// Sends a token to an instance that knows `alice` as issuer `a`.
fn answer(config: &str, token: &str) -> Answer {
    kit(&hs256("a"), config).send(&with_token(token))
}

fn refused(answer: &Answer) -> (u16, &str, &str) {
    assert!(!answer.passed());
    let challenge = answer.header("WWW-Authenticate").unwrap();
    (answer.status, answer.body.as_str(), challenge)
}

const INVALID: &str = "Bearer error=\"invalid_token\"";

#[test]
fn a_token_makes_a_consumer() {
    let answer = answer("{}", &token(json!({"iss": "a"})));
    assert_eq!(answer.upstream("X-Consumer-Username"), Some("alice"));
    assert_eq!(answer.upstream("X-Credential-Identifier"), Some("a"));
    assert_eq!(
        answer.facts.credential.unwrap().id,
        "22222222-2222-4222-8222-222222222222"
    );
}

#[test]
fn the_example_of_rfc_7515_is_good() {
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let row = "{key: joe, secret: AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow}";
    let kit = kit(row, "{secret_is_base64: true, claims_to_verify: [exp]}");
    assert_eq!(
        refused(&kit.send(&with_token(token))).1,
        r#"{"exp":"token expired"}"#
    );
    clock::set_wall(1_300_819_379_999);
    assert!(kit.send(&with_token(token)).passed());
    clock::set_wall(1_300_819_380_000);
    assert!(!kit.send(&with_token(token)).passed());
}

#[test]
fn every_algorithm_is_verified_and_bound_to_its_credential() {
    for name in key::NAMES {
        let signer = signer(name);
        let kit = kit(&signer.row("a"), "{}");
        let header = json!({"alg": name});
        let good = signer.sign(&header, &json!({"iss": "a"}));
        assert!(kit.send(&with_token(&good)).passed(), "{name}");
        let forged = signer.sign(&header, &json!({"iss": "a", "admin": true}));
        let (signed, _) = forged.rsplit_once('.').unwrap();
        let (_, signature) = good.rsplit_once('.').unwrap();
        let mixed = kit.send(&with_token(&format!("{signed}.{signature}")));
        assert_eq!(
            refused(&mixed),
            (401, r#"{"message":"Invalid signature"}"#, INVALID)
        );
        for other in key::NAMES.iter().filter(|other| *other != name) {
            let token = signer.sign(&json!({"alg": other}), &json!({"iss": "a"}));
            let answer = kit.send(&with_token(&token));
            assert_eq!(
                refused(&answer).1,
                r#"{"message":"Invalid algorithm"}"#,
                "{name} {other}"
            );
        }
        let kit = self::kit(&signer.row("a"), "{}");
        for length in [1, 63, 65, 131, 133, 257] {
            let token = format!("{signed}.{}", base64(&vec![7; length]));
            assert_eq!(
                refused(&kit.send(&with_token(&token))).1,
                r#"{"message":"Invalid signature"}"#
            );
        }
    }
}

#[test]
fn tokens_of_another_implementation_are_good() {
    for name in key::NAMES.iter().filter(|name| **name != "ES512") {
        let signer = signer(name);
        let token = signer.sign_elsewhere(name, &json!({"iss": "a"}));
        assert!(
            kit(&signer.row("a"), "{}")
                .send(&with_token(&token))
                .passed(),
            "{name}"
        );
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // The classic confusion: an HS256 token signed with the text of the public key.
    let signer = signer("RS256");
    let pem = pem(&signer);
    for secret in [pem.as_str(), pem.trim()] {
        let forged =
            Signer::Secret("HS256", secret).sign(&json!({"alg": "HS256"}), &json!({"iss": "a"}));
        let answer = kit(&signer.row("a"), "{}").send(&with_token(&forged));
        assert_eq!(refused(&answer).1, r#"{"message":"Invalid algorithm"}"#);
    }
    for alg in ["none", "None", "NONE", "", "hs256", "HS1", "ES256K"] {
        let header = base64(json!({ "alg": alg }).to_string().as_bytes());
        let claims = base64(br#"{"iss":"a"}"#);
        for token in [
            format!("{header}.{claims}."),
            format!("{header}.{claims}.AAAA"),
        ] {
            let answer = answer("{}", &token);
            assert_eq!(
                refused(&answer).1,
                r#"{"message":"Bad token; invalid alg"}"#
            );
        }
    }
}

#[test]
fn refusals_come_in_order_and_say_why() {
    let part = |json: &str| base64(json.as_bytes());
    let (hs, good) = (part(r#"{"alg":"HS256"}"#), part(r#"{"iss":"a"}"#));
    let signed = |claims: Value| token(claims);
    for (token, want) in [
        ("x".to_owned(), "Bad token; invalid JSON"),
        (format!("{hs}.{good}"), "Bad token; invalid JSON"),
        (format!("{hs}.{good}.AA.AA"), "Bad token; invalid JSON"),
        (
            format!("{hs}.{}.AAAA", part("{")),
            "Bad token; invalid JSON",
        ),
        (format!("!.{good}.AAAA"), "Bad token; invalid JSON"),
        (
            format!("{}.{}.AAAA", part("{}"), part("null")),
            "Bad token; invalid alg",
        ),
        (
            format!("{}.{good}.AAAA", part("[]")),
            "Bad token; invalid alg",
        ),
        (
            format!("{}.{good}.AAAA", part(r#"{"alg":256}"#)),
            "Bad token; invalid alg",
        ),
        (
            format!("{hs}.{}.AAAA", part("null")),
            "Bad token; invalid claims",
        ),
        (
            format!("{hs}.{}.AAAA", part("[1]")),
            "Bad token; invalid claims",
        ),
        (format!("{hs}.{good}."), "Bad token; invalid signature"),
        (format!("{hs}.{good}.!"), "Bad token; invalid signature"),
        (signed(json!({})), "No mandatory 'iss' in claims"),
        (signed(json!({"iss": null})), "No mandatory 'iss' in claims"),
        (signed(json!({"iss": ""})), "Invalid 'iss' in claims"),
        (
            signed(json!({"iss": "b"})),
            "No credentials found for given 'iss'",
        ),
        (
            signed(json!({"iss": 1})),
            "No credentials found for given 'iss'",
        ),
        (format!("{hs}.{good}.AAAA"), "Invalid signature"),
        (
            format!("{}.{good}.AAAA", part(r#"{"alg":"HS384"}"#)),
            "Invalid algorithm",
        ),
    ] {
        let answer = answer("{}", &token);
        let body = json!({ "message": want }).to_string();
        assert_eq!(refused(&answer), (401, body.as_str(), INVALID), "{token}");
    }
    let answer = kit(&hs256("a"), "{realm: R}").send(&with_token("x"));
    assert_eq!(
        refused(&answer).2,
        "Bearer realm=\"R\", error=\"invalid_token\""
    );
}

#[test]
fn without_a_token_there_is_less_to_say() {
    for (config, request, challenge) in [
        ("{}", "GET / HTTP/1.1", "Bearer"),
        (
            "{realm: R}",
            "GET /?jwt=&jwt HTTP/1.1",
            "Bearer realm=\"R\"",
        ),
        ("{}", "GET / HTTP/1.1\nAuthorization: Basic YTpi", "Bearer"),
        ("{}", "OPTIONS / HTTP/1.1", "Bearer"),
    ] {
        let answer = kit(&hs256("a"), config).send(request);
        assert_eq!(
            refused(&answer),
            (401, r#"{"message":"Unauthorized"}"#, challenge)
        );
    }
    assert!(
        kit(&hs256("a"), "{run_on_preflight: false}")
            .send("OPTIONS / HTTP/1.1")
            .passed()
    );
}

#[test]
fn tokens_are_found_in_all_their_places() {
    let t = token(json!({"iss": "a"}));
    let everywhere =
        "{uri_param_names: [t, jwt], cookie_names: [c], header_names: [x-token, authorization]}";
    for (config, request, passes) in [
        ("{}", format!("GET /?a=1&jwt={t} HTTP/1.1"), true),
        (
            "{uri_param_names: []}",
            format!("GET /?jwt={t} HTTP/1.1"),
            false,
        ),
        (everywhere, format!("GET /?t={t} HTTP/1.1"), true),
        (
            everywhere,
            format!("GET / HTTP/1.1\nCookie: a=1; c={t}; b=2"),
            true,
        ),
        (
            everywhere,
            format!("GET / HTTP/1.1\nX-Token: bearer {t}"),
            true,
        ),
        (everywhere, format!("GET / HTTP/1.1\nX-Token: {t}"), false),
        // The same token twice is one token; only the first header of a name is read.
        (
            everywhere,
            format!("GET /?t={t}&jwt={t} HTTP/1.1\nCookie: c={t}"),
            true,
        ),
        (
            everywhere,
            format!("GET / HTTP/1.1\nX-Token: Bearer {t}\nX-Token: Bearer other"),
            true,
        ),
    ] {
        let answer = kit(&hs256("a"), config).send(&request);
        assert_eq!(answer.passed(), passes, "{config} {request}");
    }
    for request in [
        format!("GET /?t={t}&t=other HTTP/1.1"),
        format!("GET /?t={t} HTTP/1.1\nCookie: c=other"),
        "GET /?jwt=x HTTP/1.1\nAuthorization: Bearer y".to_owned(),
    ] {
        let answer = kit(&hs256("a"), everywhere).send(&request);
        assert_eq!(
            refused(&answer),
            (401, r#"{"message":"Multiple tokens provided"}"#, INVALID)
        );
    }
    let kept = kit(&hs256("a"), "{}").send(&with_token(&t));
    assert_eq!(
        kept.upstream("Authorization"),
        Some(format!("Bearer {t}").as_str())
    );
}

#[test]
fn the_key_claim_may_be_another_and_stand_in_the_header() {
    let signer = Signer::Secret("HS256", SECRET);
    let in_header = signer.sign(&json!({"alg": "HS256", "kid": "a"}), &json!({}));
    assert!(answer("{key_claim_name: kid}", &in_header).passed());
    let both = signer.sign(&json!({"alg": "HS256", "kid": "b"}), &json!({"kid": "a"}));
    assert!(answer("{key_claim_name: kid}", &both).passed());
    let neither = answer("{key_claim_name: kid}", &token(json!({"iss": "a"})));
    assert_eq!(
        refused(&neither).1,
        r#"{"message":"No mandatory 'kid' in claims"}"#
    );
}

#[test]
fn times_are_whole_seconds_without_leeway() {
    let both = "{claims_to_verify: [exp, nbf]}";
    let exp = "{claims_to_verify: [exp]}";
    for (config, claims, want) in [
        (exp, json!({"exp": NOW + 1}), ""),
        (exp, json!({"exp": NOW}), r#"{"exp":"token expired"}"#),
        (exp, json!({"exp": NOW as f64 + 0.5}), ""),
        (
            exp,
            json!({"exp": "9999999999"}),
            r#"{"exp":"must be a number"}"#,
        ),
        (exp, json!({}), r#"{"exp":"must be a number"}"#),
        (exp, json!({"exp": NOW + 1, "nbf": NOW + 9}), ""),
        (both, json!({"exp": NOW + 1, "nbf": NOW}), ""),
        (
            both,
            json!({"exp": NOW + 1, "nbf": NOW + 1}),
            r#"{"nbf":"token not valid yet"}"#,
        ),
        (
            both,
            json!({"exp": NOW, "nbf": null}),
            r#"{"exp":"token expired","nbf":"must be a number"}"#,
        ),
        ("{}", json!({"exp": 1}), ""),
    ] {
        let mut claims = claims;
        claims["iss"] = "a".into();
        let answer = answer(config, &token(claims.clone()));
        if want.is_empty() {
            assert!(answer.passed(), "{claims}");
        } else {
            assert_eq!(refused(&answer), (401, want, INVALID), "{claims}");
            assert_eq!(
                answer.header("Content-Type"),
                Some("application/json; charset=utf-8")
            );
        }
    }
}

#[test]
fn tokens_may_not_live_too_long() {
    let config = "{claims_to_verify: [exp], maximum_expiration: 60}";
    assert!(answer(config, &token(json!({"iss": "a", "exp": NOW + 60}))).passed());
    let long = answer(config, &token(json!({"iss": "a", "exp": NOW + 61})));
    assert_eq!(
        refused(&long).1,
        r#"{"exp":"exceeds maximum allowed expiration"}"#
    );
}

#[test]
fn a_remembered_token_ends_as_any_other() {
    let kit = kit(&hs256("a"), "{claims_to_verify: [exp, nbf]}");
    let request = with_token(&token(json!({"iss": "a", "exp": NOW + 2, "nbf": NOW + 1})));
    for (at, passes) in [
        (0, false),
        (1, true),
        (1, true),
        (2, false),
        (0, false),
        (1, true),
    ] {
        clock::set_wall((NOW + at) * 1000);
        assert_eq!(kit.send(&request).passed(), passes);
    }
    // What was never verified is not remembered either.
    let forged = with_token(&(token(json!({"iss": "a"})) + "A"));
    assert!(!kit.send(&forged).passed() && !kit.send(&forged).passed());
}

#[test]
fn a_changed_secret_forgets_its_tokens() {
    let keeps = crate::util::keep::Keeps::default();
    let request = with_token(&token(json!({"iss": "a"})));
    let before = Kit::adopting(&[&PLUGIN], &file(&hs256("a"), "{}"), &keeps);
    assert!(before.send(&request).passed());
    let other = file("{key: a, secret: other}", "{}");
    assert!(
        !Kit::adopting(&[&PLUGIN], &other, &keeps)
            .send(&request)
            .passed()
    );
    assert!(before.send(&request).passed());
}

#[test]
fn keys_that_cannot_be_used_let_nobody_in() {
    let plain = token(json!({"iss": "a"}));
    let answer =
        kit("{key: a, secret: 'no base64'}", "{secret_is_base64: true}").send(&with_token(&plain));
    assert_eq!(refused(&answer).1, r#"{"message":"Invalid key/secret"}"#);
    let elliptic = signer("ES256").sign(&json!({"alg": "ES256"}), &json!({"iss": "a"}));
    let answer = kit("{key: a, algorithm: ES256}", "{}").send(&with_token(&elliptic));
    assert_eq!(refused(&answer).1, r#"{"message":"Invalid key/secret"}"#);
}

#[test]
fn anonymous_clients_are_let_in_as_such() {
    let kit = kit(&hs256("a"), "{anonymous: nobody}");
    for request in ["GET / HTTP/1.1", "GET /?jwt=x HTTP/1.1"] {
        let answer = kit.send(request);
        assert_eq!(answer.upstream("X-Consumer-Username"), Some("nobody"));
        assert_eq!(answer.upstream("X-Anonymous-Consumer"), Some("true"));
    }
    let known = kit.send(&with_token(&token(json!({"iss": "a"}))));
    assert_eq!(known.upstream("X-Consumer-Username"), Some("alice"));
}

#[test]
fn one_of_several_proofs_is_enough_where_all_are_anonymous() {
    use crate::plugins::key_auth;
    let yaml = format!(
        "consumers:
- username: nobody
- username: alice
  jwt_secrets: [{}]
- username: bob
  keyauth_credentials: [{{key: k}}]
plugins:
- {{name: jwt, config: {{anonymous: nobody}}}}
- {{name: key-auth, config: {{anonymous: nobody}}}}
",
        hs256("a")
    );
    let kit = Kit::new(&[&PLUGIN, &key_auth::PLUGIN], &yaml);
    let jwt = with_token(&token(json!({"iss": "a"})));
    for (request, who, anonymous) in [
        ("GET / HTTP/1.1".to_owned(), "nobody", Some("true")),
        (jwt.clone(), "alice", None),
        ("GET /?apikey=k HTTP/1.1".to_owned(), "bob", None),
        (jwt + "\napikey: k", "alice", None),
    ] {
        let answer = kit.send(&request);
        assert_eq!(answer.upstream("X-Consumer-Username"), Some(who));
        assert_eq!(answer.upstream("X-Anonymous-Consumer"), anonymous);
    }
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{uri_param_names: ['']}",
            "f:3:30: error: plugins[0].config.uri_param_names[0]: length must be at least 1",
        ),
        (
            "{cookie_names: ['a b']}",
            "f:3:27: error: plugins[0].config.cookie_names[0]: bad cookie name 'a b'",
        ),
        (
            "{header_names: ['a b']}",
            "f:3:27: error: plugins[0].config.header_names[0]: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'",
        ),
        (
            "{key_claim_name: ''}",
            "f:3:28: error: plugins[0].config.key_claim_name: length must be at least 1",
        ),
        (
            "{claims_to_verify: [iat]}",
            "f:3:31: error: plugins[0].config.claims_to_verify[0]: expected one of: exp, nbf",
        ),
        (
            "{claims_to_verify: exp}",
            "f:3:30: error: plugins[0].config.claims_to_verify: expected a set, got \"exp\"",
        ),
        (
            "{claims_to_verify: [exp], maximum_expiration: 31536001}",
            "f:3:57: error: plugins[0].config.maximum_expiration: value should be between 0 and 31536000",
        ),
        (
            "{claims_to_verify: [nbf], maximum_expiration: 5}",
            "f:3:30: error: plugins[0].config.claims_to_verify: expected to contain: exp",
        ),
        (
            "{maximum_expiration: 5}",
            "f:3:11: error: plugins[0].config.claims_to_verify: expected to contain: exp",
        ),
        (
            "{secret_is_base64: 1}",
            "f:3:30: error: plugins[0].config.secret_is_base64: expected a boolean, got 1",
        ),
        (
            "{run_on_preflight: null}",
            "f:3:30: error: plugins[0].config.run_on_preflight: required field missing",
        ),
        (
            "{claims_to_verify: [exp], jwks_uri: 'ftp://a/jwks'}",
            "f:3:47: error: plugins[0].config.jwks_uri: expected an http or https URL",
        ),
        (
            "{claims_to_verify: [exp], audiences: [a]}",
            "f:3:48: warning: plugins[0].config.audiences: has no effect without jwks_uri or issuer",
        ),
        (
            "{}",
            "f:3:11: warning: plugins[0].config.claims_to_verify: without exp in it, tokens never expire",
        ),
    ] {
        assert_eq!(config_issues(&PLUGIN, config)[0], want);
    }
    assert_eq!(config_issues(&PLUGIN, "{claims_to_verify: [exp]}"), [""; 0]);
}

#[test]
fn wrong_credentials_are_refused() {
    let weak = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDCJQeMX5pGjRGXACdBBzBgXa+kpEZsNdCcOw0lkXMNkXoMWNOXd3tcN4rxZnz2jVgHoUvTOrRHejT4eYd+lC8S72O/xONouC/Y01o3ttYMH6aBV3kd2fig5/lCho+AxgE0yRZqrxWmwJgPvGQejvUhP1rB0dyMgexupsvMf7rc1wIDAQAB";
    let block = |label: &str, body: &str| {
        serde_json::json!(format!(
            "-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
        ))
    };
    let (p256, ed) = (json!(pem(&signer("ES256"))), json!(pem(&signer("EdDSA"))));
    let key = |algorithm: &str, pem: &Value| {
        format!("{{key: a, algorithm: {algorithm}, rsa_public_key: {pem}}}")
    };
    for (row, want) in [
        (
            "{key: a, algorithm: RS256}".to_owned(),
            "error: {}.rsa_public_key: required field missing",
        ),
        (
            "{key: a, algorithm: PS512}".to_owned(),
            "error: {}.rsa_public_key: required field missing",
        ),
        (
            "{key: a, algorithm: EdDSA}".to_owned(),
            "error: {}.rsa_public_key: required field missing",
        ),
        (
            "{key: a, algorithm: ES256}".to_owned(),
            "warning: {}.rsa_public_key: without a public key every token is refused",
        ),
        (
            "{key: a, algorithm: none}".to_owned(),
            "error: {}.algorithm: expected one of: HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512, EdDSA",
        ),
        (
            "{key: a}".to_owned(),
            "warning: {}: no 'secret': a random one is made, which no client knows",
        ),
        (
            "{secret: s}".to_owned(),
            "warning: {}: no 'key': a random one is made, which no client knows",
        ),
        (
            "{key: a, secret: ''}".to_owned(),
            "error: {}.secret: invalid value",
        ),
        (
            key("RS256", &json!("text")),
            "error: {}.rsa_public_key: invalid key: expected PEM",
        ),
        (
            key("RS256", &block("PUBLIC KEY", "!!")),
            "error: {}.rsa_public_key: invalid key: the PEM block is no base64",
        ),
        (
            key("RS256", &json!("-----BEGIN PUBLIC KEY-----\nAAAA")),
            "error: {}.rsa_public_key: invalid key: the PEM block does not end",
        ),
        (
            key("RS256", &block("PUBLIC KEY", "AAAA")),
            "error: {}.rsa_public_key: invalid key: RS256 needs an RSA key",
        ),
        (
            key("RS256", &block("CERTIFICATE", "AAAA")),
            "error: {}.rsa_public_key: invalid key: this is a certificate",
        ),
        (
            key("RS256", &block("RSA PRIVATE KEY", "AAAA")),
            "error: {}.rsa_public_key: invalid key: this is a private key, which the gateway must not have",
        ),
        (
            key("RS256", &p256),
            "error: {}.rsa_public_key: invalid key: RS256 needs an RSA key",
        ),
        (
            key("ES384", &p256),
            "error: {}.rsa_public_key: invalid key: ES384 needs an EC key on the curve P-384",
        ),
        (
            key("ES512", &ed),
            "error: {}.rsa_public_key: invalid key: ES512 needs an EC key on the curve P-521",
        ),
        (
            key("EdDSA", &p256),
            "error: {}.rsa_public_key: invalid key: EdDSA needs an Ed25519 key",
        ),
        (
            key("RS256", &block("PUBLIC KEY", weak)),
            "warning: {}.rsa_public_key: an RSA key of less than 2048 bits is too weak",
        ),
        (
            key("RS384", &block("PUBLIC KEY", weak)),
            "error: {}.rsa_public_key: invalid key: this algorithm needs an RSA key of at least 2048 bits",
        ),
    ] {
        let yaml = file(&row, "{claims_to_verify: [exp]}");
        let found = issues(&[&PLUGIN], &yaml);
        let want = want.replacen("{}", "consumers[1].jwt_secrets[0]", 1);
        let line = found[0].split_once(": ").unwrap();
        assert_eq!(line.1, want);
        let place: Vec<&str> = line.0.split(':').collect();
        assert_eq!(place[1], "4");
        if let Some(at) = row.find("rsa_public_key: ") {
            let column = "  jwt_secrets: [".len() + at + "rsa_public_key: ".len() + 1;
            assert_eq!(place[2], column.to_string());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_is_parsed_without_harm(text in "\\PC{0,60}", parts in proptest::collection::vec("[A-Za-z0-9_=.-]{0,24}", 0..5)) {
        let _ = Token::parse(&text);
        let _ = Token::parse(&parts.join("."));
    }

    #[test]
    fn any_json_is_parsed_without_harm(header in "[{}\\[\\]\":,a-z0-9]{0,20}", claims in "[{}\\[\\]\":,a-z0-9.e-]{0,30}") {
        let token = format!("{}.{}.AAAA", base64(header.as_bytes()), base64(claims.as_bytes()));
        let _ = Token::parse(&token);
        let token = format!("{}.{}.AAAA", base64(b"{\"alg\":\"HS256\"}"), base64(claims.as_bytes()));
        let _ = Token::parse(&token);
    }
}

#[test]
fn one_changed_character_spoils_a_token() {
    let good = token(json!({"iss": "a"}));
    let kit = kit(&hs256("a"), "{}");
    for at in 0..good.len() {
        for with in ["A", "B", "z", "_", "."] {
            let mut changed = good.clone();
            changed.replace_range(at..=at, with);
            let passes = kit.send(&with_token(&changed)).passed();
            assert_eq!(passes, changed == good, "{changed}");
        }
    }
}
