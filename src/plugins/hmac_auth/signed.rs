//! What a signature covers, and whether it is right.
//!
//! Invariant: the text is never put together, it is fed to the hash piece by piece; signatures are
//! compared in constant time.

use aws_lc_rs::{constant_time, digest, hmac};

use crate::message::authorization::Signature;
use crate::message::{Known, RequestHead};
use crate::util::base64;

/// Every name that `algorithm` may have.
pub(super) const NAMES: &[&str] = &["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"];

/// Stands for method and target in the list of what is signed.
pub(super) const TARGET: &str = "@request-target";
/// Stands for the whole request line.
const LINE: &str = "request-line";
/// Most names that a signature may list.
const MOST: usize = 128;

/// A hash for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    /// The algorithm of that name, in that very case.
    pub(super) fn named(name: &str) -> Option<Algorithm> {
        Some(match name {
            "hmac-sha1" => Algorithm::Sha1,
            "hmac-sha256" => Algorithm::Sha256,
            "hmac-sha384" => Algorithm::Sha384,
            "hmac-sha512" => Algorithm::Sha512,
            _ => return None,
        })
    }

    fn key(self, secret: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha384 => hmac::HMAC_SHA384,
            Algorithm::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, secret)
    }
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split_ascii_whitespace()
}

/// Whether a name stands in a list of names.
pub(super) fn lists(list: &str, wanted: &str) -> bool {
    names(list).any(|name| name.eq_ignore_ascii_case(wanted))
}

/// Whether the signature is that of the request.
pub(super) fn verify(
    algorithm: Algorithm,
    secret: &[u8],
    signature: &Signature<'_>,
    request: &RequestHead,
) -> bool {
    let Some(given) = base64::decode(signature.signature.as_bytes()) else {
        return false;
    };
    // Each name is looked for among all headers: a bound on the work for a stranger.
    if names(signature.headers).nth(MOST).is_some() {
        return false;
    }
    let mut context = hmac::Context::with_key(&algorithm.key(secret));
    feed(signature.headers, request, &mut |piece| {
        context.update(piece)
    });
    constant_time::verify_slices_are_equal(context.sign().as_ref(), &given).is_ok()
}

/// The text that is signed, in pieces.
fn feed(list: &str, request: &RequestHead, out: &mut impl FnMut(&[u8])) {
    for (at, name) in names(list).enumerate() {
        if at > 0 {
            out(b"\n");
        }
        match name {
            TARGET => {
                out(TARGET.as_bytes());
                out(b": ");
                out(request.method().to_ascii_lowercase().as_bytes());
                out(b" ");
                target(request, out);
            }
            LINE => {
                out(request.method().as_bytes());
                out(b" ");
                target(request, out);
                out(b" ");
                out(request.version.long().as_bytes());
            }
            name => header(name, request, out),
        }
    }
}

/// Path and query as the client sent them.
fn target(request: &RequestHead, out: &mut impl FnMut(&[u8])) {
    out(request.raw_path().as_bytes());
    out(request.query.of(&request.headers.raw));
}

fn header(name: &str, request: &RequestHead, out: &mut impl FnMut(&[u8])) {
    out(name.as_bytes());
    out(b":");
    let mut count = 0;
    for value in request.headers.all(name) {
        out(if count == 0 { b" " } else { b", " });
        out(value);
        count += 1;
    }
    // HTTP/2 has the authority instead.
    if count == 0 && Known::of(name.as_bytes()) == Known::Host && !request.host().is_empty() {
        out(b" ");
        out(request.host().as_bytes());
    }
}

/// SHA-256 of a body.
pub(super) fn sha256(body: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, body).as_ref().to_vec()
}

/// Whether `Digest: SHA-256=<base64>` states this (RFC 3230); without the field a body must be
/// empty.
pub(super) fn states(request: &RequestHead, sha256: &[u8], is_empty: bool) -> bool {
    if !request.headers.contains("Digest") {
        return is_empty;
    }
    let entries = request
        .headers
        .all("Digest")
        .flat_map(|line| line.split(|b| *b == b','));
    let mut stated = entries.filter_map(|entry| {
        let (name, value) = entry.trim_ascii().split_at_checked("SHA-256=".len())?;
        name.eq_ignore_ascii_case(b"SHA-256=").then_some(value)
    });
    let fits = |value: &[u8]| base64::decode(value).is_some_and(|value| value == sha256);
    stated.next().is_some_and(fits) && stated.all(fits)
}
