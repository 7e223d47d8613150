//! What becomes of responses.

use super::*;
use crate::plugin::testkit::{Kit, config_issues};

/// Head lines and body that the client gets.
fn answer(config: &str, method: &str, upstream: &str) -> (Vec<String>, String) {
    let mut kit = Kit::of(&PLUGIN, config);
    kit.upstream = upstream.to_owned();
    let answer = kit.send(&format!("{method} / HTTP/1.1"));
    (answer.lines(), answer.body)
}

fn body(config: &str, kind: &str, body: &str) -> String {
    let upstream = format!("200\nContent-Type: {kind}\n\n{body}");
    answer(config, "GET", &upstream).1
}

#[test]
fn headers_are_edited_in_five_steps() {
    let config = "{remove: {headers: [X-Gone]}, rename: {headers: ['X-Old:X-New']}, \
        replace: {headers: ['X-There:1', 'X-Absent:1']}, add: {headers: ['X-There:2', 'X-Added:a:b']}, \
        append: {headers: ['X-Added:c', 'Set-Cookie:x=1']}}";
    let upstream = "200\nX-Gone: 1\nX-Old: 2\nX-There: 3\nSet-Cookie: y=2";
    assert_eq!(
        answer(config, "GET", upstream).0,
        [
            "Set-Cookie: y=2",
            "X-New: 2",
            "X-There: 1",
            "X-Added: a:b",
            "X-Added: c",
            "Set-Cookie: x=1"
        ]
    );
}

#[test]
fn members_are_edited_in_five_steps() {
    let config = "{remove: {json: [gone]}, rename: {json: ['old:new']}, \
        replace: {json: ['there:5', 'absent:1'], json_types: [number]}, \
        add: {json: ['text:5', 'on:true', 'there:no', 'q:\"'], json_types: [string, boolean]}, \
        append: {json: ['l:1.50', 'm:x', 'there:6'], json_types: [number]}}";
    let before = r#"{"gone":1,"old":10000000000000000000001,"there":3,"l":[0],"deep":{"gone":1}}"#;
    let after = r#"{"new":10000000000000000000001,"there":[5,"6"],"l":[0,1.50],"deep":{"gone":1},"text":"5","on":true,"q":"\"","m":["x"]}"#;
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
        "text/plain, application/json",
    ] {
        assert_eq!(body(config, kind, before), after, "{kind}");
    }
    for kind in [
        "text/json",
        "application/jsonp",
        "application/grpc",
        "application/stream+json",
    ] {
        assert_eq!(body(config, kind, before), before, "{kind}");
    }
    for other in ["[{\"gone\":1}]", "{broken", "\"gone\""] {
        assert_eq!(body(config, "application/json", other), other);
    }
    let zipped = format!("200\nContent-Type: application/json\nContent-Encoding: gzip\n\n{before}");
    assert_eq!(answer(config, "GET", &zipped).1, before);
}

#[test]
fn without_a_body_no_length_of_one_is_told() {
    let config = "{remove: {json: [a]}}";
    let upstream = "200\nContent-Type: application/json\nContent-Length: 7";
    assert_eq!(
        answer(config, "HEAD", upstream).0,
        ["Content-Type: application/json"]
    );
    let headers_only = "{remove: {headers: [a]}}";
    assert_eq!(answer(headers_only, "HEAD", upstream).0.len(), 2);
}

#[test]
fn answers_of_the_gateway_are_edited_too() {
    let kit = Kit::of(&PLUGIN, "{add: {json: ['more:1'], headers: ['X-A:b']}}");
    let answer = kit.not_found("GET / HTTP/1.1");
    assert_eq!(answer.header("X-A"), Some("b"));
    let want = r#"{"message":"no Route matched with those values","request_id":"id","more":"1"}"#;
    assert_eq!(answer.body, want);
}

#[test]
fn wrong_values_are_refused() {
    for (config, want) in [
        (
            "{remove: {headers: ['a b']}}",
            "f:3:31: error: plugins[0].config.remove.headers[0]: 'a b' is not a valid header",
        ),
        (
            "{remove: {headers: [Content-Length]}}",
            "f:3:31: error: plugins[0].config.remove.headers[0]: Content-Length cannot be edited",
        ),
        (
            "{add: {headers: [a]}}",
            "f:3:28: error: plugins[0].config.add.headers[0]: key 'a' has no value",
        ),
        (
            "{add: {json: [a]}}",
            "f:3:25: error: plugins[0].config.add.json[0]: key 'a' has no value",
        ),
        (
            "{rename: {json: ['a:']}}",
            "f:3:28: error: plugins[0].config.rename.json[0]: key 'a' has no value",
        ),
        (
            "{rename: {headers: [a]}}",
            "f:3:31: error: plugins[0].config.rename.headers[0]: '' is not a valid header",
        ),
        (
            "{add: {json: ['a:x'], json_types: [int]}}",
            "f:3:46: error: plugins[0].config.add.json_types[0]: expected one of: boolean, number, string",
        ),
        (
            "{add: {json: ['a:x'], json_types: [number]}}",
            "f:3:25: error: plugins[0].config.add.json[0]: 'x' is no number",
        ),
        (
            "{add: {json: ['a:yes'], json_types: [boolean]}}",
            "f:3:25: error: plugins[0].config.add.json[0]: 'yes' is neither true nor false",
        ),
        (
            "{add: {json: ['a:1'], json_types: [number, number]}}",
            "f:3:45: error: plugins[0].config.add.json_types: there are more types than entries in json",
        ),
        (
            "{add: {headers: ['Connection:close']}}",
            "f:3:28: warning: plugins[0].config.add.headers[0]: Connection is about one connection alone: this does nothing",
        ),
        (
            "{append: {headers: ['X-A:']}}",
            "f:3:31: warning: plugins[0].config.append.headers[0]: key 'X-A' has no value: this does nothing",
        ),
    ] {
        assert_eq!(config_issues(&PLUGIN, config)[0], want);
    }
}
