//! Why an attempt at an upstream failed, and what that allows.

use thiserror::Error;

/// An attempt that brought no response head, or a body that broke off.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{kind}")]
pub struct UpstreamError {
    /// What went wrong.
    #[source]
    pub kind: UpstreamErrorKind,
    /// The connection had served other requests before.
    pub reused: bool,
    /// At least one byte of the request was accepted by the socket.
    pub sent: bool,
}

/// What went wrong with an attempt.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum UpstreamErrorKind {
    /// No connection: refused, unreachable, reset while connecting.
    #[error("connection failed")]
    Connect,
    /// No connection in `connect_timeout`.
    #[error("connecting timed out")]
    ConnectTimeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Tls,
    /// The socket took no bytes for `write_timeout`.
    #[error("sending timed out")]
    WriteTimeout,
    /// No bytes came for `read_timeout`.
    #[error("waiting for the answer timed out")]
    ReadTimeout,
    /// The connection ended before the answer did.
    #[error("connection closed before the end of the answer")]
    Closed,
    /// What came is no HTTP, or ambiguous HTTP.
    #[error("malformed answer")]
    Malformed,
    /// The time for all attempts together is over: the service's `deadline`, or a plugin's.
    #[error("no answer within the deadline")]
    Deadline,
}

impl UpstreamErrorKind {
    /// All of them, in the order of their declaration.
    pub const ALL: [UpstreamErrorKind; 8] = [
        UpstreamErrorKind::Connect,
        UpstreamErrorKind::ConnectTimeout,
        UpstreamErrorKind::Tls,
        UpstreamErrorKind::WriteTimeout,
        UpstreamErrorKind::ReadTimeout,
        UpstreamErrorKind::Closed,
        UpstreamErrorKind::Malformed,
        UpstreamErrorKind::Deadline,
    ];

    /// Stable short name, for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            UpstreamErrorKind::Connect => "connect",
            UpstreamErrorKind::ConnectTimeout => "connect_timeout",
            UpstreamErrorKind::Tls => "tls",
            UpstreamErrorKind::WriteTimeout => "write_timeout",
            UpstreamErrorKind::ReadTimeout => "read_timeout",
            UpstreamErrorKind::Closed => "closed",
            UpstreamErrorKind::Malformed => "malformed",
            UpstreamErrorKind::Deadline => "deadline",
        }
    }

    /// The client is told 504 rather than 502.
    pub fn is_timeout(self) -> bool {
        matches!(
            self,
            UpstreamErrorKind::ConnectTimeout
                | UpstreamErrorKind::WriteTimeout
                | UpstreamErrorKind::ReadTimeout
                | UpstreamErrorKind::Deadline
        )
    }
}

impl UpstreamError {
    /// A failure before there was a connection.
    pub fn unconnected(kind: UpstreamErrorKind) -> UpstreamError {
        UpstreamError {
            kind,
            reused: false,
            sent: false,
        }
    }
}
