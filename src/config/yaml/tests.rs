use super::*;

fn value(text: &str) -> Value {
    parse(text).unwrap().value
}

fn field(text: &str) -> Value {
    parse(&format!("x: {text}\n"))
        .unwrap()
        .get("x")
        .unwrap()
        .value
        .clone()
}

#[test]
fn scalars_are_read_as_yaml_1_1() {
    for word in ["yes", "on", "true", "True", "ON"] {
        assert_eq!(field(word), Value::Bool(true), "{word}");
    }
    for word in ["no", "off", "false"] {
        assert_eq!(field(word), Value::Bool(false), "{word}");
    }
    assert_eq!(field("014"), Value::Int(12));
    assert_eq!(field("1_000"), Value::Int(1000));
    assert_eq!(field("12:30:45"), Value::Int(45045));
    assert_eq!(field("'12:30:45'"), Value::String("12:30:45".into()));
    assert_eq!(field("\"12:30\""), Value::String("12:30".into()));
    assert_eq!(field("01:99.5"), Value::Float(159.5));
    assert_eq!(field("!!str 12:30"), Value::String("12:30".into()));
    assert_eq!(field("!!str yes"), Value::String("yes".into()));
    assert_eq!(field("|-\n  yes"), Value::String("yes".into()));
    assert_eq!(
        field("'ä' # x\ny: {a: ä, b: yes}"),
        Value::String("ä".into())
    );
    let late = parse("a: [ä, on, 'on', \"on\", &x off, *x]")
        .unwrap()
        .to_json();
    assert_eq!(
        late,
        serde_json::json!({"a": ["ä", true, "on", "on", false, false]})
    );
    assert_eq!(field("y"), Value::String("y".into()));
    assert_eq!(field("08"), Value::Float(8.0));
    assert_eq!(field("host:80"), Value::String("host:80".into()));
    assert_eq!(field("::1"), Value::String("::1".into()));
    assert_eq!(field("3.0"), Value::Float(3.0));
    assert_eq!(field("~"), Value::Null);
    assert_eq!(field(""), Value::Null);
    assert_eq!(field("'yes'"), Value::String("yes".into()));
    assert_eq!(field("10.0.0.1"), Value::String("10.0.0.1".into()));
    assert_eq!(field("99999999999999999999"), Value::Float(1e20));
    assert_eq!(field("/v1"), Value::String("/v1".into()));
    assert_eq!(field("infinity"), Value::String("infinity".into()));
}

#[test]
fn keys_keep_their_spelling() {
    let node = parse("on: 1\n404: 2\n~: 3\n").unwrap();
    let keys: Vec<&str> = node
        .as_map()
        .unwrap()
        .entries()
        .iter()
        .map(|e| &*e.key)
        .collect();
    assert_eq!(keys, ["on", "404", "~"]);
}

#[test]
fn every_value_and_key_knows_its_place() {
    let node = parse("services:\n- name: a\n  routes:\n  - paths: [/x, \"/y\"]\n").unwrap();
    let service = &node.get("services").unwrap().as_list().unwrap()[0];
    assert_eq!(service.at, Pos::new(2, 3));
    let paths = service.get("routes").unwrap().as_list().unwrap()[0]
        .get("paths")
        .unwrap();
    assert_eq!(paths.at, Pos::new(4, 12));
    assert_eq!(paths.as_list().unwrap()[1].at, Pos::new(4, 17));
    assert_eq!(
        service.as_map().unwrap().entry("routes").unwrap().key_at,
        Pos::new(3, 3)
    );
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text =
        "_ignore:\n- &base {minute: 5, policy: local}\na:\n  <<: *base\n  minute: 6\nb: *base\n";
    let node = parse(text).unwrap();
    let a = node.get("a").unwrap();
    assert_eq!(a.get("minute").unwrap().value, Value::Int(6));
    assert_eq!(
        a.get("policy").unwrap().value,
        Value::String("local".into())
    );
    assert_eq!(a.get("policy").unwrap().at.line, 2);
    assert_eq!(
        node.get("b").unwrap().get("minute").unwrap().value,
        Value::Int(5)
    );
}

#[test]
fn merge_lists_are_applied_first_wins() {
    let text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc:\n  <<: [*a, *b]\n";
    let c = parse(text).unwrap().get("c").unwrap().to_json();
    assert_eq!(c, serde_json::json!({"x": 1, "y": 2}));
}

#[test]
fn duplicate_keys_are_refused_at_the_second_one() {
    let error = parse("services: []\nroutes: []\nservices: []\n").unwrap_err();
    assert_eq!(error.at, Pos::new(3, 1));
    assert_eq!(error.message, "duplicate mapping key: services");
    let error = parse("{\"a\": 1,\n \"a\": 2}").unwrap_err();
    assert_eq!(
        error,
        SyntaxError {
            at: Pos::new(2, 2),
            message: "duplicate mapping key: a".into()
        }
    );
}

#[test]
fn syntax_errors_have_a_place_and_one_line() {
    for text in [
        "a: [1, 2\nb: 3\n",
        "a: b: c\n",
        "a:\n\tb: 1\n",
        "a: \"x\n",
        "- a\nb: 1\n",
        "a: *x\n",
        "a: &x [*x]\n",
        "--- 1\n--- 2\n",
        "a: !!int x\n",
        "a: !!binary zz\n",
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            error.at.is_known() && !error.message.contains('\n'),
            "{text:?}"
        );
        assert!(!error.message.contains(" at line "), "{}", error.message);
    }
}

#[test]
fn json_is_read_with_places() {
    let text = "{\n\t\"services\": [\n\t\t{\"name\": \"\\ud83d\\ude00\", \"port\": 80, \"x\": 1.5, \"y\": null}\n\t]\n}\n";
    let node = parse(text).unwrap();
    let service = &node.get("services").unwrap().as_list().unwrap()[0];
    assert_eq!(service.get("name").unwrap().as_str(), Some("\u{1f600}"));
    assert_eq!(service.get("port").unwrap().at, Pos::new(3, 36));
    assert_eq!(service.get("port").unwrap().value, Value::Int(80));
    assert_eq!(
        parse("{a: 1, b: [x]}").unwrap().to_json(),
        serde_json::json!({"a": 1, "b": ["x"]})
    );
}

#[test]
fn hostile_text_is_bounded() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    }
    assert!(parse_yaml(&bomb, 50_000).is_err());
    let hostile = [
        "[".repeat(200_000),
        "{\"a\":".repeat(200_000),
        "- ".repeat(100_000),
        "a: ".to_owned() + &"{a: ".repeat(100_000),
    ];
    for text in hostile {
        let error = parse(&text).unwrap_err();
        assert_eq!(error.message, "nested deeper than 32 levels");
    }
}

#[test]
fn the_empty_text_is_null() {
    assert_eq!(value(""), Value::Null);
    assert_eq!(value("# nothing\n"), Value::Null);
}
