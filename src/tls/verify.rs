//! How an upstream's certificate is looked at: not at all, or against a store and a depth.
//!
//! Invariant: without verification nothing about the peer is known, so nothing is checked, not
//! even the handshake's signature: certificates too old for rustls (version 1) then work, as they
//! do with Kong. With it, the chain, its length, the time and the name all have to be right.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

use crate::tls::cert::CaSet;
use crate::tls::der::X509;
use crate::tls::provider;

/// Takes every certificate (`tls_verify: false`, Kong's default).
#[derive(Debug)]
pub(super) struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The chain would be fine if it might be longer.
#[derive(Debug, Error)]
#[error("its chain needs more than {0} intermediate certificates (tls_verify_depth)")]
struct TooDeep(usize);

/// Verifies chain, length, time and name.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) roots: Arc<RootCertStore>,
    /// The authorities that the service names: an upstream may present one of them itself.
    pub(super) named: Option<CaSet>,
    /// The most certificates between the upstream's and the anchor, neither counted.
    pub(super) depth: usize,
}

impl Verified {
    /// A certificate that the service itself lists is trusted as it is (a self-signed one, whose
    /// authority bit webpki does not allow in a server's certificate; OpenSSL does).
    fn is_named(&self, end_entity: &CertificateDer<'_>) -> bool {
        self.named
            .as_ref()
            .is_some_and(|named| named.has(end_entity))
    }

    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        leaf: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let near = reachable(end_entity, intermediates, self.depth);
        let algorithms = provider().signature_verification_algorithms.all;
        let verify = |intermediates: &[CertificateDer<'_>]| {
            verify_server_cert_signed_by_trust_anchor(
                leaf,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )
        };
        match verify(&near) {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                if near.len() < intermediates.len() && verify(intermediates).is_ok() =>
            {
                let too_deep = OtherError(Arc::new(TooDeep(self.depth)));
                Err(CertificateError::Other(too_deep).into())
            }
            result => result,
        }
    }
}

/// The intermediates that are at most `depth` issuers away from the leaf, by their names: with
/// only those at hand, no longer chain can be built.
fn reachable<'a>(
    end_entity: &CertificateDer<'_>,
    intermediates: &'a [CertificateDer<'a>],
    depth: usize,
) -> Vec<CertificateDer<'a>> {
    let mut left: Vec<_> = intermediates.iter().collect();
    let mut near: Vec<CertificateDer<'a>> = Vec::new();
    let mut wanted: Vec<Vec<u8>> = X509::read(end_entity)
        .map(|leaf| leaf.issuer.to_vec())
        .into_iter()
        .collect();
    for _ in 0..depth {
        let is_wanted = |cert: &X509<'_>| wanted.iter().any(|name| name == cert.subject);
        let (found, rest): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|cert| X509::read(cert).is_some_and(|cert| is_wanted(&cert)));
        left = rest;
        wanted = found
            .iter()
            .filter_map(|cert| Some(X509::read(cert)?.issuer.to_vec()))
            .collect();
        near.extend(found.into_iter().cloned());
    }
    near
}

/// Whether the present is within a certificate's validity.
fn in_time(end_entity: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let read = X509::read(end_entity).ok_or(CertificateError::BadEncoding)?;
    if now.as_secs() < read.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > read.not_after {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        if self.is_named(end_entity) {
            in_time(end_entity, now)?;
        } else {
            self.verify_chain(end_entity, &leaf, intermediates, now)?;
        }
        verify_server_name(&leaf, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
