use super::*;

#[test]
fn ids_are_kongs() {
    let text = "
services: [{name: foo, host: h}]
routes: [{name: foo, paths: [/]}]
consumers: [{username: my-user}]
plugins: [{name: cors}]
";
    let model = model(text);
    let id = |meta: &Meta| meta.id.to_string();
    assert_eq!(
        id(&model.consumers[0].meta),
        "4b1b701d-de2b-5588-9aa2-3b97061d9f52"
    );
    assert_eq!(
        id(&model.services[0].meta),
        "2933fbcc-9d7c-54a7-a984-fe2bde836cea"
    );
    assert_eq!(
        id(&model.routes[0].meta),
        "fb94a9b8-3f5e-525c-b38d-61aa1cbaa69c"
    );
    assert_eq!(
        id(&model.plugins[0].meta),
        "48ee727e-8b90-5faa-bda1-a3c6bc3c9daa"
    );
}

#[test]
fn unnamed_rows_have_stable_ids_by_content() {
    let text = "
services: [{host: a}, {host: b}, {host: a}]
routes: [{paths: [/x]}]
consumers: [{username: c, keyauth_credentials: [{key: k}], basicauth_credentials: [{username: u, password: p}]}]
";
    let (first, second) = (model(text), model(&format!("# moved\n\n{text}")));
    let ids = |m: &Model| -> Vec<_> {
        let services = m.services.iter().map(|s| s.meta.id);
        services
            .chain(m.credentials.iter().map(|c| c.meta.id))
            .collect()
    };
    assert_eq!(ids(&first), ids(&second));
    let mut all = ids(&first);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
    assert_eq!(
        first.credentials[1].meta.id,
        derived_id("basicauth_credentials", "basicauth_credentials:*:u")
    );
}

#[test]
fn references_by_name_id_and_object() {
    let text = "
services: [{name: s, id: 00000000-0000-4000-8000-000000000001, host: h}]
routes:
- {name: a, paths: [/], service: s}
- {name: b, paths: [/], service: 00000000-0000-4000-8000-000000000001}
- {name: c, paths: [/], service: {id: 00000000-0000-4000-8000-000000000001}}
- {name: d, paths: [/], service: {name: s}}
- {name: e, paths: [/]}
consumers: [{username: u, custom_id: x}]
keyauth_credentials: [{key: k, consumer: {username: u}}]
targets: [{target: h, upstream: up}]
upstreams: [{name: up}]
";
    let model = model(text);
    let services: Vec<_> = model.routes.iter().map(|route| route.service).collect();
    assert_eq!(services, [Some(0), Some(0), Some(0), Some(0), None]);
    assert_eq!(model.credentials[0].consumer, 0);
    assert_eq!(
        (model.targets[0].port, model.upstreams[0].targets.len()),
        (8000, 1)
    );
}

#[test]
fn dangling_references_are_named_with_a_near_name() {
    let text = "
services: [{name: users, host: h, routes: [{paths: [/], service: other}]}, {name: other, host: h}]
routes: [{paths: [/a], service: user}, {paths: [/b], service: {}}, {paths: [/c], service: 5}]
keyauth_credentials: [{key: k}]
targets: [{target: 'h:1', upstream: nope}]
plugins: [{name: cors, service: {name: 2933fbcc-9d7c-54a7-a984-fe2bde836cea}}]
";
    assert_eq!(
        lines(text),
        [
            "f.yaml:2:66: error: services[0].routes[0].service: value must be null: it is nested in another service",
            "f.yaml:3:33: error: routes[0].service: invalid reference 'service: user' (no such entry in 'services')",
            "  hint: did you mean `users`?",
            "f.yaml:3:63: error: routes[1].service: expected a string (name or id), {id: ..} or {name: ..}, got a map",
            "f.yaml:3:91: error: routes[2].service: expected a string (name or id), {id: ..} or {name: ..}, got 5",
            "f.yaml:4:23: error: keyauth_credentials[0].consumer: required field missing",
            "f.yaml:5:37: error: targets[0].upstream: invalid reference 'upstream: nope' (no such entry in 'upstreams')",
            "f.yaml:6:33: error: plugins[0].service: invalid reference 'service: 2933fbcc-9d7c-54a7-a984-fe2bde836cea' (no such entry in 'services')",
        ]
    );
}

#[test]
fn what_is_declared_twice_is_named() {
    let text = "
services: [{name: foo, host: h, routes: [{name: r, paths: [/]}]}, {name: foo, host: i}]
routes: [{name: r, paths: [/a]}]
upstreams: [{name: u, targets: [{target: 'a:1'}, {target: 'a:1', weight: 5}]}]
consumers: [{username: a, custom_id: x, keyauth_credentials: [{key: k}, {key: k}]}, {username: b, custom_id: x}]
plugins:
- {name: cors}
- {name: cors}
- {name: jwt, service: foo, id: 00000000-0000-4000-8000-000000000001}
- {name: jwt, service: {name: foo}}
- {name: acl, id: 00000000-0000-4000-8000-000000000001}
";
    let report = lines(text);
    let errors: Vec<&str> = report
        .iter()
        .filter_map(|line| line.split_once("error: "))
        .map(|(_, m)| m)
        .collect();
    assert_eq!(
        errors,
        [
            "services[1].name: uniqueness violation: 'services' entity with name set to 'foo' already declared",
            "routes[0].name: uniqueness violation: 'routes' entity with name set to 'r' already declared",
            "upstreams[0].targets[1].target: uniqueness violation: 'targets' entity with primary key set to 'ID' already declared",
            "consumers[0].keyauth_credentials[1].key: uniqueness violation: 'keyauth_credentials' entity with key set to 'k' already declared",
            "consumers[1].custom_id: uniqueness violation: 'consumers' entity with custom_id set to 'x' already declared",
            "plugins[1]: uniqueness violation: 'plugins' entity with primary key set to '48ee727e-8b90-5faa-bda1-a3c6bc3c9daa' already declared",
            "plugins[3].name: uniqueness violation: 'plugins' entity with primary key set to '00000000-0000-4000-8000-000000000001' already declared",
            "plugins[4].id: uniqueness violation: 'plugins' entity with primary key set to '00000000-0000-4000-8000-000000000001' already declared",
        ]
        .map(|line| {
            let id = derived_id("targets", &format!("targets:*:{}:a:1", derived_id("upstreams", "u")));
            line.replace("'ID'", &format!("'{id}'"))
        })
    );
    assert!(report.contains(&"  hint: the first is services[0], line 2".to_owned()));
}

#[test]
fn generated_credentials_warn() {
    assert_eq!(
        lines("consumers: [{username: a, keyauth_credentials: [{ttl: 5}]}]"),
        [
            "f.yaml:1:49: warning: consumers[0].keyauth_credentials[0]: no 'key': a random one is made, which no client knows",
            "  hint: write key: ..",
        ]
    );
}
