//! The secret that the admin API may ask for.
//!
//! Invariant: it is shown to nobody, and compared in a time that says nothing about it.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// What requests to the admin API must carry.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token of visible ASCII characters, as a header can carry them.
    ///
    /// # Errors
    /// When it has others; the message does not repeat it.
    pub fn new(text: String) -> Result<Token, String> {
        match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(Token(text)),
            false => Err("a token consists of visible ASCII characters\n\
                          make one with: openssl rand -hex 32"
                .to_owned()),
        }
    }

    /// Whether this is it. Digests are compared, so that not even its length shows.
    pub fn is(&self, presented: &[u8]) -> bool {
        let digests = [self.0.as_bytes(), presented].map(|text| digest(&SHA256, text));
        verify_slices_are_equal(digests[0].as_ref(), digests[1].as_ref()).is_ok()
    }

    /// For a request of our own.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_itself_is_accepted_and_nothing_shows_it() {
        let token = Token::new("s3cret".to_owned()).unwrap();
        assert!(token.is(b"s3cret"));
        for other in [&b"s3cre"[..], b"s3cret ", b"S3cret", b""] {
            assert!(!token.is(other));
        }
        assert_eq!(format!("{token:?}"), "Token");
        for wrong in ["two words", "ü", "tab\t"] {
            let error = Token::new(wrong.to_owned()).unwrap_err();
            assert!(!error.contains(wrong));
        }
    }
}
