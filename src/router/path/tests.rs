//! What the upstream is asked for, row by row of Kong's table.

use super::*;
use crate::router::{Lookup, RouteSpec, RouteTable};

/// The upstream path by way of the router, or `404`.
fn upstream(base: &str, prefix: &str, strip: bool, handling: PathHandling, path: &str) -> String {
    let spec = RouteSpec {
        paths: vec![prefix.into()],
        ..RouteSpec::default()
    };
    joined(
        &spec,
        UpstreamPath {
            base,
            strip,
            handling,
        },
        path,
    )
    .0
}

fn joined(spec: &RouteSpec, rule: UpstreamPath<'_>, path: &str) -> (String, Option<String>) {
    let table = RouteTable::compile(std::slice::from_ref(spec), Flavor::Traditional).unwrap();
    let headers: Vec<(&str, &str)> = Vec::new();
    let lookup = Lookup {
        method: "GET",
        host: "a.test",
        tls: false,
        sni: None,
        path,
        headers: &headers,
    };
    let Some(found) = table.find(&lookup) else {
        return ("404".into(), None);
    };
    let mut out = b"GET ".to_vec();
    rule.write(&mut out, path, found.prefix_len);
    let prefix = rule
        .forwarded_prefix(path, found.prefix_len)
        .map(str::to_owned);
    (String::from_utf8(out.split_off(4)).unwrap(), prefix)
}

const EITHER: &[PathHandling] = &[PathHandling::V0, PathHandling::V1];
const V0: &[PathHandling] = &[PathHandling::V0];
const V1: &[PathHandling] = &[PathHandling::V1];

