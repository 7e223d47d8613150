//! The client that the process's settings describe.
//!
//! Invariant: files are read once, here; what is wrong with one names its setting.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use std::sync::Arc;
use thiserror::Error;

use super::address::Address;
use super::http::Http;
use super::{Consul, Secret, Tokens};
use crate::config::settings::ConsulSettings;
use crate::tls::client::{Alpn, Verify};
use crate::tls::{CaCert, CaSet, Certificate, KeyPair, TlsClients, TlsIdentity};
use crate::util::clock;

/// A setting that the client cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{setting}: {message}")]
pub struct OpenError {
    /// Its name.
    pub setting: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// How soon a silent connection is asked whether it lives, and how often.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);
/// Where the local agent is.
const LOCAL: &str = "127.0.0.1:8500";

/// Opens the client. Connects to nothing yet.
pub fn open(settings: &ConsulSettings, tls: &TlsClients) -> Result<Consul, OpenError> {
    let text = settings.http_addr.as_deref().unwrap_or(LOCAL);
    let address = Address::parse(text, settings.http_ssl)
        .map_err(|message| wrong("consul_http_addr", message))?;
    let identity = identity(settings)?;
    let builder = Client::builder()
        .tls_backend_preconfigured(tls.get(identity).for_http_client())
        .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .http1_only()
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .tcp_keepalive(KEEPALIVE.0)
        .tcp_keepalive_interval(KEEPALIVE.1)
        .tcp_keepalive_retries(KEEPALIVE.2);
    let (builder, base) = match address {
        Address::Unix(path) => (builder.unix_socket(path), "http://localhost".to_owned()),
        Address::Url(base) => named(builder, base, settings.tls_server_name.as_deref())?,
    };
    let client = builder
        .build()
        .map_err(|error| wrong("consul_http_addr", error.without_url().to_string()))?;
    let login = settings.http_auth.as_deref().map(Secret::new);
    let http = Http::new(client, base, tokens(settings), login);
    Ok(Consul::new(Arc::new(http)))
}

fn wrong(setting: &'static str, message: impl Into<String>) -> OpenError {
    OpenError {
        setting,
        message: message.into(),
    }
}

fn tokens(settings: &ConsulSettings) -> Tokens {
    match (&settings.token_file, &settings.token) {
        (Some(path), token) if token.is_none() || settings.prefer_file => {
            Tokens::file(path.clone())
        }
        (_, Some(token)) => Tokens::Fixed(Secret::new(token)),
        _ => Tokens::None,
    }
}

/// Calls Consul by another name than its address has, so that TLS asks for that name.
fn named(
    builder: ClientBuilder,
    base: String,
    name: Option<&str>,
) -> Result<(ClientBuilder, String), OpenError> {
    let url = Url::parse(&base).map_err(|error| wrong("consul_http_addr", error.to_string()))?;
    let (Some(name), Some(host), "https") = (name, url.host_str(), url.scheme()) else {
        return Ok((builder, base));
    };
    let at = At(host.trim_matches(['[', ']']).to_owned());
    let base = base.replacen(host, name, 1);
    Ok((builder.dns_resolver(at), base))
}

/// Answers for every name with the addresses of this one.
struct At(String);

impl Resolve for At {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn identity(settings: &ConsulSettings) -> Result<TlsIdentity, OpenError> {
    let verify = match settings.tls_verify {
        false => Verify::Off,
        true => Verify::On {
            cas: authorities(settings)?,
            // As Go's client, which counts none.
            depth: u8::MAX,
        },
    };
    Ok(TlsIdentity {
        verify,
        client_cert: client_cert(settings)?,
        alpn: Alpn::Http1,
    })
}

fn client_cert(settings: &ConsulSettings) -> Result<Option<Certificate>, OpenError> {
    let (cert, key) = match (&settings.client_cert, &settings.client_key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        (Some(_), None) => return Err(wrong("consul_client_key", "the certificate needs its key")),
        (None, Some(_)) => {
            return Err(wrong("consul_client_cert", "the key needs its certificate"));
        }
    };
    let (cert, key) = (
        text("consul_client_cert", cert)?,
        text("consul_client_key", key)?,
    );
    let pair = KeyPair::parse(cert, key);
    let pair = pair.map_err(|error| wrong("consul_client_cert", error.to_string()))?;
    Ok(Some(Certificate::new(pair)))
}

/// The authorities of a file or of all files of a folder; `None` for those that are trusted anyway.
fn authorities(settings: &ConsulSettings) -> Result<Option<CaSet>, OpenError> {
    let mut all = Vec::new();
    if let Some(path) = &settings.ca_cert {
        all.extend(bundle("consul_ca_cert", path)?);
    } else if let Some(folder) = &settings.ca_path {
        let failed =
            |error: io::Error| wrong("consul_ca_path", format!("{}: {error}", folder.display()));
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                all.extend(bundle("consul_ca_path", &path)?);
            }
        }
    } else {
        return Ok(None);
    }
    Ok(Some(all.into_iter().collect()))
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

fn bundle(setting: &'static str, path: &Path) -> Result<Vec<CaCert>, OpenError> {
    let text = text(setting, path)?;
    let mut all = Vec::new();
    for (nth, part) in text.split(BEGIN).skip(1).enumerate() {
        let cert = CaCert::parse(format!("{BEGIN}{part}"), clock::unix_secs());
        all.push(cert.map_err(|error| {
            let nth = nth + 1;
            wrong(
                setting,
                format!("{}: certificate {nth}: {error}", path.display()),
            )
        })?);
    }
    match all.is_empty() {
        true => Err(wrong(
            setting,
            format!("{}: no certificate", path.display()),
        )),
        false => Ok(all),
    }
}

fn text(setting: &'static str, path: &Path) -> Result<String, OpenError> {
    let read = std::fs::read_to_string(path);
    read.map_err(|error| wrong(setting, format!("{}: {error}", path.display())))
}
