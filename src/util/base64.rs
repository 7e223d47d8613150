//! Base64 (RFC 4648 sections 4 and 5): both alphabets are read, the one for URLs is written.
//!
//! Invariant: one sequence of bytes has one accepted text in each alphabet, padding apart: bits that
//! no encoder would set are refused.

/// The bytes of a text in either alphabet, with or without padding; `None` if it is no base64.
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digits = unpadded(text)?;
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            bits = bits << 6 | value(digit)?;
        }
        match group.len() {
            4 => out.extend_from_slice(&bits.to_be_bytes()[1..]),
            3 if bits & 0b11 == 0 => out.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
            2 if bits & 0b1111 == 0 => out.push((bits >> 4) as u8),
            _ => return None,
        }
    }
    Some(out)
}

/// The text of bytes in the alphabet for URLs, without padding.
pub fn encode_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let add = |bits: u32, byte: &u8| bits << 8 | u32::from(*byte);
        let bits = group.iter().fold(0, add) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]));
        }
    }
    out
}

/// Takes padding off; where there is some, it must fill the last group.
fn unpadded(text: &[u8]) -> Option<&[u8]> {
    let digits = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] => rest,
        _ => return Some(text),
    };
    text.len().is_multiple_of(4).then_some(digits)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_of_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decode(text.as_bytes()).unwrap(), bytes.as_bytes());
            assert_eq!(encode_url(bytes.as_bytes()), text.trim_end_matches('='));
        }
        assert_eq!(decode(b"-_+/").unwrap(), [0xfb, 0xff, 0xbf]);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "A", "Zh==", "Zm9=", "Zg=", "=", "==", "Z===", "Zm 9v", "Zg==Zg==", "Zm9v=", "é",
        ] {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assert_eq!(decode(encode_url(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn one_text_for_one_value(text in "[A-Za-z0-9_-]{0,9}", last in "[A-Za-z0-9_-]") {
            let other = text.clone() + &last;
            if let (Some(a), Some(b)) = (decode(text.as_bytes()), decode(other.as_bytes())) {
                prop_assert_ne!(a, b);
            }
        }
    }
}
