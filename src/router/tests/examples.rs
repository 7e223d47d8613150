//! Kong's worked examples and single statements, in words.

use super::{BOTH, find, request, route, routes, winner};
use crate::router::{Flavor, RouteIssue, RouteTable};

/// Number, routes, request, winner in `traditional`, winner in the default flavor.
#[rustfmt::skip]
const WORKED: [(&str, &str, &str, char, char); 26] = [
    ("1",  "hosts=a.test · paths=/v1 methods=GET", "GET a.test/v1", 'B', 'B'),
    ("2",  "paths=/v1/very/long · hosts=a.test", "GET a.test/v1/very/long/x", 'B', 'B'),
    ("3",  "methods=GET · paths=/", "GET a.test/zzz", 'B', 'B'),
    ("4",  "hosts=a.test methods=GET · hosts=a.test paths=/v", "GET a.test/v", 'B', 'B'),
    ("5",  "paths=/v h:1 · hosts=a.test paths=/v", "GET a.test/v h:1", 'B', 'B'),
    ("6",  "paths=/v h:1 · hosts=a.test methods=GET", "GET a.test/v h:1", 'B', 'B'),
    ("7",  "hosts=a.test paths=/v/long · paths=/ methods=GET h:1", "GET a.test/v/long h:1", 'B', 'B'),
    ("8",  "paths=/a · paths=/a/b", "GET a.test/a/bc", 'B', 'B'),
    ("9",  "paths=/a,/bbbbbbb · paths=/a/bb", "GET a.test/a/bb/foo", 'B', 'B'),
    ("10", r"paths=/users/123/profile · paths=~/users/\d+/profile", "GET a.test/users/123/profile", 'B', 'B'),
    ("11", r"paths=~/u/\d+ prio=1 · paths=~/u/.* prio=5", "GET a.test/u/12", 'B', 'B'),
    ("12", r"paths=~/u/\d+$ at=20 · paths=~/u/.* at=10", "GET a.test/u/12", 'B', 'B'),
    ("13", r"paths=/v/long/enough,~/v/\d+ · paths=/v/123", "GET a.test/v/123", 'A', 'A'),
    ("14", "hosts=*.a.test · hosts=x.a.test", "GET x.a.test/", 'B', 'B'),
    ("15", "hosts=x.a.test · hosts=*.a.test paths=/v", "GET x.a.test/v/1", 'B', 'B'),
    ("16", "hosts=x.a.test paths=/v · hosts=*.a.test paths=~/v/.*", "GET x.a.test/v/1", 'A', 'A'),
    ("17", "hosts=*.a.test · hosts=*.a.test:80", "GET x.a.test/", 'B', 'B'),
    ("17'", "hosts=*.a.test · hosts=*.a.test:80", "GET x.a.test:81/", 'A', 'A'),
    ("18", "hosts=x.a.test · hosts=*.a.test:80", "GET x.a.test/", 'B', 'A'),
    ("18'", "hosts=x.a.test · hosts=*.a.test:80", "GET x.a.test:80/", 'B', 'A'),
    ("19", "paths=/v/long h:1 · paths=/v h:1 i:1", "GET a.test/v/long h:1 i:1", 'B', 'B'),
    ("20", "paths=~/v/.* h:1 · paths=/v h:1 i:1", "GET a.test/v/long h:1 i:1", 'A', 'B'),
    ("21", "paths=/v at=20 · paths=/v at=10", "GET a.test/v", 'B', 'B'),
    ("22", "paths=/ · paths=/foo", "GET a.test/fo", 'A', 'A'),
    ("23", "hosts=host1 paths=/v1/path · hosts=host2 paths=/", "GET host2/v1/path", 'B', 'B'),
    ("2.2", "hosts=*.a.test,x.a.test paths=/v/long · hosts=x.a.test paths=/v", "GET x.a.test/v/long/q", 'B', 'B'),
];

