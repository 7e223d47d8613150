//! The five steps over queries, objects, parts and header fields, beside a plain model.

use proptest::prelude::*;

use super::fields::HeaderFields;
use super::object::Object;
use super::pairs::{Pairs, form_text};
use super::parts::{Parts, closed};
use super::{Edits, Named};
use crate::message::Headers;

fn edits(steps: &[(&str, &str)]) -> Edits<String> {
    let mut edits = Edits::default();
    for (step, entry) in steps {
        let (name, value) = super::entries::split(entry);
        let pair = (name.to_owned(), value.to_owned());
        match *step {
            "remove" => edits.remove.push(pair.0),
            "rename" => edits.rename.push(pair),
            "replace" => edits.replace.push(pair),
            "add" => edits.add.push(pair),
            _ => edits.append.push(pair),
        }
    }
    edits
}

fn query(text: &str, steps: &[(&str, &str)]) -> Option<String> {
    let mut pairs = Pairs::of_query(text);
    edits(steps).apply(&mut pairs, |value| value);
    pairs.changed()
}

fn object(text: &str, steps: &[(&str, &str)]) -> Option<String> {
    let mut object = Object::read(text.as_bytes())?;
    edits(steps).apply(&mut object, |value| value);
    Some(String::from_utf8(object.changed()?).unwrap())
}

#[test]
fn queries_keep_what_nobody_named() {
    assert_eq!(query("?a=%31&b", &[("remove", "c")]), None);
    assert_eq!(query("?a=%31&b", &[("replace", "c:1")]), None);
    assert_eq!(query("?a=%31&b", &[("add", "a:1")]), None);
    assert_eq!(query("?a=%31&b", &[("rename", "a:a")]), None);
    let all = [
        ("append", "n:2"),
        ("append", "n:3"),
        ("add", "n:1"),
        ("add", "k:no"),
        ("replace", "k:one"),
        ("rename", "old:new"),
        ("remove", "gone"),
    ];
    let before = "?gone=1&k=%61&old=+x&k=b&new=lost&old&gone";
    let after = "k=one&new=+x&new&n=1&n=2&n=3";
    assert_eq!(query(before, &all).as_deref(), Some(after));
    assert_eq!(query("?a=1", &[("remove", "a")]).as_deref(), Some(""));
    assert_eq!(
        query("", &[("add", "a b:c/d&e")]).as_deref(),
        Some("a%20b=c%2Fd%26e")
    );
    assert_eq!(query("?%61=1", &[("remove", "a")]).as_deref(), Some(""));
}

#[test]
fn bytes_that_are_no_text_hide_no_field() {
    let body = form_text(b"a=1&\xff=2&b=\xc3\xa9");
    assert_eq!(body, "a=1&%FF=2&b=%C3%A9");
    let mut pairs = Pairs::of_form(&body);
    pairs.remove("a");
    assert_eq!(pairs.changed().as_deref(), Some("%FF=2&b=%C3%A9"));
}

