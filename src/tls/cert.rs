//! Certificates with their keys, and certificate authorities: what the file's `certificates` and
//! `ca_certificates` become.
//!
//! Invariant: a [`KeyPair`]'s key fits its leaf certificate, a [`Certificate`]'s two pairs are of
//! different kinds, a [`CaCert`] can anchor chains. Whatever is wrong is said here, once, so that
//! a file that checks loads.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{RootCertStore, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use thiserror::Error;

use crate::tls::der::{self, X509};
use crate::tls::pem::{self, PemError};
use crate::tls::provider;

/// What is wrong with a certificate entity (Kong's `certificates`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertError {
    /// The `cert` (or `cert_alt`) text.
    #[error("invalid certificate: {0}")]
    Certificate(#[source] PemError),
    /// The `key` (or `key_alt`) text.
    #[error("invalid key: {0}")]
    Key(#[source] PemError),
    /// Each is fine, but they do not belong together.
    #[error("certificate does not match key")]
    Mismatch,
    /// `cert_alt` is there so that clients can have RSA or ECDSA.
    #[error(
        "certificate and alternative certificate need to have different type \
         (e.g. RSA and ECDSA), the provided certificates were both of the same type"
    )]
    SameType,
}

/// A certificate chain, leaf first, and the private key of the leaf.
#[derive(Clone)]
pub struct KeyPair(Arc<CertifiedKey>);

impl KeyPair {
    /// Reads a chain and its key from PEM texts. Validity in time is not looked at: an expired
    /// certificate is still served, as Kong does.
    pub fn parse(cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, CertError> {
        let chain = pem::certificates(cert.as_ref()).map_err(CertError::Certificate)?;
        let key = pem::private_key(key.as_ref())
            .and_then(|der| {
                let unsupported = |error: rustls::Error| PemError::UnsupportedKey(reason(error));
                provider()
                    .key_provider
                    .load_private_key(der)
                    .map_err(unsupported)
            })
            .map_err(CertError::Key)?;
        if !fits(&chain[0], key.as_ref()) {
            return Err(CertError::Mismatch);
        }
        Ok(Self(Arc::new(CertifiedKey::new(chain, key))))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.key.algorithm()
    }

    /// When the leaf's validity ends, in seconds since the Unix epoch.
    pub fn not_after(&self) -> u64 {
        let leaf = self.0.cert.first().and_then(|leaf| X509::read(leaf));
        leaf.map_or(u64::MAX, |leaf| leaf.not_after)
    }
}

/// rustls wraps the reason in words of its own.
fn reason(error: rustls::Error) -> String {
    match error {
        rustls::Error::General(reason) => reason,
        other => other.to_string(),
    }
}

/// Compares public keys by their bits: certificates differ in how they write the algorithm.
fn fits(leaf: &CertificateDer<'_>, key: &dyn SigningKey) -> bool {
    let Some(spki) = key.public_key() else {
        return true;
    };
    let of_leaf = X509::read(leaf).map(|leaf| leaf.public_key);
    of_leaf.is_some() && of_leaf == der::public_key(&spki)
}

/// Two pairs are equal when their chains are: the leaf determines the key.
impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.cert == other.0.cert
    }
}

impl Eq for KeyPair {}

impl Hash for KeyPair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.cert.hash(state);
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeyPair({:?}, {} certificates)",
            self.algorithm(),
            self.0.cert.len()
        )
    }
}

/// One certificate entity: a pair, or two of different kinds between which each peer's
/// abilities choose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// The preferred pair: with two, the one that is not RSA.
    first: KeyPair,
    second: Option<KeyPair>,
}

impl Certificate {
    /// A certificate of one kind.
    pub fn new(pair: KeyPair) -> Self {
        Self {
            first: pair,
            second: None,
        }
    }

