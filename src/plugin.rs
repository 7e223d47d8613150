//! The plugin interface and the compiled plan (floor 3).