#[test]
fn worked_examples() {
    for (number, specs, asked, traditional, compatible) in WORKED {
        let specs = routes(specs);
        assert_eq!(
            winner(&specs, Flavor::Traditional, asked),
            traditional,
            "example {number}"
        );
        let flavor = Flavor::TraditionalCompatible;
        assert_eq!(
            winner(&specs, flavor, asked),
            compatible,
            "example {number}, default flavor"
        );
    }
}

/// Where the flavors differ beyond the examples (reference, section 9), and the ties.
#[rustfmt::skip]
const FLAVORS: [(&str, &str, char, char); 9] = [
    ("paths=/v/longer methods=GET · hosts=*.a.test methods=GET", "GET x.a.test/v/longer", 'B', 'A'),
    ("methods=GET paths=/v · methods=GET h:1", "GET a.test/v h:1", 'B', 'B'),
    ("methods=GET paths=~/v · hosts=*.a.test h:1", "GET x.a.test/v h:1", 'B', 'B'),
    ("methods=GET snis=s.test · methods=GET h:~*1", "GET a.test/ h:1 sni=s.test", 'B', 'B'),
    ("methods=GET · snis=s.test", "GET a.test/ sni=s.test", 'A', 'A'),
    ("hosts=*.a.test · hosts=*.a.test:80 at=1", "GET x.a.test/", 'B', 'B'),
    ("paths=/v · paths=/v at=99", "GET a.test/v", 'B', 'B'),
    ("paths=/v at=5 · paths=/v at=5", "GET a.test/v", 'A', 'A'),
    ("paths=/v prio=1 · paths=/v prio=9", "GET a.test/v", 'A', 'A'),
];

#[test]
fn flavors_and_ties() {
    for (specs, asked, traditional, compatible) in FLAVORS {
        let parsed = routes(specs);
        assert_eq!(
            winner(&parsed, Flavor::Traditional, asked),
            traditional,
            "{specs}"
        );
        assert_eq!(
            winner(&parsed, Flavor::TraditionalCompatible, asked),
            compatible,
            "{specs}"
        );
    }
}

