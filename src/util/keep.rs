//! State that outlives a configuration, found again under an identity.
//!
//! A new snapshot is built while the old one lives, so what it asks for by the same key is still
//! there and is adopted; what nobody adopts dies with the last user of the old snapshot. There is
//! no registry to clean: a [`Keeps`] holds weak references only.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// All kept state of a process, by the types of key and value. Locked only while compiling.
#[derive(Default)]
pub struct Keeps {
    by_type: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Keeps {
    /// The state of one kind.
    pub fn of<K, V>(&self) -> Arc<Keep<K, V>>
    where
        K: Eq + Hash + Send + 'static,
        V: Send + Sync + 'static,
    {
        let mut by_type = self.by_type.lock().unwrap_or_else(PoisonError::into_inner);
        let any = by_type
            .entry(TypeId::of::<Keep<K, V>>())
            .or_insert_with(|| Arc::new(Keep::<K, V>::default()));
        any.clone().downcast().unwrap_or_default()
    }
}

/// Living values of one kind under their identities.
pub struct Keep<K, V> {
    living: Mutex<HashMap<K, Weak<V>>>,
}

impl<K, V> Default for Keep<K, V> {
    fn default() -> Self {
        Keep {
            living: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, V> Keep<K, V> {
    /// The living value of that identity, else a new one.
    pub fn adopt(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = living.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        living.retain(|_, value| value.strong_count() > 0);
        let value = Arc::new(make());
        living.insert(key, Arc::downgrade(&value));
        value
    }

    /// Every living value.
    pub fn living(&self) -> Vec<Arc<V>> {
        let living = self.living.lock().unwrap_or_else(PoisonError::into_inner);
        living.values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_value_is_adopted_and_a_dead_one_is_made_anew() {
        let keeps = Keeps::default();
        let first = keeps.of::<String, u32>().adopt("a".into(), || 1);
        assert_eq!(*keeps.of::<String, u32>().adopt("a".into(), || 2), 1);
        assert_eq!(*keeps.of::<String, u32>().adopt("b".into(), || 3), 3);
        drop(first);
        assert_eq!(*keeps.of::<String, u32>().adopt("a".into(), || 2), 2);
    }
}
