//! Whom a request is counted for.

use crate::limits::Windows;
use crate::limits::window::Key;
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
#[derive(Hash)]
enum Who<'a> {
    Consumer(&'a str),
    Credential(&'a str),
    Service(&'a str),
    Header(&'a [u8]),
    Path,
}

impl LimitBy {
    /// The key of the request's counters.
    pub(super) fn key(&self, cx: &RequestCx<'_>, windows: &Windows) -> Key {
        match self.who(cx) {
            Some(who) => windows.key(who),
            None => windows.key(cx.facts.client_ip),
        }
    }

    /// `None` for the client's address.
    fn who<'a>(&self, cx: &'a RequestCx<'_>) -> Option<Who<'a>> {
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
            LimitBy::Path(path) => (cx.request.path() == path).then_some(Who::Path),
        }
    }
}
