//! Consumers and their groups, and what a proven credential leaves behind (floor 2).
//!
//! Invariant: which consumers a list of groups holds is worked out once, as a [`ConsumerSet`]; no
//! request compares names of groups.
//!
//! Must not know: how a consumer proved itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;

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
    /// ACL groups, in the file's order, each once.
    pub groups: Vec<String>,
    /// The same as `X-Consumer-Groups` says them; [`Identity::new`] writes it.
    pub group_list: String,
    /// As logs and admin views show it.
    pub entity: Entity,
}

/// What a row of credentials says that is no credential but puts its consumer into a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership(pub String);

/// A set of consumers: one bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerSet(Box<[u64]>);

impl ConsumerSet {
    /// Whether a consumer is in it.
    pub fn contains(&self, consumer: ConsumerIx) -> bool {
        let word = self.0.get(consumer.ix() / 64).copied().unwrap_or_default();
        word >> (consumer.ix() % 64) & 1 == 1
    }
}

/// All consumers of a snapshot.
#[derive(Debug, Default)]
pub struct Identity {
    consumers: Vec<Consumer>,
    members: HashMap<String, Vec<ConsumerIx>>,
    by_name: HashMap<String, ConsumerIx>,
    by_custom_id: HashMap<String, ConsumerIx>,
    by_id: HashMap<String, ConsumerIx>,
    digest: u64,
}

impl Identity {
    /// Indexes consumers; their position is their [`ConsumerIx`].
    pub fn new(mut consumers: Vec<Consumer>) -> Identity {
        let mut identity = Identity::default();
        let mut hasher = FixedState::default().build_hasher();
        for (ix, consumer) in consumers.iter_mut().enumerate() {
            let ix = ConsumerIx::from(ix);
            let names = (&consumer.id, &consumer.username, &consumer.custom_id);
            names.hash(&mut hasher);
            identity.join(ix, consumer);
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
            digest: hasher.finish(),
            ..identity
        }
    }

    /// Enters a consumer's groups.
    fn join(&mut self, ix: ConsumerIx, consumer: &mut Consumer) {
        for group in &consumer.groups {
            self.members.entry(group.clone()).or_default().push(ix);
        }
        consumer.group_list = consumer.groups.join(", ");
    }

    /// The consumers that are in any of these groups.
    pub fn in_groups<'g>(&self, groups: impl IntoIterator<Item = &'g String>) -> ConsumerSet {
        let mut bits = vec![0; self.consumers.len().div_ceil(64)];
        let members = groups.into_iter().filter_map(|name| self.members.get(name));
        for member in members.flatten() {
            bits[member.ix() / 64] |= 1 << (member.ix() % 64);
        }
        ConsumerSet(bits.into())
    }

    /// Who is at which index, as a number: another one where any consumer has changed its names or
    /// place.
    pub fn digest(&self) -> u64 {
        self.digest
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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// The credential entity's id (for JWKS the subject).
    pub id: String,
    /// What `X-Credential-Identifier` says.
    pub identifier: String,
}

impl Clone for Credential {
    fn clone(&self) -> Credential {
        Credential {
            id: self.id.clone(),
            identifier: self.identifier.clone(),
        }
    }

    /// Into the memory that is there.
    fn clone_from(&mut self, other: &Credential) {
        self.id.clone_from(&other.id);
        self.identifier.clone_from(&other.identifier);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn sets_of_consumers_are_those_whose_groups_are_listed(
            consumers in prop::collection::vec(prop::collection::btree_set("[a-f]", 0..4), 0..150),
            listed in prop::collection::vec("[a-h]", 0..4),
        ) {
            let of = |groups: &std::collections::BTreeSet<String>| Consumer {
                groups: groups.iter().cloned().collect(),
                ..Consumer::default()
            };
            let identity = Identity::new(consumers.iter().map(of).collect());
            let set = identity.in_groups(&listed);
            for (ix, groups) in consumers.iter().enumerate() {
                let want = listed.iter().any(|group| groups.contains(group));
                prop_assert_eq!(set.contains(ix.into()), want);
                let list: Vec<&str> = groups.iter().map(String::as_str).collect();
                prop_assert_eq!(&identity.all()[ix].group_list, &list.join(", "));
            }
            prop_assert!(!set.contains(consumers.len().into()));
            prop_assert!(!set.contains(ConsumerIx(u32::MAX)));
        }
    }
}
