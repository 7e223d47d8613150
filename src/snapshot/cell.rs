//! The one pointer that a reload swaps.

use std::sync::Arc;

use arc_swap::{ArcSwapOption, Cache};

use super::Snapshot;

/// Where the live snapshot stands; empty until the first one.
#[derive(Clone, Default)]
pub struct SnapshotCell(Arc<ArcSwapOption<Snapshot>>);

impl SnapshotCell {
    /// Makes a snapshot live. Requests in flight keep the one they began with.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        self.0.store(Some(snapshot));
    }

    /// The live snapshot.
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        self.0.load_full()
    }

    /// A worker's view of the cell.
    pub fn reader(&self) -> Reader {
        Reader(Cache::new(self.0.clone()))
    }
}

/// One worker's view: looking costs a pointer comparison while nothing changes.
pub struct Reader(Cache<Arc<ArcSwapOption<Snapshot>>, Option<Arc<Snapshot>>>);

impl Reader {
    /// The live snapshot.
    pub fn load(&mut self) -> Option<&Arc<Snapshot>> {
        self.0.load().as_ref()
    }
}
