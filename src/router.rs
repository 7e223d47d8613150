//! Routes compiled into an index (floor 2).

/// What a route's expression captured.
#[derive(Clone, Debug, Default)]
pub struct Captures;
