//! Routes compiled into an index (floor 2).
