//! The certificate for clients that no server name of the file covers.
//!
//! Invariant: there always is one. Files that cannot be read or do not fit together (half
//! written, say) leave the one in use in place, and are reported once per content.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use aws_lc_rs::digest::{self, SHA256};
use thiserror::Error;

use crate::tls::cert::{CertError, Certificate, KeyPair};

/// The default certificate could not be made.
#[derive(Debug, Error)]
pub enum DefaultCertError {
    /// A file of `ssl_cert` or `ssl_cert_key` is not readable.
    #[error("{}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The files are readable and wrong.
    #[error("{}: {error}", cert.display())]
    Invalid {
        /// The certificate's file.
        cert: PathBuf,
        /// What is wrong with it, or with its key.
        error: CertError,
    },
    /// More than two certificates, or none.
    #[error("one certificate, or one of each kind (RSA and ECDSA), can be the default; got {0}")]
    Count(usize),
    /// Making the self-signed certificate failed.
    #[error("cannot make a self-signed certificate: {0}")]
    SelfSigned(String),
}

/// Where a default certificate is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// PEM file of the chain, leaf first (`ssl_cert`).
    pub cert: PathBuf,
    /// PEM file of the private key (`ssl_cert_key`).
    pub key: PathBuf,
}

/// The default certificate, self-signed or read from files that may change.
pub struct DefaultCert {
    current: RwLock<Certificate>,
    /// Empty: self-signed.
    files: Vec<CertFiles>,
    /// What the files held when they were last looked at.
    seen: Mutex<Seen>,
}

/// The content of all files as a digest; `None` is a file that could not be read.
type Seen = Option<[u8; 32]>;

