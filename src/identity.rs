//! Consumers, groups and credential rows (floor 2).
