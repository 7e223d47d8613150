//! The decision table, row by row, as a browser sees it.

use super::*;
use crate::plugin::testkit::{Kit, config_issues};
use crate::plugins::request_termination;

const PREFLIGHT: &str =
    "OPTIONS / HTTP/1.1\nOrigin: http://a.com\nAccess-Control-Request-Method: GET";
const ALL_METHODS: &str =
    "Access-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT";

fn get(origin: &str) -> String {
    match origin {
        "" => "GET / HTTP/1.1".to_owned(),
        origin => format!("GET / HTTP/1.1\nOrigin: {origin}"),
    }
}

#[test]
fn the_origin_decides_what_a_response_allows() {
    let vary = "Vary: Origin";
    for (origins, origin, want) in [
        ("", "http://a.com", &["Access-Control-Allow-Origin: *"][..]),
        ("", "", &["Access-Control-Allow-Origin: *"]),
        ("['*']", "http://a.com", &["Access-Control-Allow-Origin: *"]),
        (
            "[http://a.com]",
            "http://b.com",
            &[vary, "Access-Control-Allow-Origin: http://a.com"],
        ),
        (
            "[http://a.com]",
            "",
            &[vary, "Access-Control-Allow-Origin: http://a.com"],
        ),
        (
            "[a.com]",
            "http://b.com",
            &[vary, "Access-Control-Allow-Origin: a.com"],
        ),
        ("['.*']", "", &[vary]),
        ("[http://a.com, http://b.com]", "", &[vary]),
        ("[http://a.com, '*']", "", &[vary]),
        (
            "[http://a.com, '*']",
            "http://c.com",
            &[vary, "Access-Control-Allow-Origin: *"],
        ),
        (
            "[http://a.com, http://b.com]",
            "http://b.com",
            &[vary, "Access-Control-Allow-Origin: http://b.com"],
        ),
        (
            "[http://a.com, http://b.com]",
            "http://b.com:80",
            &[vary, "Access-Control-Allow-Origin: http://b.com"],
        ),
        (
            "[http://a.com:80, http://b.com]",
            "http://a.com",
            &[vary, "Access-Control-Allow-Origin: http://a.com"],
        ),
        ("[http://a.com, http://b.com]", "http://c.com", &[vary]),
        ("[http://a.com, http://b.com]", "https://a.com", &[vary]),
        ("[a.com, b.com]", "http://a.com", &[vary]),
        (
            "['.*\\.a\\.com']",
            "http://x.a.com:8080",
            &[vary, "Access-Control-Allow-Origin: http://x.a.com:8080"],
        ),
        ("['.*\\.a\\.com']", "http://x.a.com.evil", &[vary]),
        ("['a\\.com']", "http://evil-a.com", &[vary]),
        ("['a\\.com|b\\.com']", "http://evil-b.com", &[vary]),
        (
            "['^a\\.com$']",
            "http://a.com",
            &[vary, "Access-Control-Allow-Origin: http://a.com"],
        ),
        ("['a\\.com']", "http://A.com", &[vary]),
        (
            "['https?://a\\.com']",
            "https://a.com",
            &[vary, "Access-Control-Allow-Origin: https://a.com"],
        ),
        ("['https?://a\\.com']", "https://a.com:8443", &[vary]),
    ] {
        let config = if origins.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{origins: {origins}}}")
        };
        let answer = Kit::of(&PLUGIN, &config).send(&get(origin));
        assert!(answer.passed());
        assert_eq!(answer.lines(), want, "{origins} {origin}");
    }
}

#[test]
fn credentials_never_meet_a_star() {
    for (config, origin, want) in [
        (
            "credentials: true",
            "http://a.com:80",
            &[
                "Vary: Origin",
                "Access-Control-Allow-Origin: http://a.com:80",
                "Access-Control-Allow-Credentials: true",
            ][..],
        ),
        ("credentials: true", "", &["Access-Control-Allow-Origin: *"]),
        (
            "credentials: true, origins: [http://a.com]",
            "",
            &[
                "Vary: Origin",
                "Access-Control-Allow-Origin: http://a.com",
                "Access-Control-Allow-Credentials: true",
            ],
        ),
        (
            "credentials: true, origins: [http://a.com, http://b.com]",
            "http://c.com",
            &["Vary: Origin", "Access-Control-Allow-Credentials: true"],
        ),
        (
            "credentials: true, origins: [http://a.com, '*']",
            "http://c.com",
            &[
                "Vary: Origin",
                "Vary: Origin",
                "Access-Control-Allow-Origin: http://c.com",
                "Access-Control-Allow-Credentials: true",
            ],
        ),
    ] {
        let answer = Kit::of(&PLUGIN, &format!("{{{config}}}")).send(&get(origin));
        assert_eq!(answer.lines(), want, "{config} {origin}");
    }
}

#[test]
fn a_preflight_is_answered_here() {
    let answer = Kit::of(&PLUGIN, "{}").send(PREFLIGHT);
    assert!(!answer.passed());
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(
        answer.lines(),
        ["Access-Control-Allow-Origin: *", ALL_METHODS]
    );
}

