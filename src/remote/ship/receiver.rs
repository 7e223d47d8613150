//! The receivers of log records: HTTP servers, TCP and UDP sockets.
//!
//! Invariant: an attempt ends within the receiver's time-out, and nothing of an address that may be
//! secret (user, password, query) is in a label or an error.

mod http;
mod socket;

use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::Url;
use thiserror::Error;
use tokio::time::timeout;

use self::http::Http;
pub use self::http::is_http_url;
use self::socket::{Tcp, Udp};
use crate::tls::client::{Alpn, Verify};
use crate::tls::{TlsClients, TlsIdentity};

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The body of a request.
    Http(HttpDestination),
    /// Lines on a connection.
    Tcp(TcpDestination),
    /// A datagram each.
    Udp(UdpDestination),
}

/// An HTTP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpDestination {
    /// Its URL; user and password in it become Basic authentication.
    pub url: String,
    /// `POST`, `PUT` or `PATCH`.
    pub method: String,
    /// Type of the body.
    pub content_type: String,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// The body is a JSON array of records, not one record.
    pub array: bool,
    /// For a whole attempt.
    pub timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Its certificate must be right.
    pub verify: bool,
}

/// A TCP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpDestination {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For a whole attempt.
    pub timeout: Duration,
    /// How long an idle connection is kept.
    pub keepalive: Duration,
    /// Under TLS.
    pub tls: Option<TcpTls>,
}

/// TLS of a TCP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TcpTls {
    /// Its name.
    pub name: String,
    /// Its certificate must be right.
    pub verify: bool,
}

/// A UDP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UdpDestination {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// For a whole attempt.
    pub timeout: Duration,
}

/// Why an attempt failed.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// The time was over.
    #[error("no answer in time")]
    TimedOut,
    /// The server answered, but not with success.
    #[error("answered {0}")]
    Status(u16),
    /// The request could not be made, or had no answer.
    #[error("{0}")]
    Http(String),
    /// A socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// TLS failed.
    #[error("{0}")]
    Tls(String),
    /// A record is larger than a datagram.
    #[error("a record of {0} bytes fits no datagram")]
    TooLarge(usize),
    /// No attempt can ever succeed.
    #[error("{0}")]
    Unusable(String),
}

impl Failure {
    /// Whether another attempt would be the same.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Failure::TooLarge(_) | Failure::Unusable(_))
    }
}

/// A receiver that is ready to be sent to.
pub(super) struct Receiver {
    label: String,
    way: Way,
}

enum Way {
    Http(Box<Http>),
    Tcp(Box<Tcp>),
    Udp(Box<Udp>),
    Unusable(String),
    #[cfg(test)]
    Script(Box<Script>),
}

impl fmt::Display for Destination {
    /// As metrics and logs name it, without anything secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Http(to) => match Url::parse(&to.url) {
                Ok(mut url) => {
                    // Fails only for URLs that have no user.
                    let _ = url.set_username("");
                    let _ = url.set_password(None);
                    url.set_query(None);
                    url.set_fragment(None);
                    write!(f, "{url}")
                }
                Err(_) => f.write_str("http://?"),
            },
            Destination::Tcp(to) => {
                let scheme = if to.tls.is_some() { "tls" } else { "tcp" };
                write!(f, "{scheme}://{}:{}", to.host, to.port)
            }
            Destination::Udp(to) => write!(f, "udp://{}:{}", to.host, to.port),
        }
    }
}

impl Receiver {
    /// Readies a receiver; nothing is sent yet.
    pub(super) fn new(to: Destination, tls: &TlsClients) -> Receiver {
        let label = to.to_string();
        let way = match to {
            Destination::Http(to) => match Http::new(&to, tls) {
                Ok(http) => Way::Http(Box::new(http)),
                Err(reason) => Way::Unusable(reason),
            },
            Destination::Tcp(to) => match Tcp::new(to, tls) {
                Ok(tcp) => Way::Tcp(Box::new(tcp)),
                Err(reason) => Way::Unusable(reason),
            },
            Destination::Udp(to) => Way::Udp(Box::new(Udp::new(to))),
        };
        Receiver { label, way }
    }

    /// As metrics and logs name it.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// One attempt to deliver records.
    pub(super) async fn deliver(&self, records: &[Vec<u8>]) -> Result<(), Failure> {
        match &self.way {
            Way::Http(http) => http.deliver(records).await,
            Way::Tcp(tcp) => {
                let sent = timeout(tcp.to.timeout, tcp.deliver(records)).await;
                sent.unwrap_or(Err(Failure::TimedOut))
            }
            Way::Udp(udp) => {
                let sent = timeout(udp.to.timeout, udp.deliver(records)).await;
                sent.unwrap_or(Err(Failure::TimedOut))
            }
            Way::Unusable(reason) => Err(Failure::Unusable(reason.clone())),
            #[cfg(test)]
            Way::Script(script) => script(records),
        }
    }
}

fn identity(verify: bool, alpn: Alpn) -> TlsIdentity {
    /// Any chain that the default authorities sign.
    const DEPTH: u8 = 10;
    TlsIdentity {
        verify: match verify {
            true => Verify::On {
                cas: None,
                depth: DEPTH,
            },
            false => Verify::Off,
        },
        client_cert: None,
        alpn,
    }
}

/// What a test does with records.
#[cfg(test)]
pub(super) type Script = dyn Fn(&[Vec<u8>]) -> Result<(), Failure> + Send + Sync;

#[cfg(test)]
impl Receiver {
    /// A receiver that does what a test says.
    pub(super) fn scripted(script: Box<Script>) -> Receiver {
        Receiver {
            label: "script".to_owned(),
            way: Way::Script(script),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(url: &str) -> Destination {
        Destination::Http(HttpDestination {
            url: url.to_owned(),
            method: "POST".to_owned(),
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            array: false,
            timeout: Duration::from_secs(1),
            keepalive: Duration::from_secs(1),
            verify: false,
        })
    }

    #[test]
    fn labels_keep_secrets() {
        let label = http("https://me:secret@logs.test:8443/in?token=secret#x").to_string();
        assert_eq!(label, "https://logs.test:8443/in");
        let tcp = Destination::Tcp(TcpDestination {
            host: "logs.test".to_owned(),
            port: 514,
            timeout: Duration::from_secs(1),
            keepalive: Duration::ZERO,
            tls: None,
        });
        assert_eq!(tcp.to_string(), "tcp://logs.test:514");
    }
}
