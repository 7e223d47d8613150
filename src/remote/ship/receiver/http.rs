//! Log records as bodies of HTTP requests.
//!
//! Invariant: nothing of the URL is in an error: it may hold a password.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};

use super::{Failure, HttpDestination, identity};
use crate::remote::web::Trouble;
use crate::tls::TlsClients;
use crate::tls::client::Alpn;

/// An HTTP server and the connections to it.
pub(super) struct Http {
    client: Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    array: bool,
}

/// Most of an answer that is read so that its connection can be used again.
const ANSWER: usize = 64 * 1024;

impl Http {
    pub(super) fn new(to: &HttpDestination, tls: &TlsClients) -> Result<Http, String> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls.get(identity(to.verify, Alpn::Http1)).for_http_client())
            .user_agent(concat!("sluicegate/", env!("CARGO_PKG_VERSION")))
            // Where records go is the file's business, not the environment's or the server's.
            .no_proxy()
            .redirect(Policy::none())
            .timeout(to.timeout)
            .pool_idle_timeout(to.keepalive)
            .pool_max_idle_per_host(if to.keepalive.is_zero() { 0 } else { 8 })
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Http {
            client,
            method: to.method.parse().map_err(|_| "bad method".to_owned())?,
            url: to.url.parse().map_err(|_| "bad URL".to_owned())?,
            headers: headers(to).ok_or("bad header")?,
            array: to.array,
        })
    }

    /// One attempt.
    pub(super) async fn deliver(&self, records: &[Vec<u8>]) -> Result<(), Failure> {
        let body = match (self.array, records) {
            (false, [one]) => one.clone(),
            _ => array(records),
        };
        let request = self.client.request(self.method.clone(), self.url.clone());
        let sent = request.headers(self.headers.clone()).body(body).send();
        let mut answer = sent.await.map_err(Trouble::from)?;
        let status = answer.status().as_u16();
        let mut read = 0;
        while let Ok(Some(chunk)) = answer.chunk().await {
            read += chunk.len();
            if read > ANSWER {
                break;
            }
        }
        match status {
            200..300 => Ok(()),
            _ => Err(Failure::Status(status)),
        }
    }
}

/// Whether records can be sent to this URL.
pub fn is_http_url(text: &str) -> bool {
    let url = Url::parse(text);
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn headers(to: &HttpDestination) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in &to.headers {
        let name: HeaderName = name.parse().ok()?;
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    let kind: HeaderValue = to.content_type.parse().ok()?;
    map.insert(CONTENT_TYPE, kind);
    Some(map)
}

fn array(records: &[Vec<u8>]) -> Vec<u8> {
    let size: usize = records.iter().map(|record| record.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 1);
    for record in records {
        out.push(if out.is_empty() { b'[' } else { b',' });
        out.extend_from_slice(record);
    }
    out.push(b']');
    out
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TimedOut => Self::TimedOut,
            Trouble::Words(words) => Self::Http(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_join_to_an_array() {
        assert_eq!(array(&[b"{}".to_vec()]), b"[{}]");
        assert_eq!(array(&[b"1".to_vec(), b"2".to_vec()]), b"[1,2]");
    }
}
