//! Answers that the gateway or a plugin makes itself.

use std::borrow::Cow;

use bytes::Bytes;

/// An answer made here. Cheap to clone: texts are static or shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status, 100-999.
    pub status: u16,
    /// Header fields beside those that the body brings.
    pub headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// What it says.
    pub body: ReplyBody,
    /// Overrides the grpc-status that a gRPC client gets; else it follows from `status`.
    pub grpc_status: Option<u8>,
}

/// The body of an answer made here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReplyBody {
    /// No body.
    #[default]
    Empty,
    /// `{"message":"…"}`: what plugins answer.
    Message(Cow<'static, str>),
    /// `{"message":"…","request_id":"…"}`: what the gateway answers.
    GatewayMessage(Cow<'static, str>),
    /// Any bytes with their content type; without one no `Content-Type` is sent.
    Bytes(Bytes, Option<Cow<'static, str>>),
}

impl Reply {
    /// A plugin's answer: `{"message":"…"}`.
    pub fn message(status: u16, message: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            status,
            body: ReplyBody::Message(message.into()),
            ..Reply::default()
        }
    }

    /// The gateway's own answer: message and request id.
    pub fn gateway(status: u16, message: impl Into<Cow<'static, str>>) -> Reply {
        Reply {
            status,
            body: ReplyBody::GatewayMessage(message.into()),
            ..Reply::default()
        }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Reply {
        Reply {
            status,
            ..Reply::default()
        }
    }

    /// An answer with a JSON body.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Reply {
        Reply {
            status,
            body: ReplyBody::Bytes(body.into(), Some(JSON.into())),
            ..Reply::default()
        }
    }

    /// The same answer with one more header field.
    pub fn with(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Reply {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The words of the answer, for `grpc-message`; empty for other bodies.
    pub fn words(&self) -> &str {
        match &self.body {
            ReplyBody::Message(words) | ReplyBody::GatewayMessage(words) => words,
            ReplyBody::Empty | ReplyBody::Bytes(..) => "",
        }
    }

    /// The content type of the body.
    pub fn content_type(&self) -> Option<&str> {
        match &self.body {
            ReplyBody::Empty => None,
            ReplyBody::Message(_) | ReplyBody::GatewayMessage(_) => Some(JSON),
            ReplyBody::Bytes(_, content_type) => content_type.as_deref(),
        }
    }

    /// The body's bytes.
    pub fn render(&self, request_id: &str) -> Bytes {
        match &self.body {
            ReplyBody::Empty => Bytes::new(),
            ReplyBody::Message(words) => format!(
                "{{\"message\":{}}}",
                serde_json::Value::from(words.as_ref())
            )
            .into(),
            ReplyBody::GatewayMessage(words) => format!(
                "{{\"message\":{},\"request_id\":\"{request_id}\"}}",
                serde_json::Value::from(words.as_ref())
            )
            .into(),
            ReplyBody::Bytes(bytes, _) => bytes.clone(),
        }
    }

    /// The grpc-status for a gRPC client (Kong's mapping).
    pub fn grpc_code(&self) -> u8 {
        self.grpc_status.unwrap_or(match self.status {
            200..=299 => 0,
            401 => 16,
            403 => 7,
            404 => 5,
            409 => 6,
            429 => 8,
            499 => 1,
            400..=498 => 3,
            501 => 12,
            503 => 14,
            504 => 4,
            _ => 13,
        })
    }
}

/// What a gRPC status means as an HTTP status, the other way round (Envoy's mapping, where HTTP
/// has more than one).
pub fn http_status(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// The content type of every answer with words.
pub const JSON: &str = "application/json; charset=utf-8";

/// Who is to blame for an answer that no upstream made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client asked for something impossible or left.
    Client,
    /// The upstream failed.
    Upstream,
    /// The gateway or its configuration.
    Gateway,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The upstream answered.
    Upstream,
    /// A plugin answered; its name.
    Plugin(&'static str),
    /// The gateway answered.
    Gateway {
        /// Stable short name of the cause, for metrics and logs.
        label: &'static str,
        /// Whose fault it was.
        blame: Blame,
    },
}

impl Origin {
    /// `upstream`, `plugin` or `gateway`: the label `source` of metrics.
    pub fn label(self) -> &'static str {
        match self {
            Origin::Upstream => "upstream",
            Origin::Plugin(_) => "plugin",
            Origin::Gateway { .. } => "gateway",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_compact_json() {
        let reply = Reply::gateway(404, "no \"x\"");
        assert_eq!(
            reply.render("ab"),
            r#"{"message":"no \"x\"","request_id":"ab"}"#
        );
        assert_eq!(
            Reply::message(401, "Unauthorized").render("ab"),
            r#"{"message":"Unauthorized"}"#
        );
        assert_eq!(Reply::empty(204).render("ab"), "");
    }

    #[test]
    fn grpc_status_follows_the_http_status() {
        let codes = [
            (400, 3),
            (401, 16),
            (404, 5),
            (418, 3),
            (429, 8),
            (500, 13),
            (503, 14),
        ];
        for (status, code) in codes {
            assert_eq!(Reply::empty(status).grpc_code(), code, "{status}");
        }
    }
}
