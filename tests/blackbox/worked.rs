//! Kong's worked examples of routing on the wire, in both router flavours.
//!
//! One process per flavour; `POST /config` switches from example to example. Service A and service
//! B lead to an upstream each, which answers with its letter and the request target that it got.

use std::fmt::Write;

use crate::support::upstream::reply;
use crate::support::x509::credulous;
use crate::support::{Conn, Gateway, Request, Response, Upstream, gateway};

const FLAVOURS: [&str; 2] = ["traditional", "traditional_compatible"];

struct House {
    gateway: Gateway,
    upstreams: [Upstream; 2],
}

fn upstream(letter: char) -> Upstream {
    Upstream::answering(move |request| {
        let target = request.target();
        reply(200, &[], format!("{letter} {target}").as_bytes())
    })
}

impl House {
    fn new(flavour: &str) -> Self {
        let setup = gateway("_format_version: '3.0'");
        let setup = setup.listen("127.0.0.1:0, 127.0.0.1:0 tls");
        Self {
            gateway: setup.flag("--router-flavor", flavour).start(),
            upstreams: [upstream('A'), upstream('B')],
        }
    }

    /// Makes these routes live: those that `|` separates belong to services A and B.
    #[track_caller]
    fn route(&self, routes: &str) {
        let mut config = "services:\n".to_owned();
        for (up, route) in self.upstreams.iter().zip(routes.split(" | ")) {
            writeln!(config, "- {{url: 'http://{up}', routes: [{{{route}}}]}}").unwrap();
        }
        self.gateway.load(&config);
    }

    /// Sends `METHOD host/path [Name:value]...`; over TLS where one of those is `sni:name`.
    #[track_caller]
    fn ask(&self, asked: &str) -> Response {
        let mut words = asked.split(' ');
        let method = words.next().unwrap();
        let place = words.next().unwrap();
        let (host, path) = place.split_at(place.find('/').unwrap());
        let mut request = Request::new(method, path).header("Host", host);
        let mut conn = None;
        for (name, value) in words.map(|field| field.split_once(':').unwrap()) {
            if name == "sni" {
                let tls = credulous(&["http/1.1"]);
                conn = Some(Conn::tls(self.gateway.nth(1), value, tls));
            } else {
                request = request.header(name, value);
            }
        }
        conn.unwrap_or_else(|| self.gateway.connect()).ask(&request)
    }

    /// The winner's letter and what was asked of it; `404` where there is none.
    #[track_caller]
    fn outcome(&self, asked: &str) -> String {
        let response = self.ask(asked);
        match response.status {
            200 => response.text(),
            404 => {
                response.is_error(404, "no Route matched with those values");
                "404".to_owned()
            }
            status => panic!("{status} for {asked}: {}", response.text()),
        }
    }
}

