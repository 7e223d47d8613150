//! What authentication plugins share: the anonymous consumer, preflights, refusals.

use std::borrow::Cow;

use crate::message::{Known, Reply};
use crate::plugin::{Build, RequestCx, Verdict};
use crate::util::ids::ConsumerIx;

/// Where a client's own credentials stand, in the order in which they are looked at.
pub(super) const FIELDS: [Known; 2] = [Known::ProxyAuthorization, Known::Authorization];

/// Who must prove what, and what happens without a proof.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    /// The consumer that clients without a proof become.
    pub(super) anonymous: Option<ConsumerIx>,
    /// Also ask `OPTIONS` requests.
    pub(super) on_preflight: bool,
}

impl Gate {
    /// `anonymous` is a username or id; the check has refused unknown ones.
    pub(super) fn new(anonymous: Option<&str>, on_preflight: bool, build: &Build<'_>) -> Gate {
        Gate {
            anonymous: anonymous.and_then(|name| build.identity.by_name_or_id(name)),
            on_preflight,
        }
    }

    /// Whether this request need prove nothing here: a preflight that may pass, or, where another
    /// plugin's proof is as good, one that has proved itself already.
    pub(super) fn is_open(&self, cx: &RequestCx<'_>) -> bool {
        !self.on_preflight && cx.request.method() == "OPTIONS"
            || self.anonymous.is_some() && cx.facts.credential.is_some()
    }

    /// No proof: the anonymous consumer, or the refusal.
    pub(super) fn refuse(&self, cx: &mut RequestCx<'_>, refusal: Reply) -> Verdict {
        match self.anonymous {
            Some(consumer) => {
                cx.stay_anonymous(consumer);
                Verdict::Next
            }
            None => refusal.into(),
        }
    }
}

/// A 401 with words and challenge.
pub(super) fn unauthorized(words: impl Into<Cow<'static, str>>, challenge: &str) -> Reply {
    Reply::message(401, words).with("WWW-Authenticate", challenge.to_owned())
}

/// A challenge: `Key` or `Key realm="R"`.
pub(super) fn challenge(scheme: &str, realm: Option<&str>) -> String {
    match realm {
        Some(realm) => format!("{scheme} realm=\"{}\"", quoted(realm)),
        None => scheme.to_owned(),
    }
}

/// As it stands between quotes (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
