//! Windows, buckets and breakers: pure state machines (floor 2).
