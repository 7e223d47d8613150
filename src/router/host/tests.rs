//! Names in files and names in headers.

use super::*;

fn received(raw: &str, tls: bool) -> (String, Option<u16>, u16) {
    let mut buf = None;
    let host = HostName::read(raw, tls, &mut buf);
    (host.name.to_owned(), host.port, host.effective_port)
}

#[test]
fn what_a_header_says() {
    for (raw, name, port, effective) in [
        ("a.test", "a.test", None, 80),
        ("A.Test.", "a.test", None, 80),
        ("a.test:8080", "a.test", Some(8080), 8080),
        ("a.test.:8080", "a.test", Some(8080), 8080),
        ("a.test:", "a.test", None, 80),
        ("[::1]", "[::1]", None, 80),
        ("[::1]:81", "[::1]", Some(81), 81),
        ("a.test:99999", "a.test:99999", None, 80),
        ("", "", None, 80),
    ] {
        assert_eq!(
            received(raw, false),
            (name.to_owned(), port, effective),
            "{raw}"
        );
    }
    assert_eq!(received("a.test", true).2, 443);
    assert_eq!(received(&"A".repeat(300), false).0, "");
    assert_eq!(received(&"A".repeat(255), false).0, "a".repeat(255));
}

#[test]
fn only_as_many_labels_as_configured_are_tried() {
    let mut map = NameMap::<u32>::default();
    for (at, text) in ["*.test", "*.b.test", "a.*", "a.b.*", "a.b.test"]
        .iter()
        .enumerate()
    {
        *map.entry(&HostPattern::host(text).unwrap()) = at as u32;
    }
    let found = |name: &str| {
        let mut found = Vec::new();
        map.each(name, |at| found.push(*at));
        found.sort_unstable();
        found
    };
    assert_eq!(found("a.b.test"), [0, 1, 2, 3, 4]);
    assert_eq!(found("x.y.b.test"), [0, 1]);
    assert_eq!(found("b.test"), [0]);
    assert_eq!(found("test"), [0; 0]);
    assert_eq!(found("a."), [0; 0]);
    assert_eq!(found(".test"), [0; 0]);
    assert_eq!(found("a.b.co.uk"), [2, 3]);
}

#[test]
fn what_covers_what() {
    let covers = |wide: &str, narrow: &str| {
        HostPattern::host(wide)
            .unwrap()
            .covers_name(&HostPattern::host(narrow).unwrap())
    };
    assert!(covers("*.test", "*.a.test") && covers("a.*", "a.b.*") && covers("*.test", "a.test"));
    assert!(
        !covers("*.a.test", "*.test") && !covers("a.b.*", "a.*") && !covers("a.test", "*.test")
    );
    assert!(!covers("*.test", "a.*") && !covers("*.a.test", "a.test"));
}
