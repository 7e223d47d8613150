//! Addresses in and out of lists.

use super::*;
use crate::plugin::testkit::{Kit, config_issues};

fn outcome(config: &str, address: &str) -> (u16, String) {
    let answer = Kit::of(&PLUGIN, config).send_from(address.parse().unwrap(), "GET / HTTP/1.1");
    (answer.status, answer.body)
}

#[test]
fn deny_comes_before_allow() {
    for (config, address, passes) in [
        ("{allow: [10.0.0.0/8]}", "10.1.2.3", true),
        ("{allow: [10.0.0.0/8]}", "11.1.2.3", false),
        ("{allow: [10.0.0.0/8]}", "fd00::1", false),
        ("{allow: [10.0.0.0/8, 'fd00::/8']}", "fd00::1", true),
        ("{deny: [10.0.0.1]}", "10.0.0.1", false),
        ("{deny: [10.0.0.1]}", "10.0.0.2", true),
        (
            "{deny: [10.0.0.1], allow: [10.0.0.0/24]}",
            "10.0.0.1",
            false,
        ),
        ("{deny: [10.0.0.1], allow: [10.0.0.0/24]}", "10.0.0.2", true),
        (
            "{deny: [10.0.0.1], allow: [10.0.0.0/24]}",
            "10.0.1.2",
            false,
        ),
        ("{deny: ['::/0']}", "2001:db8::1", false),
        ("{deny: ['::/0']}", "10.0.0.1", true),
        ("{allow: [], deny: [10.0.0.1]}", "10.0.0.2", true),
        ("{allow: null, deny: [10.0.0.1]}", "10.0.0.2", true),
        // One address, two ways to write it.
        ("{deny: [10.0.0.1]}", "::ffff:10.0.0.1", false),
        ("{deny: ['::ffff:10.0.0.1']}", "10.0.0.1", false),
        ("{deny: ['::ffff:10.0.0.0/104']}", "10.9.9.9", false),
        ("{whitelist: [10.0.0.1]}", "10.0.0.1", true),
        ("{blacklist: [10.0.0.1]}", "10.0.0.1", false),
    ] {
        let status = if passes { 200 } else { 403 };
        assert_eq!(outcome(config, address).0, status, "{config} {address}");
    }
}

#[test]
fn refusals_say_what_they_shall() {
    for (config, address, status, words) in [
        (
            "{allow: [10.0.0.1]}",
            "11.0.0.1",
            403,
            "IP address not allowed: 11.0.0.1",
        ),
        (
            "{allow: [10.0.0.1]}",
            "::ffff:11.0.0.1",
            403,
            "IP address not allowed: 11.0.0.1",
        ),
        (
            "{allow: [10.0.0.1]}",
            "fd00::1",
            403,
            "IP address not allowed: fd00::1",
        ),
        (
            "{allow: [10.0.0.1], status: null}",
            "::1",
            403,
            "IP address not allowed: ::1",
        ),
        (
            "{allow: [10.0.0.1], status: 404, message: nothing here}",
            "::1",
            404,
            "nothing here",
        ),
    ] {
        let want = (status, format!("{{\"message\":\"{words}\"}}"));
        assert_eq!(outcome(config, address), want);
    }
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{}",
            ": at least one of these fields must be non-empty: 'allow', 'deny'",
        ),
        (
            "{allow: [], deny: []}",
            ": at least one of these fields must be non-empty: 'allow', 'deny'",
        ),
        ("{allow: 10.0.0.1}", ".allow: expected an array"),
        ("{allow: [10]}", ".allow[0]: expected a string"),
        (
            "{allow: [10.0.0.1, localhost]}",
            ".allow[1]: invalid ip or cidr range: 'localhost'",
        ),
        (
            "{deny: [10.0.0.0/33]}",
            ".deny[0]: invalid ip or cidr range: '10.0.0.0/33' (the prefix length must be 0 to 32)",
        ),
        (
            "{deny: ['unix:']}",
            ".deny[0]: invalid ip or cidr range: 'unix:'",
        ),
        (
            "{deny: ['::1'], status: 199}",
            ".status: value should be between 200 and 599",
        ),
        (
            "{deny: ['::1'], status: '403'}",
            ".status: expected an integer",
        ),
        (
            "{deny: ['::1'], message: ''}",
            ".message: length must be at least 1",
        ),
        ("{deny: ['::1'], denied: 1}", ".denied: unknown field"),
    ] {
        let found = config_issues(&PLUGIN, config);
        let want = format!("error: plugins[0].config{want}");
        assert!(found[0].contains(&want), "{found:?}");
    }
    let found = config_issues(&PLUGIN, "{}");
    assert!(found[1].contains("write allow"), "{found:?}");
}
