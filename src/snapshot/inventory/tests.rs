use super::super::testing::TABLE;
use super::super::{Surroundings, check};
use super::*;

const FILE: &str = "
services:
- name: a
  url: http://a.test
  plugins: [{name: tag, config: {tag: x, token: first-secret}}]
  routes:
  - {name: one, paths: [/1]}
  - {name: two, paths: [/2], plugins: [{name: auth}]}
upstreams: [{name: u, targets: [{target: 'h:1'}]}]
consumers:
- {username: ann, auth_keys: [{id: 11111111-1111-4111-8111-111111111111, key: K1}]}
";

fn inventory(text: &str) -> Inventory {
    let (checked, report) = check(text, "f", &Surroundings::default(), TABLE);
    let checked = checked.unwrap_or_else(|| panic!("{}", report.to_text()));
    Inventory::of(checked.model())
}

fn changes(new: &str) -> Value {
    inventory(FILE).changes(&inventory(new)).json(usize::MAX)
}

fn replaced(from: &str, to: &str) -> Value {
    assert!(FILE.contains(from), "{from}");
    changes(&FILE.replace(from, to))
}

fn changed(kind: &str, name: &str) -> Value {
    json!({kind: {"added": [], "removed": [], "changed": [name]}})
}

#[test]
fn another_way_to_write_the_same_changes_nothing() {
    assert_eq!(changes(FILE), json!({}));
    let other = FILE
        .replace("/1]}", "/1], strip_path: true} # a comment")
        .replace("url: http://a.test", "{host: a.test, port: 80}")
        .replace("{host: a.test, port: 80}", "port: 80\n  host: a.test");
    assert_eq!(changes(&other), json!({}));
}

#[test]
fn what_is_added_and_removed_is_named() {
    let json = replaced("one, paths: [/1]", "uno, paths: [/1]");
    assert_eq!(
        json,
        json!({"routes": {"added": ["uno"], "removed": ["one"], "changed": []}})
    );
    let json = replaced("upstreams: [{name: u, targets: [{target: 'h:1'}]}]\n", "");
    assert_eq!(json["targets"]["removed"], json!(["u h:1"]));
    assert_eq!(json["upstreams"]["removed"], json!(["u"]));
}

#[test]
fn changed_fields_count_where_they_stand() {
    assert_eq!(
        replaced("paths: [/2]", "paths: [/3]"),
        changed("routes", "two")
    );
    assert_eq!(
        replaced("tag: x", "tag: y"),
        changed("plugins", "tag on service a")
    );
    assert_eq!(
        replaced("{name: auth}", "{name: auth, enabled: false}"),
        changed("plugins", "auth on route two")
    );
}

#[test]
fn changed_secrets_count_and_are_not_shown() {
    assert_eq!(
        replaced("first-secret", "second-secret"),
        changed("plugins", "tag on service a")
    );
    assert_eq!(replaced("key: K1", "key: K2"), changed("auth_keys", "ann"));
    // Without an id of its own a credential is another one.
    let text = FILE.replace("id: 11111111-1111-4111-8111-111111111111, ", "");
    let new = text.replace("K1", "K2");
    let json = inventory(&text).changes(&inventory(&new)).json(9);
    assert_eq!(
        json,
        json!({"auth_keys": {"added": ["ann"], "removed": ["ann"], "changed": []}})
    );
}

#[test]
fn the_order_of_routes_counts() {
    let new = FILE.replace("  - {name: one, paths: [/1]}\n", "").replace(
        "{name: auth}]}\n",
        "{name: auth}]}\n  - {name: one, paths: [/1]}\n",
    );
    let json = changes(&new);
    assert_eq!(json["routes"]["reordered"], true, "{json}");
    assert_eq!(json.as_object().unwrap().len(), 1);
}

#[test]
fn long_lists_are_cut_and_said_to_be() {
    let many = |count: usize| {
        let routes = (0..count).map(|n| format!("- {{name: r{n}, paths: [/{n}]}}\n"));
        format!("routes:\n{}", routes.collect::<String>())
    };
    let changes = inventory(&many(1)).changes(&inventory(&many(11)));
    let json = changes.json(4);
    assert_eq!(json["routes"]["added"].as_array().unwrap().len(), 4);
    assert_eq!(json["routes"]["left_out"], 6);
    assert_eq!(changes.summary(), "routes +10 (r1, r2, r3, ..)");
}