/// One route and one request: does it match, in both flavors?
#[rustfmt::skip]
const CRITERIA: &[(&str, &str, bool)] = &[
    // methods
    ("methods=GET", "GET a.test/", true),
    ("methods=GET", "get a.test/", false),
    ("methods=GET,POST", "POST a.test/", true),
    ("methods=GET,POST", "PUT a.test/", false),
    ("methods=PURGE", "PURGE a.test/", true),
    // prefix paths
    ("paths=/v1", "GET a.test/v1", true),
    ("paths=/v1", "GET a.test/v1/", true),
    ("paths=/v1", "GET a.test/v1x", true),
    ("paths=/v1", "GET a.test/v", false),
    ("paths=/v1", "GET a.test/V1", false),
    ("paths=/v1/", "GET a.test/v1", false),
    ("paths=/x,/v1", "GET a.test/v1", true),
    // regex paths
    (r"paths=~/u/\d+", "GET a.test/u/1/more", true),
    (r"paths=~/u/\d+$", "GET a.test/u/1/more", false),
    (r"paths=~/u/\d+", "GET a.test/x/u/1", false),
    ("paths=~/A", "GET a.test/a", false),
    // headers
    ("h:v1", "GET a.test/ H:V1", true),
    ("H:V1", "GET a.test/ h:v1", true),
    ("h:v1", "GET a.test/", false),
    ("h:v1,v2", "GET a.test/ h:v2", true),
    ("h:v1 i:w", "GET a.test/ h:v1", false),
    ("h:v1 i:w", "GET a.test/ h:v1 i:w", true),
    ("h:v2", "GET a.test/ h:v1 h:v2", true),
    ("h:v1", "GET a.test/ h:v1,v2", false),
    ("h:v1", "GET a.test/ h:v11", false),
    ("h:~*^v[0-9]$", "GET a.test/ h:V1", true),
    ("h:~*v", "GET a.test/ h:xvx", true),
    ("h:~*V", "GET a.test/ h:V", false),
    // SNI
    ("snis=s.test", "GET a.test/ sni=s.test", true),
    ("snis=s.test.", "GET a.test/ sni=s.test", true),
    ("snis=S.test", "GET a.test/ sni=s.Test", true),
    ("snis=s.test", "GET a.test/ sni=t.test", false),
    ("snis=s.test", "GET a.test/ tls=", false),
    ("snis=s.test", "GET a.test/", true),
    // host forms
    ("hosts=x.test", "GET x.test/", true),
    ("hosts=x.test", "GET y.test/", false),
    ("hosts=*.x.test", "GET a.x.test/", true),
    ("hosts=*.a.test", "GET deep.y.a.test/", true),
    ("hosts=*.a.test", "GET a.test/", false),
    ("hosts=*.a.test", "GET .a.test/", false),
    ("hosts=*.a.test", "GET xa.test/", false),
    ("hosts=a.*", "GET a.co.uk/", true),
    ("hosts=a.*", "GET xa.com/", false),
    ("hosts=a.*", "GET a./", false),
    ("hosts=127.0.0.1", "GET 127.0.0.1:8000/", true),
    ("hosts=[::1]", "GET [::1]:8000/", true),
    ("hosts=::1", "GET [::1]/", true),
    ("hosts=[::1]:80", "GET [::1]/", true),
    ("hosts=[::1]:80", "GET [::1]:81/", false),
    ("hosts=a.test", "GET /", false),
    ("paths=/", "GET /", true),
    // ports
    ("hosts=a.test", "GET a.test:1234/", true),
    ("hosts=a.test:80", "GET a.test:80/", true),
    ("hosts=a.test:80", "GET a.test:81/", false),
    ("hosts=a.test:80", "GET a.test/", true),
    ("hosts=a.test:80", "GET a.test:/", true),
    ("hosts=a.test:443", "GET a.test/", false),
    ("hosts=a.test:443", "GET a.test/ tls=", true),
    ("hosts=a.test:80", "GET a.test/ tls=", false),
    ("hosts=*.a.test:80", "GET x.a.test/", true),
    ("hosts=*.a.test:443", "GET x.a.test/ tls=", true),
    ("hosts=*.a.test:80", "GET x.a.test:8080/", false),
    ("hosts=a.*:8080", "GET a.test:8080/", true),
    ("hosts=a.test", "GET a.test:x/", false),
    ("hosts=a.test", "GET a.test:+80/", false),
    // case, trailing dot
    ("hosts=a.test", "GET A.Test/", true),
    ("hosts=A.test", "GET a.test/", true),
    ("hosts=a.test", "GET a.test./", true),
    ("hosts=a.test.", "GET a.test/", true),
    ("hosts=a.test", "GET a.test.:80/", true),
    ("hosts=*.A.test", "GET X.a.TEST/", true),
    ("hosts=A.*", "GET a.TEST/", true),
];

#[test]
fn each_criterion() {
    for (spec, asked, expected) in CRITERIA {
        for flavor in BOTH {
            let found = find(&[route(spec)], flavor, asked).is_some();
            assert_eq!(found, *expected, "{spec} for {asked}, {flavor:?}");
        }
    }
}

#[test]
fn the_default_flavor_alone_has_sni_wildcards_and_mixed_header_values() {
    let wildcard = [route("snis=*.s.test")];
    assert_eq!(
        winner(
            &wildcard,
            Flavor::TraditionalCompatible,
            "GET a.test/ sni=x.s.test"
        ),
        'A'
    );
    assert_eq!(
        winner(
            &wildcard,
            Flavor::TraditionalCompatible,
            "GET a.test/ sni=s.test"
        ),
        '-'
    );
    assert!(RouteTable::compile(&wildcard, Flavor::Traditional).is_err());

    let mixed = [route("h:x,~*^v")];
    assert_eq!(
        winner(&mixed, Flavor::TraditionalCompatible, "GET a.test/ h:v1"),
        'A'
    );
    assert_eq!(winner(&mixed, Flavor::Traditional, "GET a.test/ h:v1"), '-');
    assert_eq!(
        winner(&mixed, Flavor::Traditional, "GET a.test/ h:~*^V"),
        'A'
    );
}

