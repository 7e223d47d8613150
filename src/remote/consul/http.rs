//! Calls over HTTP.
//!
//! Invariants: the environment's proxy is never used and no redirect is followed. No error holds the
//! address, the token or a password. A body is read up to the call's bound.

use std::error::Error;
use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};
use std::time::Duration;

use super::{Answer, Call, Calling, ConsulError, Meta, Method, Secret, Tokens, Transport};

/// Consul behind an HTTP client.
pub struct Http {
    client: Client,
    /// Scheme, host, port, path: without a final slash.
    base: String,
    tokens: Arc<Tokens>,
    /// `Authorization`, for a proxy in front of Consul.
    login: Option<Secret>,
}

impl Http {
    /// Calls go to `base` by this client, which should follow no redirect and use no proxy.
    pub fn new(client: Client, base: String, tokens: Tokens, login: Option<Secret>) -> Self {
        Self {
            client,
            base,
            tokens: Arc::new(tokens),
            login,
        }
    }

    async fn send(&self, call: Call) -> Result<Answer, ConsulError> {
        let token = match &call.token {
            Some(token) => Some(token.clone()),
            None => self.tokens.now().await?,
        };
        let request = self.request(&call, token.as_ref())?;
        let answered = tokio::time::timeout(call.timeout, read(request, call.most)).await;
        let mut answer = answered.map_err(|_| ConsulError::TimedOut)??;
        if answer.status >= 300 {
            hide(&mut answer.body, token.as_ref());
        }
        Ok(answer)
    }

    fn request(&self, call: &Call, token: Option<&Secret>) -> Result<RequestBuilder, ConsulError> {
        let url = format!("{}{}", self.base, call.target());
        let request = match call.method {
            Method::Get => self.client.get(url),
            Method::Put => self.client.put(url).body(call.body.clone()),
        };
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert("x-consul-token", sensitive(token)?);
        }
        if let Some(login) = &self.login {
            headers.insert(AUTHORIZATION, sensitive(login)?);
        }
        Ok(request.headers(headers))
    }
}

impl Transport for Http {
    fn call(&self, call: Call) -> Calling<'_> {
        Box::pin(self.send(call))
    }
}

fn sensitive(secret: &Secret) -> Result<HeaderValue, ConsulError> {
    let value = HeaderValue::from_str(secret.reveal());
    let mut value = value.map_err(|_| {
        ConsulError::Token("it has characters that a header cannot carry".to_owned())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

async fn read(request: RequestBuilder, most: usize) -> Result<Answer, ConsulError> {
    let mut response = request.send().await.map_err(unreachable)?;
    let (status, meta) = (response.status().as_u16(), meta(&response));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > most {
            return Err(ConsulError::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, meta, body })
}

fn meta(response: &Response) -> Meta {
    let text = |name: &str| response.headers().get(name)?.to_str().ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let is = |name: &str, word: &str| text(name).is_some_and(|it| it.eq_ignore_ascii_case(word));
    Meta {
        index: number("x-consul-index"),
        leaderless: is("x-consul-knownleader", "false"),
        last_contact: Duration::from_millis(number("x-consul-lastcontact").unwrap_or(0)),
        filtered: is("x-consul-results-filtered-by-acls", "true"),
    }
}

/// Takes a token out of a text, should Consul or somebody on the way repeat it.
fn hide(body: &mut Vec<u8>, token: Option<&Secret>) {
    let Some(token) = token.filter(|token| !token.reveal().is_empty()) else {
        return;
    };
    let text = String::from_utf8_lossy(body);
    if text.contains(token.reveal()) {
        *body = text.replace(token.reveal(), "(secret)").into_bytes();
    }
}

/// The reason beneath all wrappers, and never the URL.
fn unreachable(error: reqwest::Error) -> ConsulError {
    if error.is_timeout() {
        return ConsulError::TimedOut;
    }
    let mut reason: &dyn Error = &error;
    while let Some(beneath) = reason.source() {
        reason = beneath;
    }
    let words = reason.to_string();
    ConsulError::Unreachable(match Error::source(&error) {
        Some(_) => words,
        None => error.without_url().to_string(),
    })
}
