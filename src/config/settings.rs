//! Settings of the process: flags, environment, the `gateway:` section of the file, defaults.
//!
//! Invariant: every setting is one line of [`SETTINGS`]; its text is read by the same function
//! wherever it comes from, and nothing here looks at the environment by itself.

mod consul;
mod table;
mod token;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest;
use ipnet::IpNet;

use super::node::{Node, Pos, Value};
use super::report::{Report, did_you_mean};
use super::schema::{Fields, Record};
pub use consul::ConsulSettings;
pub use table::{SECTION, SETTINGS, Setting};
pub use token::Token;
pub use values::{
    Accept, AccessLog, AccessLogFormat, DnsKind, Listener, LogFormat, LogLevel, ResponseHeaders,
    RouterFlavor,
};

/// The settings in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Where clients connect.
    pub proxy_listen: Vec<Listener>,
    /// Where the admin API is; empty is off.
    pub admin_listen: Vec<Listener>,
    /// What requests to it must carry, if anything.
    pub admin_token: Option<Token>,
    /// Where health and metrics alone are; empty is off.
    pub status_listen: Vec<Listener>,
    /// Which order of routes.
    pub router_flavor: RouterFlavor,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// What a line of it looks like.
    pub access_log_format: AccessLogFormat,
    /// PEM files of default certificates.
    pub ssl_cert: Vec<PathBuf>,
    /// PEM files of their keys, in the same order.
    pub ssl_cert_key: Vec<PathBuf>,
    /// Data-plane threads; `None` is one a core.
    pub workers: Option<usize>,
    /// Who accepts connections.
    pub accept: Accept,
    /// How Consul is reached.
    pub consul: ConsulSettings,
    /// DNS servers; empty is those of the system.
    pub dns_resolver: Vec<SocketAddr>,
    /// What they are asked for: the next only where the one before has nothing.
    pub dns_order: Vec<DnsKind>,
    /// Peers that may speak for clients.
    pub trusted_ips: Vec<IpNet>,
    /// Whether peers on unix sockets may.
    pub trusted_unix: bool,
    /// The header in which they name the client.
    pub real_ip_header: String,
    /// Look past every trusted address in it.
    pub real_ip_recursive: bool,
    /// Which headers of our own responses carry.
    pub headers: ResponseHeaders,
    /// Bound for a request's head.
    pub client_header_timeout: Duration,
    /// Bound between two reads of a request's body.
    pub client_body_timeout: Duration,
    /// How long an idle client connection is kept.
    pub client_idle_timeout: Duration,
    /// Longest request target in bytes.
    pub client_max_uri_size: usize,
    /// Largest request head in bytes.
    pub client_max_header_size: usize,
    /// Most request headers.
    pub client_max_headers: usize,
    /// Largest request body in bytes; 0 is unlimited.
    pub client_max_body_size: u64,
    /// Most client connections; `None` is taken from the descriptor limit.
    pub max_connections: Option<usize>,
    /// Most connections of a client address; 0 is unlimited.
    pub max_connections_per_ip: u32,
    /// How long listeners stay open after a request to stop.
    pub drain_delay: Duration,
    /// How long requests may then take.
    pub drain_timeout: Duration,
    /// How long a fresh copy may take until it serves.
    pub upgrade_timeout: Duration,
    /// How long an idle upstream connection is kept.
    pub upstream_idle_timeout: Duration,
    /// Most idle upstream connections a worker.
    pub upstream_max_idle: usize,
    /// What is logged.
    pub log_level: LogLevel,
    /// How it is logged.
    pub log_format: LogFormat,
    /// The text in force for every setting, and where it is from.
    pub effective: BTreeMap<&'static str, (String, Source)>,
}

/// Where a setting's value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// The `gateway:` section.
    File(Pos),
    /// This variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(at) => write!(f, "gateway section, line {}", at.line),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What one source says. Not to be shown: secrets are among it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Layer {
    given: Vec<(&'static str, String, Pos)>,
}

/// A value that is none: usage, exit code 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The flag, the variable or the path in the file.
    pub name: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SettingError {}

/// The settings, what to tell the operator, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Merged {
    /// Complete; a setting with a wrong value has its default.
    pub settings: Settings,
    /// Things worth a line in the log: Kong's variables that were used or not understood.
    pub notices: Vec<String>,
    /// Wrong values.
    pub errors: Vec<SettingError>,
}

/// The environment as a map.
pub type Variables = BTreeMap<String, String>;

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.given.iter().map(|(name, ..)| name);
        f.debug_set().entries(names).finish()
    }
}