/// The example, its two routes in the order of creation, the request, and what comes of it: in
/// both flavours the same, or in `traditional` first and in the default flavour after a `/`.
#[rustfmt::skip]
const ORDER: &[(&str, &str, &str, &str)] = &[
    ("1",   "hosts: [a.test] | paths: [/v1], methods: [GET]", "GET a.test/v1", "B"),
    ("2",   "paths: [/v1/very/long] | hosts: [a.test]", "GET a.test/v1/very/long/x", "B"),
    ("3",   "methods: [GET] | paths: ['/']", "GET a.test/zzz", "B"),
    ("4",   "hosts: [a.test], methods: [GET] | hosts: [a.test], paths: [/v]", "GET a.test/v", "B"),
    ("5",   "paths: [/v], headers: {h: ['1']} | hosts: [a.test], paths: [/v]", "GET a.test/v h:1", "B"),
    ("6",   "paths: [/v], headers: {h: ['1']} | hosts: [a.test], methods: [GET]", "GET a.test/v h:1", "B"),
    ("7",   "hosts: [a.test], paths: [/v/long] | paths: ['/'], methods: [GET], headers: {h: ['1']}", "GET a.test/v/long h:1", "B"),
    ("8",   "paths: [/a] | paths: [/a/b]", "GET a.test/a/bc", "B /c"),
    ("8",   "paths: [/a] | paths: [/a/b]", "GET a.test/a/c", "A /c"),
    ("9",   "paths: [/a, /bbbbbbb] | paths: [/a/bb]", "GET a.test/a/bb/foo", "B /foo"),
    ("9",   "paths: [/a, /bbbbbbb] | paths: [/a/bb]", "GET a.test/bbbbbbb/foo", "A /foo"),
    ("10",  r"paths: [/users/123/profile] | paths: ['~/users/\d+/profile']", "GET a.test/users/123/profile", "B /"),
    ("11",  r"paths: ['~/u/\d+'], regex_priority: 1 | paths: ['~/u/.*'], regex_priority: 5", "GET a.test/u/12", "B"),
    ("12",  r"paths: ['~/u/\d+$'], created_at: 20 | paths: ['~/u/.*'], created_at: 10", "GET a.test/u/12", "B"),
    ("13",  r"paths: [/v/long/enough, '~/v/\d+'] | paths: [/v/123]", "GET a.test/v/123", "A"),
    ("14",  "hosts: ['*.a.test'] | hosts: [x.a.test]", "GET x.a.test/", "B"),
    ("14",  "hosts: ['*.a.test'] | hosts: [x.a.test]", "GET y.a.test/", "A"),
    ("15",  "hosts: [x.a.test] | hosts: ['*.a.test'], paths: [/v]", "GET x.a.test/v/1", "B /1"),
    ("16",  "hosts: [x.a.test], paths: [/v] | hosts: ['*.a.test'], paths: ['~/v/.*']", "GET x.a.test/v/1", "A /1"),
    ("17",  "hosts: ['*.a.test'] | hosts: ['*.a.test:80']", "GET x.a.test/", "B"),
    ("17",  "hosts: ['*.a.test'] | hosts: ['*.a.test:80']", "GET x.a.test:80/", "B"),
    ("17",  "hosts: ['*.a.test'] | hosts: ['*.a.test:80']", "GET x.a.test:81/", "A"),
    ("18",  "hosts: [x.a.test] | hosts: ['*.a.test:80']", "GET x.a.test/", "B/A"),
    ("18",  "hosts: [x.a.test] | hosts: ['*.a.test:80']", "GET x.a.test:80/", "B/A"),
    ("19",  "paths: [/v/long], headers: {h: ['1']} | paths: [/v], headers: {h: ['1'], i: ['1']}", "GET a.test/v/long h:1 i:1", "B /long"),
    ("20",  "paths: ['~/v/.*'], headers: {h: ['1']} | paths: [/v], headers: {h: ['1'], i: ['1']}", "GET a.test/v/long h:1 i:1", "A/B"),
    ("21",  "paths: [/v], created_at: 20 | paths: [/v], created_at: 10", "GET a.test/v", "B"),
    ("22",  "paths: ['/'] | paths: [/foo]", "GET a.test/fo", "A /fo"),
    ("22",  "paths: ['/'] | paths: [/foo]", "GET a.test/foo", "B /"),
    ("23",  "hosts: [host1], paths: [/v1/path] | hosts: [host2], paths: ['/']", "GET host2/v1/path", "B /v1/path"),
    ("2.2", "hosts: ['*.a.test', x.a.test], paths: [/v/long] | hosts: [x.a.test], paths: [/v]", "GET x.a.test/v/long/q", "B /long/q"),
    // Equal in everything: the older one, else the one that is first in the file.
    ("tie", "paths: [/v] | paths: [/v]", "GET a.test/v", "A"),
    ("tie", "paths: [/v], created_at: 5 | paths: [/v], created_at: 5", "GET a.test/v", "A"),
    // Priorities are for expressions alone.
    ("prefix", "paths: [/v], regex_priority: 1 | paths: [/v], regex_priority: 9", "GET a.test/v", "A"),
    // Section 9: without a rank by kind the default flavour counts prefix lengths.
    ("kinds",   "paths: [/v/longer], methods: [GET] | hosts: ['*.a.test'], methods: [GET]", "GET x.a.test/v/longer", "B/A"),
];

#[test]
fn the_order_of_routes() {
    for (column, flavour) in FLAVOURS.into_iter().enumerate() {
        let house = House::new(flavour);
        let mut live = "";
        for (number, routes, asked, expected) in ORDER {
            if live != *routes {
                house.route(routes);
                live = routes;
            }
            let winner = match expected.as_bytes() {
                [_, b'/', _] => expected.split('/').nth(column).unwrap(),
                _ => expected,
            };
            let outcome = house.outcome(asked);
            let same = match winner.len() {
                1 => outcome.starts_with(winner),
                _ => outcome == winner,
            };
            assert!(same, "{flavour}, {number}: {outcome}, not {winner}");
        }
    }
}