#[test]
fn objects_keep_what_nobody_named() {
    let text = r#" {"big": 12345678901234567890.50 , "k":"v", "o":{"k":1}} "#;
    assert_eq!(object(text, &[("remove", "x"), ("add", "k:1")]), None);
    let after = r#"{"big":12345678901234567890.50,"o":{"k":1}}"#;
    assert_eq!(object(text, &[("remove", "k")]).as_deref(), Some(after));
    let after = r#"{"big":12345678901234567890.50,"n":"v","o":{"k":1}}"#;
    assert_eq!(object(text, &[("rename", "k:n")]).as_deref(), Some(after));
    for (before, after) in [
        (r#"{}"#, r#"{"l":[1]}"#),
        (r#"{"l":null}"#, r#"{"l":[1]}"#),
        (r#"{"l":[ ]}"#, r#"{"l":[1]}"#),
        (r#"{"l":["a", {}]}"#, r#"{"l":["a", {},1]}"#),
        (r#"{"l":"a"}"#, r#"{"l":["a",1]}"#),
        (r#"{"l":{"x":[]}}"#, r#"{"l":[{"x":[]},1]}"#),
        (r#"{"l":1,"l":2}"#, r#"{"l":[2,1]}"#),
    ] {
        assert_eq!(
            object(before, &[("append", "l:1")]).as_deref(),
            Some(after),
            "{before}"
        );
    }
    let twice = r#"{"a":1,"b":2,"\u0061":3}"#;
    assert_eq!(
        object(twice, &[("remove", "a")]).as_deref(),
        Some(r#"{"b":2}"#)
    );
    assert_eq!(
        object(twice, &[("replace", "a:4")]).as_deref(),
        Some(r#"{"b":2,"\u0061":4}"#)
    );
    assert_eq!(
        object(twice, &[("rename", "b:a")]).as_deref(),
        Some(r#"{"a":2}"#)
    );
    for other in ["[1]", "1", "", "{", "{\"a\":1} x"] {
        assert!(Object::read(other.as_bytes()).is_none(), "{other}");
    }
    let deep = format!("{{\"a\":1,\"b\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    assert!(!object(&deep, &[("remove", "a")]).unwrap().contains("\"a\""));
}

fn parts(body: &str, steps: &[(&str, &str)]) -> Option<String> {
    let body = closed(body.as_bytes(), "XX");
    let mut parts = Parts::read(&body, "XX")?;
    edits(steps).apply(&mut parts, |value| value);
    Some(String::from_utf8(parts.changed()?).unwrap())
}

fn part(name: &str, value: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

#[test]
fn parts_keep_what_nobody_named() {
    const END: &str = "--XX--\r\n";
    let file = "--XX\r\nContent-Disposition: form-data; filename=\"name=\\\"a\\\"\"; name=\"f\"\r\n\
                Content-Type: a/b\r\n\r\n\0bytes\r\n";
    let (a, b) = (part("a", "1"), part("b", "2\r\n--XY"));
    let body = format!("{a}{file}{b}{END}");
    assert_eq!(parts(&body, &[("remove", "c"), ("add", "a:2")]), None);
    assert_eq!(parts(&body, &[("append", "a:2")]), None, "as in Kong");
    let cut = parts(&body, &[("remove", "a")]);
    assert_eq!(cut, Some(format!("{file}{b}{END}")));
    let renamed = parts(
        &body,
        &[("rename", "f:g"), ("remove", "a"), ("remove", "b")],
    );
    assert_eq!(
        renamed,
        Some(file.replace("; name=\"f\"", "; name=\"g\"") + END)
    );
    let set = parts(&body, &[("replace", "a:x"), ("add", "n:y")]);
    let (x, n) = (part("a", "x"), part("n", "y"));
    assert_eq!(set, Some(format!("{x}{file}{b}{n}{END}")));
    assert_eq!(parts("", &[("add", "n:y")]), Some(format!("{n}{END}")));
    // A client that leaves the end out, or a part without a name, hides nothing.
    assert_eq!(
        parts(&format!("{b}{a}"), &[("remove", "a")]),
        Some(format!("{b}{END}"))
    );
    assert_eq!(parts("no form", &[("remove", "a"), ("add", "n:y")]), None);
    let odd = format!("{a}--XX\r\nX: y\r\n\r\nz\r\n{END}");
    let cut = parts(&odd, &[("remove", "a"), ("add", "n:y")]);
    assert_eq!(cut, Some(format!("--XX\r\nX: y\r\n\r\nz\r\n{n}{END}")));
}

#[test]
fn a_value_cannot_begin_a_part() {
    let body = parts(
        "",
        &[(
            "add",
            "a:x\r\n--XX\r\nContent-Disposition: form-data; name=\"b\"",
        )],
    );
    let body = body.unwrap();
    assert_eq!(body.matches("\r\n--XX").count(), 1, "{body}");
    let quoted = parts("", &[("add", "a\"b:1")]).unwrap();
    assert!(quoted.contains("name=\"a%22b\""), "{quoted}");
}

fn headers(fields: &[(&str, &str)], steps: &[(&str, &str)]) -> Vec<String> {
    let mut headers = Headers::default();
    for (name, value) in fields {
        headers.append(name, value);
    }
    edits(steps).apply(&mut HeaderFields(&mut headers), |value| value);
    let line = |(name, value): (&[u8], &[u8])| {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{}: {}", text(name), text(value))
    };
    headers.iter().map(line).collect()
}

#[test]
fn header_names_are_the_same_in_any_case() {
    let fields = [("X-A", "1"), ("x-a", "2"), ("X-B", "3")];
    assert_eq!(headers(&fields, &[("remove", "X-a")]), ["X-B: 3"]);
    assert_eq!(
        headers(&fields, &[("rename", "x-A:x-b")]),
        ["x-b: 1", "x-b: 2"]
    );
    assert_eq!(headers(&fields[2..], &[("rename", "x-b:x-B")]), ["x-B: 3"]);
    assert_eq!(
        headers(&fields, &[("replace", "x-a: 4 ")]),
        ["X-B: 3", "x-a: 4"]
    );
    assert_eq!(
        headers(&fields[2..], &[("add", "x-b:4"), ("add", "N:5")]),
        ["X-B: 3", "N: 5"]
    );
    assert_eq!(
        headers(&fields[2..], &[("append", "x-b:4")]),
        ["X-B: 3", "x-b: 4"]
    );
    assert_eq!(
        headers(&fields[..1], &[("remove", "X-A"), ("add", "X-A:new")]),
        ["X-A: new"],
        "each step sees what the ones before have left"
    );
}

/// Names with their values, in the order in which names came first.
#[derive(Default)]
struct Model(Vec<(String, Vec<String>)>);

impl Named for Model {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.remove(to);
        for (name, _) in self.0.iter_mut().filter(|(known, _)| known == from) {
            *name = to.to_owned();
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.append(name, value);
    }

    fn append(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value.to_owned()),
            None => self.0.push((name.to_owned(), vec![value.to_owned()])),
        }
    }
}

impl Model {
    fn sorted(mut self) -> Vec<(String, Vec<String>)> {
        self.0.sort();
        self.0
    }
}

fn decoded(query: &str) -> Model {
    use crate::message::query::{decode, pairs};
    let mut model = Model::default();
    for (name, value) in pairs(query) {
        model.append(&decode(name), &decode(value));
    }
    model
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn queries_do_what_the_model_does(
        pairs in proptest::collection::vec("[a-d](=[a-z%&+ ]{0,3})?", 0..6),
        steps in proptest::collection::vec(
            (prop_oneof!["remove", "rename", "replace", "add", "append"], "[a-e]:[a-d&= ]{1,3}"), 0..6),
    ) {
        let steps: Vec<_> = steps.iter().map(|(s, e)| (s.as_str(), e.as_str())).collect();
        let text = pairs.join("&");
        let mut model = decoded(&text);
        edits(&steps).apply(&mut model, |value| value);
        let after = query(&text, &steps).unwrap_or_else(|| text.clone());
        prop_assert_eq!(decoded(&after).sorted(), model.sorted());
    }

    #[test]
    fn edited_objects_are_objects(
        members in proptest::collection::vec(("[a-c]", "(1|null|\"x\\{\"|\\[\\]|\\[1,\\{\\}\\]|\\{\"a\":2\\})"), 0..5),
        steps in proptest::collection::vec(
            (prop_oneof!["remove", "rename", "replace", "add", "append"], "[a-d]:[1-9]"), 0..6),
    ) {
        let steps: Vec<_> = steps.iter().map(|(s, e)| (s.as_str(), e.as_str())).collect();
        let text: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
        let text = format!("{{ {} }}", text.join(" , "));
        let before: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let after = object(&text, &steps).unwrap_or(text);
        let after: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&after).unwrap();
        let touched = |name: &String| steps.iter().any(|(_, e)| e.starts_with(name.as_str()) || e.ends_with(name.as_str()));
        for (name, value) in before.iter().filter(|(name, _)| !touched(name)) {
            prop_assert_eq!(after.get(name), Some(value));
        }
        for (step, entry) in &steps {
            let (name, _) = super::entries::split(entry);
            if *step == "add" || *step == "append" {
                prop_assert!(after.contains_key(name));
            }
        }
    }

    #[test]
    fn any_bytes_are_edited_without_harm(body in proptest::collection::vec(any::<u8>(), 0..48), piece in "[-X\r\n:;=\"{}\\[\\],aname ]{0,40}") {
        let mut mixed = piece.into_bytes();
        mixed.extend(body);
        let steps = [("rename", "a:b"), ("replace", "b:1"), ("add", "c:2"), ("append", "a:3")];
        let edits = edits(&steps);
        let form = form_text(&mixed);
        let mut pairs = Pairs::of_form(&form);
        edits.apply(&mut pairs, |value| value);
        if let Some(mut object) = Object::read(&mixed) {
            edits.apply(&mut object, |value| value);
            let text = object.changed().unwrap_or(mixed.clone());
            prop_assert!(Object::read(&text).is_some());
        }
        let ended = closed(&mixed, "X");
        if let Some(mut parts) = Parts::read(&ended, "X") {
            edits.apply(&mut parts, |value| value);
        }
    }
}
