//! The text of a declarative file, from where it is kept.
//!
//! Invariant: no source makes the process keep more than [`MAX_TEXT`] bytes, whatever it is.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use thiserror::Error;

use super::node::Pos;
use super::yaml::MAX_TEXT;

/// Why there is no text.
#[derive(Debug, Error)]
pub enum TextError {
    /// It cannot be opened or read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is longer than a configuration may be.
    #[error("longer than {MAX_TEXT} bytes")]
    TooLong,
    /// It is no UTF-8.
    #[error("not UTF-8 at line {}, column {}", .0.line, .0.column)]
    NotUtf8(Pos),
}

/// Reads a file. Blocks.
///
/// # Errors
/// Where it cannot be read, is too long or is no UTF-8.
pub fn read_file(path: &Path) -> Result<String, TextError> {
    let file = File::open(path)?;
    // Told at once, before a long file is read in vain; a pipe has no length.
    if file.metadata()?.len() > MAX_TEXT as u64 {
        return Err(TextError::TooLong);
    }
    read(file)
}

/// Reads to the end of a source.
///
/// # Errors
/// As [`read_file`].
pub fn read(source: impl Read) -> Result<String, TextError> {
    let mut bytes = Vec::new();
    source.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_TEXT {
        return Err(TextError::TooLong);
    }
    of_bytes(bytes)
}

/// Bytes as text.
///
/// # Errors
/// Where they are no UTF-8.
pub fn of_bytes(bytes: Vec<u8>) -> Result<String, TextError> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').next_back();
        let narrow = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
        // What stands before is UTF-8: its characters can be counted.
        let column = line.map(|line| String::from_utf8_lossy(line).chars().count());
        TextError::NotUtf8(Pos::new(
            narrow(memchr::memchr_iter(b'\n', good).count()),
            narrow(column.unwrap_or_default()),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_its_place() {
        let error = of_bytes(b"one: 1\ntw\xc3\xb6: \xff".to_vec()).unwrap_err();
        assert_eq!(error.to_string(), "not UTF-8 at line 2, column 6");
        assert_eq!(of_bytes(b"a".to_vec()).unwrap(), "a");
    }

    #[test]
    fn nothing_endless_is_read() {
        let error = read(io::repeat(b'a')).unwrap_err();
        assert!(matches!(error, TextError::TooLong));
        let zeroes = read_file(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(zeroes, TextError::TooLong));
    }

    #[test]
    fn a_long_file_is_refused_unread() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 40).unwrap();
        let error = read_file(file.path()).unwrap_err();
        assert!(matches!(error, TextError::TooLong));
        assert!(matches!(read_file(Path::new("/")), Err(TextError::Io(_))));
    }
}
