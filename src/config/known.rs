//! What the floors above tell the reader of files: which plugins and credentials there are.
//!
//! Invariant: plain data and function pointers; nothing here knows any plugin by meaning.

use std::any::Any;
use std::fmt;

use super::report::Report;
use super::schema::{Field, any, checked, texts};
use super::schema::{Fields, Judge, Kind, Record, field, number, set};

/// What a plugin made of its configuration, kept until the plugin is built.
pub struct Parsed(Box<dyn Any + Send + Sync>);

impl Parsed {
    /// Wraps a value.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The value, if it is of this type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }

    /// Takes the value out.
    ///
    /// # Errors
    /// Gives itself back when the value is of another type.
    pub fn take<T: Any>(self) -> Result<Box<T>, Self> {
        if self.0.is::<T>() {
            self.0.downcast().map_err(Self)
        } else {
            Err(self)
        }
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parsed(..)")
    }
}

/// Turns fields that passed the check into a typed value; what only several fields together show
/// is reported here. `None` after an error was reported.
pub type Parse = fn(&Fields<'_>, &mut Report) -> Option<Parsed>;

/// One plugin, as far as the file goes.
#[derive(Clone, Copy, Debug)]
pub struct KnownPlugin {
    /// Its name in the file.
    pub name: &'static str,
    /// What its `config` may hold.
    pub config: &'static Record,
    /// Makes its configuration.
    pub parse: Parse,
    /// May be set on a consumer.
    pub on_consumer: bool,
    /// May be set on a service or a route; `false`: globally only.
    pub on_routes: bool,
}

/// How a credential that has no `id` gets one that stays the same over reloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialId {
    /// Kong's: from the table and this field, as in `basicauth_credentials:*:<username>`.
    Field(&'static str),
    /// Kong's for `acls`: from the table, the consumer's id and this field.
    ConsumerAndField(&'static str),
    /// Ours, where Kong takes a random one: from the table, the consumer and every own field.
    Content,
}

/// One table of credentials.
#[derive(Clone, Copy, Debug)]
pub struct KnownCredential {
    /// Its key in the file, at the top level and under a consumer: `keyauth_credentials`.
    pub key: &'static str,
    /// What a row may hold; made by [`credential`].
    pub record: &'static Record,
    /// Makes a row.
    pub parse: Parse,
    /// Fields whose values are unique in the table.
    pub unique: &'static [&'static str],
    /// Fields that Kong would fill with a random text when absent: we warn and do so too.
    pub generated: &'static [&'static str],
    /// Fields that hold something else than the value itself where the file says
    /// `_transform: false`, and what accepts that.
    pub stored: &'static [(&'static str, Judge)],
    /// Where a missing `id` comes from.
    pub id: CredentialId,
}

/// Everything that [`super::read`] must know from above.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The plugins there are.
    pub plugins: Vec<KnownPlugin>,
    /// The tables of credentials there are.
    pub credentials: Vec<KnownCredential>,
}

impl Known {
    /// The plugin with this name.
    #[must_use]
    pub fn plugin(&self, name: &str) -> Option<&KnownPlugin> {
        self.plugins.iter().find(|plugin| plugin.name == name)
    }

    /// The table with this key.
    #[must_use]
    pub fn credential(&self, key: &str) -> Option<&KnownCredential> {
        self.credentials.iter().find(|table| table.key == key)
    }
}

const TAG: Kind = checked("tag", texts::tag);

/// What every entity may hold besides its own fields.
pub static ENTITY: Record = Record::new(&[
    ID,
    CREATED_AT,
    UPDATED_AT,
    TAGS,
    field("_comment", any()).doc("Ignored."),
    field("_ignore", any()).doc("Ignored: a place for YAML anchors."),
]);

/// What every credential may hold besides its own fields.
static CREDENTIAL: Record = Record::new(&[
    field("consumer", Kind::Reference).doc("Whose it is; implied under a consumer."),
    ID,
    CREATED_AT,
    UPDATED_AT,
    TAGS,
    field("_comment", any()).doc("Ignored."),
    field("_ignore", any()).doc("Ignored: a place for YAML anchors."),
]);

const ID: Field = field("id", super::schema::uuid()).doc("UUID; derived from the name if absent.");
const CREATED_AT: Field = field("created_at", number()).doc("Seconds since 1970.");
const UPDATED_AT: Field = field("updated_at", number()).doc("Seconds since 1970.");
const TAGS: Field = field("tags", set(&TAG)).doc("For people and tools.");

/// The record of a credential with these fields of its own.
#[must_use]
pub const fn credential(fields: &'static [Field]) -> Record {
    Record::new(fields).with(&CREDENTIAL)
}

/// Every plugin that Kong's open edition brings, so that a file which uses one that is missing
/// here is told so, rather than that the name is unknown.
pub const KONG_PLUGINS: &[&str] = &[
    "acl",
    "acme",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-proxy",
    "ai-request-transformer",
    "ai-response-transformer",
    "aws-lambda",
    "azure-functions",
    "basic-auth",
    "bot-detection",
    "correlation-id",
    "cors",
    "datadog",
    "file-log",
    "grpc-gateway",
    "grpc-web",
    "header-cert-auth",
    "hmac-auth",
    "http-log",
    "ip-restriction",
    "jwt",
    "key-auth",
    "ldap-auth",
    "loggly",
    "oauth2",
    "opentelemetry",
    "post-function",
    "pre-function",
    "prometheus",
    "proxy-cache",
    "rate-limiting",
    "redirect",
    "request-size-limiting",
    "request-termination",
    "request-transformer",
    "response-ratelimiting",
    "response-transformer",
    "session",
    "standard-webhooks",
    "statsd",
    "syslog",
    "tcp-log",
    "udp-log",
    "zipkin",
];

/// Plugins of Kong's commercial edition that files of users often name.
pub const KONG_ENTERPRISE_PLUGINS: &[&str] = &[
    "application-registration",
    "canary",
    "degraphql",
    "exit-transformer",
    "forward-proxy",
    "graphql-proxy-cache-advanced",
    "graphql-rate-limiting-advanced",
    "jq",
    "jwt-signer",
    "kafka-log",
    "kafka-upstream",
    "key-auth-enc",
    "ldap-auth-advanced",
    "mocking",
    "mtls-auth",
    "oas-validation",
    "oauth2-introspection",
    "opa",
    "openid-connect",
    "proxy-cache-advanced",
    "rate-limiting-advanced",
    "request-transformer-advanced",
    "request-validator",
    "response-transformer-advanced",
    "route-by-header",
    "route-transformer-advanced",
    "saml",
    "service-protection",
    "statsd-advanced",
    "tls-handshake-modifier",
    "tls-metadata-headers",
    "upstream-timeout",
    "vault-auth",
    "websocket-size-limit",
    "websocket-validator",
    "xml-threat-protection",
];
