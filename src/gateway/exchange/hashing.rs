//! What a request is hashed by, and the cookie by which the client's next one hashes the same.
//!
//! Invariant: a value is looked up once per request, whatever plugins and retries do later.

use std::net::IpAddr;

use uuid::Uuid;

use super::Exchange;
use crate::gateway::live::Live;
use crate::message::{Headers, Known, query};
use crate::snapshot::{HashInput, Service};
use crate::upstream::hash::KeyHash;

/// What an exchange remembers of it.
#[derive(Default)]
pub(super) struct Hashed {
    /// The hash, once it was looked for.
    key: Option<Option<u64>>,
    /// A cookie that the client is to be given.
    cookie: Option<String>,
}

impl Exchange {
    /// The hash of what the service's upstream goes by; `None` where it does not hash, or where
    /// the request has no such value.
    pub(super) fn hash_key(&mut self, live: &Live, service: &Service) -> Option<u64> {
        let hashing = live.snapshot.hashing(service)?;
        if self.hashed.key.is_none() {
            let found = self.hash_of(live, &hashing.on);
            let found = found.or_else(|| self.hash_of(live, &hashing.fallback));
            self.hashed.key = Some(found);
        }
        self.hashed.key.flatten()
    }

    fn hash_of(&mut self, live: &Live, input: &HashInput) -> Option<u64> {
        let (request, facts) = (&self.request, &self.facts);
        match input {
            HashInput::None => None,
            HashInput::Consumer => {
                let consumer = facts.consumer;
                let consumer = consumer.and_then(|ix| live.snapshot.identity.consumer(ix));
                let credential = facts.credential.as_ref().map(|found| found.id.as_str());
                let id = consumer.map(|known| known.id.as_str()).or(credential);
                id.map(|id| KeyHash::of(id.as_bytes()))
            }
            HashInput::Ip => Some(match facts.client_ip {
                IpAddr::V4(address) => KeyHash::of(&address.octets()),
                IpAddr::V6(address) => KeyHash::of(&address.octets()),
            }),
            HashInput::Header(name) => header(&request.headers, name),
            HashInput::Path => Some(KeyHash::of(request.path().as_bytes())),
            HashInput::QueryArg(name) => query_arg(request.query(), name),
            HashInput::UriCapture(name) => {
                let captures = &facts.captures;
                let numbered = || captures.get(name.parse().ok()?);
                let text = captures.name(name).or_else(numbered);
                text.map(|text| KeyHash::of(text.as_bytes()))
            }
            HashInput::Cookie { name, .. } => Some(match cookie(&request.headers, name) {
                Some(value) => KeyHash::of(value),
                None => {
                    let value = Uuid::new_v4().to_string();
                    let hash = KeyHash::of(value.as_bytes());
                    self.hashed.cookie = Some(value);
                    hash
                }
            }),
        }
    }

    /// Gives the client the cookie that its request lacked, in place of an upstream's own of that
    /// name.
    pub(super) fn set_hash_cookie(&mut self, live: &Live) {
        let Some(value) = self.hashed.cookie.take() else {
            return;
        };
        let service = self.service(&live.snapshot);
        let hashing = service.and_then(|service| live.snapshot.hashing(service));
        let inputs = hashing.map(|hashing| [&hashing.on, &hashing.fallback]);
        for input in inputs.into_iter().flatten() {
            if let HashInput::Cookie { name, path } = input {
                let headers = &mut self.response.headers;
                headers.retain(|known, _, given| known != Known::SetCookie || !sets(given, name));
                let field = format!("{name}={value}; Path={path}; SameSite=Lax; HttpOnly");
                headers.append("Set-Cookie", field);
                return;
            }
        }
    }
}

/// All values of a field, as they would stand in one.
fn header(headers: &Headers, name: &str) -> Option<u64> {
    let mut values = headers.all(name);
    let first = KeyHash::default().and(values.next()?);
    let all = values.fold(first, |hash, value| hash.and(b", ").and(value));
    Some(all.finish())
}

/// A query argument: several values sorted and joined, a flag without a value is `true`.
fn query_arg(query: &str, name: &str) -> Option<u64> {
    let query = query.strip_prefix('?').unwrap_or(query);
    let values = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "true")));
    let mut values = values
        .filter(|(key, _)| !key.is_empty() && query::decode(key) == name)
        .map(|(_, value)| query::decode(value));
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(KeyHash::of(first.as_bytes()));
    };
    let mut all = vec![first, second];
    all.extend(values);
    all.sort_unstable();
    Some(KeyHash::of(all.join(",").as_bytes()))
}

/// The value of a cookie, quotes included; an empty one counts as none.
fn cookie<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let pairs = headers
        .all_known(Known::Cookie)
        .flat_map(|value| value.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let pair = pair.trim_ascii();
        pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    });
    values.find(|value| !value.is_empty())
}

/// Whether a `Set-Cookie` field sets the cookie of that name.
fn sets(field: &[u8], name: &str) -> bool {
    let rest = field.trim_ascii_start().strip_prefix(name.as_bytes());
    rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_arguments_are_decoded_sorted_and_joined() {
        let hash = |text: &str| Some(KeyHash::of(text.as_bytes()));
        for (query, value) in [
            ("?user=a", hash("a")),
            ("?x=1&us%65r=a%20b", hash("a b")),
            ("?user=b&other&user=a", hash("a,b")),
            ("?user", hash("true")),
            ("?user=", hash("")),
            ("?users=a", None),
            ("", None),
        ] {
            assert_eq!(query_arg(query, "user"), value, "{query}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut headers = Headers::default();
        headers.append("Cookie", "a=1; session=x; session=y");
        headers.append("Cookie", "late=z; empty=");
        for (name, value) in [
            ("a", Some("1")),
            ("session", Some("x")),
            ("late", Some("z")),
            ("sessio", None),
            ("ession", None),
            ("empty", None),
        ] {
            assert_eq!(cookie(&headers, name), value.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn a_field_with_several_values_hashes_as_one() {
        let mut headers = Headers::default();
        headers.append("X-User", "a");
        assert_eq!(header(&headers, "x-user"), Some(KeyHash::of(b"a")));
        headers.append("x-user", "b");
        assert_eq!(header(&headers, "X-User"), Some(KeyHash::of(b"a, b")));
        assert_eq!(header(&headers, "x-other"), None);
    }

    #[test]
    fn only_the_cookie_of_that_name_is_replaced() {
        assert!(sets(b"s=1; Path=/", "s"));
        assert!(!sets(b"ss=1", "s"));
        assert!(!sets(b"other=s=1", "s"));
    }
}
