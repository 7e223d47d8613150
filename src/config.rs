//! The declarative file: text to a tree with positions, to a checked model (floor 1).
//!
//! Invariant: reading is pure. What the environment holds is handed in, what plugins mean is handed
//! in (`Known`), and every problem of a text is found in one reading, each with path and place.

mod json;
pub mod known;
pub mod node;
pub mod report;
pub mod schema;
pub mod yaml;

pub use known::{Known, Parsed};
pub use node::{Node, Pos, Value};
pub use report::{Issue, Report, Severity};
pub use schema::{Fields, Record};
