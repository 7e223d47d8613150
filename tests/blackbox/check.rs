//! `sluicegate check`.

use std::path::Path;
use std::process::Output;

use crate::support::command;
use crate::support::x509::Authority;

fn check(dir: &Path, args: &[&str]) -> Output {
    command()
        .current_dir(dir)
        .arg("check")
        .args(args)
        .output()
        .unwrap()
}

fn file(name: &str, text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), text).unwrap();
    dir
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const GOOD: &str = "
_format_version: '3.0'
services:
  - name: a
    url: http://a.test
    routes: [{name: one, paths: [/one]}, {name: two, paths: [/two]}]
    plugins: [{name: cors}]
";

#[test]
fn a_good_file_is_counted() {
    let dir = file("kong.yaml", GOOD);
    let output = check(dir.path(), &["kong.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(
        out(&output),
        "kong.yaml: ok (1 service, 2 routes, 1 plugin)\n"
    );
    assert_eq!(err(&output), "");
}

#[test]
fn all_errors_are_told_with_place_path_and_hint() {
    let text = "_format_version: '3.0'
services:
  - name: a
    url: http://a.test
    routes:
      - {name: one, paths: [/one], strip_path: 5}
      - {name: two, pahts: [/two]}
plugins:
  - {name: corelation-id}
";
    let dir = file("kong.yaml", text);
    let output = check(dir.path(), &["kong.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    let line = "kong.yaml:6:48: error: services[0].routes[0].strip_path: expected a boolean, got 5";
    assert!(said.contains(line), "{said}");
    assert!(said.contains("kong.yaml:7:"), "{said}");
    assert!(said.contains("did you mean `paths`"), "{said}");
    assert!(said.contains("kong.yaml:9:"), "{said}");
    assert!(said.contains("correlation-id"), "{said}");
    assert_eq!(out(&output), "");
}

#[test]
fn several_files_are_checked_each() {
    let dir = file("good.yaml", GOOD);
    std::fs::write(dir.path().join("bad.yaml"), "services: 5").unwrap();
    let output = check(dir.path(), &["good.yaml", "bad.yaml", "none.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        out(&output),
        "good.yaml: ok (1 service, 2 routes, 1 plugin)\n"
    );
    assert!(err(&output).contains("bad.yaml:1:11: error: services: "));
    assert!(err(&output).contains("none.yaml"));
}

#[test]
fn machines_get_json() {
    let dir = file(
        "bad.yaml",
        "services:\n  - {name: a, url: 'http://x', retries: many}\n",
    );
    std::fs::write(dir.path().join("good.yaml"), GOOD).unwrap();
    let output = check(dir.path(), &["--format", "json", "bad.yaml", "good.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let objects: Vec<serde_json::Value> = serde_json::Deserializer::from_str(&out(&output))
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[0]["file"], "bad.yaml");
    let error = &objects[0]["errors"][0];
    assert_eq!(error["path"], "services[0].retries");
    assert_eq!(error["line"], 2);
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("expected an integer"), "{message}");
    assert_eq!(objects[1]["errors"], serde_json::json!([]));
}

#[test]
fn what_is_no_yaml_is_an_error_with_a_place() {
    for text in ["services: [", "a: b: c", "services: []\nservices: []"] {
        let dir = file("bad.yaml", text);
        let output = check(dir.path(), &["bad.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(err(&output).starts_with("bad.yaml:"), "{}", err(&output));
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (text, named) in [
        ("plugins: [{name: aws-lambda}]", "aws-lambda"),
        ("filter_chains: [{name: x}]", "filter_chains"),
        (
            "services: [{name: a, url: 'http://x', routes: [{paths: ['~/a(?=b)']}]}]",
            "services[0].routes[0].paths[0]",
        ),
        (
            "services: [{name: a, host: x, protocol: tcp}]",
            "services[0].protocol",
        ),
        (
            "plugins: [{name: cors, config: {origin: ['*']}}]",
            "plugins[0].config.origin",
        ),
    ] {
        let dir = file("bad.yaml", text);
        let output = check(dir.path(), &["bad.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(err(&output).contains(named), "{text}: {}", err(&output));
    }
}

#[test]
fn warnings_do_not_fail() {
    let text = "
services:
  - name: a
    url: http://a.test
    routes: [{name: one, paths: [/one]}, {name: two, paths: [/one]}]
";
    let dir = file("kong.yaml", text);
    let output = check(dir.path(), &["kong.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(err(&output).contains("warning"), "{}", err(&output));
    assert!(err(&output).contains("one"));
}

#[test]
fn every_example_checks_and_so_does_the_shipped_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("gateway.yaml")];
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "yaml") {
            files.push(path);
        }
    }
    let files: Vec<&str> = files.iter().map(|path| path.to_str().unwrap()).collect();
    let authority = Authority::new();
    let pair = authority.issue(&["api.example.com"]);
    let output = command()
        .arg("check")
        .args(&files)
        .envs([("DECK_API_HOST", "api.test"), ("DECK_API_PORT", "8080")])
        .envs([
            ("SECRET_MOBILE_KEY", "k"),
            ("UPSTREAM_CA", &authority.pem()),
        ])
        .envs([("TLS_CERT", &pair.cert), ("TLS_KEY", &pair.key)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output).lines().count(), files.len());
}
