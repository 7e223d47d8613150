//! Files with their reports as golden text: `fixtures/*.yaml` and `.expected` beside it.

use std::path::Path;

use super::*;

#[test]
fn reports_are_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/fixtures");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (_, report) = read(&text, &name, &|_| None, &known());
        let expected = path.with_extension("expected");
        let got = report.to_terminal(false);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::write(&expected, &got).unwrap();
        }
        assert_eq!(
            got,
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen >= 3);
}

#[test]
fn kongs_words_are_all_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/fixtures");
    let mut all = String::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        all.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    for words in [
        "required field missing",
        "unknown field",
        "expected a string",
        "expected an integer",
        "expected a boolean",
        "expected an array",
        "expected a set",
        "expected a map",
        "expected a record",
        "expected one of: ",
        "value should be between ",
        "value must be greater than ",
        "length must be at least ",
        "invalid value: ",
        "should start with: /",
        "at least one of these fields must be non-empty: ",
        "exactly one of these fields must be non-empty: ",
        "values of these fields must be distinct: ",
        "all or none of these fields must be set: ",
        "failed conditional validation given value of field '",
        "value must be null",
        "invalid reference '",
        "uniqueness violation: ",
    ] {
        assert!(all.contains(words), "{words}");
    }
}

#[test]
fn the_schema_accepts_what_loads() {
    let schema = file_schema(&known());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = yaml::parse(
        "_format_version: '3.0'\nservices: [{name: a, url: 'http://h', routes: [{paths: [/]}], plugins: [{name: rate-limiting, config: {minute: 1}}]}]\nconsumers: [{username: x, keyauth_credentials: [{key: k}]}]\ngateway: {workers: 2}\ncertificates: [{cert: c, key: k, snis: [a.test, {name: b.test}]}]\n",
    )
    .unwrap()
    .to_json();
    let errors: Vec<String> = validator
        .iter_errors(&good)
        .map(|e| e.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for bad in [
        "services: [{name: a}]",
        "servces: []",
        "plugins: [{name: rate-limiting, config: {minut: 1}}]",
        "plugins: [{name: nothing}]",
        "routes: [{paths: /x}]",
    ] {
        assert!(
            !validator.is_valid(&yaml::parse(bad).unwrap().to_json()),
            "{bad}"
        );
    }
}

#[test]
fn texts_that_are_no_file() {
    for (text, line) in [
        (
            "",
            "f.yaml:1:1: error: expected a declarative configuration\n",
        ),
        (
            "- a\n",
            "f.yaml:1:1: error: failed parsing declarative configuration: expected an object\n",
        ),
        (
            "hello\n",
            "f.yaml:1:1: error: failed parsing declarative configuration: expected an object\n",
        ),
        (
            "services: []\nservices: []\n",
            "f.yaml:2:1: error: failed parsing declarative configuration: duplicate mapping key: services\n",
        ),
    ] {
        assert_eq!(read_with(text, &[]).1.to_text(), line);
    }
    assert!(read_with("{}", &[]).0.is_some());
}
