//! What `explain` says.

use super::*;
use crate::router::tests::{request, routes};

fn explained(text: &str, flavor: Flavor, asked: &str) -> Explanation {
    let specs = routes(text);
    let table = RouteTable::compile(&specs, flavor).unwrap();
    explain(&specs, &table, &request(asked).lookup())
}

/// The last reason against the first beaten route.
fn lost(text: &str, flavor: Flavor, asked: &str) -> String {
    explained(text, flavor, asked).beaten[0]
        .reasons
        .last()
        .unwrap()
        .clone()
}

#[test]
fn winner_losers_and_near_misses() {
    let told = explained(
        r"paths=/v · hosts=*.a.test:80 paths=/x,~/v/(\d+) methods=GET h:1 · paths=/v methods=PUT · hosts=b.test",
        Flavor::default(),
        "GET X.a.test/v/12/y H:1",
    );
    let winner = told.winner.unwrap();
    assert_eq!((winner.route, winner.path), (RouteIx(1), Some(1)));
    assert_eq!(
        winner.reasons,
        [
            "host `X.a.test` matches `*.a.test:80`",
            r"path `/v/12/y` matches `~/v/(\d+)` as far as `/v/12`",
            "method `GET` is listed",
            "header `h` has an accepted value",
        ]
    );
    assert_eq!(told.beaten.len(), 1);
    assert_eq!(
        (told.beaten[0].route, told.beaten[0].path),
        (RouteIx(0), Some(0))
    );
    assert_eq!(
        told.beaten[0].reasons,
        [
            "path `/v/12/y` starts with `/v`",
            "loses: 1 criteria against 4"
        ]
    );
    assert_eq!(
        told.near.len(),
        1,
        "a route whose only criterion fails is not near"
    );
    assert_eq!(told.near[0].route, RouteIx(2));
    assert_eq!(told.near[0].reasons, ["method `GET` is none of `PUT`"]);
}

#[test]
fn every_way_to_lose() {
    use Flavor::{Traditional, TraditionalCompatible};
    for (specs, flavor, asked, expected) in [
        (
            "paths=/v · methods=GET",
            Traditional,
            "GET a.test/v",
            "methods rank below paths",
        ),
        (
            "hosts=*.a.test · hosts=*.a.test:80",
            Traditional,
            "GET x.a.test/",
            "the winner has a wildcard host with a port",
        ),
        (
            "hosts=*.a.test · hosts=x.a.test",
            TraditionalCompatible,
            "GET x.a.test/",
            "the winner has hosts, and none is a wildcard",
        ),
        (
            "hosts=a.test · hosts=a.test:80",
            TraditionalCompatible,
            "GET a.test:80/",
            "the winner's host equals the Host header, port included",
        ),
        (
            "paths=/v · paths=~/v",
            TraditionalCompatible,
            "GET a.test/v",
            "the winner's path is a regular expression",
        ),
        (
            "h:1 · h:1 i:1",
            TraditionalCompatible,
            "GET a.test/ h:1 i:1",
            "1 header names against 2",
        ),
        (
            "paths=~/v · paths=~/ prio=3",
            Traditional,
            "GET a.test/v",
            "regex_priority 0 against 3",
        ),
        (
            "paths=/v · paths=/",
            Traditional,
            "GET a.test/v",
            "a path prefix of 1 bytes against 2",
        ),
        (
            "paths=/v at=2 · paths=/v at=1",
            Traditional,
            "GET a.test/v",
            "the winner is older by created_at",
        ),
        (
            "paths=/v · paths=/v",
            Traditional,
            "GET a.test/v",
            "the winner stands earlier in the file",
        ),
    ] {
        assert_eq!(
            lost(specs, flavor, asked),
            format!("loses: {expected}"),
            "{specs}"
        );
    }
}

#[test]
fn why_nothing_matches() {
    let near = |specs: &str, asked: &str| {
        let told = explained(specs, Flavor::default(), asked);
        assert_eq!((told.winner, told.beaten.len()), (None, 0));
        told.near
            .first()
            .map_or("", |near| near.reasons[0].as_str())
            .to_owned()
    };
    for (specs, asked, expected) in [
        (
            "hosts=a.test,b.* paths=/",
            "GET c.test/",
            "host `c.test` matches none of `a.test`, `b.*`",
        ),
        (
            "methods=GET paths=/v,/w",
            "GET a.test/x",
            "path `/x` matches none of `/v`, `/w`",
        ),
        ("paths=/ h:1,~*x", "GET a.test/", "header `h` is missing"),
        (
            "paths=/ h:1,~*x",
            "GET a.test/ h:2",
            "header `h` has none of the values `1`, `~*x`",
        ),
        (
            "paths=/ snis=s.test",
            "GET a.test/ sni=t.test",
            "SNI `t.test` matches none of `s.test`",
        ),
        (
            "paths=/ methods=A,B,C,D,E,F,G,H",
            "GET a.test/",
            "method `GET` is none of `A`, `B`, `C`, `D`, `E`, `F` and 2 more",
        ),
        ("hosts=b.test paths=/x", "GET a.test/y", ""),
    ] {
        assert_eq!(near(specs, asked), expected, "{specs}");
    }
}

#[test]
fn sni_reasons() {
    let reasons = |asked: &str| {
        explained("snis=S.test paths=/", Flavor::default(), asked)
            .winner
            .unwrap()
            .reasons
    };
    assert!(reasons("GET a.test/").contains(&"SNI is not looked at without TLS".to_owned()));
    assert!(reasons("GET a.test/ sni=s.test").contains(&"SNI `s.test` is listed".to_owned()));
}
