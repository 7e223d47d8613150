//! The one stream type of the data plane, for both sides.
//!
//! Invariant: an [`Io`] is small (TLS state is boxed), so an idle plain connection costs no more
//! than its socket. Handshakes run in a box of their own for the same reason.

use std::any::Any;
use std::fmt;
use std::io;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::{CertificateError, CipherSuite, ProtocolVersion};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::tls::client::{ClientTls, PeerName};
use crate::tls::server::ServerTls;

/// A connection to a client or to an upstream. What was written may wait in memory under TLS until
/// it is flushed; a socket has nothing to flush.
pub enum Io {
    /// A socket.
    Plain(TcpStream),
    /// TLS over another stream, in either role.
    Tls(Box<TlsStream<Io>>),
    /// One end of a pipe in memory.
    #[doc(hidden)]
    Mem(DuplexStream),
    /// Another one, and what is dropped with it.
    Held(Box<(Io, Box<dyn Any + Send + Sync>)>),
}

/// What a log record says about a TLS connection, in OpenSSL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Such as `TLS_AES_256_GCM_SHA384` or `ECDHE-RSA-AES256-GCM-SHA384`.
    pub cipher: &'static str,
    /// `SUCCESS` when the peer has shown a verified client certificate, else `NONE`.
    pub client_verify: &'static str,
}

impl Io {
    /// Two ends of a pipe in memory that hold `capacity` bytes in each direction.
    #[doc(hidden)]
    pub fn pair(capacity: usize) -> (Self, Self) {
        let (one, two) = tokio::io::duplex(capacity);
        (Self::Mem(one), Self::Mem(two))
    }

    /// Holds on to something for as long as the connection lasts.
    #[must_use]
    pub fn holding(self, what: impl Any + Send + Sync) -> Self {
        Self::Held(Box::new((self, Box::new(what))))
    }

    /// What it holds on to.
    pub fn held<T: 'static>(&self) -> Option<&T> {
        match self {
            Self::Held(held) => held.1.downcast_ref(),
            _ => None,
        }
    }

    /// Whether this is TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Held(held) => held.0.is_tls(),
            other => matches!(other, Self::Tls(_)),
        }
    }

    /// The socket beneath, if there is one.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(socket) => Some(socket),
            Self::Tls(stream) => stream.get_ref().0.socket(),
            Self::Mem(_) => None,
            Self::Held(held) => held.0.socket(),
        }
    }

    /// The other end's address; none in memory or when the socket is gone. A system call.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket()?.peer_addr().ok()
    }

    /// This end's address; none in memory or when the socket is gone. A system call.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket()?.local_addr().ok()
    }

    /// The server name that a TLS client asked for, in lower case (clients' side only).
    pub fn sni(&self) -> Option<&str> {
        match self {
            Self::Tls(stream) => match &**stream {
                TlsStream::Server(server) => server.get_ref().1.server_name(),
                TlsStream::Client(_) => None,
            },
            Self::Held(held) => held.0.sni(),
            _ => None,
        }
    }

    /// The protocol that was agreed on, such as `h2`; none without ALPN.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Held(held) => held.0.alpn(),
            _ => None,
        }
    }

    /// What there is to say about the TLS connection.
    pub fn tls_info(&self) -> Option<TlsInfo> {
        let stream = match self {
            Self::Tls(stream) => stream,
            Self::Held(held) => return held.0.tls_info(),
            _ => return None,
        };
        let session = stream.get_ref().1;
        let shown =
            session.peer_certificates().is_some() && matches!(**stream, TlsStream::Server(_));
        Some(TlsInfo {
            version: session.protocol_version().map_or("", version),
            cipher: session
                .negotiated_cipher_suite()
                .map_or("", |suite| cipher(suite.suite())),
            client_verify: if shown { "SUCCESS" } else { "NONE" },
        })
    }

    /// Whether an idle connection is of no more use: the other end has closed, failed, or sent
    /// bytes that nobody asked for. Does not wait; messages of TLS itself (session tickets) are
    /// taken in. The waker of `cx` may be woken later.
    pub fn is_dead(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        Pin::new(self)
            .poll_read(cx, &mut ReadBuf::new(&mut byte))
            .is_ready()
    }
}

fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "",
    }
}

fn cipher(suite: CipherSuite) -> &'static str {
    use CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or(""),
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Io::Plain",
            Self::Tls(_) => "Io::Tls",
            Self::Mem(_) => "Io::Mem",
            Self::Held(_) => "Io::Held",
        })
    }
}

impl From<TcpStream> for Io {
    fn from(socket: TcpStream) -> Self {
        Self::Plain(socket)
    }
}

impl From<DuplexStream> for Io {
    fn from(pipe: DuplexStream) -> Self {
        Self::Mem(pipe)
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Mem(pipe) => Pin::new(pipe).poll_read(cx, buf),
            Self::Held(held) => Pin::new(&mut held.0).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Mem(pipe) => Pin::new(pipe).poll_write(cx, buf),
            Self::Held(held) => Pin::new(&mut held.0).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Mem(pipe) => Pin::new(pipe).poll_write_vectored(cx, bufs),
            Self::Held(held) => Pin::new(&mut held.0).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Mem(pipe) => pipe.is_write_vectored(),
            Self::Held(held) => held.0.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Mem(pipe) => Pin::new(pipe).poll_flush(cx),
            Self::Held(held) => Pin::new(&mut held.0).poll_flush(cx),
        }
    }

    /// Ends the sending direction: under TLS with its close message first.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Mem(pipe) => Pin::new(pipe).poll_shutdown(cx),
            Self::Held(held) => Pin::new(&mut held.0).poll_shutdown(cx),
        }
    }
}

/// A handshake that did not come to its end.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The other side's certificate is not accepted.
    #[error("TLS: certificate not accepted: {0}")]
    Certificate(String),
    /// One side did not like what else the other said: version, ALPN, an alert.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// The other side went away.
    #[error("TLS: the peer closed the connection during the handshake")]
    Closed,
    /// The connection failed.
    #[error("TLS: {0}")]
    Io(io::Error),
    /// The first byte is a letter, not a TLS record: most likely HTTP sent to the wrong port.
    /// Nothing was read, so the connection can still be answered in clear text.
    #[error("clear text was sent to a TLS port")]
    ClearText(Io),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Self::Closed;
        }
        match error.downcast::<rustls::Error>() {
            Ok(rustls::Error::InvalidCertificate(error)) => Self::Certificate(reason(&error)),
            Ok(error) => Self::Tls(error),
            Err(error) => Self::Io(error),
        }
    }
}

/// Why a certificate is not accepted; rustls shows most of its reasons as Rust code.
fn reason(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => "it was issued by an unknown authority".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "it is for another name than {}: {}",
            expected.to_str(),
            presented.join(", ")
        ),
        CertificateError::Other(error) => error.0.to_string(),
        other => other.to_string(),
    }
}

/// Takes the server's part in a handshake. Unbounded in time: the caller bounds it. Dropping the
/// future closes the connection.
pub async fn accept(io: Io, tls: &ServerTls) -> Result<Io, HandshakeError> {
    Box::pin(accepting(io, TlsAcceptor::from(tls.config.clone()))).await
}

async fn accepting(io: Io, acceptor: TlsAcceptor) -> Result<Io, HandshakeError> {
    if let Io::Plain(socket) = &io {
        let mut first = [0];
        if socket.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
            return Err(HandshakeError::ClearText(io));
        }
    }
    let stream = acceptor.accept(io).await?;
    Ok(Io::Tls(Box::new(stream.into())))
}

/// Takes the client's part in a handshake with a peer of that name. Unbounded in time: the caller
/// bounds it. Dropping the future closes the connection.
pub async fn connect(io: Io, tls: &ClientTls, name: &PeerName) -> Result<Io, HandshakeError> {
    let connector = TlsConnector::from(tls.config());
    let stream = Box::pin(connector.connect(name.0.clone(), io)).await?;
    Ok(Io::Tls(Box::new(stream.into())))
}

#[cfg(test)]
pub(super) mod tests;
