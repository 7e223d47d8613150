//! Which byte may stand where, and how far a run of good ones goes.
//!
//! Invariant: each function returns the offset of the first byte that does not belong, or the
//! length of the text; it never looks behind that byte.

use crate::util::lanes::{self, run_of};

const TOKEN: u8 = 1;
const HOST: u8 = 2;

/// What each byte may be part of.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        let here = byte as u8;
        let word = here.is_ascii_alphanumeric();
        if word || is_in(here, b"!#$%&'*+-.^_`|~") {
            table[byte] |= TOKEN;
        }
        // RFC 3986 has the comma, too; but lists such as `X-Forwarded-Host` are made of it.
        if word || is_in(here, b"-._~!$&'()*+;=") {
            table[byte] |= HOST;
        }
        byte += 1;
    }
    table
}

const fn is_in(byte: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

fn run(text: &[u8], class: u8) -> usize {
    text.iter()
        .position(|&byte| CLASS[byte as usize] & class == 0)
        .unwrap_or(text.len())
}

/// Length of the token (RFC 9110 §5.6.2) that `text` begins with.
pub fn token_len(text: &[u8]) -> usize {
    let at = run_of(text, lanes::not_word);
    match text.get(at) {
        Some(&byte) if CLASS[byte as usize] & TOKEN != 0 => at + run(&text[at..], TOKEN),
        _ => at,
    }
}

/// Whether `text` is a token.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && token_len(text) == text.len()
}

/// Length of the run of bytes that a request target may have: visible ASCII without `#`.
pub fn target_len(text: &[u8]) -> usize {
    run_of(text, lanes::not_target)
}

/// Length of the run of bytes that a registered name may have unencoded (RFC 3986 §3.2.2), but for the
/// comma.
pub fn host_len(text: &[u8]) -> usize {
    let at = run_of(text, lanes::not_host);
    at + run(&text[at..], HOST)
}

/// Length of the run of bytes that a field value may have: no controls but the tab; bytes of 0x80
/// and above are opaque (RFC 9110 §5.5).
pub fn value_len(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        at += printable_len(&text[at..]);
        match text.get(at) {
            Some(b'\t') => at += 1,
            _ => return at,
        }
    }
}

/// Length of the run of bytes that are no controls, not even the tab.
pub fn printable_len(text: &[u8]) -> usize {
    run_of(text, lanes::controls)
}

/// Whether the byte is a blank: space or tab.
pub fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The text without blanks around it.
pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_told_apart() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut text = [b'a'; 20];
                text[at] = byte;
                let bad = byte < 0x20 && byte != b'\t' || byte == 0x7f;
                assert_eq!(
                    value_len(&text),
                    if bad { at } else { 20 },
                    "{byte:#x} at {at}"
                );
            }
        }
    }

    #[test]
    fn names_and_targets_are_told_apart_at_every_place() {
        for byte in 0..=255u8 {
            let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let target = byte.is_ascii_graphic() && byte != b'#';
            for at in 0..20 {
                for filling in [b'a', b'Z', b'5', b'-'] {
                    let mut text = [filling; 20];
                    text[at] = byte;
                    let end = |good| if good { 20 } else { at };
                    assert_eq!(token_len(&text), end(token), "{byte:#x} at {at}");
                    assert_eq!(target_len(&text), end(target), "{byte:#x} at {at}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_bad_bytes_is_found() {
        assert_eq!(value_len(b"abc\x7f\x00defgh"), 3);
        assert_eq!(value_len(b"\xff\x80\x1f\x7fdefgh"), 2);
        assert_eq!(value_len(b"  \t \x20!\x80\x1fxxxxxxxx"), 7);
    }

    #[test]
    fn blanks_are_trimmed_at_both_ends_only() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
    }
}
