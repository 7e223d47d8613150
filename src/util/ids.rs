//! Typed indices, where a number says which table it points into, and this process's own id.

use std::sync::OnceLock;

use uuid::Uuid;

/// The id of this process among those that do the same work: a UUID, new at each start.
pub fn node_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| Uuid::new_v4().to_string())
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// The position in its table.
            pub fn ix(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            fn from(ix: usize) -> $name {
                $name(ix as u32)
            }
        }
    };
}

index!(
    /// A route of a snapshot.
    RouteIx
);
index!(
    /// A service of a snapshot.
    ServiceIx
);
index!(
    /// A consumer of a snapshot.
    ConsumerIx
);
index!(
    /// An upstream of a snapshot.
    UpstreamIx
);
index!(
    /// A plugin instance of a snapshot.
    PluginIx
);
