//! Which routes are told to be unreachable, and which are not.

use super::*;
use crate::router::tests::{route, routes};
use crate::router::{Flavor, RouteTable};

/// `C by A+B`, for every shadowed route.
fn shadows(text: &str, flavor: Flavor) -> Vec<String> {
    let specs = routes(text);
    let table = RouteTable::compile(&specs, flavor).unwrap();
    let letter = |route: &RouteIx| char::from(b'A' + route.0 as u8).to_string();
    let told = |shadow: &Shadow| {
        let by: Vec<String> = shadow.by.iter().map(letter).collect();
        format!("{} by {}", letter(&shadow.route), by.join("+"))
    };
    shadowed(&specs, &table).iter().map(told).collect()
}

#[test]
fn routes_that_can_never_match() {
    for (specs, expected) in [
        ("paths=/a · paths=/a", "B by A"),
        ("paths=/a at=20 · paths=/a at=10", "A by B"),
        ("paths=/a · paths=~/.*", "A by B"),
        ("paths=/a · paths=~/", "A by B"),
        (r"paths=~/a/\d+ · paths=~/a/(.*)$ prio=1", "A by B"),
        (r"paths=~/a/\d+ · paths=~/a/\d+ prio=1", "A by B"),
        ("hosts=a.test · hosts=a.test paths=/", "A by B"),
        ("hosts=*.a.test at=1 · hosts=*.x.a.test", "B by A"),
        (
            "hosts=*.a.test at=1 · hosts=x.a.* · hosts=*.x.a.test at=2",
            "C by A",
        ),
        ("hosts=a.test,b.test · hosts=b.test", "B by A"),
        ("hosts=a.test:80 · hosts=a.test:80", "B by A"),
        ("paths=/a methods=GET,PUT · paths=/a methods=PUT", "B by A"),
        ("paths=/a h:1,2 · paths=/a H:2", "B by A"),
        ("paths=/a h:1,~*x · paths=/a h:~*x", "B by A"),
        ("snis=*.s · snis=a.s,b.s", "B by A"),
        ("snis=a.s · paths=/", "A by B"),
        (
            "paths=/a,/b · paths=/a · paths=/b · paths=/b,/a",
            "B by A|C by A|D by A",
        ),
        ("paths=/a · paths=/b · paths=/b,/a", "C by A+B"),
        ("paths=/a,~/.* · paths=/a", "B by A"),
    ] {
        assert_eq!(
            shadows(specs, Flavor::default()).join("|"),
            expected,
            "{specs}"
        );
    }
}

#[test]
fn no_false_alarm() {
    for specs in [
        "paths=/a · paths=/a/b",
        "paths=/a · paths=/a,/b",
        "paths=/a · paths=~/a$",
        "paths=~/a.+ · paths=/a",
        "hosts=a.test · hosts=a.test:80",
        "hosts=a.test:80 · hosts=a.test",
        "hosts=a.test · hosts=a.test,b.test",
        "hosts=*.a.test · hosts=a.test",
        "hosts=*.a.test:80 · hosts=*.a.test",
        "paths=/a methods=PUT · paths=/a methods=GET,PUT",
        "paths=/a methods=GET · paths=/a",
        "paths=/a h:1 · paths=/a h:2",
        "paths=/a h:1 · paths=/a",
        "paths=/a h:1 · paths=/a i:1",
        "snis=a.s · snis=*.s",
        "snis=a.s paths=/ · paths=/",
        "paths=/a,~/.*",
    ] {
        assert_eq!(shadows(specs, Flavor::default()), [""; 0], "{specs}");
    }
}

#[test]
fn follows_the_flavor() {
    let specs = "paths=/a h:1 methods=GET · paths=/ h:1 hosts=*.test,x.*";
    assert_eq!(shadows(specs, Flavor::Traditional), [""; 0]);
    let specs = "hosts=x.a.test · hosts=*.a.test:80,x.a.test";
    assert_eq!(shadows(specs, Flavor::Traditional), ["A by B"]);
    assert_eq!(shadows(specs, Flavor::TraditionalCompatible), [""; 0]);
}

/// Comparing all pairs would take minutes in a debug build.
#[test]
fn ten_thousand_routes_on_one_path() {
    let tenant = |i| route(&format!("paths=/a h:tenant-{i}"));
    let mut specs: Vec<_> = (0..10_000).map(tenant).collect();
    specs.push(route("paths=/a H:TENANT-77"));
    let table = RouteTable::compile(&specs, Flavor::default()).unwrap();
    let expected = Shadow {
        route: RouteIx(10_000),
        by: vec![RouteIx(77)],
    };
    assert_eq!(shadowed(&specs, &table), [expected]);
}
