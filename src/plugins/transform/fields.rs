//! Header fields as named values, and which of them an edit may reach.

use super::Named;
use crate::message::{Headers, Known};

/// Header fields in the five steps. Names are the same in any case; a rename may change it.
pub(in crate::plugins) struct HeaderFields<'a>(pub(in crate::plugins) &'a mut Headers);

impl Named for HeaderFields<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        let values: Vec<Vec<u8>> = self.0.all(from).map(<[u8]>::to_vec).collect();
        self.0.remove(from);
        self.0.remove(to);
        for value in values {
            self.0.append(to, value);
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.0.set(name, value.trim());
    }

    fn append(&mut self, name: &str, value: &str) {
        self.0.append(name, value.trim());
    }
}

/// Whether a field says how the message is framed: an edit would make it lie.
pub(in crate::plugins) fn is_framing(name: &str) -> bool {
    matches!(
        Known::of(name.as_bytes()),
        Known::ContentLength | Known::TransferEncoding
    )
}

/// Whether a field is about one connection alone (RFC 9110 §7.6.1).
pub(in crate::plugins) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        Known::of(name.as_bytes()),
        Known::Connection
            | Known::Http2Settings
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Te
            | Known::Trailer
            | Known::Upgrade
    )
}

/// Whether a field of a request is written anew by the gateway, whatever stands there.
pub(in crate::plugins) fn is_written_anew(name: &str) -> bool {
    let anew = matches!(
        Known::of(name.as_bytes()),
        Known::Expect
            | Known::Proxy
            | Known::Via
            | Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedPath
            | Known::XForwardedPort
            | Known::XForwardedPrefix
            | Known::XForwardedProto
            | Known::XKongRequestId
            | Known::XRealIp
    );
    anew || is_hop_by_hop(name)
}
