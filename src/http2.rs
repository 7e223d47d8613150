//! HTTP/2 on both sides, by hyper (floor 2).
