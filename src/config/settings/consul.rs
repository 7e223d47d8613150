//! How Consul is reached: the settings that its own programs know by their variables.
//!
//! Invariant: nothing here shows a token or a password.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::Source;
use super::values::{optional, switch};
use crate::config::schema::texts;

/// Settings of Consul's client.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConsulSettings {
    /// Address of the HTTP API; none is the local agent's.
    pub http_addr: Option<String>,
    /// ACL token.
    pub token: Option<String>,
    /// File with the token.
    pub token_file: Option<PathBuf>,
    /// The file wins over the token.
    pub prefer_file: bool,
    /// `user:password` for a proxy in front of Consul.
    pub http_auth: Option<String>,
    /// An address without a scheme is https.
    pub http_ssl: bool,
    /// Whether Consul's certificate is verified.
    pub tls_verify: bool,
    /// PEM file of authorities.
    pub ca_cert: Option<PathBuf>,
    /// Folder of such files.
    pub ca_path: Option<PathBuf>,
    /// PEM file of our certificate.
    pub client_cert: Option<PathBuf>,
    /// PEM file of its key.
    pub client_key: Option<PathBuf>,
    /// Name that Consul's certificate must have.
    pub tls_server_name: Option<String>,
    /// Datacenter to ask for.
    pub datacenter: Option<String>,
    /// Namespace to ask for.
    pub namespace: Option<String>,
    /// Admin partition to ask for.
    pub partition: Option<String>,
    /// Name of the service that the gateway registers itself as.
    pub register: Option<String>,
    /// Its address, if not the agent's, and its port, if not the first proxy listener's.
    pub register_address: Option<(String, Option<u16>)>,
    /// Its tags.
    pub register_tags: Vec<String>,
    /// What the agent checks; `off` is nothing.
    pub register_check: Option<String>,
}

/// Leaves secrets out.
impl fmt::Debug for ConsulSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulSettings")
            .field("http_addr", &self.http_addr)
            .field("token_file", &self.token_file)
            .field("datacenter", &self.datacenter)
            .finish_non_exhaustive()
    }
}

/// With Consul's own variables the file wins, as in Consul's client; a token that somebody gave
/// this gateway wins over them.
pub(super) fn prefers_file(effective: &BTreeMap<&'static str, (String, Source)>) -> bool {
    let ours = |name: &str, consuls: &str| {
        let source = effective.get(name).map(|(_, source)| source);
        !matches!(source, None | Some(Source::Default))
            && source != Some(&Source::Environment(consuls.to_owned()))
    };
    !ours("consul_token", "CONSUL_HTTP_TOKEN")
        || ours("consul_token_file", "CONSUL_HTTP_TOKEN_FILE")
}

/// An address, or none.
pub(super) fn consul_address(text: &str) -> Result<Option<String>, String> {
    let Some(text) = optional(text) else {
        return Ok(None);
    };
    let hint = "\nwrite host:port, http://host:port, https://host:port or unix:///path";
    let fits = match text.split_once("://") {
        Some(("http" | "https", rest)) => !rest.is_empty(),
        Some(("unix", path)) => path.starts_with('/'),
        Some(_) => false,
        None => true,
    };
    let odd = |c: char| c.is_whitespace() || matches!(c, '?' | '#' | '@');
    match fits && !text.contains(odd) {
        true => Ok(Some(text)),
        false => Err(format!("not an address of Consul's HTTP API{hint}")),
    }
}

/// A host with or without a port, or none.
pub(super) fn host_and_port(text: &str) -> Result<Option<(String, Option<u16>)>, String> {
    let Some(text) = optional(text) else {
        return Ok(None);
    };
    texts::host_and_port(&text)?;
    let (host, port) = texts::split_port(&text);
    let port = port.map(str::parse).transpose();
    let port = port.map_err(|_| "value should be between 0 and 65535".to_owned())?;
    let host = host.trim_matches(['[', ']']);
    Ok(Some((host.to_owned(), port)))
}

/// A URL to be checked, `off`, or none.
pub(super) fn check_url(text: &str) -> Result<Option<String>, String> {
    match optional(text) {
        Some(url)
            if url != "off" && !url.starts_with("http://") && !url.starts_with("https://") =>
        {
            Err("expected an http or https URL, or off".to_owned())
        }
        url => Ok(url),
    }
}

/// Texts with commas between them.
pub(super) fn words(text: &str) -> Vec<String> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// A path, or none.
pub(super) fn path(text: &str) -> Option<PathBuf> {
    optional(text).map(PathBuf::from)
}

/// A name for TLS, or none.
pub(super) fn server_name(text: &str) -> Result<Option<String>, String> {
    match optional(text) {
        Some(name) if !texts::is_hostname(&name) => Err("value should be a host name".to_owned()),
        name => Ok(name),
    }
}

/// A switch in our words or in those of Consul's variables, or nothing.
pub(super) fn switch_or(text: &str, default: bool) -> Result<bool, String> {
    match text.trim() {
        "" => Ok(default),
        "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        text => switch(text),
    }
}
