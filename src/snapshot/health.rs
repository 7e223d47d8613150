//! `healthchecks` of an upstream as the data plane and the probes use them.

use std::time::Duration;

use super::services::Sources;
use crate::config::model::{self, CheckType};
use crate::tls::TlsIdentity;
use crate::tls::client::{Alpn, Verify};
use crate::upstream::{Checks, Counts, ProbeKind, Probing};

/// A probe without a bound would wait for ever: that is what 0 is taken as (Kong's default).
const USUAL: Duration = Duration::from_secs(1);
/// Intermediate certificates that a verified chain may have.
const VERIFY_DEPTH: u8 = 1;

/// What makes targets unhealthy, and healthy again.
pub(super) fn checks(upstream: &model::Upstream) -> Checks {
    let all = &upstream.healthchecks;
    let passive = counts(&all.passive.thresholds);
    Checks {
        threshold: all.threshold,
        panic_threshold: all.panic_threshold,
        active: all.active.is_on().then(|| counts(&all.active.thresholds)),
        trial: passive.clone(),
        passive: all.passive.is_on().then_some(passive),
        connections_only: all.passive.kind == CheckType::Tcp,
        probation: all.passive.probation,
    }
}

fn counts(of: &model::Thresholds) -> Counts {
    Counts {
        healthy_statuses: of.healthy_statuses.clone(),
        successes: of.successes,
        unhealthy_statuses: of.unhealthy_statuses.clone(),
        tcp_failures: of.tcp_failures,
        timeouts: of.timeouts,
        http_failures: of.http_failures,
    }
}

/// How targets are probed, where they are.
pub(super) fn probing(sources: &Sources<'_>, upstream: &model::Upstream) -> Option<Probing> {
    let active = &upstream.healthchecks.active;
    active.is_on().then(|| Probing {
        kind: match active.kind {
            CheckType::Http | CheckType::Https => ProbeKind::Http,
            CheckType::Tcp => ProbeKind::Tcp,
            CheckType::Grpc | CheckType::Grpcs => ProbeKind::Grpc,
        },
        tls: match active.kind {
            CheckType::Https => Some(Alpn::Http1),
            CheckType::Grpcs => Some(Alpn::Http2),
            CheckType::Http | CheckType::Tcp | CheckType::Grpc => None,
        }
        .map(|alpn| {
            let identity = identity(sources, upstream, alpn);
            (sources.tls.get(identity).0, active.https_sni.clone())
        }),
        timeout: match active.timeout {
            Duration::ZERO => USUAL,
            time => time,
        },
        concurrency: active.concurrency as usize,
        path: active.http_path.clone(),
        host: upstream.host_header.clone(),
        headers: active
            .headers
            .iter()
            .flat_map(|(name, values)| {
                values
                    .iter()
                    .map(move |value| (name.clone(), value.clone()))
            })
            .collect(),
        healthy_interval: active.healthy_interval,
        unhealthy_interval: active.unhealthy_interval,
    })
}

fn identity(sources: &Sources<'_>, upstream: &model::Upstream, alpn: Alpn) -> TlsIdentity {
    let shown = upstream.client_certificate;
    TlsIdentity {
        verify: match upstream.healthchecks.active.https_verify_certificate {
            true => Verify::On {
                cas: None,
                depth: VERIFY_DEPTH,
            },
            false => Verify::Off,
        },
        client_cert: shown.and_then(|ix| sources.certificates.get(ix)).cloned(),
        alpn,
    }
}
