//! Where the declarative file is: on disk, or in Consul's store.

use std::path::{Path, PathBuf};

use super::StartError;
use crate::config::settings::{ConsulSettings, Settings};
use crate::config::text;
use crate::control::supervisor::{Origin, Reloads};
use crate::control::{kv, watch};
use crate::remote::consul::open;
use crate::remote::consul::{Consul, KeyQuery};
use crate::tls::TlsClients;

/// A source that can be read again.
#[derive(Clone)]
pub(super) enum Source {
    /// A file.
    File(PathBuf),
    /// A key of Consul's store.
    Key(Consul, KeyQuery),
}

/// Reads a source once, before there is anything else. Blocks.
pub fn read(source: &Path, settings: &Settings) -> Result<String, StartError> {
    let Some(key) = kv::key_of(source) else {
        return text::read_file(source).map_err(|error| StartError::Missing {
            file: source.to_owned(),
            error,
        });
    };
    let consul = open::open(&settings.consul, &TlsClients::new()?)?;
    let query = kv::query(key, &settings.consul);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let read = runtime.block_on(kv::first(&consul, &query));
    read.map_err(|error| StartError::Kv {
        key: source.display().to_string(),
        error,
    })
}

impl Source {
    pub(super) fn of(source: &Path, settings: &ConsulSettings, consul: &Consul) -> Source {
        match kv::key_of(source) {
            Some(key) => Source::Key(consul.clone(), kv::query(key, settings)),
            None => Source::File(source.to_owned()),
        }
    }

    /// For logs.
    pub(super) fn name(&self) -> String {
        match self {
            Source::File(file) => file.display().to_string(),
            Source::Key(_, query) => format!("{}{}", kv::SCHEME, query.key),
        }
    }

    /// Offers the text whenever it changes, until the process ends.
    pub(super) async fn watch(self, text: String, reloads: Reloads) {
        match self {
            Source::File(file) => watch::watch(file, text, reloads).await,
            Source::Key(consul, query) => kv::watch(consul, query, text, reloads).await,
        }
    }

    /// Reads it now and offers the text, also when nothing seems to have changed.
    pub(super) async fn reread(&self, reloads: &Reloads) {
        match self {
            Source::File(file) => watch::reread(file, reloads).await,
            Source::Key(consul, query) => match kv::read(consul, query).await {
                Ok(text) => reloads.offer(text, Origin::File(self.name())).await,
                Err(error) => reloads.unreadable(Origin::File(self.name()), &error),
            },
        }
    }
}
