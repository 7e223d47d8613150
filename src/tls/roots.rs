//! The authorities that are trusted when a service names none.
//!
//! Invariant: Mozilla's list, which is compiled in, is always there, so an image without any
//! files can verify; the system's bundle adds to it (a company's own authority, say).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Where distributions keep their bundle; the first that exists is read.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The default store; files are read once, by the first service that verifies.
pub(super) fn default_store() -> Arc<RootCertStore> {
    static STORE: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(STORE.get_or_init(|| Arc::new(store(bundle().as_deref()))))
}

/// `SSL_CERT_FILE`, as OpenSSL reads it, else the distribution's.
fn bundle() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| BUNDLES.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// Mozilla's list and what is usable of a bundle.
fn store(bundle: Option<&Path>) -> RootCertStore {
    let mut store = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let text = bundle
        .and_then(|path| std::fs::read(path).ok())
        .unwrap_or_default();
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    let mut known = HashSet::new();
    store.roots.retain(|anchor| known.insert(anchor.clone()));
    store
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::authority;

    #[test]
    fn a_bundle_adds_to_the_compiled_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.pem");
        let (one, two) = (authority("One"), authority("Two"));
        let damaged = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, one.pem() + damaged + &two.pem() + &one.pem()).unwrap();
        let without = store(None).len();
        assert!(without > 100);
        assert_eq!(store(Some(&path)).len(), without + 2);
        assert_eq!(store(Some(&dir.path().join("missing"))).len(), without);
        assert!(default_store().len() >= without);
    }
}