/// Routes, the request, and what comes of it, in both flavours.
#[rustfmt::skip]
const SINGLE: &[(&str, &str, &str)] = &[
    // Section 3: a path is normalised before it is matched, and sent as it was matched.
    ("paths: [/v1], strip_path: false", "GET a.test/a/../v1//x", "A /v1/x"),
    ("paths: [/v1], strip_path: false", "GET a.test/v1/%7Efoo", "A /v1/~foo"),
    ("paths: [/v1], strip_path: false", "GET a.test/v1/a%2Fb", "A /v1/a%2Fb"),
    ("paths: [/v1], strip_path: false", "GET a.test/v1/a%2fb", "A /v1/a%2Fb"),
    ("paths: [/v1], strip_path: false", "GET a.test/%2e%2e/v1/./x/", "A /v1/x/"),
    ("paths: [/v1], strip_path: false", "GET a.test/v1/%e4%20%22", "A /v1/%E4%20%22"),
    ("paths: [/etc], strip_path: false", "GET a.test/a/../../etc", "A /etc"),
    ("paths: [/v1], strip_path: false", "GET a.test/v1/x?q=%7E&q=../a//b", "A /v1/x?q=%7E&q=../a//b"),
    ("paths: [/v1], strip_path: false", "GET a.test/v1?", "A /v1?"),
    ("paths: [/v1]", "GET a.test/V1", "404"),
    // Section 4: what each criterion takes.
    ("methods: [GET]", "get a.test/", "404"),
    ("paths: [/v1]", "GET a.test/v1x", "A /x"),
    (r"paths: ['~/u/(?<id>\d+)']", "GET a.test/u/12/abc", "A /abc"),
    (r"paths: ['~/u/(?<id>\d+)']", "GET a.test/x/u/12", "404"),
    (r"paths: ['~/u/\d+/abc$']", "GET a.test/u/12/abc", "A /"),
    (r"paths: ['~/u/\d+$']", "GET a.test/u/12/abc", "404"),
    ("headers: {h: [one, two]}", "GET a.test/ h:TWO", "A /"),
    ("headers: {h: [one, two]}", "GET a.test/ h:zero h:one", "A /"),
    ("headers: {h: [one, two]}", "GET a.test/ h:zero,one", "404"),
    ("headers: {h: [one], i: [two]}", "GET a.test/ h:one", "404"),
    ("headers: {h: ['~*^v[0-9]$']}", "GET a.test/ h:V1", "A /"),
    ("headers: {h: ['~*v']}", "GET a.test/ h:xvx", "A /"),
    ("snis: [s.test.]", "GET a.test/ sni:s.test", "A /"),
    ("snis: [s.test]", "GET a.test/ sni:t.test", "404"),
    ("snis: [s.test]", "GET a.test/", "A /"),
    // Section 5: forms, ports and case of hosts.
    ("hosts: ['*.a.test']", "GET deep.y.a.test/", "A /"),
    ("hosts: ['*.a.test']", "GET a.test/", "404"),
    ("hosts: ['a.*']", "GET a.co.uk/", "A /"),
    ("hosts: ['a.*']", "GET xa.com/", "404"),
    ("hosts: ['[::1]']", "GET [::1]:8000/", "A /"),
    ("hosts: ['::1']", "GET [::1]/", "A /"),
    ("hosts: [127.0.0.1]", "GET 127.0.0.1:8000/", "A /"),
    ("hosts: [a.test]", "GET a.test:1234/", "A /"),
    ("hosts: ['a.test:80']", "GET a.test:81/", "404"),
    ("hosts: ['a.test:80']", "GET a.test/", "A /"),
    ("hosts: ['a.test:443']", "GET a.test/", "404"),
    ("hosts: ['a.test:443']", "GET a.test/ sni:a.test", "A /"),
    ("hosts: ['*.a.test:443']", "GET x.a.test/ sni:x.a.test", "A /"),
    ("hosts: [a.test] | hosts: ['a.test:80']", "GET a.test/", "A /"),
    ("hosts: [a.test] | hosts: ['a.test:80']", "GET a.test:80/", "B /"),
    ("hosts: [A.test]", "GET a.Test./", "A /"),
    // Section 7.3: a stripped prefix is no way up.
    ("paths: [/route]", "GET a.test/route../req", "A /req"),
    ("paths: [/route]", "GET a.test/route./req", "A /req"),
    ("paths: [/route]", "GET a.test/route..", "A /"),
    ("paths: [/route]", "GET a.test/route.", "A /"),
    ("paths: [/route]", "GET a.test/route...", "A /..."),
    // Section 6: a route for http alone takes TLS too; the protocol is no criterion.
    ("paths: [/v], protocols: [http]", "GET a.test/v sni:a.test", "A /"),
];

