//! Heads, headers, bodies, replies and records (floor 1).
