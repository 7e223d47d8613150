//! Typed indices: a number says which table it points into.

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
