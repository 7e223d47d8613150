//! What a plugin instance is built from: its place, the consumers, kept state.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Flow, Plugin, RequestCx};
use crate::config::{Parsed, model};
use crate::identity::Identity;
use crate::message::Reply;
use crate::util::handles::Handles;
use crate::util::keep::Keeps;

/// Where an instance is attached: ids as text, empty where unset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The instance's own id.
    pub id: String,
    /// Route id.
    pub route: String,
    /// Service id.
    pub service: String,
    /// Consumer id.
    pub consumer: String,
}

/// The credential indexes of a snapshot, by table.
#[derive(Default)]
pub struct Credentials(HashMap<&'static str, Arc<dyn Any + Send + Sync>>);

impl Credentials {
    /// Puts a table's index in.
    pub fn insert(&mut self, key: &'static str, index: Arc<dyn Any + Send + Sync>) {
        self.0.insert(key, index);
    }

    /// A table's index; an empty one where the file has no such credential.
    pub fn table<T: Any + Send + Sync + Default>(&self, key: &str) -> Arc<T> {
        let index = self.0.get(key).cloned();
        index
            .and_then(|index| index.downcast().ok())
            .unwrap_or_default()
    }
}

/// What an instance is built from.
pub struct Build<'a> {
    /// Where it is attached.
    pub scope: &'a Scope,
    /// The route that it is attached to.
    pub route: Option<&'a model::Route>,
    /// The services whose requests it may meet.
    pub services: &'a [model::Service],
    /// Every consumer.
    pub identity: &'a Identity,
    /// Every credential.
    pub credentials: &'a Credentials,
    /// State that outlives configurations.
    pub keeps: &'a Keeps,
    /// Things from outside, by type: remote stores, log sinks, metrics.
    pub handles: &'a Handles,
    /// Number of data-plane workers.
    pub workers: usize,
}

/// Makes an instance from what the plugin parsed. The table pairs `parse` and `build`, so the type
/// fits; should it ever not, requests get 500 rather than pass a plugin that is not there.
pub fn instance<T: Any>(
    parsed: &Parsed,
    make: impl FnOnce(&T) -> Arc<dyn Plugin>,
) -> Arc<dyn Plugin> {
    match parsed.get() {
        Some(config) => make(config),
        None => Arc::new(Refusing),
    }
}

struct Refusing;

impl Plugin for Refusing {
    fn on_request<'a>(&'a self, _: &'a mut RequestCx<'_>) -> Flow<'a> {
        Reply::gateway(500, "An unexpected error occurred").into()
    }
}
