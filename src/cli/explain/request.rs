//! A request as the command line describes it.

use crate::message::uri;
use crate::router::Lookup;

/// What a client would send.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) tls: bool,
    /// The Host header; empty when only a path was given.
    pub(super) host: String,
    /// Normalised.
    pub(super) path: String,
    /// As given.
    pub(super) raw_path: String,
    /// With its `?`; empty without one.
    pub(super) query: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// Reads a method, a URL or a path, and header lines. A `Host` among them wins over the URL's.
    pub(super) fn read(method: &str, url: &str, headers: &[&str]) -> Result<Self, String> {
        let (tls, host, target) = split(url)?;
        let target = target.split('#').next().unwrap_or_default();
        let (raw_path, query) = match target.find('?') {
            Some(at) => target.split_at(at),
            None => (target, ""),
        };
        let raw_path = if raw_path.is_empty() { "/" } else { raw_path };
        let path = uri::normalise(raw_path.as_bytes());
        let path = path.map_err(|error| format!("the path would be answered with 400: {error}"))?;
        let mut request = Self {
            method: method.to_owned(),
            tls,
            host: host.to_owned(),
            path: path.into_owned(),
            raw_path: raw_path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
        };
        for line in headers {
            request.header(line)?;
        }
        Ok(request)
    }

    fn header(&mut self, line: &str) -> Result<(), String> {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("'{line}' is no header: write 'Name: value'"))?;
        let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
        if name.eq_ignore_ascii_case("host") {
            self.host = value;
        } else {
            self.headers.push((name, value));
        }
        Ok(())
    }

    /// The request as the router sees it. The server name of TLS is the host's.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup {
            method: &self.method,
            host: &self.host,
            tls: self.tls,
            sni: self.tls.then(|| self.bare_host()),
            path: &self.path,
            headers: &self.headers,
        }
    }

    /// The host without its port.
    pub(super) fn bare_host(&self) -> &str {
        match self.host.rfind(':') {
            Some(at) if !self.host[at..].contains(']') => &self.host[..at],
            _ => &self.host,
        }
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("content-type") && value.starts_with("application/grpc")
        })
    }

    /// The request in one line, its path as it is matched.
    pub(super) fn line(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let place = match self.host.is_empty() {
            true => String::new(),
            false => format!("{scheme}://{}", self.host),
        };
        let matched = match self.path == self.raw_path {
            true => String::new(),
            false => format!("  (matched as {})", self.path),
        };
        format!(
            "{} {place}{}{}{matched}",
            self.method, self.raw_path, self.query
        )
    }
}

/// TLS, host, and the rest of a URL.
fn split(url: &str) -> Result<(bool, &str, &str), String> {
    if url.starts_with('/') {
        return Ok((false, "", url));
    }
    let (tls, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some((scheme, _)) => return Err(format!("'{scheme}' is neither http nor https")),
        None => (false, url),
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(at);
    match host.is_empty() {
        true => Err(format!("'{url}' has no host")),
        false => Ok((tls, host, target)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths_are_read() {
        for (url, want) in [
            ("/a/../b?x=1", "GET /a/../b?x=1  (matched as /b)"),
            ("a.test:8000", "GET http://a.test:8000/"),
            ("https://a.test?x#y", "GET https://a.test/?x"),
            ("http://[::1]:80/x#y", "GET http://[::1]:80/x"),
        ] {
            assert_eq!(Request::read("GET", url, &[]).unwrap().line(), want);
        }
    }

    #[test]
    fn what_is_no_request_is_said_so() {
        let error = |url: &str, headers: &[&str]| Request::read("GET", url, headers).unwrap_err();
        assert_eq!(error("ftp://a", &[]), "'ftp' is neither http nor https");
        assert_eq!(error("http:///x", &[]), "'http:///x' has no host");
        assert_eq!(error("/", &["x"]), "'x' is no header: write 'Name: value'");
        assert!(error("/%00", &[]).starts_with("the path would be answered with 400"));
    }

    #[test]
    fn a_host_header_wins_and_its_port_is_no_name() {
        let request = Request::read("GET", "https://a.test/", &["host: b.test:99"]).unwrap();
        assert_eq!(request.lookup().host, "b.test:99");
        assert_eq!(request.lookup().sni, Some("b.test"));
        let v6 = Request::read("GET", "http://[::1]/", &[]).unwrap();
        assert_eq!(v6.bare_host(), "[::1]");
    }
}