#[test]
fn single_statements() {
    for flavour in FLAVOURS {
        let house = House::new(flavour);
        let mut live = "";
        for (routes, asked, expected) in SINGLE {
            if live != *routes {
                house.route(routes);
                live = routes;
            }
            let outcome = house.outcome(asked);
            assert_eq!(outcome, *expected, "{flavour}: {routes} for {asked}");
        }
    }
}

#[test]
fn what_only_one_flavour_has() {
    let [old, new] = FLAVOURS.map(House::new);
    new.route("snis: ['*.s.test']");
    assert_eq!(new.outcome("GET a.test/ sni:x.s.test"), "A /");
    assert_eq!(new.outcome("GET a.test/ sni:s.test"), "404");
    let refused = old
        .gateway
        .post("/config", "routes: [{snis: ['*.s.test']}]");
    assert_eq!(refused.status, 400);
    for (house, outcome) in [(&new, "A /"), (&old, "404")] {
        house.route("headers: {h: [x, '~*^v']}");
        assert_eq!(house.outcome("GET a.test/ h:v1"), outcome);
    }
}

#[test]
fn the_raw_path_is_told_beside_the_normalised_one() {
    let house = House::new(FLAVOURS[1]);
    house.route("paths: [/v1]");
    assert_eq!(house.outcome("GET a.test/a/../v1/%7Ex?q"), "A /~x?q");
    let seen = house.upstreams[0].last();
    assert_eq!(seen.header("x-forwarded-path"), Some("/a/../v1/%7Ex"));
    assert_eq!(seen.header("x-forwarded-prefix"), Some("/v1"));
    // A prefix of `/` strips nothing.
    house.route("paths: ['/']");
    assert_eq!(house.outcome("GET a.test/x"), "A /x");
    assert_eq!(house.upstreams[0].last().header("x-forwarded-prefix"), None);
}

