//! Random tables over small alphabets, so that everything collides, against the oracle.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::BOTH;
use crate::router::oracle::{self, Request};
use crate::router::{Flavor, Match, RouteSpec, RouteTable, explain, shadowed};

const HOSTS: &[&str] = &[
    "a.test",
    "A.test:80",
    "a.test:8080",
    "x.a.test",
    "x.a.test:443",
    "*.a.test",
    "*.test",
    "*.a.test:80",
    "a.*",
    "x.*",
    "x.a.*:8080",
    "[::1]",
];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/ab",
    "/a/b",
    "/b",
    "~/a",
    "~/a/.*",
    "~/(?<x>[ab])",
    "~/a|/b",
    "~/.*b$",
    "~(?i)/A",
    "~/a/b+",
];
const VALUES: &[&str] = &["v1", "V2", "v3", "~*^v", "~*3$"];
const SNIS: &[&str] = &["a.test", "b.test."];
const WILD_SNIS: &[&str] = &["a.test", "*.test", "b.*"];

fn some(from: &'static [&'static str], max: usize) -> impl Strategy<Value = Vec<String>> {
    let chosen = subsequence(from, 1..=max).prop_shuffle();
    let owned = chosen.prop_map(|texts| texts.into_iter().map(str::to_owned).collect());
    prop_oneof![2 => Just(Vec::new()), 3 => owned]
}

fn headers() -> impl Strategy<Value = Vec<(String, Vec<String>)>> {
    let values =
        |name: &'static str| some(VALUES, 2).prop_map(move |values| (name.to_owned(), values));
    (values("h"), values("I")).prop_map(|(one, other)| {
        [one, other]
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .collect()
    })
}

fn spec(snis: &'static [&'static str]) -> impl Strategy<Value = RouteSpec> {
    let lists = (
        some(HOSTS, 3),
        some(PATHS, 3),
        some(&["GET", "PUT", "X"], 2),
        some(snis, 2),
    );
    let ages = prop_oneof![Just(None), Just(Some(10)), Just(Some(20))];
    (lists, headers(), -1..2i64, ages).prop_map(
        |((hosts, paths, methods, snis), headers, prio, at)| RouteSpec {
            hosts,
            paths,
            methods,
            headers,
            snis,
            regex_priority: prio,
            created_at: at,
            ignore_captures: false,
        },
    )
}

/// Routes that share one path and differ by headers and SNI: long lists.
fn crowd() -> impl Strategy<Value = RouteSpec> {
    let value = |name: &'static str| {
        let texts = proptest::collection::vec((0..6u8).prop_map(|v| format!("V{v}")), 1..3);
        prop_oneof![
            2 => Just(None),
            3 => texts.prop_map(move |values| Some((name.to_owned(), values))),
            1 => Just(Some((name.to_owned(), vec!["~*v[12]".to_owned()]))),
        ]
    };
    let snis = some(&["a.test", "b.test", "c.test"], 2);
    (value("h"), value("i"), snis, some(&["GET"], 1)).prop_map(|(h, i, snis, methods)| RouteSpec {
        paths: vec!["/a".into()],
        headers: [h, i].into_iter().flatten().collect(),
        snis,
        methods,
        ..RouteSpec::default()
    })
}

/// Expressions behind one literal start, some on a host: sieves.
fn expressions() -> impl Strategy<Value = RouteSpec> {
    let path = select(vec![
        "~/a[b/]*",
        "~/a/?b",
        "~/(?<x>[ab]+)/b$",
        "~/[^/]+/b",
        "~/a/b{2}",
        "~/.*b",
        "~/ab$",
        "~/a$",
    ]);
    let hosts = some(&["a.test", "*.test", "x.a.test"], 2);
    (path, hosts, some(&["GET"], 1), 0..3i64).prop_map(|(path, hosts, methods, prio)| RouteSpec {
        paths: vec![path.to_owned(), "/a".to_owned()],
        hosts,
        methods,
        regex_priority: prio,
        ..RouteSpec::default()
    })
}

fn asked() -> impl Strategy<Value = Request> {
    let host = select(vec![
        "a.test",
        "A.TEST:80",
        "a.test:8080",
        "x.a.test",
        "x.a.test.:443",
        "y.x.a.test",
        "b.test",
        "",
        "x.com:8080",
        "x.a.com:8080",
        "[::1]:80",
    ]);
    let path = select(vec![
        "/", "/a", "/A/b", "/ab", "/a/b", "/a/bb", "/b/b", "/c",
    ]);
    let values = || {
        let values = select(vec!["V1", "v2", "v3", "v4", "w3", "v5"]);
        proptest::collection::vec(values, 0..2)
    };
    let sni = select(vec![None, Some("a.test"), Some("B.test"), Some("c.test")]);
    (
        select(vec!["GET", "PUT", "get"]),
        host,
        path,
        any::<bool>(),
        sni,
        values(),
        values(),
    )
        .prop_map(|(method, host, path, tls, sni, h, i)| Request {
            method: method.into(),
            host: host.into(),
            tls,
            sni: sni.map(str::to_owned),
            path: path.into(),
            headers: h
                .into_iter()
                .map(|value| ("H".to_owned(), value.to_owned()))
                .chain(
                    i.into_iter()
                        .map(|value| ("i".to_owned(), value.to_owned())),
                )
                .collect(),
        })
}

/// The table, `explain` and the oracle agree on every request; no shadowed route ever wins.
fn agree(specs: &[RouteSpec], flavor: Flavor, requests: &[Request]) -> Result<(), TestCaseError> {
    let table = RouteTable::compile(specs, flavor).unwrap();
    let shadows = shadowed(specs, &table);
    for request in requests {
        let found: Option<Match> = table.find(&request.lookup());
        let short = found
            .as_ref()
            .map(|found| (found.route.ix(), found.prefix_len));
        let expected = oracle::find(specs, flavor, request);
        prop_assert_eq!(short, expected, "{:?} {:?} {:#?}", flavor, request, specs);
        let words = explain(specs, &table, &request.lookup());
        let told = words.winner.map(|winner| winner.route.ix());
        prop_assert_eq!(told, expected.map(|(route, _)| route));
        for shadow in &shadows {
            prop_assert_ne!(
                Some(shadow.route.ix()),
                told,
                "{:?} by {:?} {:#?}",
                request,
                shadow,
                specs
            );
        }
    }
    Ok(())
}

/// A share of the usual number: each case is two tables and many requests. `PROPTEST_CASES`
/// makes it more.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases.div_ceil(6),
        failure_persistence: None,
        ..usual
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn small_tables(
        specs in proptest::collection::vec(spec(SNIS), 1..8),
        requests in proptest::collection::vec(asked(), 24),
    ) {
        for flavor in BOTH {
            agree(&specs, flavor, &requests)?;
        }
    }

    #[test]
    fn sni_wildcards(
        specs in proptest::collection::vec(spec(WILD_SNIS), 1..4),
        requests in proptest::collection::vec(asked(), 8),
    ) {
        agree(&specs, Flavor::TraditionalCompatible, &requests)?;
    }

    #[test]
    fn long_lists(
        specs in proptest::collection::vec(crowd(), 20..40),
        requests in proptest::collection::vec(asked(), 10),
    ) {
        for flavor in BOTH {
            agree(&specs, flavor, &requests)?;
        }
    }
    #[test]
    fn long_lists_of_expressions(
        specs in proptest::collection::vec(expressions(), 12..24),
        requests in proptest::collection::vec(asked(), 16),
    ) {
        for flavor in BOTH {
            agree(&specs, flavor, &requests)?;
        }
    }
}