impl Layer {
    /// The `gateway:` section. Wrong values are reported at their place and left out.
    pub(super) fn of_section(section: &Fields<'_>, report: &mut Report) -> Self {
        let mut layer = Self::default();
        for setting in SETTINGS {
            let Some(node) = section.written(setting.name).filter(|node| !node.is_null()) else {
                continue;
            };
            let Some(text) = plain(node) else { continue };
            match (setting.set)(&mut Settings::default(), &text) {
                Ok(()) => layer.given.push((setting.name, text, node.at)),
                Err(message) => {
                    let (message, hint) = split_hint(message);
                    section.error(report, setting.name, message).hint = hint;
                }
            }
        }
        layer
    }

    /// Values of flags, by the names of the settings.
    ///
    /// # Errors
    /// When a name is no setting.
    pub fn of_flags<'f>(
        flags: impl IntoIterator<Item = (&'f str, String)>,
    ) -> Result<Self, SettingError> {
        let mut layer = Self::default();
        for (name, text) in flags {
            let setting = SETTINGS.iter().find(|setting| setting.name == name);
            let setting = setting.ok_or_else(|| SettingError {
                name: name.to_owned(),
                message: "no such setting".to_owned(),
                hint: did_you_mean(name, SETTINGS.iter().map(|setting| setting.name)),
            })?;
            layer.given.push((setting.name, text, Pos::NOWHERE));
        }
        Ok(layer)
    }

    /// This one, and the other one where this says nothing.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let mut both = self.clone();
        let more = other
            .given
            .iter()
            .filter(|(name, ..)| self.get(name).is_none());
        both.given.extend(more.cloned());
        both
    }

    fn get(&self, name: &str) -> Option<(&str, Pos)> {
        let found = self.given.iter().find(|(given, _, _)| *given == name);
        found.map(|(_, text, at)| (text.as_str(), *at))
    }
}

/// A scalar or a list of scalars of the file as the text that a flag would have.
fn plain(node: &Node) -> Option<String> {
    match &node.value {
        Value::String(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        // YAML 1.1 reads `off` and `on` as booleans.
        Value::Bool(flag) => Some(if *flag { "on" } else { "off" }.to_owned()),
        Value::List(list) => {
            let parts: Option<Vec<String>> = list.iter().map(plain).collect();
            Some(parts?.join(", "))
        }
        _ => None,
    }
}

fn split_hint(message: String) -> (String, Option<String>) {
    match message.split_once('\n') {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (message, None),
    }
}

impl Settings {
    /// Every setting at its default.
    #[must_use]
    pub fn defaults() -> Self {
        merge(&Layer::default(), &Variables::new(), &Layer::default()).settings
    }

    /// Names of the settings whose values differ.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        let text = |settings: &Self, name: &str| {
            settings.effective.get(name).map(|(text, _)| text.clone())
        };
        let names = SETTINGS.iter().map(|setting| setting.name);
        names
            .filter(|name| text(self, name) != text(other, name))
            .collect()
    }
}

/// Puts the sources together: flag, environment, file, default, in this order.
#[must_use]
pub fn merge(flags: &Layer, variables: &Variables, file: &Layer) -> Merged {
    let mut merged = Merged::default();
    for setting in SETTINGS {
        let (text, source) = pick(setting, flags, variables, file, &mut merged.notices);
        let name = source_name(setting, &source);
        let settings = &mut merged.settings;
        if let Err(message) = (setting.set)(settings, &text) {
            let (message, hint) = split_hint(message);
            merged.errors.push(SettingError {
                name,
                message,
                hint,
            });
            // The default of every setting is right: a test sees to it.
            let _ = (setting.set)(settings, setting.default);
        }
        let text = match setting.secret {
            // Compared with another one, never shown.
            true => digest(&text),
            false => text,
        };
        settings.effective.insert(setting.name, (text, source));
    }
    if merged.settings.ssl_cert.len() != merged.settings.ssl_cert_key.len() {
        let name = "ssl_cert_key".to_owned();
        let message = "as many keys as certificates are needed".to_owned();
        merged.errors.push(SettingError {
            name,
            message,
            hint: None,
        });
    }
    merged.settings.consul.prefer_file = consul::prefers_file(&merged.settings.effective);
    merged.notices.extend(not_deferred(&merged.settings));
    merged.notices.extend(open_to_all(&merged.settings));
    merged.notices.extend(not_understood(variables));
    merged
}