#[test]
fn a_preflight_is_told_everything_that_is_configured() {
    let config = "{origins: [http://a.com], headers: [X-A, X-B], methods: [GET, PUT], max_age: 3600, credentials: true, private_network: true, exposed_headers: [X-E]}";
    let kit = Kit::of(&PLUGIN, config);
    let request = format!(
        "{PREFLIGHT}\nAccess-Control-Request-Headers: X-Z\nAccess-Control-Request-Private-Network: true"
    );
    let want = [
        "Vary: Origin",
        "Access-Control-Allow-Origin: http://a.com",
        "Access-Control-Allow-Credentials: true",
        "Access-Control-Allow-Headers: X-A,X-B",
        "Access-Control-Allow-Methods: GET,PUT",
        "Access-Control-Max-Age: 3600",
        "Access-Control-Allow-Private-Network: true",
    ];
    assert_eq!(kit.send(&request).lines(), want);
    assert_eq!(kit.send(PREFLIGHT).lines(), want[..6]);
}

#[test]
fn a_preflight_gets_the_headers_it_asks_for_and_no_answer_for_strangers() {
    let kit = Kit::of(&PLUGIN, "{origins: [http://x.com, http://y.com]}");
    let answer = kit.send(&format!(
        "{PREFLIGHT}\nAccess-Control-Request-Headers: X-Z, X-Y"
    ));
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.lines(),
        [
            "Vary: Origin",
            "Access-Control-Allow-Headers: X-Z, X-Y",
            ALL_METHODS
        ]
    );
    // On a preflight Vary is said once.
    let kit = Kit::of(&PLUGIN, "{origins: [http://x.com, '*'], credentials: true}");
    assert_eq!(
        kit.send(PREFLIGHT).lines()[..2],
        ["Vary: Origin", "Access-Control-Allow-Origin: http://a.com"]
    );
}

#[test]
fn other_options_requests_are_ordinary() {
    let kit = Kit::of(&PLUGIN, "{}");
    for request in [
        "OPTIONS / HTTP/1.1\nOrigin: http://a.com",
        "OPTIONS / HTTP/1.1\nAccess-Control-Request-Method: GET",
        "OPTIONS / HTTP/1.1\nOrigin:\nAccess-Control-Request-Method: GET",
        "GET / HTTP/1.1\nOrigin: http://a.com\nAccess-Control-Request-Method: GET",
    ] {
        let answer = kit.send(request);
        assert!(answer.passed());
        assert_eq!(answer.lines(), ["Access-Control-Allow-Origin: *"]);
    }
}

#[test]
fn a_preflight_that_goes_on_is_left_alone() {
    let mut kit = Kit::of(&PLUGIN, "{preflight_continue: true}");
    kit.upstream = "204\nAccess-Control-Allow-Origin: http://up".to_owned();
    let answer = kit.send(PREFLIGHT);
    assert!(answer.passed());
    assert_eq!(answer.lines(), ["Access-Control-Allow-Origin: http://up"]);
}

#[test]
fn an_upstreams_fields_give_way_to_those_that_are_computed() {
    let mut kit = Kit::of(
        &PLUGIN,
        "{origins: [http://a.com, http://b.com], exposed_headers: [X-E, X-F]}",
    );
    kit.upstream = "200\nVary: Accept\nAccess-Control-Allow-Origin: *\nAccess-Control-Allow-Methods: GET\nAccess-Control-Expose-Headers: X-U".to_owned();
    assert_eq!(
        kit.send(&get("http://c.com")).lines(),
        [
            "Vary: Accept",
            "Access-Control-Allow-Methods: GET",
            "Vary: Origin",
            "Access-Control-Expose-Headers: X-E,X-F"
        ]
    );
}

#[test]
fn without_an_origin_nothing_need_be_said() {
    let mut kit = Kit::of(
        &PLUGIN,
        "{allow_origin_absent: false, exposed_headers: [X-E]}",
    );
    kit.upstream = "200\nAccess-Control-Allow-Origin: http://up".to_owned();
    assert_eq!(
        kit.send(&get("")).lines(),
        ["Access-Control-Allow-Origin: http://up"]
    );
    let lines = kit.send(&get("http://a.com")).lines();
    assert_eq!(
        lines,
        [
            "Access-Control-Allow-Origin: *",
            "Access-Control-Expose-Headers: X-E"
        ]
    );
}

#[test]
fn refusals_of_others_carry_the_fields_too() {
    let yaml = "plugins: [{name: cors}, {name: request-termination}]";
    let kit = Kit::new(&[&PLUGIN, &request_termination::PLUGIN], yaml);
    let answer = kit.send(&get("http://a.com"));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(
        kit.not_found(&get("http://a.com"))
            .header("Access-Control-Allow-Origin"),
        Some("*")
    );
    assert_eq!(kit.send(PREFLIGHT).status, 200);
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{origins: ['(']}",
            "f:3:22: error: plugins[0].config.origins[0]: invalid regex: unclosed group",
        ),
        (
            "{origins: '*'}",
            "f:3:21: error: plugins[0].config.origins: expected an array, got \"*\"",
        ),
        (
            "{methods: [get]}",
            "f:3:22: error: plugins[0].config.methods[0]: expected one of: GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS, TRACE, CONNECT",
        ),
        (
            "{max_age: long}",
            "f:3:21: error: plugins[0].config.max_age: expected a number, got \"long\"",
        ),
        (
            "{headers: [1]}",
            "f:3:22: error: plugins[0].config.headers[0]: expected a string, got 1",
        ),
        (
            "{exposed_headers: ['']}",
            "f:3:30: error: plugins[0].config.exposed_headers[0]: length must be at least 1",
        ),
        (
            "{credentials: 1}",
            "f:3:25: error: plugins[0].config.credentials: expected a boolean, got 1",
        ),
        (
            "{origin: ['*']}",
            "f:3:12: error: plugins[0].config.origin: unknown field",
        ),
    ] {
        assert_eq!(config_issues(&PLUGIN, config)[0], want);
    }
}
