//! TLS on both sides and the one stream type (floor 2).
