//! What clients of HTTP services share: why a call failed, bodies with a bound.
//!
//! Invariant: no text in here names a URL, which may hold a secret.

use std::error::Error;

use reqwest::Response;

/// Why a call brought no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It took too long.
    TimedOut,
    /// The reason beneath all wrappers.
    Words(String),
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        let error = error.without_url();
        let mut reason: &dyn Error = &error;
        while let Some(beneath) = reason.source() {
            reason = beneath;
        }
        Self::Words(reason.to_string())
    }
}

/// The whole body; nothing where it is longer than so many bytes.
pub(super) async fn body(mut answer: Response, most: usize) -> Result<Option<Vec<u8>>, Trouble> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}
