//! One call over a connection of its own, on any runtime: what a probe needs.
//!
//! Invariant: an answer takes bounded memory. Time is the caller's affair: dropping the future
//! gives the connection up.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::Builder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// The longest answer that is read.
const LONGEST: usize = 4096;
/// Largest header list of an answer.
const HEADER_LIST: u32 = 16 * 1024;

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Fields of the head, and behind the body.
    pub fields: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Sends a request over HTTP/2 and reads the whole answer; `None` when that failed.
pub async fn call(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Option<Answer> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.max_header_list_size(HEADER_LIST);
    let shaken = builder.handshake(TokioIo::new(io)).await;
    let (mut send, connection) = shaken.ok()?;
    let answering = async {
        let response = send.send_request(request.map(Full::new)).await.ok()?;
        let (parts, body) = response.into_parts();
        let collected = Limited::new(body, LONGEST).collect().await.ok()?;
        let mut fields = parts.headers;
        fields.extend(collected.trailers().cloned().unwrap_or_default());
        Some(Answer {
            status: parts.status.as_u16(),
            fields,
            body: collected.to_bytes(),
        })
    };
    tokio::select! {
        biased;
        answer = answering => answer,
        _ = connection => None,
    }
}
