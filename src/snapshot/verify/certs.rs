//! Certificates, their names and the authorities: read once, here, and kept for the snapshot.
//!
//! Invariant: without an error, every entity of the model has its value in the same place.

use crate::config::Report;
use crate::config::model::{self, CaCertificate, Model, Sni};
use crate::tls::{CaCert, CertError, CertTable, Certificate, KeyPair, SniName};
use crate::util::clock;

/// The authorities of the file, as the model numbers them.
pub(crate) type Authorities = Vec<CaCert>;

/// What became of the entities; complete only without errors.
pub(super) struct Tls {
    pub(super) certificates: Vec<Certificate>,
    pub(super) authorities: Authorities,
    pub(super) server_names: CertTable,
}

/// Reads all of them.
pub(super) fn check(model: &Model, report: &mut Report) -> Tls {
    let certificates: Vec<Option<Certificate>> = model
        .certificates
        .iter()
        .map(|entity| certificate(entity, report))
        .collect();
    let authorities = model.ca_certificates.iter();
    let authorities = authorities.filter_map(|entity| authority(entity, report));
    let authorities = authorities.collect();
    let mut server_names = CertTable::new();
    for sni in &model.snis {
        let found = certificates.get(sni.certificate).cloned().flatten();
        server_name(sni, found, &mut server_names, report);
    }
    Tls {
        certificates: certificates.into_iter().flatten().collect(),
        authorities,
        server_names,
    }
}

fn certificate(entity: &model::Certificate, report: &mut Report) -> Option<Certificate> {
    let pair = pair(entity, "cert", &entity.cert, "key", &entity.key, report);
    let whole = match (&entity.cert_alt, &entity.key_alt) {
        (Some(cert), Some(key)) => {
            let alt = self::pair(entity, "cert_alt", cert, "key_alt", key, report);
            let both = Certificate::with_alt(pair?, alt?);
            both.map_err(|error| complain(entity, "cert_alt", &error, report))
                .ok()?
        }
        _ => Certificate::new(pair?),
    };
    if whole.not_after() < clock::unix_secs() {
        let until = clock::rfc3339(whole.not_after().saturating_mul(1000));
        let message = format!("the certificate expired at {until}; it is served all the same");
        let meta = &entity.meta;
        report.warning(meta.at_field("cert"), meta.field_path("cert"), message);
    }
    Some(whole)
}

fn pair(
    entity: &model::Certificate,
    cert_field: &'static str,
    cert: &str,
    key_field: &'static str,
    key: &str,
    report: &mut Report,
) -> Option<KeyPair> {
    let read = KeyPair::parse(cert, key);
    read.map_err(|error| {
        let of_key = matches!(error, CertError::Key(_) | CertError::Mismatch);
        let field = if of_key { key_field } else { cert_field };
        complain(entity, field, &error, report);
    })
    .ok()
}

fn complain(entity: &model::Certificate, field: &str, error: &CertError, report: &mut Report) {
    let meta = &entity.meta;
    report.error(
        meta.at_field(field),
        meta.field_path(field),
        error.to_string(),
    );
}

fn authority(entity: &CaCertificate, report: &mut Report) -> Option<CaCert> {
    let meta = &entity.meta;
    let read = CaCert::parse(&entity.cert, clock::unix_secs()).map_err(|error| {
        let at = meta.at_field("cert");
        report.error(at, meta.field_path("cert"), error.to_string());
    });
    let read = read.ok()?;
    let digest = read.digest();
    let written = entity.cert_digest.as_deref();
    if written.is_some_and(|written| !written.eq_ignore_ascii_case(&digest)) {
        let (at, path) = (meta.at_field("cert_digest"), meta.field_path("cert_digest"));
        report
            .error(at, path, "does not match the certificate")
            .hint(format!("leave it out, or write {digest}"));
    }
    Some(read)
}

fn server_name(
    sni: &Sni,
    certificate: Option<Certificate>,
    table: &mut CertTable,
    report: &mut Report,
) {
    let (at, path) = (sni.meta.at_field("name"), sni.meta.field_path("name"));
    match (SniName::parse(&sni.name), certificate) {
        (Err(error), _) => {
            report.error(at, path, error.to_string());
        }
        (Ok(name), Some(certificate)) => {
            if table.insert(name, certificate).is_some() {
                let message = format!("the server name '{}' is there already", sni.name);
                report
                    .error(at, path, message)
                    .hint("case and a final dot make no difference");
            }
        }
        // The certificate has an error of its own.
        (Ok(_), None) => {}
    }
}
