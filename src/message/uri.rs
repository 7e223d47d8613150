//! Paths of request targets: checked, normalised, and escaped again for the upstream.
//!
//! Invariant: a normalised path starts with `/`, holds neither dot segments nor repeated slashes,
//! no control byte, no raw `?` or `#`, and every `%` in it opens a triplet with upper-case digits
//! that had to stay encoded. So what routes match is what the upstream receives.

use std::borrow::Cow;

use crate::util::lanes::{LANES, not_path, path_marks, run_of};

/// Why a request target is refused; each is a 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// A byte below 0x20, or 0x7f.
    #[error("request target holds a control byte")]
    Control,
    /// `%00`: strings end there in too many upstreams.
    #[error("request target holds %00")]
    Nul,
    /// A percent sign without two hexadecimal digits after it.
    #[error("request target holds a percent sign without two hex digits")]
    Escape,
    /// `#`: RFC 9112 has no fragment in a target, and proxies disagree on where the path then ends.
    #[error("request target holds a fragment")]
    Fragment,
}

/// Normalises the raw path of a target (origin or absolute form), as Kong does before matching:
/// triplets of anything but RFC 3986's reserved characters are decoded, the rest gets upper-case
/// digits; then dot segments and repeated slashes go, left to right, never above the root.
///
/// Triplets of control bytes and of bytes that are no UTF-8 stay encoded, so that the result is
/// printable text and normalising it again changes nothing. A path that is already normal is
/// returned borrowed, after one pass.
pub fn normalise(raw: &[u8]) -> Result<Cow<'_, str>, UriError> {
    match other_than(raw)? {
        Some(path) => Ok(Cow::Owned(path)),
        None => Ok(String::from_utf8_lossy(raw)),
    }
}

/// [`normalise`] for who has the raw path at hand: `None` where it is normal already.
pub fn other_than(raw: &[u8]) -> Result<Option<String>, UriError> {
    if is_ordinary(raw) || is_plain(raw)? && std::str::from_utf8(raw).is_ok() {
        return Ok(None);
    }
    let decoded = decode(raw);
    Ok(Some(remove_dots_and_empties(&decoded)))
}

/// Whether a path of a file is what `normalise` would make of it.
pub fn is_normal(path: &str) -> bool {
    normalise(path.as_bytes()).is_ok_and(|normal| normal == path)
}

/// Byte classes of the one pass.
const ORDINARY: u8 = 0;
const SLASH: u8 = 1;
const PERCENT: u8 = 2;
const CONTROL: u8 = 3;
const HASH: u8 = 4;

const CLASS: [u8; 256] = {
    let mut class = [ORDINARY; 256];
    let mut b = 0;
    while b < 0x20 {
        class[b] = CONTROL;
        b += 1;
    }
    class[0x7f] = CONTROL;
    class[b'/' as usize] = SLASH;
    class[b'%' as usize] = PERCENT;
    class[b'#' as usize] = HASH;
    class
};

/// Whether a path is plain at first sight, as almost all are: ASCII, and no slash before a slash or a
/// dot. What this does not say of a path, [`is_plain`] may.
fn is_ordinary(raw: &[u8]) -> bool {
    let (blocks, rest) = raw.as_chunks::<LANES>();
    let mut last = [b'x'; LANES];
    last[..rest.len()].copy_from_slice(rest);
    // Whether the block before ended in a slash.
    let mut behind = 0;
    let mut marked = 0;
    for block in blocks.iter().chain([&last]) {
        let marks = path_marks(*block);
        let after_slash = marks.slashes << 1 | behind;
        behind = marks.slashes >> (LANES - 1);
        marked |= marks.special | marks.dots_too & after_slash;
    }
    marked == 0 && raw.first() == Some(&b'/')
}

/// The strict checks, and whether nothing needs to change (UTF-8 apart).
fn is_plain(raw: &[u8]) -> Result<bool, UriError> {
    let mut plain = raw.first() == Some(&b'/');
    for (at, &byte) in raw.iter().enumerate() {
        match CLASS[byte as usize] {
            ORDINARY => {}
            SLASH => plain &= !starts_odd_segment(&raw[at + 1..]),
            PERCENT => plain &= triplet_stays(&raw[at + 1..])?,
            CONTROL => return Err(UriError::Control),
            _ => return Err(UriError::Fragment),
        }
    }
    Ok(plain)
}

/// Whether a slash is followed by another one, or by a dot segment.
fn starts_odd_segment(rest: &[u8]) -> bool {
    matches!(
        rest,
        [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
    )
}

/// Whether the triplet whose two digits come next is kept as it is.
fn triplet_stays(rest: &[u8]) -> Result<bool, UriError> {
    match rest {
        [high, low, ..] => {
            let byte = hex_pair(*high, *low).ok_or(UriError::Escape)?;
            let upper = !high.is_ascii_lowercase() && !low.is_ascii_lowercase();
            // A byte over 0x7f may be part of a character, which only decoding can tell.
            match byte {
                0 => Err(UriError::Nul),
                _ => Ok(upper && stays_encoded(byte)),
            }
        }
        _ => Err(UriError::Escape),
    }
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// RFC 3986's reserved characters, the percent sign, and control bytes.
fn stays_encoded(byte: u8) -> bool {
    is_reserved(byte) || byte == b'%' || byte.is_ascii_control()
}

fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?#[]".contains(&byte)
}

/// Decodes what is to be decoded. The checks have passed: every `%` opens a triplet.
fn decode(raw: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => {
                match hex_pair(*high, *low) {
                    Some(byte) if !stays_encoded(byte) => bytes.push(byte),
                    Some(byte) => push_triplet(&mut bytes, byte),
                    None => {}
                }
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    text_of(bytes)
}

/// The bytes as text; those that are no UTF-8 become triplets.
fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::with_capacity(error.as_bytes().len() + 8);
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                text.push('%');
                text.push(HEX[usize::from(byte >> 4)] as char);
                text.push(HEX[usize::from(byte & 15)] as char);
            }
        }
        text
    })
}

/// Segment by segment, so that an empty one is gone before a `..` behind it could take it for a
/// segment: `/a//../b` is `/b`, as in Kong and nginx.
fn remove_dots_and_empties(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 1);
    let mut open = true; // the path so far ends in a slash that is not written yet
    for segment in path.split('/') {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if open {
        out.push('/');
    }
    out
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn push_triplet(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[
        b'%',
        HEX[usize::from(byte >> 4)],
        HEX[usize::from(byte & 15)],
    ]);
}

/// Bytes that may stand in a path on the wire: RFC 3986's reserved and unreserved ones and `%`.
const WIRE_SAFE: [bool; 256] = {
    let mut safe = [false; 256];
    let mut b = 0;
    while b < 128 {
        safe[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let marks = b"-._~:/?#[]@!$&'()*+,;=%";
    let mut i = 0;
    while i < marks.len() {
        safe[marks[i] as usize] = true;
        i += 1;
    }
    safe
};

/// Appends a (piece of a) normalised path as it goes on the wire: every byte outside RFC 3986's
/// sets as a triplet, a backslash as `%5C`. Safe runs are copied whole.
pub fn escape_into(out: &mut Vec<u8>, path: &str) {
    let mut rest = path.as_bytes();
    let plain = run_of(rest, not_path);
    let unsafe_one = |rest: &[u8]| rest.iter().position(|&b| !WIRE_SAFE[b as usize]);
    let mut next = unsafe_one(&rest[plain..]).map(|at| plain + at);
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        push_triplet(out, rest[at]);
        rest = &rest[at + 1..];
        next = unsafe_one(rest);
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests;