#[test]
fn of_two_plain_hosts_the_literal_one_wins() {
    let pair = routes("hosts=a.test · hosts=a.test:80 · hosts=a.test:8080");
    let reversed = routes("hosts=a.test:80 · hosts=a.test:8080 · hosts=a.test");
    for flavor in BOTH {
        for (asked, first, second) in [
            ("GET a.test/", 'A', 'C'),
            ("GET a.test:80/", 'B', 'A'),
            ("GET A.TEST.:80/", 'B', 'A'),
            ("GET a.test:8080/", 'C', 'B'),
            ("GET a.test:81/", 'A', 'C'),
            ("GET a.test/ tls=", 'A', 'C'),
        ] {
            assert_eq!(winner(&pair, flavor, asked), first, "{asked}");
            assert_eq!(winner(&reversed, flavor, asked), second, "{asked}");
        }
        // It is a question of hosts: more criteria come before it, the path after it.
        let deep =
            routes("hosts=a.test paths=/v/long · hosts=a.test:80 paths=/v · hosts=a.test:80");
        assert_eq!(winner(&deep, flavor, "GET a.test:80/v/long"), 'B');
        assert_eq!(winner(&deep, flavor, "GET a.test/v/long"), 'A');
        let more = routes("hosts=a.test paths=/v · hosts=a.test:80");
        assert_eq!(winner(&more, flavor, "GET a.test:80/v"), 'A');
    }
}

#[test]
fn what_was_matched() {
    for flavor in BOTH {
        let matched =
            |spec: &str, asked: &str| find(&[route(spec)], flavor, asked).unwrap().prefix_len;
        assert_eq!(matched("paths=/a/b", "GET a.test/a/bc"), 4);
        assert_eq!(matched("hosts=a.test", "GET a.test/a/bc"), 0);
        assert_eq!(matched(r"paths=~/u/\d+", "GET a.test/u/12/abc"), 5);
        assert_eq!(matched(r"paths=~/u/\d+/.*$", "GET a.test/u/12/abc"), 9);
    }
}

#[test]
fn captures() {
    let spec = route(r"paths=~/(\w+)/(?<id>\d+)(/x)?");
    for flavor in BOTH {
        let captures = find(std::slice::from_ref(&spec), flavor, "GET a.test/u/12")
            .unwrap()
            .captures;
        assert_eq!(captures.len(), 4);
        assert_eq!(captures.get(0), Some("/u/12"));
        assert_eq!(captures.get(1), Some("u"));
        assert_eq!(
            (captures.get(2), captures.name("id")),
            (Some("12"), Some("12"))
        );
        assert_eq!(
            (captures.get(3), captures.get(4), captures.name("x")),
            (None, None, None)
        );
        assert_eq!(captures.named().collect::<Vec<_>>(), [("id", "12")]);
        let unread = crate::router::RouteSpec {
            ignore_captures: true,
            ..spec.clone()
        };
        assert!(
            find(&[unread], flavor, "GET a.test/u/12")
                .unwrap()
                .captures
                .is_empty()
        );
        let prefix = find(&[route("paths=/u")], flavor, "GET a.test/u/12").unwrap();
        assert!(prefix.captures.is_empty());
    }
    // Of two routes on one expression only one wants the groups.
    let mut both = routes(r"methods=GET paths=~/(\d+) · methods=PUT paths=~/(\d+)");
    both[0].ignore_captures = true;
    assert!(
        find(&both, Flavor::default(), "GET a.test/7")
            .unwrap()
            .captures
            .is_empty()
    );
    let put = find(&both, Flavor::default(), "PUT a.test/7").unwrap();
    assert_eq!(put.captures.get(1), Some("7"));
}

#[test]
fn only_headers_that_routes_name_are_looked_at() {
    struct Spy(std::cell::RefCell<Vec<String>>);
    impl crate::router::HeaderValues for Spy {
        fn any(&self, name: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.borrow_mut().push(name.to_owned());
            false
        }
    }
    let spy = Spy(Default::default());
    let specs = routes("paths=/a X-One:1 · paths=/b X-Two:1 · paths=/");
    let table = RouteTable::compile(&specs, Flavor::default()).unwrap();
    let asked = request("GET a.test/a");
    let lookup = crate::router::Lookup {
        headers: &spy,
        ..asked.lookup()
    };
    assert_eq!(table.find(&lookup).unwrap().route.0, 2);
    assert_eq!(*spy.0.borrow(), ["x-one"]);
    let names: Vec<_> = table.header_names().collect();
    assert_eq!(names, ["x-one", "x-two"]);
}

