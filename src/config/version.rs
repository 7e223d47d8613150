//! The file brought to one form before it is read: versions before 3.0, shorthands, decK's keys.
//!
//! Invariant: what is changed keeps the place of what it was made from, so that reports point at
//! what the author wrote.

use std::collections::HashMap;

use super::known::Known;
use super::node::{Entry, Map, Node, Value};
use super::paths;
use super::report::{Report, did_you_mean};
use super::rows::{self, Kind};
use super::schema::{key_path, texts};

/// Formats that Kong has had.
const VERSIONS: [&str; 3] = ["1.1", "2.1", "3.0"];

/// Brings the whole tree to the form of 3.0.
pub(super) fn normalise(top: &mut Node, known: &Known, report: &mut Report) {
    let old = is_old(top, report);
    let mut shared = Shared::of(top);
    rows::each_mut(top, known, &mut |kind, node, path| match kind {
        Kind::Service => expand_url(node),
        Kind::Route if old => migrate_paths(node),
        Kind::Certificate => name_snis(node),
        Kind::Plugin => shared.put_into(node, path, report),
        _ => {}
    });
}

/// Whether the file is of a version before 3.0; absent is 3.0.
fn is_old(top: &Node, report: &mut Report) -> bool {
    let Some(node) = top.get("_format_version").filter(|node| !node.is_null()) else {
        return false;
    };
    let path = "_format_version";
    let number = match &node.value {
        Value::Float(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        _ => None,
    };
    let version = match (&node.value, number) {
        (Value::String(text), _) => text.clone(),
        (_, Some(number)) => {
            let text = format!("{number:.1}");
            report
                .warning(
                    node.at,
                    path,
                    format!("a number: Kong wants \"{text}\" in quotes"),
                )
                .hint(format!("write _format_version: \"{text}\""));
            text
        }
        _ => {
            report.error(node.at, path, "expected a string");
            return false;
        }
    };
    if !VERSIONS.contains(&&*version) {
        report.error(
            node.at,
            path,
            format!("expected one of: {}", VERSIONS.join(", ")),
        );
    }
    matches!(&*version, "1.1" | "2.1")
}

fn migrate_paths(route: &mut Node) {
    let Value::Map(map) = &mut route.value else {
        return;
    };
    let Some(Value::List(list)) = map.get_mut("paths").map(|node| &mut node.value) else {
        return;
    };
    for node in list {
        if let Value::String(text) = &mut node.value
            && text.starts_with('/')
        {
            *text = paths::migrate(text);
        }
    }
}

/// `url` wins over the four fields it stands for.
fn expand_url(service: &mut Node) {
    let Value::Map(map) = &mut service.value else {
        return;
    };
    let Some(entry) = map.entry("url") else {
        return;
    };
    let (key_at, at) = (entry.key_at, entry.node.at);
    let Value::String(url) = &entry.node.value else {
        return;
    };
    let put = |map: &mut Map, key: &str, value: Value| {
        map.set(Entry {
            key: key.to_owned(),
            key_at,
            node: Node { at, value },
        });
    };
    let Some(parts) = texts::url_parts(url) else {
        // The field's own check says what is wrong; only a missing host shows as one.
        let authority = url.split_once("://").map_or(&**url, |(_, rest)| rest);
        let value = match texts::split_port(authority.split(['/', '?', '#']).next().unwrap_or("")) {
            ("", _) => Value::Null,
            (host, _) => Value::String(host.to_owned()),
        };
        put(map, "host", value);
        return;
    };
    let scheme = parts.scheme.map(str::to_ascii_lowercase);
    let guessed = if parts.port == Some(443) {
        "https"
    } else {
        "http"
    };
    let protocol = scheme.unwrap_or_else(|| guessed.to_owned());
    let default = if protocol == "https" { 443 } else { 80 };
    let port = parts.port.unwrap_or(default);
    let (host, path) = (parts.host.to_owned(), parts.path.map(str::to_owned));
    put(map, "protocol", Value::String(protocol));
    put(map, "host", Value::String(host));
    put(map, "port", Value::Int(port.into()));
    put(map, "path", path.map_or(Value::Null, Value::String));
}

/// The form of the Admin API, `snis: [a.test]`, becomes the form of the file.
fn name_snis(certificate: &mut Node) {
    let Value::Map(map) = &mut certificate.value else {
        return;
    };
    let Some(Value::List(list)) = map.get_mut("snis").map(|node| &mut node.value) else {
        return;
    };
    for node in list.iter_mut().filter(|node| node.as_str().is_some()) {
        let at = node.at;
        let name = std::mem::replace(&mut node.value, Value::Null);
        let entry = Entry {
            key: "name".to_owned(),
            key_at: at,
            node: Node { at, value: name },
        };
        node.value = Value::Map(Map::new(vec![entry]));
    }
}

/// Nodes that shared configurations may add to a file, as for aliases.
const MAX_SHARED_NODES: usize = 1_000_000;

/// decK's `_plugin_configs`.
struct Shared {
    configs: Map,
    /// What may still be added.
    budget: usize,
}

impl Shared {
    fn of(top: &Node) -> Self {
        let configs = match top.get("_plugin_configs").map(|node| &node.value) {
            Some(Value::Map(configs)) => configs.clone(),
            _ => Map::default(),
        };
        Self {
            configs,
            budget: MAX_SHARED_NODES,
        }
    }

    /// A plugin's `_config: name` becomes the shared configuration under its own.
    fn put_into(&mut self, plugin: &mut Node, path: &str, report: &mut Report) {
        let Value::Map(map) = &mut plugin.value else {
            return;
        };
        let Some(entry) = map.remove("_config") else {
            return;
        };
        let (at, path) = (entry.node.at, key_path(path, "_config"));
        let Some(name) = entry.node.as_str() else {
            report.error(at, path, "expected a string");
            return;
        };
        let Some(base) = self.configs.get(name) else {
            let issue = report.error(at, path, format!("no entry '{name}' in '_plugin_configs'"));
            issue.hint = did_you_mean(name, self.configs.entries().iter().map(|e| &*e.key));
            return;
        };
        let Some(left) = self.budget.checked_sub(base.count()) else {
            report.error(
                at,
                path,
                "the text is too large once its shared configurations are put in",
            );
            return;
        };
        self.budget = left;
        let mut merged = base.clone();
        if let Some(own) = map.remove("config") {
            merge(&mut merged, own.node);
        }
        map.set(Entry {
            key: "config".to_owned(),
            key_at: entry.key_at,
            node: merged,
        });
    }
}

/// Puts a tree over another; maps are joined key by key.
fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (_, Value::Null) => {}
        (Value::Map(into), Value::Map(from)) => {
            let places = into.entries().iter().enumerate();
            let places: HashMap<String, usize> = places
                .map(|(place, entry)| (entry.key.clone(), place))
                .collect();
            for entry in from.into_entries() {
                let old = places
                    .get(&entry.key)
                    .and_then(|p| into.entries_mut().get_mut(*p));
                match old {
                    Some(old) if old.node.as_map().is_some() && entry.node.as_map().is_some() => {
                        merge(&mut old.node, entry.node);
                    }
                    Some(old) => *old = entry,
                    None => into.entries_mut().push(entry),
                }
            }
        }
        (value, other) => {
            *value = other;
            base.at = over.at;
        }
    }
}
