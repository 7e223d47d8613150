//! The table of plugins (floor 4).
