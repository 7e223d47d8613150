//! The declarative file: text to a tree with positions, to a checked model (floor 1).
//!
//! Invariant: reading is pure. What the environment holds is handed in, what plugins mean is handed
//! in (`Known`), and every problem of a text is found in one reading, each with path and place.

mod json;
pub mod report;
pub mod yaml;

pub use report::{Issue, Report, Severity};
pub use yaml::{Node, Pos, Value};
