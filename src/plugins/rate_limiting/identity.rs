//! Whom a request is counted for.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::plugin::RequestCx;

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum LimitBy {
    Consumer,
    Credential,
    Ip,
    Service,
    /// Values of this header.
    Header(String),
    /// Requests to this path together.
    Path(String),
}

/// What a key is made of. The kinds are told apart, so that no header value can pass for somebody's
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who<'a> {
    Consumer(&'a str),
    Credential(&'a str),
    Service(&'a str),
    Header(&'a [u8]),
    Path(&'a str),
    Ip(IpAddr),
}

impl LimitBy {
    /// Whom a request is counted for.
    pub(super) fn who<'a>(&'a self, cx: &'a RequestCx<'_>) -> Who<'a> {
        self.named(cx).unwrap_or(Who::Ip(cx.facts.client_ip))
    }

    fn named<'a>(&'a self, cx: &'a RequestCx<'_>) -> Option<Who<'a>> {
        let credential = || {
            let credential = cx.facts.credential.as_ref()?;
            Some(Who::Credential(&credential.id))
        };
        match self {
            LimitBy::Consumer => match cx.consumer() {
                Some(consumer) => Some(Who::Consumer(&consumer.id)),
                None => credential(),
            },
            LimitBy::Credential => credential(),
            LimitBy::Ip => None,
            LimitBy::Service => cx.place.service.map(|service| Who::Service(&service.id)),
            LimitBy::Header(name) => cx.request.headers.get(name).map(Who::Header),
            LimitBy::Path(path) => (cx.request.path() == path).then_some(Who::Path(path)),
        }
    }
}

impl Who<'_> {
    /// Appends it as a part of a key in a shared store: ids and addresses as they are, as Kong
    /// writes them, what clients choose under a name of its own and never long.
    pub(super) fn write(self, key: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Who::Consumer(id) | Who::Credential(id) | Who::Service(id) => {
                key.push_str(id);
                Ok(())
            }
            Who::Ip(address) => write!(key, "{address}"),
            Who::Header(value) => {
                key.push_str("header:");
                chosen(value, key);
                Ok(())
            }
            Who::Path(path) => {
                key.push_str("path:");
                chosen(path.as_bytes(), key);
                Ok(())
            }
        };
    }
}

/// A text that somebody else chose: as it is when it is short and plain, else its digest.
fn chosen(value: &[u8], key: &mut String) {
    const PLAIN: usize = 64;
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'#');
    match std::str::from_utf8(value) {
        Ok(text) if text.len() <= PLAIN && value.iter().all(plain) => key.push_str(text),
        _ => {
            key.push('#');
            for byte in digest(&SHA256, value).as_ref() {
                let _ = write!(key, "{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(who: Who<'_>) -> String {
        let mut key = String::new();
        who.write(&mut key);
        key
    }

    #[test]
    fn keys_name_whom_they_are_for() {
        assert_eq!(text(Who::Consumer("c-1")), "c-1");
        assert_eq!(text(Who::Ip([10, 0, 0, 1].into())), "10.0.0.1");
        assert_eq!(text(Who::Header(b"10.0.0.1")), "header:10.0.0.1");
        assert_eq!(text(Who::Path("/a")), "path:/a");
        for chosen in [
            &b"a b"[..],
            b"{x}",
            b"#",
            "\u{e4}".as_bytes(),
            &[b'x'; 65],
            b"\xff",
        ] {
            let text = text(Who::Header(chosen));
            assert_eq!(text.len(), "header:#".len() + 64, "{text}");
        }
        assert_ne!(text(Who::Header(b"a b")), text(Who::Header(b"a c")));
    }
}
