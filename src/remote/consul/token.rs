//! Tokens: where they come from, and that nobody sees them.
//!
//! Invariant: no `Debug` and no error shows one. A file is read again for every call, so that a
//! rotated token is used from the next call on; while the file cannot be read the last one stays.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::ConsulError;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to be sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Where the client's token comes from.
#[derive(Debug)]
pub enum Tokens {
    /// Nowhere: the anonymous token, or the agent's own.
    None,
    /// Somebody said it.
    Fixed(Secret),
    /// This file holds it.
    File {
        /// The file.
        path: PathBuf,
        /// What was read last.
        last: Mutex<Option<Secret>>,
    },
}

impl Tokens {
    /// The token in this file.
    pub fn file(path: PathBuf) -> Self {
        Self::File {
            path,
            last: Mutex::default(),
        }
    }

    /// The token for a call that is to be made now.
    pub async fn now(&self) -> Result<Option<Secret>, ConsulError> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => Ok(Some(token.clone())),
            Self::File { path, last } => {
                let read = tokio::fs::read_to_string(path).await;
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                match read {
                    Ok(text) if !text.trim().is_empty() => {
                        *last = Some(Secret::new(text.trim()));
                    }
                    _ if last.is_some() => {}
                    Ok(_) => return Err(unusable(path, "it is empty")),
                    Err(error) => return Err(unusable(path, &error.to_string())),
                }
                Ok(last.clone())
            }
        }
    }
}

fn unusable(path: &std::path::Path, why: &str) -> ConsulError {
    ConsulError::Token(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rotated_token_is_used_and_a_missing_file_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let tokens = Tokens::file(path.clone());
        assert_eq!(tokens.now().await.unwrap_err().kind(), "token");
        let now = async || tokens.now().await.unwrap().unwrap().reveal().to_owned();
        std::fs::write(&path, "one\n").unwrap();
        assert_eq!(now().await, "one");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(now().await, "two");
        std::fs::write(&path, "").unwrap();
        assert_eq!(now().await, "two");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(now().await, "two");
        assert!(!format!("{tokens:?}").contains("two"));
    }
}
