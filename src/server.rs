//! Workers, listeners and connections (floor 6).