/// Service path, route path (empty: a route without paths), `strip_path` and `path_handling` where
/// they matter, and what the five paths of [`JOINED`] become.
#[rustfmt::skip]
const JOINS: &[(&str, &str, &str, &str, [&str; 5])] = &[
    ("/",     "/",    "",      "",   ["/", "/rt", "/rt/", "/rtx", "/rt/x"]),
    ("/",     "/rt",  "true",  "",   ["404", "/", "/", "/x", "/x"]),
    ("/",     "/rt",  "false", "",   ["404", "/rt", "/rt/", "/rtx", "/rt/x"]),
    ("/",     "/rt/", "true",  "",   ["404", "404", "/", "404", "/x"]),
    ("/",     "/rt/", "false", "",   ["404", "404", "/rt/", "404", "/rt/x"]),
    ("/srv",  "/",    "",      "v0", ["/srv", "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv",  "",     "",      "v0", ["/srv", "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv",  "/",    "",      "v1", ["/srv", "/srvrt", "/srvrt/", "/srvrtx", "/srvrt/x"]),
    ("/srv",  "",     "",      "v1", ["/srv", "/srvrt", "/srvrt/", "/srvrtx", "/srvrt/x"]),
    ("/srv",  "/rt",  "true",  "v0", ["404", "/srv", "/srv/", "/srv/x", "/srv/x"]),
    ("/srv",  "/rt",  "true",  "v1", ["404", "/srv", "/srv/", "/srvx", "/srv/x"]),
    ("/srv",  "/rt",  "false", "v0", ["404", "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv",  "/rt",  "false", "v1", ["404", "/srvrt", "/srvrt/", "/srvrtx", "/srvrt/x"]),
    ("/srv",  "/rt/", "true",  "v0", ["404", "404", "/srv/", "404", "/srv/x"]),
    ("/srv",  "/rt/", "true",  "v1", ["404", "404", "/srv", "404", "/srvx"]),
    ("/srv/", "/",    "",      "",   ["/srv/", "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv/", "/rt",  "true",  "v0", ["404", "/srv", "/srv/", "/srv/x", "/srv/x"]),
    ("/srv/", "/rt",  "true",  "v1", ["404", "/srv/", "/srv/", "/srv/x", "/srv/x"]),
    ("/srv/", "/rt",  "false", "",   ["404", "/srv/rt", "/srv/rt/", "/srv/rtx", "/srv/rt/x"]),
    ("/srv/", "/rt/", "true",  "",   ["404", "404", "/srv/", "404", "/srv/x"]),
    ("/srv/", "/rt/", "false", "",   ["404", "404", "/srv/rt/", "404", "/srv/rt/x"]),
];

const JOINED: [&str; 5] = ["/", "/rt", "/rt/", "/rtx", "/rt/x"];

/// The values that a cell stands for: itself, or both.
fn either<'a>(cell: &'a str, both: [&'a str; 2]) -> Vec<&'a str> {
    match cell {
        "" => both.to_vec(),
        one => vec![one],
    }
}

#[test]
fn joining_paths() {
    let upstream = upstream('A');
    let mut config = "services:\n".to_owned();
    let mut cases = Vec::new();
    for (service, route, strip, handling, expected) in JOINS {
        for strip in either(strip, ["true", "false"]) {
            for handling in either(handling, ["v0", "v1"]) {
                let host = format!("h{}.test", cases.len());
                let paths = match *route {
                    "" => String::new(),
                    path => format!("paths: ['{path}'], "),
                };
                writeln!(
                    config,
                    "- {{url: 'http://{upstream}{service}', routes: [{{hosts: [{host}], {paths}\
                     strip_path: {strip}, path_handling: {handling}}}]}}"
                )
                .unwrap();
                cases.push((
                    host,
                    handling,
                    format!("{service} {route} {strip}"),
                    expected,
                ));
            }
        }
    }
    for flavour in FLAVOURS {
        let house = House::new(flavour);
        house.gateway.load(&config);
        for (host, handling, name, expected) in &cases {
            // The default flavour knows no v1.
            if flavour == FLAVOURS[1] && *handling == "v1" {
                continue;
            }
            for (path, joined) in JOINED.iter().zip(**expected) {
                let outcome = house.outcome(&format!("GET {host}{path}"));
                let outcome = outcome.trim_start_matches("A ");
                assert_eq!(outcome, joined, "{flavour} {handling}: {name} for {path}");
            }
        }
    }
}

#[test]
fn the_default_flavour_joins_as_v0_whatever_is_said() {
    let house = House::new(FLAVOURS[1]);
    let up = &house.upstreams[0];
    house.gateway.load(&format!(
        "services: [{{url: 'http://{up}/srv', routes: [{{paths: [/rt], path_handling: v1}}]}}]"
    ));
    assert_eq!(house.outcome("GET a.test/rtx"), "A /srv/x");
}

#[test]
fn protocols_are_looked_at_behind_the_match() {
    for flavour in FLAVOURS {
        let house = House::new(flavour);
        // The better route for https alone shadows the other one.
        house.route("paths: [/v/x], protocols: [https] | paths: [/v]");
        assert_eq!(house.ask("GET a.test/v/x").status, 426);
        assert_eq!(house.outcome("GET a.test/v/x sni:a.test"), "A /");
        assert_eq!(house.outcome("GET a.test/v/y"), "B /y");
        for code in [301, 302, 307, 308] {
            house.route(&format!(
                "paths: [/v], protocols: [https], https_redirect_status_code: {code}"
            ));
            let moved = house.ask("GET a.test:8000/v//x?a=%20b");
            assert_eq!((moved.status, moved.text()), (code, String::new()));
            let location = "https://a.test/v//x?a=%20b";
            assert_eq!(moved.header("location"), Some(location));
        }
    }
}

#[test]
fn the_host_is_kept_or_replaced() {
    let house = House::new(FLAVOURS[1]);
    house.route("paths: [/kept], preserve_host: true | paths: [/own]");
    house.outcome("GET A.test:81/kept");
    house.outcome("GET A.test:81/own");
    let [kept, own] = &house.upstreams;
    assert_eq!(kept.last().header("host"), Some("A.test:81"));
    assert_eq!(own.last().header("host"), Some(own.to_string().as_str()));
}

#[test]
fn a_disabled_service_has_no_routes_and_a_route_needs_no_service() {
    let house = House::new(FLAVOURS[1]);
    let [a, b] = &house.upstreams;
    house.gateway.load(&format!(
        "{{services: [
          {{url: 'http://{a}', enabled: false, routes: [{{paths: [/v/long]}}]}},
          {{url: 'http://{b}', routes: [{{paths: [/v]}}]}}],
        routes: [{{paths: [/lone]}}]}}"
    ));
    assert_eq!(house.outcome("GET a.test/v/long"), "B /long");
    let lone = house.ask("GET a.test/lone");
    lone.is_error(503, "no Service found with those values");
}
