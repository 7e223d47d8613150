//! The heads of messages: what a request asks and what a response says, for both protocols.
//!
//! Text stays in the received bytes; a [`Span`] points at it. Heads are reused from message to
//! message, so a keep-alive connection allocates nothing for them in its steady state.

use std::net::SocketAddr;

use super::headers::{Headers, Known};

/// A piece of a head's received text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub at: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The piece `from..to`.
    pub fn new(from: usize, to: usize) -> Span {
        Span {
            at: from as u32,
            len: (to - from) as u32,
        }
    }

    /// The text it points at.
    pub fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.at as usize..(self.at + self.len) as usize)
            .unwrap_or_default()
    }
}

/// The version of the protocol in which a message arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As `Via` and access logs write it: `1.0`, `1.1`, `2`.
    pub fn short(self) -> &'static str {
        match self {
            Version::Http10 => "1.0",
            Version::Http11 => "1.1",
            Version::Http2 => "2",
        }
    }

    /// As access logs write it: `HTTP/1.1`.
    pub fn long(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }
}

/// How a message body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// Exactly so many bytes (more than 0).
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends; responses only.
    Close,
    /// HTTP/2 frames without a declared length.
    Frames,
}

impl Framing {
    /// Whether no body byte will follow.
    pub fn is_none(self) -> bool {
        self == Framing::None
    }

    /// The declared length, if one was.
    pub fn length(self) -> Option<u64> {
        match self {
            Framing::None => Some(0),
            Framing::Length(length) => Some(length),
            _ => None,
        }
    }
}

/// What a request asks.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// Header fields. `headers.raw` holds the start line too.
    pub headers: Headers,
    /// The method, a token (RFC 9110 §9.1).
    pub method: Span,
    /// The method where it is one of the usual ones, which are asked for often; else empty.
    usual_method: &'static str,
    /// The request target as received; over HTTP/2 `:path`.
    pub target: Span,
    /// The authority of an absolute-form target or `:authority`; it outranks `Host`.
    pub authority: Option<Span>,
    /// The path part of `target`, before normalisation.
    pub raw_path: Span,
    /// The received query with its question mark; empty without one. Readers want
    /// [`RequestHead::query`], which knows of replacements.
    pub query: Span,
    /// Protocol version.
    pub version: Version,
    /// How the body is delimited.
    pub framing: Framing,
    /// The path as routes see it and as it is sent: decoded, dot segments gone. Text that is kept,
    /// for it is asked for several times, and its UTF-8 would be checked each time.
    path: String,
    /// [`RequestHead::set_path`] has set it; until then the received one stands.
    has_path: bool,
    /// A query to send instead of the received one.
    other_query: Option<String>,
    /// The sender keeps the connection open after the answer.
    pub keep_alive: bool,
    /// `Expect: 100-continue` (RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// The client asks for `Upgrade: websocket` and named it in `Connection`.
    pub upgrade_websocket: bool,
    /// `TE` lists `trailers`.
    pub te_trailers: bool,
    /// `Connection` names fields beside close, keep-alive, upgrade and te: they must be removed.
    pub connection_names: bool,
}

impl RequestHead {
    /// Forgets the message; keeps the memory.
    pub fn clear(&mut self) {
        self.headers.raw.clear();
        self.restart();
    }

    /// Forgets the message but keeps its received text, for a parser that starts over.
    pub fn restart(&mut self) {
        self.headers.clear_lines();
        self.method = Span::default();
        self.usual_method = "";
        self.target = Span::default();
        self.authority = None;
        self.raw_path = Span::default();
        self.query = Span::default();
        self.version = Version::default();
        self.framing = Framing::default();
        self.has_path = false;
        self.other_query = None;
        self.keep_alive = false;
        self.expect_continue = false;
        self.upgrade_websocket = false;
        self.te_trailers = false;
        self.connection_names = false;
    }

    /// The method.
    pub fn method(&self) -> &str {
        match self.usual_method {
            "" => self.text(self.method),
            usual => usual,
        }
    }

    /// Sets the method: where it stands in `text`, which is or becomes the received one.
    pub fn set_method(&mut self, span: Span, text: &[u8]) {
        self.method = span;
        self.usual_method = match span.of(text) {
            b"GET" => "GET",
            b"POST" => "POST",
            b"PUT" => "PUT",
            b"HEAD" => "HEAD",
            b"PATCH" => "PATCH",
            b"DELETE" => "DELETE",
            b"OPTIONS" => "OPTIONS",
            _ => "",
        };
    }

    /// The request target as received.
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The target's path as received.
    pub fn raw_path(&self) -> &str {
        self.text(self.raw_path)
    }

    /// [`RequestHead::raw_path`] for who only looks at its bytes.
    pub fn raw_path_bytes(&self) -> &[u8] {
        self.raw_path.of(&self.headers.raw)
    }

