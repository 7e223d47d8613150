//! Consumers and their groups, and what a proven credential leaves behind (floor 2).
//!
//! Must not know: how a consumer proved itself.

use std::collections::HashMap;

use crate::message::Entity;
use crate::util::ids::ConsumerIx;

/// One consumer of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// Its UUID as text.
    pub id: String,
    /// Unique name, if it has one.
    pub username: Option<String>,
    /// Its id in somebody else's books, if it has one.
    pub custom_id: Option<String>,
    /// ACL groups, in the file's order.
    pub groups: Vec<String>,
    /// As logs and admin views show it.
    pub entity: Entity,
}

/// All consumers of a snapshot.
#[derive(Debug, Default)]
pub struct Identity {
    consumers: Vec<Consumer>,
    by_name: HashMap<String, ConsumerIx>,
    by_custom_id: HashMap<String, ConsumerIx>,
    by_id: HashMap<String, ConsumerIx>,
}

impl Identity {
    /// Indexes consumers; their position is their [`ConsumerIx`].
    pub fn new(consumers: Vec<Consumer>) -> Identity {
        let mut identity = Identity::default();
        for (ix, consumer) in consumers.iter().enumerate() {
            let ix = ConsumerIx::from(ix);
            identity.by_id.insert(consumer.id.clone(), ix);
            if let Some(name) = &consumer.username {
                identity.by_name.insert(name.clone(), ix);
            }
            if let Some(id) = &consumer.custom_id {
                identity.by_custom_id.insert(id.clone(), ix);
            }
        }
        Identity {
            consumers,
            ..identity
        }
    }

    /// The consumer at that index.
    pub fn consumer(&self, ix: ConsumerIx) -> Option<&Consumer> {
        self.consumers.get(ix.ix())
    }

    /// The consumer with that username or id: how `anonymous` names one.
    pub fn by_name_or_id(&self, name: &str) -> Option<ConsumerIx> {
        self.by_name
            .get(name)
            .or_else(|| self.by_id.get(name))
            .copied()
    }

    /// The consumer whose username or custom_id is that: how a claim names one.
    pub fn by_claim(&self, claim: &str) -> Option<ConsumerIx> {
        self.by_name
            .get(claim)
            .or_else(|| self.by_custom_id.get(claim))
            .copied()
    }

    /// All consumers in the file's order.
    pub fn all(&self) -> &[Consumer] {
        &self.consumers
    }
}

/// The credential that proved who a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The credential entity's id (for JWKS the subject).
    pub id: String,
    /// What `X-Credential-Identifier` says.
    pub identifier: String,
}
