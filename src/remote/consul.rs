//! A client for Consul's HTTP API: health of services and keys with blocking queries, registration.
//!
//! Invariants: it knows nothing of gateways, and nothing it says or shows holds a token. An answer
//! is read up to a bound; whatever goes wrong is one of [`ConsulError`]'s variants. How it is
//! opened out of the process's settings stands apart, in [`open`].

pub mod address;
pub mod agent;
pub mod cursor;
pub mod health;
pub mod http;
pub mod kv;
pub mod open;
pub mod pace;
pub mod token;
pub mod watch;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub use cursor::Cursor;
pub use health::{Instance, Instances, ServiceQuery, State};
pub use kv::KeyQuery;
pub use token::{Secret, Tokens};
pub use watch::{Fresh, Query, Watch};

/// Bound for an answer that Consul need not wait with.
pub const PLAIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConsulError {
    /// No connection, or one that broke.
    #[error("Consul cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("Consul did not answer in time")]
    TimedOut,
    /// The answer is larger than any that makes sense.
    #[error("Consul's answer is larger than {0} bytes")]
    TooLarge(usize),
    /// A successful answer that is none.
    #[error("Consul's answer is not understood: {0}")]
    Malformed(String),
    /// 400: the question is wrong, such as its filter.
    #[error("Consul does not understand the question: {0}")]
    BadQuestion(String),
    /// 401, 403: the token is unknown or may not do this.
    #[error("Consul refuses the token: {0}")]
    Forbidden(String),
    /// 404: there is no such thing.
    #[error("Consul knows nothing of that name")]
    NotFound,
    /// 429, 503: more requests or connections than it takes.
    #[error("Consul is overloaded: status {0}")]
    Busy(u16),
    /// Any other 5xx: no leader, an unknown datacenter, a failure within.
    #[error("Consul failed with status {0}: {1}")]
    Failed(u16, String),
    /// A status that nothing is known of.
    #[error("Consul answered with status {0}")]
    Unexpected(u16),
    /// An empty answer that may not be the truth.
    #[error("Consul's answer is empty, and doubted: {0}")]
    Doubted(&'static str),
    /// The token cannot be read, or cannot be sent.
    #[error("the token for Consul cannot be used: {0}")]
    Token(String),
}

/// Every word that [`ConsulError::kind`] may say.
pub const KINDS: [&str; 12] = [
    "unreachable",
    "timeout",
    "too_large",
    "malformed",
    "bad_question",
    "forbidden",
    "not_found",
    "busy",
    "failed",
    "unexpected",
    "doubted",
    "token",
];

impl ConsulError {
    /// A word for counters.
    pub fn kind(&self) -> &'static str {
        KINDS[match self {
            Self::Unreachable(_) => 0,
            Self::TimedOut => 1,
            Self::TooLarge(_) => 2,
            Self::Malformed(_) => 3,
            Self::BadQuestion(_) => 4,
            Self::Forbidden(_) => 5,
            Self::NotFound => 6,
            Self::Busy(_) => 7,
            Self::Failed(..) => 8,
            Self::Unexpected(_) => 9,
            Self::Doubted(_) => 10,
            Self::Token(_) => 11,
        }]
    }

    /// Whether only somebody's hand will change it: asking again soon is no use.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::BadQuestion(_) | Self::Forbidden(_) | Self::Token(_) | Self::TooLarge(_)
        )
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Changes.
    Put,
}

/// One call of the API.
pub struct Call {
    /// What is done.
    pub method: Method,
    /// Path, encoded, from `/v1` on.
    pub path: String,
    /// Names and values, not encoded yet.
    pub query: Vec<(&'static str, String)>,
    /// The token for this call, if not the client's.
    pub token: Option<Secret>,
    /// What is sent.
    pub body: Vec<u8>,
    /// Bound for the whole call.
    pub timeout: Duration,
    /// Bound for the answer's body.
    pub most: usize,
}

impl Call {
    /// A plain question.
    pub fn get(path: String) -> Self {
        Self {
            method: Method::Get,
            path,
            query: Vec::new(),
            token: None,
            body: Vec::new(),
            timeout: PLAIN,
            most: 64 * 1024,
        }
    }

    /// A change.
    pub fn put(path: String, body: Vec<u8>) -> Self {
        Self {
            method: Method::Put,
            body,
            ..Self::get(path)
        }
    }

    /// Path and query, encoded.
    pub fn target(&self) -> String {
        let mut out = self.path.clone();
        for (nth, (name, value)) in self.query.iter().enumerate() {
            out.push(if nth == 0 { '?' } else { '&' });
            out.push_str(name);
            if !value.is_empty() {
                out.push('=');
                out.push_str(&encoded(value));
            }
        }
        out
    }
}

/// Names tokens for nobody.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.method, self.target())
    }
}

/// What Consul says about an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `X-Consul-Index`, if it is a number.
    pub index: Option<u64>,
    /// `X-Consul-KnownLeader: false`.
    pub leaderless: bool,
    /// `X-Consul-LastContact`.
    pub last_contact: Duration,
    /// `X-Consul-Results-Filtered-By-ACLs`: there is more than the token may see.
    pub filtered: bool,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// What the headers say.
    pub meta: Meta,
    /// The body, whole.
    pub body: Vec<u8>,
}

/// An answer on its way. Dropping it ends the call.
pub type Calling<'a> = Pin<Box<dyn Future<Output = Result<Answer, ConsulError>> + Send + 'a>>;

/// How calls get to Consul.
pub trait Transport: Send + Sync + 'static {
    /// One call; the answer may have any status.
    fn call(&self, call: Call) -> Calling<'_>;
}

/// The client. Clones are the same one.
#[derive(Clone)]
pub struct Consul {
    transport: Arc<dyn Transport>,
}

impl Consul {
    /// A client over some transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }

    /// One call whose answer is a success.
    pub async fn call(&self, call: Call) -> Result<Answer, ConsulError> {
        let answer = self.transport.call(call).await?;
        match answer.status {
            200..300 => Ok(answer),
            _ => Err(failure(&answer)),
        }
    }
}

/// The longest text of Consul's that is passed on.
const WORDS: usize = 200;

fn failure(answer: &Answer) -> ConsulError {
    let text = String::from_utf8_lossy(&answer.body);
    let words: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(WORDS)
        .collect();
    let words = words.trim().to_owned();
    match answer.status {
        400 => ConsulError::BadQuestion(words),
        401 | 403 => ConsulError::Forbidden(words),
        404 => ConsulError::NotFound,
        status @ (429 | 503) => ConsulError::Busy(status),
        // How Consul 1.8 says it.
        500 if words.contains("ACL not found") => ConsulError::Forbidden(words),
        status @ 500..600 => ConsulError::Failed(status, words),
        status => ConsulError::Unexpected(status),
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod testkit;

#[cfg(test)]
mod tests;
