//! The `sluicegate` program.
#![forbid(unsafe_code)]
fn main() {}
