//! Why the gateway itself answers, and with what: one exhaustive match per question.

use thiserror::Error;

use crate::http1::parse::ParseError;
use crate::message::{Blame, BodyError, Origin, Reply};
use crate::plugin::Outcome;
use crate::upstream::{Limit, UpstreamError};

/// What keeps a request from being answered by its upstream.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ProxyError {
    /// The head is malformed, ambiguous or too large.
    #[error("bad request: {0}")]
    BadHead(#[from] ParseError),
    /// The path cannot be normalised (RFC 3986 §2.1).
    #[error("bad request path")]
    BadPath,
    /// `CONNECT`: this is no forward proxy.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The request body failed.
    #[error("request body: {0}")]
    Body(#[from] BodyError),
    /// The head did not arrive in time.
    #[error("client too slow")]
    SlowHead,
    /// The client left before the answer.
    #[error("client left")]
    ClientGone,
    /// No route matches.
    #[error("no route")]
    NoRoute,
    /// The route has no service and no plugin answered.
    #[error("no service")]
    NoService,
    /// The upstream has no endpoint that may be used.
    #[error("no endpoint")]
    NoPeer,
    /// The service's host name does not exist.
    #[error("name not found")]
    NameNotFound,
    /// The service's host name could not be resolved.
    #[error("name resolution failed")]
    NameFailed,
    /// All attempts failed; the last one so.
    #[error("upstream: {0}")]
    Upstream(#[from] UpstreamError),
    /// The upstream has as much under way as it may.
    #[error("the upstream's {} is reached", .0.label())]
    Overflow(Limit),
    /// Something in here is wrong.
    #[error("internal failure")]
    Internal,
}

impl ProxyError {
    /// Status and words (Kong's, JSON always).
    pub fn reply(self) -> Reply {
        let (status, words) = match self {
            ProxyError::BadHead(error) => (error.status(), head_words(error.status())),
            ProxyError::BadPath | ProxyError::Body(BodyError::Malformed | BodyError::Closed) => {
                (400, "Bad request")
            }
            ProxyError::MethodNotAllowed => (405, "Method not allowed"),
            ProxyError::Body(BodyError::TooLarge) => (413, "Payload too large"),
            ProxyError::Body(BodyError::Timeout) | ProxyError::SlowHead => (408, "Request timeout"),
            ProxyError::ClientGone => (499, "Client closed request"),
            ProxyError::NoRoute => (404, "no Route matched with those values"),
            ProxyError::NoService => (503, "no Service found with those values"),
            ProxyError::NoPeer => (503, "failure to get a peer from the ring-balancer"),
            ProxyError::NameNotFound => (503, "name resolution failed"),
            ProxyError::NameFailed => (500, "failed the initial dns/balancer resolve"),
            ProxyError::Upstream(error) if error.kind.is_timeout() => {
                (504, "The upstream server is timing out")
            }
            ProxyError::Upstream(_) => (
                502,
                "An invalid response was received from the upstream server",
            ),
            ProxyError::Overflow(_) => (503, "The upstream server is overloaded"),
            ProxyError::Internal => (500, "An unexpected error occurred"),
        };
        let reply = Reply::gateway(status, words);
        match self {
            ProxyError::Overflow(limit) => reply.with("X-Upstream-Overflow", limit.label()),
            _ => reply,
        }
    }

    /// Whose fault it is.
    pub fn blame(self) -> Blame {
        match self {
            ProxyError::BadHead(_)
            | ProxyError::BadPath
            | ProxyError::MethodNotAllowed
            | ProxyError::Body(_)
            | ProxyError::SlowHead
            | ProxyError::ClientGone
            | ProxyError::NoRoute => Blame::Client,
            ProxyError::NoPeer | ProxyError::Overflow(_) | ProxyError::Upstream(_) => {
                Blame::Upstream
            }
            ProxyError::NoService
            | ProxyError::NameNotFound
            | ProxyError::NameFailed
            | ProxyError::Internal => Blame::Gateway,
        }
    }

    /// Stable short name, for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            ProxyError::BadHead(error) => error.label(),
            ProxyError::BadPath => "bad_path",
            ProxyError::MethodNotAllowed => "method_not_allowed",
            ProxyError::Body(BodyError::TooLarge) => "body_too_large",
            ProxyError::Body(BodyError::Malformed) => "body_malformed",
            ProxyError::Body(BodyError::Closed) => "body_closed",
            ProxyError::Body(BodyError::Timeout) => "body_timeout",
            ProxyError::SlowHead => "slow_head",
            ProxyError::ClientGone => "client_gone",
            ProxyError::NoRoute => "no_route",
            ProxyError::NoService => "no_service",
            ProxyError::NoPeer => "no_peer",
            ProxyError::NameNotFound => "name_not_found",
            ProxyError::NameFailed => "name_failed",
            ProxyError::Upstream(error) => error.kind.label(),
            ProxyError::Overflow(limit) => limit.label(),
            ProxyError::Internal => "internal",
        }
    }

    /// What plugins are told of it. Who left, or was never let through, says nothing of the upstream.
    pub fn outcome(self) -> Outcome {
        match self {
            ProxyError::ClientGone | ProxyError::Body(_) | ProxyError::Overflow(_) => {
                Outcome::Abandoned
            }
            error => Outcome::Failed(error.label()),
        }
    }

    /// Where the answer came from.
    pub fn origin(self) -> Origin {
        Origin::Gateway {
            label: self.label(),
            blame: self.blame(),
        }
    }
}

fn head_words(status: u16) -> &'static str {
    match status {
        414 => "URI too long",
        431 => "Request header or cookie too large",
        501 => "Not implemented",
        505 => "HTTP version not supported",
        _ => "Bad request",
    }
}
