//! The declarative file: text to a tree with positions, to a checked model (floor 1).
//!
//! Invariant: reading is pure. What the environment holds is handed in, what plugins mean is handed
//! in ([`Known`]), and every problem of a text is found in one reading, each with path and place.
//!
//! ```text
//! text -yaml-> Node tree -vault, version-> the same tree in one form -rows-> entities in a flat list
//!      -links-> ids and references -decode (schema, entities)-> Model -supported-> the answer
//! ```

pub mod consul_name;
mod decode;
mod entities;
mod file_schema;
mod json;
pub mod known;
mod links;
mod masked;
pub mod model;
pub mod node;
pub mod paths;
pub mod report;
mod route;
mod rows;
mod scalars;
pub mod schema;
pub mod settings;
mod supported;
pub mod target;
pub mod text;
mod top;
pub mod vault;
mod version;
pub mod yaml;

use crate::util::background;
pub use file_schema::file_schema;
pub use known::{Known, Parsed};
pub use links::derived_id;
pub use masked::masked;
pub use model::Model;
pub use node::{Node, Pos, Value};
pub use report::{Issue, Report, Severity};
pub use schema::{Fields, Record};
pub use settings::Settings;

/// Reads a file. The model is there when the report holds no error; the report is in the order of
/// the text, and callers may add to it (and sort it again).
///
/// `file` is the name that lines of the report begin with; `env` looks up variables that the file
/// refers to.
#[must_use]
pub fn read(
    text: &str,
    file: &str,
    env: &vault::Env<'_>,
    known: &Known,
) -> (Option<Model>, Report) {
    let (model, report) = read_partly(text, file, env, known);
    let model = report.is_ok().then_some(model);
    (model, report)
}

/// Like [`read`], with what could be read even where there are errors: then references may point
/// anywhere, and only entities by themselves may be looked at, to find further errors.
#[must_use]
pub fn read_partly(text: &str, file: &str, env: &vault::Env<'_>, known: &Known) -> (Model, Report) {
    read_tree(yaml::parse(text), Report::new(file, text), env, known)
}

/// The rest of [`read_partly`], for a text that was parsed already; the report is an empty one on
/// that text.
#[must_use]
pub fn read_tree(
    tree: Result<Node, yaml::SyntaxError>,
    mut report: Report,
    env: &vault::Env<'_>,
    known: &Known,
) -> (Model, Report) {
    let mut model = Model::default();
    read_into(tree, env, known, &mut model, &mut report);
    report.sort();
    (model, report)
}

fn read_into(
    tree: Result<Node, yaml::SyntaxError>,
    env: &vault::Env<'_>,
    known: &Known,
    model: &mut Model,
    report: &mut Report,
) {
    let mut top = match tree {
        Ok(top) => top,
        Err(error) => {
            let message = format!(
                "failed parsing declarative configuration: {}",
                error.message
            );
            report.error(error.at, "", message);
            return;
        }
    };
    match &top.value {
        Value::Map(_) => {}
        Value::Null => {
            report.error(Pos::new(1, 1), "", "expected a declarative configuration");
            return;
        }
        _ => {
            let message = "failed parsing declarative configuration: expected an object";
            report.error(top.at, "", message);
            return;
        }
    }
    model.environment = vault::resolve(&mut top, env, report);
    version::normalise(&mut top, known, report);
    top::check(&top, known, model, report);
    let rows = rows::gather(&top, known, report);
    decode::decode(&rows, known, model, report);
    supported::check(model, report);
    consul_name::check(model, report);
    drop(rows);
    free(top);
}

/// Frees a tree, entity by entity.
fn free(top: Node) {
    let Value::Map(map) = top.value else { return };
    for entry in map.into_entries() {
        if let Value::List(list) = entry.node.value {
            background::free(list);
        }
    }
}

#[cfg(test)]
mod tests;
