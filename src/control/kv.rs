//! The declarative file out of Consul's store: `consul://KEY`.
//!
//! Invariant: whatever becomes of the key or of Consul, the text that was read last stays.

use std::path::Path;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::supervisor::{Origin, Reloads};
use crate::config::settings::ConsulSettings;
use crate::config::text;
use crate::remote::consul::watch::WAIT;
use crate::remote::consul::{Consul, ConsulError, KeyQuery, Watch};

/// What a configuration source in the store begins with.
pub const SCHEME: &str = "consul://";

/// How long a start waits for a Consul that cannot be reached, and how often it asks.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(500));

/// Why a text cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KvError {
    /// Consul did not give it.
    #[error("{0}")]
    Consul(#[from] ConsulError),
    /// There is no such key.
    #[error("Consul's store has no such key")]
    NoKey,
    /// What is stored is no text.
    #[error("what the key holds is no text: {0}")]
    NoText(String),
}

/// The key of a source that names one.
pub fn key_of(source: &Path) -> Option<&str> {
    let key = source.to_str()?.strip_prefix(SCHEME)?;
    Some(key.trim_start_matches('/'))
}

/// Where a key is looked for.
pub fn query(key: &str, settings: &ConsulSettings) -> KeyQuery {
    KeyQuery {
        key: key.to_owned(),
        datacenter: settings.datacenter.clone(),
        namespace: settings.namespace.clone(),
        partition: settings.partition.clone(),
    }
}

/// The text, now.
pub async fn read(consul: &Consul, query: &KeyQuery) -> Result<String, KvError> {
    match consul.value(query).await {
        Ok(value) => text(&value),
        Err(ConsulError::NotFound) => Err(KvError::NoKey),
        Err(error) => Err(error.into()),
    }
}

/// The text for a start: a Consul that starts at the same time is waited for.
pub async fn first(consul: &Consul, query: &KeyQuery) -> Result<String, KvError> {
    let end = Instant::now() + PATIENCE.0;
    loop {
        match read(consul, query).await {
            Err(KvError::Consul(error)) if !error.is_lasting() && Instant::now() < end => {
                sleep(PATIENCE.1).await;
            }
            answer => return answer,
        }
    }
}

/// A value as text; one that is compressed by gzip says so by its first bytes.
///
/// # Errors
/// When it is none, or is longer than 64 MiB.
pub fn text(value: &[u8]) -> Result<String, KvError> {
    let text = match value.starts_with(&[0x1f, 0x8b]) {
        true => text::read(MultiGzDecoder::new(value)),
        false => text::of_bytes(value.to_vec()),
    };
    text.map_err(|error| KvError::NoText(error.to_string()))
}

/// Offers the text whenever the key changes, until the process ends. `known` is what was read last.
pub async fn watch(consul: Consul, query: KeyQuery, mut known: String, reloads: Reloads) {
    let origin = Origin::File(format!("{SCHEME}{}", query.key));
    let mut watch = Watch::new(consul, query);
    let mut trouble = None;
    loop {
        let read = match watch.next(WAIT).await {
            Ok(fresh) => text(&fresh.answer),
            Err(ConsulError::NotFound) => Err(KvError::NoKey),
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(text) => {
                if trouble.take().is_some() {
                    info!("{} can be read again", origin.file());
                }
                if text != known {
                    known.clone_from(&text);
                    reloads.offer(text, origin.clone()).await;
                }
            }
            Err(error) => {
                if trouble.as_ref() != Some(&error) {
                    warn!("{}: {error}; the configuration stays", origin.file());
                }
                trouble = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::default());
        out.write_all(text).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn values_are_text_compressed_or_not() {
        assert_eq!(text(b"a: 1\n").unwrap(), "a: 1\n");
        assert_eq!(text(&zipped(b"a: 1\n")).unwrap(), "a: 1\n");
        assert!(matches!(text(b"\xff\xfe"), Err(KvError::NoText(_))));
        assert!(matches!(text(b"\x1f\x8bxx"), Err(KvError::NoText(_))));
        let cut = zipped(&[b'x'; 1000]);
        assert!(matches!(text(&cut[..15]), Err(KvError::NoText(_))));
        assert!(matches!(text(&zipped(b"\xff")), Err(KvError::NoText(_))));
    }

    #[test]
    fn a_source_may_name_a_key() {
        let key = |source: &str| key_of(Path::new(source)).map(str::to_owned);
        assert_eq!(key("consul://a/b").as_deref(), Some("a/b"));
        assert_eq!(key("consul:///a").as_deref(), Some("a"));
        assert_eq!(key("consul.yaml"), None);
    }
}