#[test]
fn an_empty_table_matches_nothing() {
    let table = RouteTable::compile(&[], Flavor::default()).unwrap();
    assert!(table.is_empty() && table.find(&request("GET a.test/").lookup()).is_none());
}

fn issues(spec: &str, flavor: Flavor) -> Vec<String> {
    let issues: Vec<RouteIssue> = RouteTable::compile(&routes(spec), flavor).unwrap_err();
    issues
        .iter()
        .map(|issue| format!("{} {issue}", issue.route.0))
        .collect()
}

#[test]
fn all_issues_at_once_with_their_places() {
    let found = issues(
        "hosts=ok.test,a..b paths=/ok,v1 · methods=GET,get paths=~/(a,/a//b,/%zz · h:~*( snis=a:1",
        Flavor::default(),
    );
    assert_eq!(
        found,
        [
            "0 hosts[1]: `a..b` is not a host name (labels of letters, digits, `-` and `_`, \
             separated by dots, at most 255 bytes)",
            "0 paths[1]: `v1` is not a path (a path starts with `/`, a regular expression with `~/`)",
            "1 paths[0]: `/(a` is not a regular expression: unclosed group (at character 2) (the \
             syntax is that of Rust's `regex` crate; a backslash escapes punctuation)",
            "1 paths[1]: `/a//b` is not normalised, so no request can match it (write `/a/b`)",
            "1 paths[2]: `/%zz` is not a path: request target holds a percent sign without two hex \
             digits (a literal percent sign is written `%25`, a regular expression starts with `~/`)",
            "1 methods[1]: `get` is not upper-case; methods are compared exactly (write `GET`)",
            "2 headers.h[0]: `(` is not a regular expression: unclosed group (at character 1) (the \
             syntax is that of Rust's `regex` crate; a backslash escapes punctuation)",
            "2 snis[0]: `a:1` is not a host name (a server name has no scheme, port or path)",
        ]
    );
}

#[test]
fn more_issues() {
    for (spec, expected) in [
        ("hosts=*", "leave the list out"),
        ("hosts=a.*.b", "wildcard in the wrong place"),
        ("hosts=*a.test", "wildcard in the wrong place"),
        ("hosts=a.test:0", "`0` is not a port"),
        ("hosts=a.test:x", "`x` is not a port"),
        ("hosts=http://a.test", "without scheme"),
        ("hosts=[::1", "IPv6"),
        ("hosts=münchen.test", "xn--"),
        ("paths=~", "empty"),
        ("paths=~/a(?!b)", "look-around"),
        (r"paths=~/(a)\1", "back-references are not available"),
        ("paths=/a/../b", "write `/b`"),
        ("paths=/caf%C3%A9", "write `/café`"),
        ("methods=G(T", "is not a method"),
        ("host:a.test", "use `hosts`"),
        ("x:1 X:2", "twice"),
        ("bad(name:1", "not a header name"),
    ] {
        let found = issues(spec, Flavor::default());
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{spec}: {found:?}"
        );
    }
    let many: Vec<String> = (0..64).map(|i| format!("M{}", "X".repeat(i))).collect();
    let found = issues(&format!("methods={}", many.join(",")), Flavor::default());
    assert!(
        found.len() == 1 && found[0].contains("63 different methods"),
        "{found:?}"
    );
    assert!(issues("snis=*.a", Flavor::Traditional)[0].contains("router_flavor"));
}

#[test]
fn repeated_elements_count_once() {
    for flavor in BOTH {
        let specs = routes("hosts=a.test,A.test.,a.test paths=/a,/a methods=GET,GET");
        assert_eq!(winner(&specs, flavor, "GET a.test/a"), 'A');
    }
}
