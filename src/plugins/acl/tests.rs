//! Who passes, by the groups of those who ask.

use super::*;
use crate::identity::Credential;
use crate::plugin::testkit::{Answer, Kit, issues};
use crate::plugins::key_auth;

/// Stands where plugins of other editions do: says that the proof came with groups.
static GROUPS: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "groups",
        config: &NOTHING,
        parse: |_, _| Some(Parsed::new(())),
        on_consumer: false,
        on_routes: true,
    },
    priority: 1000,
    phases: Phases::REQUEST,
    credentials: None,
    anonymous: None,
    build: |_, _| Arc::new(Groups),
};

static NOTHING: Record = Record::new(&[]);

struct Groups;

impl Plugin for Groups {
    fn on_request<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let groups = cx.request.headers.get("groups").map(text);
        cx.facts.groups = groups.map(|list| list.split(' ').map(str::to_owned).collect());
        if cx.request.headers.contains("credential") {
            let credential = Credential {
                id: "c".to_owned(),
                identifier: "c".to_owned(),
            };
            cx.authenticate(None, &credential);
        }
        Flow::Next
    }
}

fn file(config: &str, auth: &str) -> String {
    format!(
        "consumers:
- {{username: admin, keyauth_credentials: [{{key: admin}}], acls: [{{group: staff}}, {{group: root}}]}}
- {{username: user, keyauth_credentials: [{{key: user}}], acls: [{{group: users}}]}}
- {{username: loner, keyauth_credentials: [{{key: loner}}]}}
- {{username: guest, acls: [{{group: guests}}]}}
- {{username: stranger}}
acls: [{{group: late, consumer: user}}]
plugins:
- {{name: acl, config: {config}}}
- {{name: groups}}
{auth}"
    )
}

const KEYS: &str = "- {name: key-auth}\n";

fn send(config: &str, auth: &str, request: &str) -> Answer {
    let table = &[&PLUGIN, &GROUPS, &key_auth::PLUGIN];
    Kit::new(table, &file(config, auth)).send(request)
}

/// The status for a key, and the groups that the upstream is told.
fn with_key(config: &str, key: &str) -> (u16, Option<String>) {
    let answer = send(config, KEYS, &format!("GET / HTTP/1.1\napikey: {key}"));
    let told = answer.upstream("X-Consumer-Groups").map(str::to_owned);
    (answer.status, told)
}

fn pass(groups: &str) -> (u16, Option<String>) {
    (200, (!groups.is_empty()).then(|| groups.to_owned()))
}

const REFUSED: (u16, Option<String>) = (403, None);

#[test]
fn lists_meet_groups() {
    for (config, key, want) in [
        ("{allow: [staff]}", "admin", pass("staff, root")),
        ("{allow: [nobody, root]}", "admin", pass("staff, root")),
        ("{allow: [staff]}", "user", REFUSED),
        ("{allow: [late]}", "user", pass("users, late")),
        ("{allow: [staff]}", "loner", REFUSED),
        ("{allow: [Staff]}", "admin", REFUSED),
        ("{deny: [staff]}", "admin", REFUSED),
        ("{deny: [staff]}", "user", pass("users, late")),
        ("{deny: [staff]}", "loner", pass("")),
        ("{deny: [staff], allow: []}", "user", pass("users, late")),
        ("{deny: null, allow: [users]}", "user", pass("users, late")),
        (
            "{allow: [staff], hide_groups_header: true}",
            "admin",
            pass(""),
        ),
        ("{whitelist: [staff]}", "admin", pass("staff, root")),
        ("{blacklist: [staff]}", "admin", REFUSED),
    ] {
        assert_eq!(with_key(config, key), want, "{config} {key}");
    }
    let answer = send("{allow: [staff]}", KEYS, "GET / HTTP/1.1\napikey: user");
    assert_eq!(
        answer.body,
        r#"{"message":"You cannot consume this service"}"#
    );
}

