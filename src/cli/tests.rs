use super::*;

/// Exit, standard output, standard error of one command line.
pub(super) fn sluicegate(args: &[&str], variables: &[(&str, &str)]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        terminal: false,
        colour: false,
        variables: variables.iter().map(pair).collect(),
    };
    let args = std::iter::once("sluicegate").chain(args.iter().copied());
    let exit = run(args.map(OsString::from), &mut console);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (exit, text(out), text(err))
}

/// A file with that text, and its path.
pub(super) fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    (file, path)
}

const GOOD: &str = "services:
- {name: a, url: 'http://a.test', routes: [{paths: [/a]}, {paths: [/b]}]}
";

const BAD: &str = "services:
- name: a
  url: http://a.test
  routes:
  - paths: [/a]
    strip_path: 5
    strip: 1
";

#[test]
fn a_good_file_is_counted() {
    let (_held, path) = file(GOOD);
    let (exit, out, err) = sluicegate(&["check", &path], &[]);
    assert_eq!((exit, err.as_str()), (Exit::Fine, ""));
    assert_eq!(
        out,
        format!("{path}: ok (1 service, 2 routes, 0 plugins)\n")
    );
}

#[test]
fn every_error_of_a_bad_file_is_told_at_once() {
    let ((_one, bad), (_two, good)) = (file(BAD), file(GOOD));
    let (exit, out, err) = sluicegate(&["check", &bad, &good, "/does/not/exist"], &[]);
    assert_eq!(exit, Exit::Bad);
    assert_eq!(
        out,
        format!("{good}: ok (1 service, 2 routes, 0 plugins)\n")
    );
    let lines: Vec<&str> = err.lines().collect();
    let expected = [
        format!("{bad}:6:17: error: services[0].routes[0].strip_path: expected a boolean, got 5"),
        format!("{bad}:7:5: error: services[0].routes[0].strip: unknown field"),
    ];
    assert_eq!(lines[..2], expected, "{err}");
    let last = lines.last().unwrap();
    assert!(
        last.starts_with("/does/not/exist: error: cannot be read: "),
        "{last}"
    );
}

#[test]
fn machines_get_one_object_a_file() {
    let ((_one, bad), (_two, good)) = (file(BAD), file(GOOD));
    let (exit, out, err) = sluicegate(&["check", "--format", "json", &good, &bad], &[]);
    assert_eq!((exit, err.as_str()), (Exit::Bad, ""));
    let objects: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["ok"], true);
    assert_eq!(objects[1]["file"], *bad);
    assert_eq!(
        objects[1]["errors"][0]["path"],
        "services[0].routes[0].strip_path"
    );
    assert_eq!(objects[1]["errors"][0]["line"], 6);
}

#[test]
fn a_terminal_shows_the_text() {
    let (_held, path) = file(BAD);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
        terminal: true,
        colour: false,
        variables: Variables::new(),
    };
    let args = ["sluicegate", "check", &path].map(OsString::from);
    assert_eq!(run(args, &mut console), Exit::Bad);
    let err = String::from_utf8(err).unwrap();
    assert!(err.contains("    strip_path: 5"), "{err}");
}

#[test]
fn a_wrong_command_line_is_usage() {
    for args in [
        &["check"][..],
        &["chekc", "x"],
        &["check", "--format", "xml", "x"],
        &[],
    ] {
        let (exit, _, err) = sluicegate(args, &[]);
        assert_eq!(exit, Exit::Usage, "{args:?}");
        assert!(!err.is_empty());
    }
}

#[test]
fn help_and_version_are_fine() {
    let (exit, out, _) = sluicegate(&["--version"], &[]);
    assert_eq!(
        (exit, out.trim()),
        (
            Exit::Fine,
            concat!("sluicegate ", env!("CARGO_PKG_VERSION"))
        )
    );
    let (exit, out, _) = sluicegate(&["explain", "--help"], &[]);
    assert_eq!(exit, Exit::Fine);
    assert!(out.contains("--proxy-listen <VALUE>"), "{out}");
}

#[test]
fn the_schema_is_one_of_json() {
    let (exit, out, _) = sluicegate(&["schema"], &[]);
    assert_eq!(exit, Exit::Fine);
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(schema["properties"]["services"].is_object());
    jsonschema::meta::validate(&schema).unwrap();
}

#[test]
fn completions_name_the_commands() {
    let (exit, out, _) = sluicegate(&["completions", "bash"], &[]);
    assert_eq!(exit, Exit::Fine);
    assert!(out.contains("healthcheck"));
}

#[test]
fn a_healthcheck_without_a_gateway_fails() {
    let args = [
        "healthcheck",
        "-c",
        "/does/not/exist",
        "--admin-listen",
        "off",
    ];
    let (exit, _, err) = sluicegate(&args, &[]);
    assert_eq!(exit, Exit::Bad);
    assert!(err.contains("nobody to ask"), "{err}");
}
