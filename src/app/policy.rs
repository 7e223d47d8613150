//! Settings in the words of the parts that they are for.

use std::num::NonZero;
use std::thread::available_parallelism;

use tracing::Level;

use crate::config::settings::{AccessLogFormat, LogFormat, LogLevel, Settings};
use crate::gateway::access::Format as AccessFormat;
use crate::gateway::{HeaderSwitch, Policy};
use crate::http1::limits::Limits;
use crate::telemetry::log::Format;
use crate::tls::DefaultCert;
use crate::tls::default_cert::{CertFiles, DefaultCertError};
use crate::util::cidr::{AddrBlock, AddrSet};

/// What requests look at.
pub(super) fn policy(settings: &Settings) -> Policy {
    Policy {
        trusted: trusted(settings),
        real_ip_header: settings.real_ip_header.to_ascii_lowercase(),
        real_ip_recursive: settings.real_ip_recursive,
        headers: HeaderSwitch {
            server: settings.headers.server,
            via: settings.headers.via,
            proxy_latency: settings.headers.proxy_latency,
            upstream_latency: settings.headers.upstream_latency,
            response_latency: settings.headers.response_latency,
            upstream_status: settings.headers.upstream_status,
            request_id: settings.headers.request_id,
        },
        limits: Limits {
            uri: settings.client_max_uri_size,
            head: settings.client_max_header_size,
            headers: settings.client_max_headers,
        },
        max_body: settings.client_max_body_size,
        header_timeout: settings.client_header_timeout,
        body_timeout: settings.client_body_timeout,
        idle_timeout: settings.client_idle_timeout,
        upstream_idle_timeout: settings.upstream_idle_timeout,
        upstream_max_idle: settings.upstream_max_idle,
    }
}

fn trusted(settings: &Settings) -> AddrSet {
    let networks = settings.trusted_ips.iter();
    // A network that was read once is read again.
    let blocks = networks.filter_map(|network| AddrBlock::parse(&network.to_string()).ok());
    let unix = settings.trusted_unix.then_some(AddrBlock::Unix);
    blocks.chain(unix).collect()
}

/// Data-plane threads.
pub(super) fn workers(settings: &Settings) -> usize {
    let cores = || available_parallelism().map_or(1, NonZero::get);
    settings.workers.unwrap_or_else(cores)
}

/// Most client connections.
pub(super) fn max_connections(settings: &Settings, fitting: impl Fn() -> usize) -> usize {
    // The descriptor limit is raised in any case.
    let fitting = fitting();
    settings.max_connections.unwrap_or(fitting)
}

/// The certificate for clients that no other one fits.
pub(super) fn default_cert(settings: &Settings) -> Result<DefaultCert, DefaultCertError> {
    if settings.ssl_cert.is_empty() {
        return DefaultCert::self_signed();
    }
    let pairs = settings.ssl_cert.iter().zip(&settings.ssl_cert_key);
    let files = pairs.map(|(cert, key)| CertFiles {
        cert: cert.clone(),
        key: key.clone(),
    });
    DefaultCert::from_files(files.collect())
}

pub(super) fn access_format(settings: &Settings) -> AccessFormat {
    match settings.access_log_format {
        AccessLogFormat::Combined => AccessFormat::Combined,
        AccessLogFormat::Json => AccessFormat::Json,
        AccessLogFormat::Kong => AccessFormat::Kong,
    }
}

pub(super) fn level(settings: &Settings) -> Level {
    match settings.log_level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}

pub(super) fn format(settings: &Settings) -> Format {
    match settings.log_format {
        LogFormat::Auto => Format::of_stderr(),
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    }
}
