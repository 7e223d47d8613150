//! Where Consul's HTTP API is: the forms of `CONSUL_HTTP_ADDR`.

use std::path::PathBuf;

/// An address of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `http://` or `https://`, host, port and perhaps a path, without a final slash.
    Url(String),
    /// A socket of this machine.
    Unix(PathBuf),
}

/// Port of an address that names none.
const PORT: &str = "8500";

impl Address {
    /// Reads `host:port`, `http://…`, `https://…` or `unix://…`; a scheme that is not there is
    /// `https` with `tls`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, tls: bool) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Self::Unix(PathBuf::from(path))),
                false => Err(format!("'{text}': a socket is named by its whole path")),
            };
        }
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            Some((scheme, _)) => {
                return Err(format!("'{scheme}' is none of http, https and unix"));
            }
            None => (if tls { "https" } else { "http" }, text),
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host, format!("/{}", path.trim_end_matches('/'))),
            None => (rest, String::new()),
        };
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(fits) {
            return Err(format!("'{host}' is no host with a port"));
        }
        let named = host
            .rsplit_once(':')
            .filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
        let host = match named {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            Some((_, port)) => return Err(format!("'{port}' is no port")),
            None if host.contains(':') && !host.ends_with(']') => format!("[{host}]:{PORT}"),
            None if text.contains("://") => host.to_owned(),
            None => format!("{host}:{PORT}"),
        };
        let path = path.trim_end_matches('/');
        Ok(Self::Url(format!("{scheme}://{host}{path}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_consuls_own_variable() {
        for (text, want) in [
            ("127.0.0.1:8500", "http://127.0.0.1:8500"),
            ("consul", "http://consul:8500"),
            ("::1", "http://[::1]:8500"),
            ("[::1]:1", "http://[::1]:1"),
            ("http://consul:1/", "http://consul:1"),
            ("https://consul.example", "https://consul.example"),
            ("https://a/consul/", "https://a/consul"),
        ] {
            assert_eq!(Address::parse(text, false), Ok(Address::Url(want.into())));
        }
        let tls = Address::parse("consul:8501", true);
        assert_eq!(tls, Ok(Address::Url("https://consul:8501".into())));
        let socket = Address::parse("unix:///run/consul.sock", false);
        assert_eq!(socket, Ok(Address::Unix("/run/consul.sock".into())));
        for wrong in [
            "", "a:b", "ftp://a", "unix://a", "a b:1", "http://", "u:p@h:1", "a:70000",
        ] {
            assert!(Address::parse(wrong, false).is_err(), "{wrong}");
        }
    }
}
