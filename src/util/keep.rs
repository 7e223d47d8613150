//! State that outlives a configuration, found again under an identity.
//!
//! A new snapshot is built while the old one lives, so what it asks for by the same key is still
//! there and is adopted; what nobody adopts dies with the last user of the old snapshot. There is
//! no registry to clean: a [`Keeps`] holds weak references only, and counts what each round of
//! compiling found again.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// All kept state of a process, by the types of key and value. Locked only while compiling.
#[derive(Default)]
pub struct Keeps {
    by_type: Mutex<HashMap<TypeId, Kind>>,
}

/// One kind of state.
struct Kind {
    keep: Arc<dyn Any + Send + Sync>,
    name: &'static str,
    tally: Arc<Tally>,
}

/// What one round of compiling found again, and what it had to make.
#[derive(Debug, Default)]
struct Tally {
    round: AtomicU64,
    kept: AtomicUsize,
    made: AtomicUsize,
}

/// What a round of compiling found again of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The type of the state, without the modules around it.
    pub name: &'static str,
    /// Living values that were adopted.
    pub kept: usize,
    /// Values that were made.
    pub made: usize,
}

impl Keeps {
    /// The state of one kind.
    pub fn of<K, V>(&self) -> Arc<Keep<K, V>>
    where
        K: Eq + Hash + Send + 'static,
        V: Send + Sync + 'static,
    {
        let mut by_type = lock(&self.by_type);
        let kind = by_type
            .entry(TypeId::of::<Keep<K, V>>())
            .or_insert_with(Kind::new::<K, V>);
        kind.keep.clone().downcast().unwrap_or_default()
    }

    /// Begins a round of compiling: from now on [`Self::kept`] tells of it alone.
    pub fn begin(&self) {
        for kind in lock(&self.by_type).values() {
            kind.tally.round.fetch_add(1, Ordering::Relaxed);
            kind.tally.kept.store(0, Ordering::Relaxed);
            kind.tally.made.store(0, Ordering::Relaxed);
        }
    }

    /// What this round has asked for so far, by kind; kinds that it did not ask for are left out.
    pub fn kept(&self) -> Vec<Kept> {
        let by_type = lock(&self.by_type);
        let kept = by_type.values().map(|kind| Kept {
            name: kind.name,
            kept: kind.tally.kept.load(Ordering::Relaxed),
            made: kind.tally.made.load(Ordering::Relaxed),
        });
        let mut kept: Vec<Kept> = kept.filter(|it| it.kept + it.made > 0).collect();
        kept.sort_by_key(|it| it.name);
        kept
    }
}

impl Kind {
    fn new<K, V>() -> Self
    where
        K: Eq + Hash + Send + 'static,
        V: Send + Sync + 'static,
    {
        let keep = Keep::<K, V>::default();
        let name = std::any::type_name::<V>();
        let name = name.split('<').next().unwrap_or(name);
        Kind {
            name: name.rsplit("::").next().unwrap_or(name),
            tally: keep.tally.clone(),
            keep: Arc::new(keep),
        }
    }
}

/// Living values of one kind under their identities.
pub struct Keep<K, V> {
    living: Mutex<Living<K, V>>,
    tally: Arc<Tally>,
}

struct Living<K, V> {
    values: HashMap<K, Known<V>>,
    /// Dead ones are looked for when there are so many.
    full: usize,
}

struct Known<V> {
    value: Weak<V>,
    /// The round that asked for it last.
    asked: u64,
}

/// As few values are not worth looking for dead ones.
const FEW: usize = 64;

impl<K, V> Default for Keep<K, V> {
    fn default() -> Self {
        let living = Living {
            values: HashMap::new(),
            full: FEW,
        };
        Keep {
            living: Mutex::new(living),
            tally: Arc::default(),
        }
    }
}

impl<K: Eq + Hash, V> Keep<K, V> {
    /// The living value of that identity, else a new one.
    pub fn adopt(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut living = lock(&self.living);
        let round = self.tally.round.load(Ordering::Relaxed);
        if let Some(known) = living.values.get_mut(&key)
            && let Some(value) = known.value.upgrade()
        {
            if std::mem::replace(&mut known.asked, round) != round {
                self.tally.kept.fetch_add(1, Ordering::Relaxed);
            }
            return value;
        }
        living.make_room();
        let value = Arc::new(make());
        let known = Known {
            value: Arc::downgrade(&value),
            asked: round,
        };
        living.values.insert(key, known);
        self.tally.made.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// Every living value.
    pub fn living(&self) -> Vec<Arc<V>> {
        let living = lock(&self.living);
        let known = living.values.values();
        known.filter_map(|known| known.value.upgrade()).collect()
    }
}

impl<K: Eq + Hash, V> Living<K, V> {
    /// Forgets dead values when their number may have doubled: then each costs a constant share.
    fn make_room(&mut self) {
        if self.values.len() >= self.full {
            self.values
                .retain(|_, known| known.value.strong_count() > 0);
            self.full = (2 * self.values.len()).max(FEW);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn each_round_counts_what_it_finds_again_once() {
        let keeps = Keeps::default();
        let ask = |key: &str| keeps.of::<String, u32>().adopt(key.into(), || 1);
        let found = |kept, made| Kept {
            name: "u32",
            kept,
            made,
        };
        keeps.begin();
        let first = [ask("a"), ask("a"), ask("b")];
        assert_eq!(keeps.kept(), [found(0, 2)]);
        keeps.begin();
        assert_eq!(keeps.kept(), []);
        let second = [ask("a"), ask("a"), ask("c")];
        assert_eq!(keeps.kept(), [found(1, 1)]);
        drop((first, second));
    }

    #[test]
    fn the_dead_are_forgotten() {
        let keep = Keep::<u32, u32>::default();
        let held: Vec<_> = (0..10).map(|n| keep.adopt(n, || n)).collect();
        for n in 10..10_000 {
            drop(keep.adopt(n, || n));
        }
        assert!(lock(&keep.living).values.len() <= 2 * FEW);
        assert_eq!(keep.living().len(), held.len());
    }
}