fn pick(
    setting: &Setting,
    flags: &Layer,
    variables: &Variables,
    file: &Layer,
    notices: &mut Vec<String>,
) -> (String, Source) {
    if let Some((text, _)) = flags.get(setting.name) {
        return (
            text.to_owned(),
            Source::Flag(format!("--{}", setting.name.replace('_', "-"))),
        );
    }
    let upper = setting.name.to_uppercase();
    let own = format!("SLUICEGATE_{upper}");
    if let Some(text) = variables.get(&own) {
        return (text.clone(), Source::Environment(own));
    }
    let kongs = format!("KONG_{upper}");
    if let Some(text) = variables.get(&kongs).filter(|_| setting.kong) {
        notices.push(format!("{kongs} is used; {own} would win over it"));
        return (text.clone(), Source::Environment(kongs));
    }
    if let Some((text, at)) = file.get(setting.name) {
        return (text.to_owned(), Source::File(at));
    }
    for name in setting.also {
        if let Some(text) = variables.get(*name).filter(|text| !text.is_empty()) {
            return (text.clone(), Source::Environment((*name).to_owned()));
        }
    }
    (setting.default.to_owned(), Source::Default)
}

/// Stands for a secret; nothing stands for none.
fn digest(secret: &str) -> String {
    match secret.is_empty() {
        true => String::new(),
        false => format!("{:?}", digest::digest(&digest::SHA256, secret.as_bytes())),
    }
}

fn source_name(setting: &Setting, source: &Source) -> String {
    match source {
        Source::Flag(name) | Source::Environment(name) => name.clone(),
        Source::File(_) | Source::Default => format!("gateway.{}", setting.name),
    }
}

/// Listeners that were to be deferred.
/// Whoever reaches the admin API may do everything with the gateway.
fn open_to_all(settings: &Settings) -> Option<String> {
    let is_open = |listener: &&Listener| !listener.addr.ip().to_canonical().is_loopback();
    let open = settings.admin_listen.iter().find(is_open)?;
    settings.admin_token.is_none().then(|| {
        format!(
            "admin_listen: {} can be reached from elsewhere, by everybody: set admin_token",
            open.addr
        )
    })
}

fn not_deferred(settings: &Settings) -> Vec<String> {
    let all = [
        ("proxy_listen", &settings.proxy_listen),
        ("admin_listen", &settings.admin_listen),
        ("status_listen", &settings.status_listen),
    ];
    let asked = all
        .iter()
        .filter(|(_, listeners)| listeners.iter().any(|one| one.deferred));
    let notice = |(name, _): &(&str, _)| {
        format!(
            "{name}: 'deferred' does nothing here: a silent connection waits until client_header_timeout"
        )
    };
    asked.map(notice).collect()
}

/// Variables that begin like ours or Kong's and mean nothing here.
fn not_understood(variables: &Variables) -> Vec<String> {
    let mut notices = Vec::new();
    for (name, value) in variables {
        if let Some(rest) = name.strip_prefix("KONG_") {
            let setting = SETTINGS
                .iter()
                .any(|s| s.kong && s.name.to_uppercase() == rest);
            let database_off = rest == "DATABASE" && value == "off";
            if !setting && !database_off && rest != "DECLARATIVE_CONFIG" {
                notices.push(format!("{name} is not understood"));
            }
        } else if let Some(rest) = name.strip_prefix("SLUICEGATE_") {
            let ours = SETTINGS
                .iter()
                .map(|setting| setting.name)
                .chain(["config", "format", "admin", "handover"]);
            let rest = rest.to_lowercase();
            if !ours.clone().any(|name| name == rest) {
                let hint = did_you_mean(&rest, ours).map(|hint| format!("; {hint}"));
                notices.push(format!(
                    "{name} is not understood{}",
                    hint.unwrap_or_default()
                ));
            }
        }
    }
    notices
}

/// Where the file is: the flag, `SLUICEGATE_CONFIG`, Kong's variable with a notice, `gateway.yaml`.
#[must_use]
pub fn config_source(flag: Option<&str>, variables: &Variables) -> (String, Option<String>) {
    if let Some(flag) = flag {
        return (flag.to_owned(), None);
    }
    if let Some(ours) = variables.get("SLUICEGATE_CONFIG") {
        return (ours.clone(), None);
    }
    match variables.get("KONG_DECLARATIVE_CONFIG") {
        Some(kongs) => {
            let notice = "KONG_DECLARATIVE_CONFIG is used; SLUICEGATE_CONFIG would win over it";
            (kongs.clone(), Some(notice.to_owned()))
        }
        None => ("gateway.yaml".to_owned(), None),
    }
}

/// The description of the `gateway:` section.
#[must_use]
pub fn section() -> &'static Record {
    &SECTION
}

#[cfg(test)]
mod tests;
