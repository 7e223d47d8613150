//! The table as a whole, and the reference pages that are made from it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::schema::markdown_table;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_table_is_in_the_order_of_priority() {
    assert!(TABLE.is_sorted_by_key(|def| -def.priority));
    let known = known();
    assert_eq!(known.plugins.len(), TABLE.len());
    assert!(known.plugin("cors").is_some());
}

/// The comment at the top of a plugin's file.
fn top_comment(name: &str) -> String {
    let file = root().join(format!("src/plugins/{}.rs", name.replace('-', "_")));
    let text = std::fs::read_to_string(&file).unwrap();
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    lines
        .map(|line| line.strip_prefix(' ').unwrap_or(line).to_owned() + "\n")
        .collect()
}

fn page(def: &PluginDef) -> String {
    let mut page = top_comment(def.known.name);
    assert!(page.starts_with(&format!("# {}\n", def.known.name)));
    let mut scopes = vec!["globally"];
    if def.known.on_routes {
        scopes.extend(["on a service", "on a route"]);
    }
    if def.known.on_consumer {
        scopes.push("on a consumer");
    }
    let table = markdown_table(def.known.config);
    let _ = write!(page, "\n## Configuration\n\n{table}");
    if let Some(credentials) = &def.credentials {
        let table = markdown_table(credentials.known.record);
        let _ = write!(page, "\n## `{}`\n\n{table}", credentials.known.key);
    }
    let _ = write!(
        page,
        "\n## Place\n\nPriority {}. May be set {}.\n",
        def.priority,
        scopes.join(", ")
    );
    page
}

fn pages() -> Vec<(PathBuf, String)> {
    let docs = root().join("docs/plugins");
    let file = |def: &&PluginDef| (docs.join(format!("{}.md", def.known.name)), page(def));
    TABLE.iter().map(file).collect()
}

/// `BLESS=1 cargo test` writes the pages anew.
#[test]
fn the_reference_pages_are_what_the_code_says() {
    let bless = std::env::var_os("BLESS").is_some();
    for (path, page) in pages() {
        if bless {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let name = path.display();
        assert_eq!(
            written, page,
            "{name} is stale: run BLESS=1 cargo test plugins"
        );
    }
}
