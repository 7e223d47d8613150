//! Certificates and keys out of PEM text, with errors that say what was found instead.
//!
//! Invariant: a returned certificate has been read as X.509, a returned key is of a kind that can
//! be parsed further; blocks of other kinds beside them are skipped, as OpenSSL does.

use rustls_pki_types::pem::{self, PemObject, SectionKind};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use thiserror::Error;

use crate::tls::der::X509;

/// What is wrong with a PEM text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PemError {
    /// There is no `-----BEGIN` line at all.
    #[error("no PEM block found, expected -----BEGIN {wanted}-----")]
    Nothing {
        /// The label that was looked for.
        wanted: &'static str,
    },
    /// There are blocks, none of the right kind.
    #[error("expected a {wanted} block, found {found}")]
    Other {
        /// The label that was looked for.
        wanted: &'static str,
        /// The label of the first block.
        found: String,
    },
    /// The key can only be read with a passphrase.
    #[error("the private key is encrypted, a key without passphrase is needed")]
    Encrypted,
    /// A block does not end, or is not base64.
    #[error("damaged PEM block: {0}")]
    Damaged(String),
    /// A block's content is no certificate.
    #[error("certificate {0} is not a valid X.509 certificate")]
    NotX509(
        /// Which one, counted from 1.
        usize,
    ),
    /// The key is of a kind or size that TLS here cannot use.
    #[error("unsupported private key: {0}")]
    UnsupportedKey(String),
}

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// The certificates of a text in their order, at least one: a chain has its leaf first.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(damaged)?;
        if kind == SectionKind::Certificate {
            X509::read(&der).ok_or(PemError::NotX509(found.len() + 1))?;
            found.push(CertificateDer::from(der));
        }
    }
    if found.is_empty() {
        Err(missing(text, CERTIFICATE))
    } else {
        Ok(found)
    }
}

/// The first private key of a text: PKCS #8, PKCS #1 or SEC1.
pub(super) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    // The old way to encrypt keeps the label and adds a header, which is no base64.
    if labels(text).any(|label| label == "ENCRYPTED PRIVATE KEY")
        || memchr::memmem::find(text, b"Proc-Type: 4,ENCRYPTED").is_some()
    {
        return Err(PemError::Encrypted);
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        return Ok(match section.map_err(damaged)? {
            (SectionKind::PrivateKey, der) => PrivatePkcs8KeyDer::from(der).into(),
            (SectionKind::RsaPrivateKey, der) => PrivatePkcs1KeyDer::from(der).into(),
            (SectionKind::EcPrivateKey, der) => PrivateSec1KeyDer::from(der).into(),
            _ => continue,
        });
    }
    Err(missing(text, PRIVATE_KEY))
}

fn missing(text: &[u8], wanted: &'static str) -> PemError {
    match labels(text).next() {
        Some(found) => PemError::Other { wanted, found },
        None => PemError::Nothing { wanted },
    }
}

/// The labels of all blocks, those of unknown kind too.
fn labels(text: &[u8]) -> impl Iterator<Item = String> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let label = line
            .trim_ascii()
            .strip_prefix(b"-----BEGIN ")?
            .strip_suffix(b"-----")?;
        Some(String::from_utf8_lossy(label).into_owned())
    })
}

fn damaged(error: pem::Error) -> PemError {
    PemError::Damaged(match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let label = String::from_utf8_lossy(&end_marker);
            format!("the line -----END {label}----- is missing")
        }
        pem::Error::IllegalSectionStart { line } => {
            format!(
                "cannot read the line {}",
                String::from_utf8_lossy(&line).trim_end()
            )
        }
        pem::Error::Base64Decode(_) => "not valid base64".to_owned(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::testing::{authority, leaf};

    #[test]
    fn a_chain_keeps_its_order_and_skips_the_rest() {
        let ca = authority("Root");
        let leaf = leaf(&ca, &["a.test"]);
        let text = format!("a comment\n{}{}{}", leaf.key_pem(), leaf.pem(), ca.pem());
        let found = certificates(text.as_bytes()).unwrap();
        assert_eq!(found, [leaf.der().clone(), ca.der().clone()]);
        let windows = text.replace('\n', "\r\n");
        assert_eq!(certificates(windows.as_bytes()).unwrap(), found);
    }

    #[test]
    fn keys_of_all_three_forms_are_found() {
        let body = "MAA=\n";
        for (label, is) in [
            ("PRIVATE KEY", "Pkcs8"),
            ("RSA PRIVATE KEY", "Pkcs1"),
            ("EC PRIVATE KEY", "Sec1"),
        ] {
            let text = format!(
                "-----BEGIN EC PARAMETERS-----\n{body}-----END EC PARAMETERS-----\n\
                 -----BEGIN {label}-----\n{body}-----END {label}-----\n"
            );
            let key = private_key(text.as_bytes()).unwrap();
            let form = match key {
                PrivateKeyDer::Pkcs1(_) => "Pkcs1",
                PrivateKeyDer::Sec1(_) => "Sec1",
                _ => "Pkcs8",
            };
            assert_eq!(form, is);
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let ca = authority("Root");
        let block = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        let certificate = |text: &str| certificates(text.as_bytes()).unwrap_err().to_string();
        let key = |text: &str| private_key(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(
            certificate(""),
            "no PEM block found, expected -----BEGIN CERTIFICATE-----"
        );
        assert_eq!(
            certificate(&ca.key_pem()),
            "expected a CERTIFICATE block, found PRIVATE KEY"
        );
        assert_eq!(
            certificate(&block("TRUSTED CERTIFICATE")),
            "expected a CERTIFICATE block, found TRUSTED CERTIFICATE"
        );
        assert_eq!(
            certificate(&(ca.pem() + &block("CERTIFICATE"))),
            "certificate 2 is not a valid X.509 certificate"
        );
        assert_eq!(
            certificate("-----BEGIN CERTIFICATE-----\nMAA=\n"),
            "damaged PEM block: the line -----END CERTIFICATE----- is missing"
        );
        assert_eq!(
            certificate("-----BEGIN CERTIFICATE-----\nM\u{e4}A=\n-----END CERTIFICATE-----\n"),
            "damaged PEM block: not valid base64"
        );
        assert_eq!(
            key("nothing"),
            "no PEM block found, expected -----BEGIN PRIVATE KEY-----"
        );
        assert_eq!(
            key(&ca.pem()),
            "expected a PRIVATE KEY block, found CERTIFICATE"
        );
        let encrypted = "the private key is encrypted, a key without passphrase is needed";
        assert_eq!(key(&block("ENCRYPTED PRIVATE KEY")), encrypted);
        assert_eq!(
            key("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMAA=\n"),
            encrypted
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "(-----BEGIN |-----END |CERTIFICATE|-----|\n|[A-Z=]{4}){0,12}") {
            let _ = certificates(text.as_bytes());
            let _ = private_key(text.as_bytes());
        }
    }
}
