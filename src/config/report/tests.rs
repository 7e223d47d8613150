use super::*;

fn sample() -> Report {
    let text = "services:\n- name: a\n  retries: five   # no\n  prot: 80\n";
    let mut report = Report::new("kong.yaml", text);
    report
        .error(Pos::new(4, 3), "services[0].prot", "unknown field")
        .hint("did you mean `port`?");
    report.error(
        Pos::new(3, 12),
        "services[0].retries",
        "expected an integer, got \"five\"",
    );
    report.warning(Pos::NOWHERE, "", "no route");
    report.sort();
    report
}

#[test]
fn lines_are_in_the_order_of_the_text() {
    let expected = "\
kong.yaml: warning: no route
kong.yaml:3:12: error: services[0].retries: expected an integer, got \"five\"
kong.yaml:4:3: error: services[0].prot: unknown field
  hint: did you mean `port`?
";
    assert_eq!(sample().to_text(), expected);
    assert!(!sample().is_ok());
}

#[test]
fn a_terminal_sees_the_piece_of_the_file() {
    let text = sample().to_terminal(false);
    let expected = "\
kong.yaml: warning: no route
kong.yaml:3:12: error: services[0].retries: expected an integer, got \"five\"
  |
3 |   retries: five   # no
  |            ^^^^ expected an integer, got \"five\"
kong.yaml:4:3: error: services[0].prot: unknown field
  |
4 |   prot: 80
  |   ^^^^ unknown field
  |
  = help: did you mean `port`?
";
    assert_eq!(text, expected);
    assert!(sample().to_terminal(true).contains("\u{1b}["));
}

#[test]
fn json_has_places_and_counts() {
    let json = sample().to_json();
    assert_eq!(json["ok"], false);
    assert_eq!(json["counts"], json!({"errors": 2, "warnings": 1}));
    assert_eq!(
        json["errors"][1],
        json!({"path": "services[0].prot", "line": 4, "column": 3, "message": "unknown field",
               "hint": "did you mean `port`?"})
    );
    assert_eq!(json["warnings"][0]["line"], serde_json::Value::Null);
}

#[test]
fn odd_places_do_not_break_the_snippet() {
    let mut report = Report::new("x", "a: \u{e4}\u{1f600}b\n\n");
    for (line, column) in [
        (1, 1),
        (1, 4),
        (1, 5),
        (1, 90),
        (2, 1),
        (2, 7),
        (9, 9),
        (u32::MAX, u32::MAX),
    ] {
        report.error(Pos::new(line, column), "a", "wrong");
    }
    assert!(report.to_terminal(false).contains("wrong"));
}

#[test]
fn near_names_are_found_and_far_ones_are_not() {
    let names = ["port", "protocol", "path", "strip_path", "rate-limiting"];
    assert_eq!(nearest("prot", names), Some("port"));
    assert_eq!(nearest("strip-path", names), Some("strip_path"));
    assert_eq!(nearest("stripPath", names), Some("strip_path"));
    assert_eq!(nearest("rate_limitting", names), Some("rate-limiting"));
    assert_eq!(nearest("banana", names), None);
    assert_eq!(nearest("", names), None);
    assert_eq!(nearest("x", ["y"]), None);
}

#[test]
fn kongs_tree_of_errors() {
    let mut report = Report::new("x", "");
    for (path, message) in [
        ("services[1].port", "expected an integer"),
        ("services[1]", "must have one"),
        ("services[1].routes[0].paths[2]", "bad"),
        ("services[1].routes[0].headers[\"a b\"].x", "odd"),
        ("plugins[0].config", "missing"),
        ("plugins[0].config.minute", "low"),
        ("plugins[0].name", "one"),
        ("plugins[0].name", "two"),
    ] {
        report.error(Pos::NOWHERE, path, message);
    }
    let expected = json!({
        "services": [null, {
            "port": "expected an integer",
            "@entity": ["must have one"],
            "routes": [{"paths": [null, null, {"@entity": ["bad"]}], "headers": {"a b": {"x": "odd"}}}],
        }],
        "plugins": [{"config": {"@entity": ["missing"], "minute": "low"}, "name": ["one", "two"]}],
    });
    assert_eq!(report.fields_json(), expected);
    assert_eq!(Report::default().fields_json(), json!({}));
}
