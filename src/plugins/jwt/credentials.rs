//! The rows of `jwt_secrets`, each with its key ready to verify.

use std::any::Any;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;
use uuid::Uuid;

use super::key::{Algorithm, NAMES, Verifier};
use crate::config::known::{CredentialId, KnownCredential, credential};
use crate::config::schema::{Literal, Record, Rule, field, one_of, text};
use crate::config::{Fields, Parsed, Report};
use crate::identity::Credential;
use crate::plugin::{CredentialDef, CredentialRow};
use crate::util::base64;
use crate::util::ids::ConsumerIx;

/// The table's key in the file.
pub(super) const CREDENTIALS: &str = "jwt_secrets";

/// The table.
pub(super) const DEF: CredentialDef = CredentialDef {
    known: KnownCredential {
        key: CREDENTIALS,
        record: &CREDENTIAL,
        parse,
        unique: &["key"],
        generated: &["key"],
        stored: &[],
        id: CredentialId::Content,
    },
    index,
};

static CREDENTIAL: Record = credential(&[
    field("key", text()).doc("What the key claim of a token must say; a random text if absent."),
    field("secret", text())
        .secret()
        .doc("Secret for HS algorithms; a random one if absent."),
    field("rsa_public_key", text()).doc("Public key in PEM for all other algorithms."),
    field("algorithm", one_of(NAMES))
        .required()
        .default(Literal::Str("HS256"))
        .doc("Algorithm that tokens must be signed with."),
])
.rules(&[Rule::Check(key_for_algorithm)]);

fn key_for_algorithm(fields: &Fields<'_>, report: &mut Report) {
    let Some(algorithm) = Algorithm::named(fields.str("algorithm")) else {
        return;
    };
    let missing = !fields.has("rsa_public_key");
    if algorithm.needs_key() && missing {
        fields.error(report, "rsa_public_key", "required field missing");
    } else if !algorithm.is_hmac() && missing {
        let message = "without a public key every token is refused";
        fields.warning(report, "rsa_public_key", message);
    } else if algorithm.is_hmac() && !fields.has("secret") {
        fields
            .warning(
                report,
                "",
                "no 'secret': a random one is made, which no client knows",
            )
            .hint("write secret: ..");
    }
}

#[derive(Clone, Debug)]
struct Row {
    /// What the row says, as a number.
    digest: u64,
    key: String,
    algorithm: Algorithm,
    plain: Option<Arc<Verifier>>,
    base64: Option<Arc<Verifier>>,
}

fn parse(fields: &Fields<'_>, report: &mut Report) -> Option<Parsed> {
    let random = || Uuid::new_v4().simple().to_string();
    let algorithm = Algorithm::named(fields.str("algorithm"))?;
    let key = fields.opt_string("key").unwrap_or_else(random);
    let (plain, base64) = if algorithm.is_hmac() {
        let secret = fields.opt_string("secret").unwrap_or_else(random);
        let decoded = base64::decode(secret.as_bytes()).unwrap_or_default();
        let verifier = |secret: &[u8]| Verifier::secret(algorithm, secret).map(Arc::new);
        (verifier(secret.as_bytes()), verifier(&decoded))
    } else {
        let public = public(algorithm, fields, report)?;
        (public.clone(), public)
    };
    Some(Parsed::new(Row {
        digest: fields.digest(""),
        key,
        algorithm,
        plain,
        base64,
    }))
}

/// The public key; `None` after it was reported.
fn public(
    algorithm: Algorithm,
    fields: &Fields<'_>,
    report: &mut Report,
) -> Option<Option<Arc<Verifier>>> {
    let Some(pem) = fields.opt_str("rsa_public_key") else {
        return Some(None);
    };
    match Verifier::public(algorithm, pem) {
        Ok(verifier) => {
            if verifier.is_weak() {
                let message = "an RSA key of less than 2048 bits is too weak";
                fields.warning(report, "rsa_public_key", message);
            }
            Some(Some(Arc::new(verifier)))
        }
        Err(message) => {
            let (message, hint) = message.split_once('\n').unwrap_or((&message, ""));
            let issue = fields.error(report, "rsa_public_key", message);
            if !hint.is_empty() {
                issue.hint(hint);
            }
            None
        }
    }
}

/// One credential.
#[derive(Debug)]
pub(super) struct Secret {
    /// Its id, and what the key claim says.
    pub(super) credential: Arc<Credential>,
    pub(super) consumer: ConsumerIx,
    /// The only one that its tokens may be signed with.
    pub(super) algorithm: Algorithm,
    plain: Option<Arc<Verifier>>,
    base64: Option<Arc<Verifier>>,
}

impl Secret {
    /// The key, its secret taken as it stands or as base64.
    pub(super) fn verifier(&self, is_base64: bool) -> Option<&Verifier> {
        let verifier = if is_base64 { &self.base64 } else { &self.plain };
        verifier.as_deref()
    }
}

/// Every credential of a file by its key.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_key: HashMap<String, Arc<Secret>>,
    /// What all of them say, as a number: another one where any has changed, or belongs to another
    /// consumer.
    pub(super) digest: u64,
}

impl Secrets {
    pub(super) fn get(&self, key: &str) -> Option<&Arc<Secret>> {
        self.by_key.get(key)
    }
}

fn index(rows: Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync> {
    let mut secrets = Secrets::default();
    for row in rows {
        let Some(parsed) = row.parsed.get::<Row>().cloned() else {
            continue;
        };
        let own = (&row.id, parsed.digest, &parsed.key, row.consumer.ix());
        let own = FixedState::default().hash_one(own);
        secrets.digest = secrets.digest.wrapping_add(own);
        let secret = Secret {
            credential: Arc::new(Credential {
                id: row.id,
                identifier: parsed.key.clone(),
            }),
            consumer: row.consumer,
            algorithm: parsed.algorithm,
            plain: parsed.plain,
            base64: parsed.base64,
        };
        secrets.by_key.insert(parsed.key, Arc::new(secret));
    }
    Arc::new(secrets)
}
