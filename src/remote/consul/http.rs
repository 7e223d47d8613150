//! Calls over HTTP.
//!
//! Invariants: the environment's proxy is never used and no redirect is followed. No error holds the
//! address, the token or a password. A body is read up to the call's bound.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, RequestBuilder, Response};

use super::{Answer, Call, Calling, ConsulError, Meta, Method, Secret, Tokens, Transport};
use crate::remote::web::{self, Trouble};

/// Consul behind an HTTP client.
pub struct Http {
    client: Client,
    /// Scheme, host, port, path: without a final slash.
    base: String,
    tokens: Arc<Tokens>,
    /// User and password, with a colon between them, for a proxy in front of Consul.
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
        let request = request.headers(headers);
        Ok(match &self.login {
            Some(login) => {
                let text = login.reveal();
                match text.split_once(':') {
                    Some((user, password)) => request.basic_auth(user, Some(password)),
                    None => request.basic_auth(text, None::<&str>),
                }
            }
            None => request,
        })
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
    let response = request.send().await.map_err(Trouble::from)?;
    let (status, meta) = (response.status().as_u16(), meta(&response));
    let body = web::body(response, most).await?;
    let body = body.ok_or(ConsulError::TooLarge(most))?;
    Ok(Answer { status, meta, body })
}

impl From<Trouble> for ConsulError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TimedOut => Self::TimedOut,
            Trouble::Words(words) => Self::Unreachable(words),
        }
    }
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
