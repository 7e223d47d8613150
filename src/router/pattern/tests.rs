//! Patterns as they stand in a file: what they match, what they start with, what is said about bad ones.

use proptest::prelude::*;

use super::*;

fn literal(pattern: &str) -> String {
    PathRegex::new(pattern).unwrap().literal
}

fn problem(pattern: &str) -> Problem {
    PathRegex::new(pattern).unwrap_err()
}

#[test]
fn anchored_at_the_start_only() {
    let regex = PathRegex::new(r"/u/\d+").unwrap();
    assert_eq!(regex.end_of_match("/u/12/abc"), Some(5));
    assert_eq!(regex.end_of_match("/x/u/12"), None);
    let alternatives = PathRegex::new("/a|/b").unwrap();
    assert_eq!(alternatives.end_of_match("/x/b"), None);
    assert_eq!(alternatives.end_of_match("/b"), Some(2));
    assert_eq!(PathRegex::new("^/a$").unwrap().end_of_match("/ab"), None);
    assert_eq!(
        PathRegex::new("(?x) /a # comment")
            .unwrap()
            .end_of_match("/ab"),
        Some(2)
    );
    assert_eq!(PathRegex::new("/A").unwrap().end_of_match("/a"), None);
}

#[test]
fn groups_by_number_and_name() {
    let regex = PathRegex::new(r"/(\w+)/(?<id>\d+)/(?P<kind>a|b)").unwrap();
    let names: Vec<_> = regex.groups.iter().flat_map(|names| names.iter()).collect();
    assert_eq!(
        names,
        [&None, &None, &Some("id".into()), &Some("kind".into())]
    );
    assert!(PathRegex::new("/(?:a|b)").unwrap().groups.is_none());
}

#[test]
fn the_text_that_matches_start_with() {
    for (pattern, expected) in [
        (r"/users/\d+", "/users/"),
        (r"^/users/\d+$", "/users/"),
        (r"/v1\.0/x\-y(\?)?", "/v1.0/x-y"),
        ("/ab*c", "/a"),
        ("/ab?c", "/a"),
        ("/ab{2}", "/a"),
        ("/ab+c", "/a"),
        ("/ba+*", "/b"),
        ("/a|/b", ""),
        ("/(a|b)", "/"),
        ("/[|]x", "/"),
        ("(?i)/a", ""),
        ("/a(?i)b", "/a"),
        ("(?x) / a", ""),
        ("/a(?x: b )", ""),
        (r"/a\<b", "/a"),
        (r"/a\d", "/a"),
        ("/é", "/é"),
        ("/a$", "/a"),
        (r"/a\|b", "/a|b"),
    ] {
        assert_eq!(literal(pattern), expected, "{pattern}");
    }
}

#[test]
fn prefixes_in_disguise() {
    for (pattern, expected) in [
        ("/", true),
        ("/.*", true),
        ("/api/(.*)$", true),
        (".*", true),
        ("/a$", false),
        ("/a.+", false),
        ("/a/?", false),
        ("/a|/b", false),
        ("/a*.*", false),
    ] {
        assert_eq!(
            PathRegex::new(pattern).unwrap().is_prefix,
            expected,
            "{pattern}"
        );
    }
}

#[test]
fn bad_patterns_are_explained() {
    let look = problem("/a(?=b)");
    assert_eq!(
        look.message,
        "`/a(?=b)` is not a regular expression: look-around, including look-ahead and \
         look-behind, is not supported (at character 3)"
    );
    assert!(look.hint.unwrap().contains("regex_priority"));
    let back = problem(r"/(a)\1");
    assert!(
        back.message
            .contains("backreferences are not supported (at character 5)")
    );
    assert!(back.hint.unwrap().contains("write the repeated part out"));
    assert!(
        problem("/(a")
            .message
            .contains("unclosed group (at character 2)")
    );
    assert!(problem("/a)(b").message.contains("unopened group"));
    assert!(problem("").message.contains("empty"));
    assert!(problem(r"/\w{5000}{5000}").message.contains("too large"));
    assert!(
        header_regex("[")
            .unwrap_err()
            .message
            .contains("unclosed character class")
    );
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("a"),
        Just("b"),
        Just("*"),
        Just("+"),
        Just("?"),
        Just("|"),
        Just("("),
        Just(")"),
        Just("(?:"),
        Just("[ab]"),
        Just("[^/]"),
        Just("[]|]"),
        Just("."),
        Just("$"),
        Just(r"\."),
        Just(r"\d"),
        Just("{2}"),
        Just("(?i)"),
        Just("(?x)"),
        Just(" "),
        Just("#"),
        Just("(?<n>"),
        Just("^"),
    ];
    proptest::collection::vec(piece, 1..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_literal_never_hides_a_match(
        pattern in pattern(),
        paths in proptest::collection::vec("/[ab./ #]{0,6}", 12),
    ) {
        let Ok(compiled) = PathRegex::new(&pattern) else { return Ok(()) };
        let bare = Regex::new(&pattern);
        prop_assert!(bare.is_ok(), "{} alone is invalid", pattern);
        for path in &paths {
            let matched = compiled.end_of_match(path).is_some();
            prop_assert!(!matched || path.starts_with(&compiled.literal), "{} {}", pattern, path);
            if compiled.is_prefix {
                prop_assert_eq!(matched, path.starts_with(&compiled.literal), "{} {}", pattern, path);
            }
        }
    }
}