#[test]
fn who_is_unknown_is_told_so() {
    for config in ["{allow: [staff]}", "{deny: [staff]}"] {
        let answer = send(config, "", "GET / HTTP/1.1");
        assert_eq!(
            (answer.status, &*answer.body),
            (401, r#"{"message":"Unauthorized"}"#)
        );
        let answer = send(config, "", "GET / HTTP/1.1\ncredential: 1");
        assert_eq!(answer.status, 403, "a credential without a consumer");
    }
}

#[test]
fn anonymous_consumers_have_groups_too() {
    for (config, consumer, status) in [
        ("{allow: [guests]}", "guest", 200),
        ("{allow: [staff]}", "guest", 403),
        ("{allow: [staff]}", "stranger", 401),
        ("{deny: [guests]}", "guest", 403),
        ("{deny: [guests]}", "stranger", 200),
    ] {
        let auth = format!("- {{name: key-auth, config: {{anonymous: {consumer}}}}}\n");
        let answer = send(config, &auth, "GET / HTTP/1.1");
        assert_eq!(answer.status, status, "{config} {consumer}");
    }
}

#[test]
fn an_edge_before_us_does_not_speak_for_our_consumers() {
    for (config, key, want) in [
        ("{deny: [staff]}", "loner", None),
        ("{allow: [users], hide_groups_header: true}", "user", None),
        ("{allow: [users]}", "user", Some("users, late")),
    ] {
        let request = format!("GET / HTTP/1.1\napikey: {key}\nX-Consumer-Groups: root");
        let answer = send(config, KEYS, &request);
        assert!(answer.passed());
        assert_eq!(answer.upstream("X-Consumer-Groups"), want);
    }
}

#[test]
fn groups_that_came_with_the_proof() {
    let always = "{allow: [staff], always_use_authenticated_groups: true}";
    let anonymous = "- {name: key-auth, config: {anonymous: guest}}\n";
    for (config, auth, request, want) in [
        // Without a consumer they count, of either sign.
        ("{allow: [staff]}", "", "groups: x staff", Some("x, staff")),
        ("{allow: [staff]}", "", "groups: x", None),
        ("{deny: [staff]}", "", "groups: x", Some("x")),
        ("{deny: [staff]}", "", "groups: x staff", None),
        (
            "{allow: [staff]}",
            "",
            "groups: staff\ncredential: 1",
            Some("staff"),
        ),
        // They outrank an anonymous consumer's, and others' where asked to.
        (
            "{allow: [staff]}",
            anonymous,
            "groups: staff",
            Some("staff"),
        ),
        ("{allow: [guests]}", anonymous, "groups: staff", None),
        (
            "{allow: [staff]}",
            KEYS,
            "apikey: user\ngroups: staff",
            None,
        ),
        (always, KEYS, "apikey: user\ngroups: staff", Some("staff")),
        (always, KEYS, "apikey: admin\ngroups: x", None),
    ] {
        let answer = send(config, auth, &format!("GET / HTTP/1.1\n{request}"));
        let told = answer.upstream("X-Authenticated-Groups");
        assert_eq!(told, want, "{config} {request}");
        assert_eq!(answer.upstream("X-Consumer-Groups"), None);
        assert_eq!(answer.status, if want.is_some() { 200 } else { 403 });
    }
    let answer = send(always, KEYS, "GET / HTTP/1.1\napikey: admin");
    assert_eq!(answer.upstream("X-Consumer-Groups"), Some("staff, root"));
}

#[test]
fn wrong_values_are_refused() {
    let both = ": exactly one of these fields must be non-empty: 'allow', 'deny'";
    for (config, want) in [
        ("{}", both),
        ("{allow: []}", both),
        ("{allow: [a], deny: [b]}", both),
        ("{allow: a}", ".allow: expected an array"),
        ("{allow: [1]}", ".allow[0]: expected a string"),
        ("{allow: ['']}", ".allow[0]: length must be at least 1"),
        (
            "{allow: [a], hide_groups_header: 1}",
            ".hide_groups_header: expected a boolean",
        ),
        ("{allow: [a], groups: [b]}", ".groups: unknown field"),
    ] {
        let text = format!("plugins:\n- name: acl\n  config: {config}\n");
        let found = issues(&[&PLUGIN], &text);
        let want = format!("f:3:11: error: plugins[0].config{want}");
        let at_field = want.replace("f:3:11: ", "");
        assert!(found[0].contains(&at_field), "{found:?}");
    }
    let found = issues(&[&PLUGIN], "plugins:\n- name: acl\n");
    assert!(found[1].contains("write allow"), "{found:?}");
    let on_consumer = "consumers: [{username: a, plugins: [{name: acl, config: {allow: [a]}}]}]";
    let found = issues(&[&PLUGIN], on_consumer);
    assert!(found[0].contains("value must be null"), "{found:?}");
}

#[test]
fn wrong_rows_are_refused() {
    for (rows, want) in [
        (
            "[{}]",
            "error: consumers[0].acls[0].group: required field missing",
        ),
        (
            "[{group: 1}]",
            "error: consumers[0].acls[0].group: expected a string",
        ),
        ("[{group: ''}]", "error: consumers[0].acls[0].group: "),
        ("[{groups: a}]", "acls[0].groups: unknown field"),
        ("[{group: a}, {group: a}]", "already declared"),
        ("{group: a}", "error: consumers[0].acls: expected an array"),
    ] {
        let text = format!("consumers: [{{username: a, acls: {rows}}}]");
        let found = issues(&[&PLUGIN], &text).join("\n");
        assert!(found.contains(want), "{found}");
    }
    let found = issues(&[&PLUGIN], "acls: [{group: a, consumer: eve}]");
    assert!(
        found[0].contains("invalid reference 'consumer: eve'"),
        "{found:?}"
    );
}
