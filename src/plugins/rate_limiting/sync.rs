//! Counting here and exchanging counts with Redis every now and then (`sync_rate`).
//!
//! Each request is decided by the local counters at once. What was let through is noted, and every
//! interval the notes are added to what the server has; its totals, which other gateways have added
//! to, raise the local counters.
//!
//! Invariant: a use is pushed once. Notes whose exchange failed go back to the others; when there
//! is no room for more, requests still count here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::counters::Counters;
use super::identity::Who;
use super::shared::{Shared, Use};
use crate::limits::Key;
use crate::remote::redis::RedisClients;
use crate::util::clock;

/// Keys that can be noted between two exchanges.
const MOST: usize = 1 << 17;
const SHARDS: usize = 16;
/// Exchanges under way at once.
const AT_ONCE: usize = 64;

/// Local counters with a server behind them.
pub(super) struct Synced {
    book: Arc<Book>,
    _alive: DropGuard,
}

/// What was let through since the last exchange.
struct Book {
    shared: Shared,
    counters: Arc<Counters>,
    notes: [Mutex<HashMap<Key, Note>>; SHARDS],
}

struct Note {
    /// The name of the counters on the server.
    name: String,
    uses: Vec<Use>,
}

impl Note {
    fn add(&mut self, more: Use) {
        let same = |of: &&mut Use| (of.period, of.start_ms) == (more.period, more.start_ms);
        match self.uses.iter_mut().find(same) {
            Some(known) => known.count += more.count,
            None => self.uses.push(more),
        }
    }

    fn count(&self, of: &Use) -> u64 {
        let same = |other: &&Use| (other.period, other.start_ms) == (of.period, of.start_ms);
        self.uses.iter().find(same).map_or(0, |known| known.count)
    }
}

impl Synced {
    /// Exchanges counts every `rate` for as long as it and the process live, and once more then.
    pub(super) fn start(
        shared: Shared,
        counters: Arc<Counters>,
        rate: Duration,
        clients: &RedisClients,
    ) -> Synced {
        let book = Arc::new(Book {
            shared,
            counters,
            notes: Default::default(),
        });
        let alive = CancellationToken::new();
        let (exchanging, over, closing) = (book.clone(), alive.clone(), clients.closing());
        clients.spawn(async move {
            while !over.is_cancelled() && !closing.is_cancelled() {
                tokio::select! {
                    () = sleep(rate) => {}
                    () = over.cancelled() => {}
                    () = closing.cancelled() => {}
                }
                exchanging.exchange().await;
            }
        });
        Synced {
            book,
            _alive: alive.drop_guard(),
        }
    }

    /// Notes a request that was let through.
    pub(super) fn note(&self, key: Key, who: Who<'_>, now: Duration) {
        let book = &self.book;
        let mut notes = lock(book.shard(key));
        if notes.len() >= MOST / SHARDS && !notes.contains_key(&key) {
            book.counters.kept_back();
            return;
        }
        let note = notes.entry(key).or_insert_with(|| Note {
            name: book.shared.name(who),
            uses: Vec::new(),
        });
        for window in book.shared.current(now) {
            note.add(window);
        }
    }
}

impl Book {
    fn shard(&self, key: Key) -> &Mutex<HashMap<Key, Note>> {
        &self.notes[key.spread(SHARDS)]
    }

    /// Exchanges every note.
    async fn exchange(self: &Arc<Self>) {
        for shard in &self.notes {
            let mut notes = std::mem::take(&mut *lock(shard)).into_iter();
            loop {
                let some: Vec<(Key, Note)> = notes.by_ref().take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                let mut tasks = JoinSet::new();
                for (key, note) in some {
                    let book = self.clone();
                    tasks.spawn(async move { book.push(key, note).await });
                }
                while tasks.join_next().await.is_some() {}
            }
        }
    }

    async fn push(&self, key: Key, mut note: Note) {
        let now = clock::unix();
        // The windows of now are asked for in any case: they tell what others have counted.
        for window in self.shared.windows(now) {
            note.add(window);
        }
        match self.shared.push(&note.name, &note.uses).await {
            Ok(totals) => self.raise(key, now, note, totals),
            Err(_) => self.put_back(key, now, note),
        }
    }

    /// Raises the local counters to the totals and what was let through meanwhile.
    fn raise(&self, key: Key, now: Duration, note: Note, totals: Vec<u64>) {
        let notes = lock(self.shard(key));
        let newer = |of: &Use| notes.get(&key).map_or(0, |note| note.count(of));
        let pairs = note.uses.into_iter().zip(totals);
        let totals: Vec<(Use, u64)> = pairs
            .map(|(of, total)| (of, total.saturating_add(newer(&of))))
            .collect();
        let counts = self.shared.counts(now, &totals);
        self.counters.local.raise(key, now, &counts, None);
    }

    /// Keeps what is still of use for the next exchange.
    fn put_back(&self, key: Key, now: Duration, mut note: Note) {
        let current = self.shared.windows(now);
        let fresh = |of: &Use| {
            let same = |window: &Use| (window.period, window.start_ms) == (of.period, of.start_ms);
            of.count > 0 && current.iter().any(same)
        };
        note.uses.retain(fresh);
        let mut notes = lock(self.shard(key));
        match notes.get_mut(&key) {
            Some(newer) => note.uses.into_iter().for_each(|of| newer.add(of)),
            None if !note.uses.is_empty() => {
                notes.insert(key, note);
            }
            None => {}
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
