//! Metrics, logs and status sources (floor 1).