impl DefaultCert {
    /// A fresh self-signed certificate for `localhost`. The caller announces it.
    pub fn self_signed() -> Result<Self, DefaultCertError> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
            .map_err(|error| DefaultCertError::SelfSigned(error.to_string()))?;
        let pair = KeyPair::parse(made.cert.pem(), made.signing_key.serialize_pem())
            .map_err(|error| DefaultCertError::SelfSigned(error.to_string()))?;
        Ok(Self::of(Certificate::new(pair), Vec::new(), None))
    }

    /// The certificate of one pair of files, or of two pairs of different kinds.
    pub fn from_files(files: Vec<CertFiles>) -> Result<Self, DefaultCertError> {
        let texts = read(&files)?;
        let certificate = parse(&files, &texts)?;
        Ok(Self::of(certificate, files, Some(texts.digest())))
    }

    /// A given certificate that never changes.
    #[cfg(test)]
    pub(super) fn holding(certificate: Certificate) -> Self {
        Self::of(certificate, Vec::new(), None)
    }

    fn of(certificate: Certificate, files: Vec<CertFiles>, seen: Seen) -> Self {
        Self {
            current: RwLock::new(certificate),
            files,
            seen: Mutex::new(seen),
        }
    }

    /// The certificate in use.
    pub fn current(&self) -> Certificate {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the certificate was made here, so that no client trusts it.
    pub fn is_self_signed(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads the files again if there are any; whether they brought another certificate. An error
    /// leaves the one in use, and is returned only the first time for the same content. Reads
    /// files: to be called on the control side.
    pub fn reload(&self) -> Result<bool, DefaultCertError> {
        if self.is_self_signed() {
            return Ok(false);
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *seen;
        let texts = match read(&self.files) {
            Ok(texts) => texts,
            Err(_) if before.is_none() => return Ok(false),
            Err(error) => {
                *seen = None;
                return Err(error);
            }
        };
        *seen = Some(texts.digest());
        if *seen == before {
            return Ok(false);
        }
        let fresh = parse(&self.files, &texts)?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let other = *current != fresh;
        *current = fresh;
        Ok(other)
    }
}

impl fmt::Debug for DefaultCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultCert")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// What all files held: certificate and key by turns.
struct Texts(Vec<Vec<u8>>);

impl Texts {
    fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&SHA256);
        for text in &self.0 {
            context.update(&text.len().to_be_bytes());
            context.update(text);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        out
    }
}

fn read(files: &[CertFiles]) -> Result<Texts, DefaultCertError> {
    let one = |path: &Path| {
        fs::read(path).map_err(|error| DefaultCertError::Read {
            path: path.to_owned(),
            error,
        })
    };
    let paths = files.iter().flat_map(|pair| [&pair.cert, &pair.key]);
    paths
        .map(|path| one(path))
        .collect::<Result<_, _>>()
        .map(Texts)
}

fn parse(files: &[CertFiles], texts: &Texts) -> Result<Certificate, DefaultCertError> {
    let mut pairs = Vec::with_capacity(files.len());
    for (file, text) in files.iter().zip(texts.0.chunks_exact(2)) {
        pairs.push(KeyPair::parse(&text[0], &text[1]).map_err(|error| invalid(file, error))?);
    }
    let mut pairs = pairs.into_iter();
    match (pairs.next(), pairs.next(), pairs.next()) {
        (Some(one), None, _) => Ok(Certificate::new(one)),
        (Some(one), Some(two), None) => {
            Certificate::with_alt(one, two).map_err(|error| invalid(&files[1], error))
        }
        _ => Err(DefaultCertError::Count(files.len())),
    }
}

fn invalid(files: &CertFiles, error: CertError) -> DefaultCertError {
    DefaultCertError::Invalid {
        cert: files.cert.clone(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::{Made, authority, leaf, leaf_rsa};

    fn write(files: &CertFiles, cert: &Made, key: &Made) {
        fs::write(&files.cert, cert.pem()).unwrap();
        fs::write(&files.key, key.key_pem()).unwrap();
    }

    fn places(dir: &tempfile::TempDir, name: &str) -> CertFiles {
        CertFiles {
            cert: dir.path().join(format!("{name}.crt")),
            key: dir.path().join(format!("{name}.key")),
        }
    }

    #[test]
    fn a_self_signed_certificate_never_reloads() {
        let default = DefaultCert::self_signed().unwrap();
        assert!(default.is_self_signed());
        assert!(!default.reload().unwrap());
    }

    #[test]
    fn changed_files_bring_another_certificate() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), authority("Root"));
        let (one, two) = (leaf(&ca, &["a"]), leaf(&ca, &["a"]));
        let files = places(&dir, "a");
        write(&files, &one, &one);
        let default = DefaultCert::from_files(vec![files.clone()]).unwrap();
        assert_eq!(default.current(), one.certificate());
        assert!(!default.is_self_signed());
        assert!(!default.reload().unwrap());
        write(&files, &two, &two);
        assert!(default.reload().unwrap());
        assert_eq!(default.current(), two.certificate());
        assert!(!default.reload().unwrap());
    }

    #[test]
    fn half_written_or_missing_files_change_nothing_and_are_reported_once() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), authority("Root"));
        let (one, two) = (leaf(&ca, &["a"]), leaf(&ca, &["a"]));
        let files = places(&dir, "a");
        write(&files, &one, &one);
        let default = DefaultCert::from_files(vec![files.clone()]).unwrap();
        write(&files, &two, &one);
        let error = default.reload().unwrap_err().to_string();
        assert!(
            error.ends_with("a.crt: certificate does not match key"),
            "{error}"
        );
        assert!(!default.reload().unwrap());
        fs::remove_file(&files.key).unwrap();
        let error = default.reload().unwrap_err().to_string();
        assert!(error.contains("a.key: "), "{error}");
        assert!(!default.reload().unwrap());
        assert_eq!(default.current(), one.certificate());
        write(&files, &two, &two);
        assert!(default.reload().unwrap());
        assert_eq!(default.current(), two.certificate());
    }

    #[test]
    fn two_kinds_may_be_given_and_no_more() {
        let (dir, ca) = (tempfile::tempdir().unwrap(), authority("Root"));
        let (one, two) = (leaf(&ca, &["a"]), leaf_rsa(&ca, &["a"]));
        let (first, second) = (places(&dir, "a"), places(&dir, "b"));
        write(&first, &one, &one);
        write(&second, &two, &two);
        assert!(DefaultCert::from_files(vec![first.clone(), second.clone()]).is_ok());
        for files in [
            vec![first.clone(), first.clone()],
            vec![],
            vec![first.clone(), second, first],
        ] {
            assert!(DefaultCert::from_files(files).is_err());
        }
    }
}
