//! The line before a chunk: its size and its extensions (RFC 9112 §7.1).
//!
//! Extensions are checked and dropped. Invariant: memory and work per chunk are bounded, whatever
//! a peer writes into them.

use super::FramingError;
use crate::http1::limits;
use crate::http1::parse::bytes;

/// Most digits of a chunk size: what 64 bits hold.
const DIGITS: u8 = 16;

/// How far the line was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// In the size.
    #[default]
    Size,
    /// Behind size or extension, in blanks that only `;` may end.
    Gap,
    /// Behind `;`.
    BeforeName,
    /// In an extension's name.
    Name,
    /// In blanks behind a name.
    AfterName,
    /// Behind `=`.
    BeforeValue,
    /// In a token as value.
    Value,
    /// In a quoted value.
    Quoted,
    /// Behind a backslash in a quoted value.
    Escape,
    /// Behind a quoted value.
    AfterQuoted,
    /// Behind CR.
    Lf,
}

/// A chunk's line as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkLine {
    size: u64,
    digits: u8,
    at: At,
    /// Bytes of extensions on this line.
    extension: u16,
}

impl ChunkLine {
    /// Takes a byte; the chunk's size when it ended the line. `spent` counts the bytes of
    /// extensions over the whole body.
    pub fn push(&mut self, byte: u8, spent: &mut u32) -> Result<Option<u64>, FramingError> {
        if self.at == At::Lf {
            return match byte {
                b'\n' => Ok(Some(self.size)),
                _ => Err(FramingError::ChunkLine),
            };
        }
        if self.at == At::Size && byte.is_ascii_hexdigit() {
            return self.digit(byte).map(|()| None);
        }
        self.at = self.next(byte)?;
        if self.at != At::Lf {
            self.count(spent)?;
        }
        Ok(None)
    }

    fn digit(&mut self, byte: u8) -> Result<(), FramingError> {
        if self.digits == DIGITS {
            return Err(FramingError::ChunkSize);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(hex(byte));
        Ok(())
    }

    /// The state behind a byte that is no digit of the size and not the last LF.
    fn next(&self, byte: u8) -> Result<At, FramingError> {
        let token = bytes::is_token(&[byte]);
        let blank = bytes::is_blank(byte);
        let next = match (self.at, byte) {
            (At::Size, _) if self.digits == 0 => return Err(FramingError::ChunkSize),
            (At::Size | At::Name | At::Value | At::AfterQuoted, b'\r') => At::Lf,
            (At::Size | At::Gap | At::Name | At::AfterName, b';') => At::BeforeName,
            (At::Value | At::AfterQuoted, b';') => At::BeforeName,
            (At::Size | At::Gap | At::Value | At::AfterQuoted, _) if blank => At::Gap,
            (At::BeforeName | At::BeforeValue, _) if blank => self.at,
            (At::BeforeName | At::Name, _) if token => At::Name,
            (At::Name | At::AfterName, b'=') => At::BeforeValue,
            (At::Name | At::AfterName, _) if blank => At::AfterName,
            (At::BeforeValue | At::Value, _) if token => At::Value,
            (At::BeforeValue, b'"') => At::Quoted,
            (At::Quoted, b'"') => At::AfterQuoted,
            (At::Quoted, b'\\') => At::Escape,
            (At::Quoted | At::Escape, _) if bytes::value_len(&[byte]) == 1 => At::Quoted,
            (At::Size, _) => return Err(FramingError::ChunkSize),
            _ => return Err(FramingError::ChunkLine),
        };
        Ok(next)
    }

    fn count(&mut self, spent: &mut u32) -> Result<(), FramingError> {
        self.extension = self.extension.saturating_add(1);
        *spent = spent.saturating_add(1);
        if u32::from(self.extension) > limits::CHUNK_EXTENSION || *spent > limits::CHUNK_EXTENSIONS
        {
            return Err(FramingError::ExtensionTooLarge);
        }
        Ok(())
    }
}

fn hex(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}