type Row = (
    &'static str,
    &'static str,
    &'static [bool],
    &'static [PathHandling],
    [&'static str; 5],
);

#[rustfmt::skip]
const TABLE: [Row; 19] = [
    ("/",     "/",    &[true, false], EITHER, ["/",     "/rt",     "/rt/",     "/rtx",     "/rt/x"]),
    ("/",     "/rt",  &[true],        EITHER, ["404",   "/",       "/",        "/x",       "/x"]),
    ("/",     "/rt",  &[false],       EITHER, ["404",   "/rt",     "/rt/",     "/rtx",     "/rt/x"]),
    ("/",     "/rt/", &[true],        EITHER, ["404",   "404",     "/",        "404",      "/x"]),
    ("/",     "/rt/", &[false],       EITHER, ["404",   "404",     "/rt/",     "404",      "/rt/x"]),
    ("/srv",  "/",    &[true, false], V0,     ["/srv",  "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv",  "/",    &[true, false], V1,     ["/srv",  "/srvrt",  "/srvrt/",  "/srvrtx",  "/srvrt/x"]),
    ("/srv",  "/rt",  &[true],        V0,     ["404",   "/srv",    "/srv/",    "/srv/x",   "/srv/x"]),
    ("/srv",  "/rt",  &[true],        V1,     ["404",   "/srv",    "/srv/",    "/srvx",    "/srv/x"]),
    ("/srv",  "/rt",  &[false],       V0,     ["404",   "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv",  "/rt",  &[false],       V1,     ["404",   "/srvrt",  "/srvrt/",  "/srvrtx",  "/srvrt/x"]),
    ("/srv",  "/rt/", &[true],        V0,     ["404",   "404",     "/srv/",    "404",      "/srv/x"]),
    ("/srv",  "/rt/", &[true],        V1,     ["404",   "404",     "/srv",     "404",      "/srvx"]),
    ("/srv/", "/",    &[true, false], EITHER, ["/srv/", "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv/", "/rt",  &[true],        V0,     ["404",   "/srv",    "/srv/",    "/srv/x",   "/srv/x"]),
    ("/srv/", "/rt",  &[true],        V1,     ["404",   "/srv/",   "/srv/",    "/srv/x",   "/srv/x"]),
    ("/srv/", "/rt",  &[false],       EITHER, ["404",   "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv/", "/rt/", &[true],        EITHER, ["404",   "404",     "/srv/",    "404",      "/srv/x"]),
    ("/srv/", "/rt/", &[false],       EITHER, ["404",   "404",     "/srv/rt/", "404",      "/srv/rt/x"]),
];

#[test]
fn kongs_table() {
    for (base, prefix, strips, handlings, expected) in TABLE {
        for (strip, handling) in strips
            .iter()
            .flat_map(|s| handlings.iter().map(move |h| (*s, *h)))
        {
            let paths = ["/", "/rt", "/rt/", "/rtx", "/rt/x"];
            let got = paths.map(|path| upstream(base, prefix, strip, handling, path));
            assert_eq!(got, expected, "{base} {prefix} strip {strip} {handling:?}");
        }
    }
}

#[test]
fn without_a_path_criterion_as_with_a_slash() {
    let spec = RouteSpec {
        hosts: vec!["a.test".into()],
        ..RouteSpec::default()
    };
    for (base, prefix, strips, handlings, expected) in TABLE {
        for (strip, handling) in strips
            .iter()
            .flat_map(|s| handlings.iter().map(move |h| (*s, *h)))
        {
            if prefix == "/" {
                let rule = UpstreamPath {
                    base,
                    strip,
                    handling,
                };
                let paths = ["/", "/rt", "/rt/", "/rtx", "/rt/x"];
                assert_eq!(
                    paths.map(|path| joined(&spec, rule, path)),
                    expected.map(|e| (e.into(), None))
                );
            }
        }
    }
}

#[test]
fn dots_behind_a_prefix_do_not_climb() {
    for (path, expected) in [
        ("/route../req", "/req"),
        ("/route./req", "/req"),
        ("/route..", "/"),
        ("/route.", "/"),
        ("/route.../x", "/.../x"),
        ("/route..x", "/..x"),
        ("/route/..x", "/..x"),
    ] {
        for handling in EITHER {
            assert_eq!(
                upstream("/", "/route", true, *handling, path),
                expected,
                "{path}"
            );
        }
    }
    assert_eq!(
        upstream("/srv", "/route", true, PathHandling::V0, "/route../x"),
        "/srv/x"
    );
    assert_eq!(
        upstream("/srv", "/route", true, PathHandling::V0, "/route.."),
        "/srv"
    );
}

#[test]
fn an_expression_strips_what_it_matched() {
    let rule = UpstreamPath {
        base: "/",
        strip: true,
        handling: PathHandling::V0,
    };
    let regex = |pattern: &str| RouteSpec {
        paths: vec![pattern.into()],
        ..RouteSpec::default()
    };
    let open = regex(r"~/u/(?<id>\d+)");
    assert_eq!(
        joined(&open, rule, "/u/12/abc"),
        ("/abc".into(), Some("/u/12".into()))
    );
    assert_eq!(
        joined(&open, rule, "/u/12"),
        ("/".into(), Some("/u/12".into()))
    );
    assert_eq!(joined(&regex(r"~/u/.*$"), rule, "/u/12/abc").0, "/");
    assert_eq!(
        joined(
            &open,
            UpstreamPath {
                strip: false,
                ..rule
            },
            "/u/12"
        ),
        ("/u/12".into(), None)
    );
}

#[test]
fn forwarded_prefix() {
    let rule = UpstreamPath {
        base: "/",
        strip: true,
        handling: PathHandling::V0,
    };
    assert_eq!(rule.forwarded_prefix("/rt/x", 3), Some("/rt"));
    assert_eq!(rule.forwarded_prefix("/rt/x", 1), None);
    assert_eq!(rule.forwarded_prefix("/rt/x", 0), None);
    assert_eq!(
        UpstreamPath {
            strip: false,
            ..rule
        }
        .forwarded_prefix("/rt/x", 3),
        None
    );
}

#[test]
fn escaped_for_the_wire() {
    assert_eq!(
        upstream("/srv", "/a b", true, PathHandling::V0, "/a b/é\\%2F"),
        "/srv/%C3%A9%5C%2F"
    );
    assert_eq!(
        upstream("", "/a b", false, PathHandling::V0, "/a b"),
        "/a%20b"
    );
}

#[test]
fn the_default_flavor_knows_v0_only() {
    assert_eq!(
        PathHandling::V1.under(Flavor::Traditional),
        PathHandling::V1
    );
    assert_eq!(
        PathHandling::V1.under(Flavor::TraditionalCompatible),
        PathHandling::V0
    );
}