    /// The query to send, with its question mark; empty without one.
    pub fn query(&self) -> &str {
        match &self.other_query {
            Some(query) => query,
            None => self.text(self.query),
        }
    }

    /// [`RequestHead::query`] for who only writes it.
    pub fn query_bytes(&self) -> &[u8] {
        match &self.other_query {
            Some(query) => query.as_bytes(),
            None => self.query.of(&self.headers.raw),
        }
    }

    /// Sends this query, question mark included, instead of the received one.
    pub fn set_query(&mut self, query: String) {
        self.other_query = Some(query);
    }

    /// The normalised path: what routes match and what is sent.
    pub fn path(&self) -> &str {
        match self.has_path {
            true => &self.path,
            false => self.text(self.raw_path),
        }
    }

    /// Sets the normalised path; `None` where the received one is normal already.
    pub fn set_path(&mut self, path: Option<String>) {
        match path {
            Some(path) => self.path = path,
            None => {
                let received = self.raw_path.of(&self.headers.raw);
                self.path.clear();
                self.path
                    .push_str(std::str::from_utf8(received).unwrap_or_default());
            }
        }
        self.has_path = true;
    }

    /// The authority asked for: of the target, else `Host`, as received; empty without either.
    pub fn host(&self) -> &str {
        std::str::from_utf8(self.host_bytes()).unwrap_or_default()
    }

    /// [`RequestHead::host`] for who only writes it.
    pub fn host_bytes(&self) -> &[u8] {
        match self.authority {
            Some(span) => span.of(&self.headers.raw),
            None => self.headers.known(Known::Host).unwrap_or_default(),
        }
    }

    /// The content type without parameters is `application/grpc` or begins with
    /// `application/grpc+` (gRPC over HTTP/2).
    pub fn is_grpc(&self) -> bool {
        self.headers
            .known(Known::ContentType)
            .is_some_and(is_grpc_type)
    }

    /// The value of the first query parameter of that name, still percent-encoded.
    pub fn query_param<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.query_params(name).next()
    }

    /// Every value of the query parameter of that name, still percent-encoded; a flag without
    /// `=` has the empty value. Names are compared after decoding `+` and triplets.
    pub fn query_params<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        super::query::pairs(self.query())
            .filter_map(move |(key, value)| (super::query::decode(key) == name).then_some(value))
    }

    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.headers.raw)).unwrap_or_default()
    }
}

/// Whether a content type is one of gRPC's.
pub fn is_grpc_type(value: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    value.len() >= GRPC.len()
        && value[..GRPC.len()].eq_ignore_ascii_case(GRPC)
        && matches!(value.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// What a response says.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// Header fields.
    pub headers: Headers,
    /// Status code, 100-999.
    pub status: u16,
    /// The reason phrase as received; empty for HTTP/2 and for answers of our own.
    pub reason: Span,
    /// Protocol version.
    pub version: Version,
    /// How the body is delimited.
    pub framing: Framing,
    /// The sender keeps the connection open after the body.
    pub keep_alive: bool,
    /// `Connection` names fields beside close, keep-alive and upgrade: they must be removed.
    pub connection_names: bool,
}

impl ResponseHead {
    /// Forgets the message; keeps the memory.
    pub fn clear(&mut self) {
        self.headers.raw.clear();
        self.restart();
    }

    /// Forgets the message but keeps its received text, for a parser that starts over.
    pub fn restart(&mut self) {
        self.headers.clear_lines();
        self.status = 0;
        self.reason = Span::default();
        self.version = Version::default();
        self.framing = Framing::default();
        self.keep_alive = false;
        self.connection_names = false;
    }

    /// The content type of the response is one of gRPC's.
    pub fn is_grpc(&self) -> bool {
        self.headers
            .known(Known::ContentType)
            .is_some_and(is_grpc_type)
    }
}

/// What is known of a client connection before its first request.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// Which connection of this process it is, from 1.
    pub number: u64,
    /// The client's address; behind a PROXY protocol header the one that it names.
    pub peer: SocketAddr,
    /// The address that the client connected to; likewise.
    pub local: SocketAddr,
    /// The TCP peer is one of `trusted_ips`.
    pub trusted: bool,
    /// The port of the listener, for `X-Forwarded-Port`.
    pub listen_port: u16,
    /// TLS facts; `None` on a plain listener.
    pub tls: Option<Box<TlsInfo>>,
}

/// What is known of a client's TLS session.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's name as IANA has it.
    pub cipher: &'static str,
}

impl ConnInfo {
    /// `https` over TLS, else `http`.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The TLS server name, where one was sent.
    pub fn sni(&self) -> Option<&str> {
        self.tls.as_ref().and_then(|tls| tls.sni.as_deref())
    }
}
