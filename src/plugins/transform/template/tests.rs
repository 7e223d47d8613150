//! What is a template, and what fills it.

use super::*;
use crate::message::Span;

fn request(query: &str, fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.headers.raw = query.as_bytes().to_vec();
    head.query = Span::new(0, query.len());
    for (name, value) in fields {
        head.headers.append(name, value);
    }
    head
}

fn render(text: &str) -> String {
    let fields = [
        ("X-A", "one"),
        ("x-a", "two"),
        ("User-Agent", "test"),
        ("X-Empty", ""),
    ];
    let head = request("?q=a%20b&flag&q=c", &fields);
    let consumer = Consumer {
        id: "c-id".to_owned(),
        username: Some("ann".to_owned()),
        ..Consumer::default()
    };
    let source = Source {
        request: &head,
        captures: &Captures::default(),
        consumer: Some(&consumer),
    };
    Template::compile(text).unwrap().render(&source)
}

#[test]
fn places_are_filled() {
    for (text, want) in [
        ("plain", "plain"),
        ("a $ (b) $x", "a $ (b) $x"),
        ("$(headers.host)", ""),
        ("$(headers['x-a'])", "one"),
        ("$( headers[ \"X-A\" ] )", "one"),
        ("$(headers.x_a)", "one"),
        ("$(headers.User_Agent)-$(query_params.q)", "test-a b"),
        ("$(query_params.flag)", "true"),
        ("$(query_params[\"flag\"])", "true"),
        ("$(headers.none or 'it''s' )", "?"),
        ("$(headers.none or query_params.none or \"d\")", "d"),
        ("$(headers.none or 7)", "7"),
        ("$(headers['x-empty'] or 'd')", ""),
        ("$(uri_captures.x or uri_captures[1] or 'none')", "none"),
        (
            "$(consumer.username)/$(consumer.id)/$(consumer.custom_id or 0)",
            "ann/c-id/0",
        ),
        ("$('$(uri_captures.user1)')", "$(uri_captures.user1)"),
        ("$('a)\\'b\\\\\\n')", "a)'b\\\n"),
        ("x$(headers.none)y", "xy"),
    ] {
        if want == "?" {
            assert!(Template::compile(text).is_err(), "{text}");
        } else {
            assert_eq!(render(text), want, "{text}");
        }
    }
}

#[test]
fn other_lua_is_refused_with_its_place() {
    for (text, at, what) in [
        (
            "/a/$(10 * uri_captures.user1)",
            8,
            "not supported in a template: `* uri_captures.user1)`",
        ),
        (
            "$(uri_captures user2)",
            2,
            "not supported in a template: `uri_captures user2)`",
        ),
        ("$(ERROR())", 2, "not supported in a template: `ERROR())`"),
        ("$(shared.x)", 2, "no plugin here fills `shared`"),
        (
            "$(shared.written = true)",
            2,
            "no plugin here fills `shared`",
        ),
        (
            "$(headers.x .. 'y')",
            12,
            "not supported in a template: `.. 'y')`",
        ),
        (
            "$(headers.x and 'y')",
            12,
            "not supported in a template: `and 'y')`",
        ),
        (
            "$(string.sub(headers.x, 1))",
            2,
            "not supported in a template: `string.sub(headers.x, 1)`",
        ),
        ("a$(headers.x", 12, "the place is not closed by `)`"),
        ("$()", 2, "not supported in a template: `)`"),
        ("$(headers)", 2, "not supported in a template: `headers)`"),
        ("$(headers.)", 2, "not supported in a template: `headers.)`"),
        (
            "$(headers[x])",
            2,
            "not supported in a template: `headers[x])`",
        ),
        ("$(headers['x)", 10, "the quote is not closed"),
        ("$('\\065')", 3, "this escape is not supported"),
        (
            "$(consumer.name)",
            2,
            "a consumer has id, username and custom_id, not `name`",
        ),
        ("$(headers.x or)", 14, "not supported in a template: `)`"),
    ] {
        let problem = Template::compile(text).unwrap_err();
        assert_eq!((problem.at, problem.what.as_str()), (at, what), "{text}");
    }
}

#[test]
fn values_end_no_path_and_no_pair() {
    let head = request("?p=/x%3Fy%23z%25%2G%2F&q=a%26b%3Dc", &[]);
    let source = Source {
        request: &head,
        captures: &Captures::default(),
        consumer: None,
    };
    let target = Template::compile("/v1/$(query_params.p)?q=$(query_params.q)").unwrap();
    assert_eq!(
        target.render_target(&source),
        "/v1//x%3Fy%23z%25%252G/?q=a%26b%3Dc"
    );
}
