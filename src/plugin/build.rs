//! What a plugin instance is built from: its place, the consumers, kept state.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::{CredentialRow, Flow, Plugin, PluginDef, RequestCx};
use crate::config::{Model, Parsed, model};
use crate::identity::{Consumer, Identity, Membership};
use crate::message::Reply;
use crate::util::handles::Handles;
use crate::util::ids::ConsumerIx;
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
    /// Takes the rows out of a model and makes one index a table.
    pub fn take(model: &mut Model, table: &[&PluginDef]) -> Credentials {
        let mut rows: HashMap<&str, Vec<CredentialRow>> = HashMap::new();
        for credential in std::mem::take(&mut model.credentials) {
            let own = rows.entry(credential.table).or_default();
            own.push(row(credential, model));
        }
        let defs = table.iter().filter_map(|def| def.credentials.as_ref());
        let index = |def: &super::CredentialDef| {
            let own = rows.remove(def.known.key).unwrap_or_default();
            (def.known.key, (def.index)(own))
        };
        Credentials(defs.map(index).collect())
    }

    /// A table's index; an empty one where the file has no such credential.
    pub fn table<T: Any + Send + Sync + Default>(&self, key: &str) -> Arc<T> {
        let index = self.0.get(key).cloned();
        index
            .and_then(|index| index.downcast().ok())
            .unwrap_or_default()
    }
}

fn row(credential: model::Credential, model: &Model) -> CredentialRow {
    let consumer = model.consumers.get(credential.consumer);
    CredentialRow {
        id: credential.meta.id.to_string(),
        consumer: ConsumerIx::from(credential.consumer),
        consumer_id: consumer.map_or_else(String::new, |consumer| consumer.meta.id.to_string()),
        stored: !model.transform,
        parsed: Arc::new(credential.row),
    }
}

/// Puts consumers into the groups that rows of a file name, whatever tables they stand in.
pub fn join_groups(consumers: &mut [Consumer], rows: &[model::Credential]) {
    for row in rows {
        let membership = row.row.get::<Membership>();
        let consumer = consumers.get_mut(row.consumer);
        if let (Some(Membership(group)), Some(consumer)) = (membership, consumer)
            && !consumer.groups.contains(group)
        {
            consumer.groups.push(group.clone());
        }
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
