//! The rules of the house: imports go down only, and each third-party crate lives behind its
//! fence. A broken rule names the line and what would be allowed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, itself left out. Tests beside the code may reach further.
const FLOORS: &[(&str, &[&str])] = &[
    ("util", &[]),
    ("message", &["util"]),
    ("config", &["util"]),
    ("telemetry", &["util"]),
    ("tls", &["util"]),
    ("identity", &["util", "message"]),
    ("router", &["util", "message"]),
    ("limits", &["util", "telemetry"]),
    ("http1", &["util", "message"]),
    ("http2", &["util", "message"]),
    (
        "upstream",
        &["util", "message", "telemetry", "tls", "http1", "http2"],
    ),
    ("remote", &["util", "config", "telemetry", "tls", "limits"]),
    (
        "plugin",
        &[
            "util",
            "message",
            "config",
            "telemetry",
            "identity",
            "router",
        ],
    ),
    (
        "plugins",
        &[
            "plugin",
            "limits",
            "remote",
            "router",
            "identity",
            "config",
            "telemetry",
            "message",
            "util",
        ],
    ),
    (
        "snapshot",
        &[
            "plugin",
            "upstream",
            "router",
            "identity",
            "tls",
            "config",
            "telemetry",
            "message",
            "util",
        ],
    ),
    (
        "gateway",
        &[
            "snapshot",
            "upstream",
            "plugin",
            "router",
            "identity",
            "http1",
            "http2",
            "tls",
            "remote",
            "telemetry",
            "message",
            "util",
        ],
    ),
    (
        "server",
        &[
            "gateway",
            "snapshot",
            "tls",
            "message",
            "config",
            "telemetry",
            "util",
        ],
    ),
    (
        "control",
        &[
            "snapshot",
            "upstream",
            "remote",
            "plugin",
            "config",
            "telemetry",
            "util",
        ],
    ),
    (
        "admin",
        &[
            "control",
            "snapshot",
            "upstream",
            "identity",
            "config",
            "telemetry",
            "message",
            "remote",
            "util",
        ],
    ),
];

/// Which files may name a third-party crate.
const FENCES: &[(&str, &[&str])] = &[
    ("rustls", &["src/tls"]),
    ("tokio_rustls", &["src/tls"]),
    // The table of plugins names the plugin of that name.
    (
        "prometheus",
        &["src/telemetry/metrics.rs", "src/plugins.rs"],
    ),
    ("jsonwebtoken", &["src/plugins/jwt"]),
    ("reqwest", &["src/remote"]),
    ("redis", &["src/remote/redis"]),
    ("governor", &["src/limits/bucket.rs"]),
    (
        "hyper",
        &[
            "src/http2",
            "src/gateway/drive_http2",
            "src/admin",
            "src/cli",
        ],
    ),
    (
        "arc_swap",
        &[
            "src/snapshot/cell.rs",
            "src/upstream/cluster.rs",
            "src/tls",
            "src/remote",
        ],
    ),
    ("hickory_resolver", &["src/control/dns"]),
];

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

/// Every source line that is neither comment nor test, with its file and number.
fn lines() -> Vec<(String, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let name = file
            .strip_prefix(root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if is_test(&name) {
            continue;
        }
        for (at, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.trim_start() == "mod tests {" {
                break;
            }
            if !line.trim_start().starts_with("//") {
                found.push((name.clone(), at + 1, line.to_owned()));
            }
        }
    }
    found
}

fn is_test(name: &str) -> bool {
    name.split('/').any(|part| {
        let part = part.trim_end_matches(".rs");
        matches!(part, "tests" | "testkit" | "oracle") || part.ends_with("_tests")
    })
}

fn module(name: &str) -> &str {
    let rest = name.trim_start_matches("src/");
    rest.split(['/', '.']).next().unwrap()
}

/// The modules of this crate that a line names.
fn imports(line: &str) -> Vec<String> {
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .flat_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            let inside = rest
                .strip_prefix('{')
                .map(|list| list.split('}').next().unwrap());
            let names = inside.map_or_else(|| vec![rest], |list| list.split(',').collect());
            let word = |text: &str| {
                let text = text.trim_start();
                let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
                text[..end.unwrap_or(text.len())].to_owned()
            };
            names.into_iter().map(word).collect::<Vec<_>>()
        })
        .filter(|name| name.starts_with(|c: char| c.is_lowercase()))
        .collect()
}

#[test]
fn imports_go_down_only() {
    let mut wrong = Vec::new();
    for (file, number, line) in lines() {
        let here = module(&file);
        let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == here) else {
            continue;
        };
        for name in imports(&line) {
            let known = FLOORS.iter().any(|(floor, _)| *floor == name);
            if known && name != here && !allowed.contains(&name.as_str()) {
                wrong.push(format!(
                    "{file}:{number}: `{here}` names `{name}`; allowed: {allowed:?}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that do not go down:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn crates_stay_behind_their_fences() {
    let mut wrong = Vec::new();
    for (file, number, line) in lines() {
        for (name, homes) in FENCES {
            let path = format!("{name}::");
            let named = line.match_indices(&path).any(|(at, _)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            });
            if named && !homes.iter().any(|home| file.starts_with(home)) {
                wrong.push(format!("{file}:{number}: `{name}` belongs into {homes:?}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "crates outside their fences:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let silent: Vec<_> = files
        .into_iter()
        .filter(|file| !is_test(&file.to_string_lossy()))
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .collect();
    assert!(
        silent.is_empty(),
        "files without a purpose at the top: {silent:#?}"
    );
}

#[test]
fn every_plugin_file_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("src/plugins.rs")).unwrap();
    for entry in fs::read_dir(root.join("src/plugins")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            table.contains(&format!("mod {stem};")),
            "src/plugins/{stem}.rs is not declared"
        );
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("PluginDef {") {
            let entry = format!("&{stem}::PLUGIN");
            assert!(table.contains(&entry), "{entry} is missing from the table");
            let page = root.join(format!("docs/plugins/{}.md", stem.replace('_', "-")));
            assert!(page.exists(), "{} is missing", page.display());
        }
    }
}
