//! Certificates made for tests.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair as RcgenKey, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use rustls_pki_types::CertificateDer;

use crate::tls::cert::{CaCert, CaSet, Certificate, KeyPair};

/// A certificate with its key.
pub(super) struct Made {
    cert: rcgen::Certificate,
    params: CertificateParams,
    key: RcgenKey,
}

impl Made {
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        self.cert.der()
    }

    pub(super) fn pem(&self) -> String {
        self.cert.pem()
    }

    pub(super) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(super) fn spki(&self) -> Vec<u8> {
        use rcgen::PublicKeyData;
        self.key.subject_public_key_info()
    }

    pub(super) fn pair(&self) -> KeyPair {
        KeyPair::parse(self.pem(), self.key_pem()).unwrap()
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::new(self.pair())
    }

    /// With the certificates of its issuers, nearest first.
    pub(super) fn chained(&self, issuers: &[&Made]) -> Certificate {
        let chain = issuers
            .iter()
            .fold(self.pem(), |chain, issuer| chain + &issuer.pem());
        Certificate::new(KeyPair::parse(chain, self.key_pem()).unwrap())
    }

    pub(super) fn ca(&self) -> CaCert {
        CaCert::parse(self.pem(), 1_700_000_000).unwrap()
    }

    pub(super) fn ca_set(&self) -> CaSet {
        [self.ca()].into_iter().collect()
    }
}

/// A self-signed authority.
pub(super) fn authority(name: &str) -> Made {
    let (params, key) = (ca_params(name, &[]), RcgenKey::generate().unwrap());
    let cert = params.self_signed(&key).unwrap();
    Made { cert, params, key }
}

/// An authority that is its own server certificate, as `openssl req -x509` makes them.
pub(super) fn self_signed_server(names: &[&str]) -> Made {
    let (params, key) = (ca_params("server", names), RcgenKey::generate().unwrap());
    let cert = params.self_signed(&key).unwrap();
    Made { cert, params, key }
}

/// An authority signed by another.
pub(super) fn intermediate(issuer: &Made, name: &str) -> Made {
    signed(issuer, ca_params(name, &[]), &PKCS_ECDSA_P256_SHA256)
}

/// An ECDSA certificate of these names (addresses become address names), for both roles.
pub(super) fn leaf(issuer: &Made, names: &[&str]) -> Made {
    signed(issuer, leaf_params(names), &PKCS_ECDSA_P256_SHA256)
}

/// The same with an RSA key.
pub(super) fn leaf_rsa(issuer: &Made, names: &[&str]) -> Made {
    signed(issuer, leaf_params(names), &PKCS_RSA_SHA256)
}

/// A leaf whose validity is in the years given.
pub(super) fn leaf_of_years(issuer: &Made, names: &[&str], from: i32, to: i32) -> Made {
    let mut params = leaf_params(names);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    signed(issuer, params, &PKCS_ECDSA_P256_SHA256)
}

/// An authority whose validity is over.
pub(super) fn expired_authority() -> Made {
    let (mut params, key) = (ca_params("Old", &[]), RcgenKey::generate().unwrap());
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    Made { cert, params, key }
}

fn leaf_params(names: &[&str]) -> CertificateParams {
    let mut params = params(names[0], names);
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn ca_params(name: &str, names: &[&str]) -> CertificateParams {
    let mut params = params(name, names);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn params(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn signed(issuer: &Made, params: CertificateParams, kind: &'static SignatureAlgorithm) -> Made {
    let key = RcgenKey::generate_for(kind).unwrap();
    let by = Issuer::from_params(&issuer.params, &issuer.key);
    let cert = params.signed_by(&key, &by).unwrap();
    Made { cert, params, key }
}