    /// A certificate of two kinds (`cert_alt`, `key_alt`).
    pub fn with_alt(pair: KeyPair, alt: KeyPair) -> Result<Self, CertError> {
        match (pair.algorithm(), alt.algorithm()) {
            (one, two) if one == two => Err(CertError::SameType),
            (SignatureAlgorithm::RSA, _) => Ok(Self {
                first: alt,
                second: Some(pair),
            }),
            _ => Ok(Self {
                first: pair,
                second: Some(alt),
            }),
        }
    }

    /// When the earlier of the validities ends, in seconds since the Unix epoch.
    pub fn not_after(&self) -> u64 {
        self.pairs()
            .map(KeyPair::not_after)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The pair that can sign for a peer of these abilities; the preferred one if none can.
    pub(super) fn choose(&self, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let able = self
            .pairs()
            .find(|pair| pair.0.key.choose_scheme(schemes).is_some());
        Arc::clone(&able.unwrap_or(&self.first).0)
    }

    fn pairs(&self) -> impl Iterator<Item = &KeyPair> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

/// What is wrong with a certificate authority entity (Kong's `ca_certificates`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaError {
    /// The text.
    #[error("invalid certificate: {0}")]
    Certificate(#[source] PemError),
    /// One entity is one authority.
    #[error("please submit only one certificate at a time")]
    Several,
    /// Nothing that it signed would be accepted.
    #[error("certificate expired, \"Not After\" time is in the past")]
    Expired,
    /// Nothing that it signed would be accepted.
    #[error(
        "certificate does not appear to be a CA because it is missing the \"CA\" basic constraint"
    )]
    NotCa,
    /// It has the form of one, but its contents cannot be used.
    #[error("invalid certificate: it cannot be used as a trust anchor: {0}")]
    Unusable(String),
}

/// A certificate authority.
#[derive(Clone, Debug)]
pub struct CaCert {
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    digest: [u8; 32],
}

impl CaCert {
    /// Reads one authority from a PEM text; `unix_secs` is the present.
    pub fn parse(cert: impl AsRef<[u8]>, unix_secs: u64) -> Result<Self, CaError> {
        let mut found = pem::certificates(cert.as_ref()).map_err(CaError::Certificate)?;
        let (Some(der), true) = (found.pop(), found.is_empty()) else {
            return Err(CaError::Several);
        };
        let Some(read) = X509::read(&der) else {
            return Err(CaError::Certificate(PemError::NotX509(1)));
        };
        if read.not_after < unix_secs {
            return Err(CaError::Expired);
        }
        if !read.is_ca {
            return Err(CaError::NotCa);
        }
        Self::anchored(der)
    }

    fn anchored(der: CertificateDer<'static>) -> Result<Self, CaError> {
        let mut store = RootCertStore::empty();
        store
            .add(der.clone())
            .map_err(|error| CaError::Unusable(error.to_string()))?;
        let anchor = store
            .roots
            .pop()
            .ok_or_else(|| CaError::Unusable("no anchor".to_owned()))?;
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, &der).as_ref());
        Ok(Self {
            der,
            anchor,
            digest,
        })
    }

    /// SHA-256 of the certificate in lower-case hex (Kong's `cert_digest`).
    pub fn digest(&self) -> String {
        self.digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl PartialEq for CaCert {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for CaCert {}

impl Hash for CaCert {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// A set of certificate authorities: equal sets are equal whatever their order was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CaSet(Arc<[CaCert]>);

impl FromIterator<CaCert> for CaSet {
    fn from_iter<I: IntoIterator<Item = CaCert>>(certs: I) -> Self {
        let mut certs: Vec<_> = certs.into_iter().collect();
        certs.sort_by_key(|cert| cert.digest);
        certs.dedup();
        Self(certs.into())
    }
}

impl CaSet {
    /// The set as rustls takes it.
    pub(super) fn store(&self) -> RootCertStore {
        RootCertStore {
            roots: self.0.iter().map(|cert| cert.anchor.clone()).collect(),
        }
    }

    /// Whether this very certificate is a member.
    pub(super) fn has(&self, der: &[u8]) -> bool {
        self.0.iter().any(|cert| cert.der.as_ref() == der)
    }
}

#[cfg(test)]
mod tests;
