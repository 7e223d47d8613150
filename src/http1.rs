//! HTTP/1.1 on both sides: bytes in, events out (floor 2).
