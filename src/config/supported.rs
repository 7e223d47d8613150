//! What a file may say and this version does not do: refused, never ignored.
//!
//! Invariant: this is the only place where something is refused because it is not built yet; a
//! feature that arrives deletes its line here.

use super::model::{Meta, Model, Protocol};
use super::report::Report;

/// Adds an error for everything in the model that is not supported.
pub(super) fn check(model: &Model, report: &mut Report) {
    for service in &model.services {
        stream(&service.meta, "protocol", &[service.protocol], report);
    }
    for route in &model.routes {
        stream(&route.meta, "protocols", &route.protocols, report);
    }
}

/// Streams are another product; they will not arrive.
fn stream(meta: &Meta, field: &str, protocols: &[Protocol], report: &mut Report) {
    if let Some(protocol) = protocols.iter().find(|protocol| protocol.is_stream()) {
        report
            .error(
                meta.at_field(field),
                meta.field_path(field),
                "stream proxying is not supported",
            )
            .hint(format!(
                "'{}' is no protocol of requests: use http, https, grpc or grpcs",
                protocol.word()
            ));
    }
}
