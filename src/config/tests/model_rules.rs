use std::time::Duration;

use super::*;

#[test]
fn the_example_of_the_format_loads() {
    let text = r#"
_format_version: "3.0"
services:
- name: users
  url: http://users.internal:8080/api
  retries: 2
  routes:
  - name: users-v1
    hosts: [api.example.test]
    paths: [/v1/users, "~/v1/u/(?<id>\\d+)$"]
    methods: [GET, POST]
    plugins:
    - name: rate-limiting
      config: {minute: 60, policy: local}
  plugins:
  - name: jwt
upstreams:
- name: users.internal
  targets:
  - {target: 10.0.0.1:8080, weight: 100}
  - {target: "[::1]:8080", weight: 0}
consumers:
- username: mobile
  keyauth_credentials: [{key: k1}]
  acls: [{group: readers}]
plugins:
- name: prometheus
- name: acl
  service: users
"#;
    let model = model(text);
    let service = &model.services[0];
    assert_eq!(
        (&*service.host, service.port, service.protocol),
        ("users.internal", 8080, Protocol::Http)
    );
    assert_eq!(service.path.as_deref(), Some("/api"));
    assert_eq!(
        (service.retries, service.connect_timeout),
        (2, Duration::from_secs(60))
    );
    let route = &model.routes[0];
    assert_eq!(
        (route.service, route.strip_path, route.preserve_host),
        (Some(0), true, false)
    );
    assert_eq!(route.protocols, [Protocol::Http, Protocol::Https]);
    assert_eq!(route.meta.path, "services[0].routes[0]");
    assert_eq!(route.meta.at_field("methods").line, 11);
    assert_eq!(model.upstreams[0].targets, [0, 1]);
    assert_eq!(
        (
            &*model.targets[1].host,
            model.targets[1].port,
            model.targets[1].weight
        ),
        ("::1", 8080, 0)
    );
    let scopes: Vec<_> = model
        .plugins
        .iter()
        .map(|p| (&*p.name, p.route, p.service))
        .collect();
    assert_eq!(
        scopes,
        [
            ("rate-limiting", Some(0), None),
            ("jwt", None, Some(0)),
            ("prometheus", None, None),
            ("acl", None, Some(0))
        ]
    );
    let limit: &Limit = model.plugins[0].config.get().unwrap();
    assert_eq!(
        *limit,
        Limit {
            minute: 60,
            policy: "local".into()
        }
    );
    assert_eq!(model.credentials.len(), 2);
    assert_eq!(model.credentials[0].row.get::<String>().unwrap(), "k1");
    assert_eq!(model.credentials[1].table, "acls");
    assert!(model.transform);
}

#[test]
fn url_wins_over_the_four_fields() {
    let service = |url: &str| {
        let text =
            format!("services: [{{url: '{url}', protocol: grpc, host: x, port: 1, path: null}}]");
        let service = model(&text).services.remove(0);
        (service.protocol, service.host, service.port, service.path)
    };
    let path = |text: &str| Some(text.to_owned());
    assert_eq!(service("http://h"), (Protocol::Http, "h".into(), 80, None));
    assert_eq!(
        service("https://h/a?q#f"),
        (Protocol::Https, "h".into(), 443, path("/a"))
    );
    assert_eq!(
        service("grpcs://h"),
        (Protocol::Grpcs, "h".into(), 80, None)
    );
    assert_eq!(service("h:443"), (Protocol::Https, "h".into(), 443, None));
    assert_eq!(
        service("h:8080/"),
        (Protocol::Http, "h".into(), 8080, path("/"))
    );
    assert_eq!(
        service("http://[::1]:9/"),
        (Protocol::Http, "[::1]".into(), 9, path("/"))
    );
    assert_eq!(
        lines("services: [{url: 'http:///x'}, {url: 'http://h:99999'}, {url: 'ws://h'}]"),
        [
            "f.yaml:1:18: error: services[0].host: required field missing",
            "f.yaml:1:38: error: services[1].url: invalid port in url",
            "f.yaml:1:63: error: services[2].protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp",
        ]
    );
}

#[test]
fn nulls_and_defaults() {
    let text = "services: [{name: a, host: h, retries: null, read_timeout: null}]\nroutes: [{name: r, paths: [/], service: a, regex_priority: null}]";
    let model = model(text);
    assert_eq!(
        (
            model.services[0].retries,
            model.services[0].read_timeout.as_secs()
        ),
        (5, 60)
    );
    assert_eq!(lines("services: [{host: h, port: null}]").len(), 2);
}

#[test]
fn grpc_routes_never_strip() {
    let model = model("routes: [{protocols: [grpc, grpcs], paths: [/pkg.Svc/M]}]");
    assert!(!model.routes[0].strip_path);
    assert_eq!(
        lines("routes: [{protocols: [grpc], paths: [/a], strip_path: true, methods: [POST]}]"),
        [
            "f.yaml:1:55: error: routes[0].strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'",
            "f.yaml:1:70: error: routes[0].methods: cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'",
        ]
    );
}

#[test]
fn hash_and_algorithm_follow_kong() {
    let model = model(
        "upstreams:\n- {name: a, hash_on: header, hash_on_header: x-a, hash_fallback: cookie, hash_on_cookie: c}\n- {name: b, algorithm: least-connections, hash_on: ip}\n- {name: c, algorithm: consistent-hashing, hash_on: none}\n- {name: d, slow_start: 2.5}\n",
    );
    let found: Vec<_> = model
        .upstreams
        .iter()
        .map(|upstream| (upstream.algorithm, &upstream.hash_on))
        .collect();
    assert_eq!(
        found,
        [
            (
                Algorithm::ConsistentHashing,
                &HashInput::Header("x-a".into())
            ),
            (Algorithm::LeastConnections, &HashInput::None),
            (Algorithm::RoundRobin, &HashInput::None),
            (Algorithm::RoundRobin, &HashInput::None),
        ]
    );
    let cookie = HashInput::Cookie {
        name: "c".into(),
        path: "/".into(),
    };
    assert_eq!(model.upstreams[0].hash_fallback, cookie);
    assert_eq!(model.upstreams[3].slow_start, Duration::from_millis(2500));
}

#[test]
fn health_checks_that_are_off_load() {
    let model = model(
        "upstreams: [{name: a, healthchecks: {active: {http_path: /h, healthy: {successes: 3}}}}]",
    );
    let checks = &model.upstreams[0].healthchecks;
    assert_eq!(
        (
            &*checks.active.http_path,
            checks.active.thresholds.successes
        ),
        ("/h", 3)
    );
    assert_eq!(
        checks.passive.thresholds.unhealthy_statuses,
        [429, 500, 503]
    );
    assert_eq!(checks.passive.probation, Duration::from_secs(30));
    assert!(!checks.active.is_on() && !checks.passive.is_on());
    let model = super::model("upstreams: [{name: a}]");
    assert_eq!(
        model.upstreams[0].healthchecks,
        Healthchecks {
            active: ActiveChecks {
                thresholds: model.upstreams[0].healthchecks.active.thresholds.clone(),
                ..ActiveChecks::default()
            },
            passive: PassiveChecks {
                thresholds: model.upstreams[0].healthchecks.passive.thresholds.clone(),
                ..PassiveChecks::default()
            },
            threshold: 0.0,
            panic_threshold: 0.0
        }
    );
}

#[test]
fn old_versions_migrate_their_paths() {
    let text = "_format_version: \"2.1\"\nroutes: [{paths: ['/users/\\d+', /v1/%7Efoo, /a//b]}]\nservices: [{host: h, routes: [{paths: ['/foo(bar)?']}]}]\n";
    let model = model(text);
    assert_eq!(model.routes[0].paths, ["~/foo(bar)?"]);
    assert_eq!(model.routes[1].paths, ["~/users/\\d+", "/v1/~foo", "/a/b"]);
    assert_eq!(
        lines(
            "_format_version: 3.0\nroutes: [{paths: ['/users/\\d+', /a//b, /a/../b, x, '~x', '~/(', '~/(?=x)']}]"
        ),
        [
            "f.yaml:1:18: warning: _format_version: a number: Kong wants \"3.0\" in quotes",
            "  hint: write _format_version: \"3.0\"",
            "f.yaml:2:19: error: routes[0].paths[0]: invalid path: '/users/\\d+' (characters outside of the reserved list of RFC 3986 found: '\\')",
            "  hint: a regular expression begins with ~: ~/users/\\d+",
            "f.yaml:2:33: error: routes[0].paths[1]: must not have empty segments",
            "f.yaml:2:40: error: routes[0].paths[2]: non-normalized path, consider use '/b' instead",
            "f.yaml:2:49: error: routes[0].paths[3]: should start with: / (fixed path) or ~/ (regex path)",
            "  hint: write /x",
            "f.yaml:2:52: error: routes[0].paths[4]: should start with: / (fixed path) or ~/ (regex path)",
            "f.yaml:2:58: error: routes[0].paths[5]: invalid regex: unclosed group",
            "f.yaml:2:65: error: routes[0].paths[6]: invalid regex: look-around, including look-ahead and look-behind, is not supported",
        ]
    );
}

#[test]
fn values_come_from_the_environment() {
    let text = r#"
vaults: [{prefix: mine, name: env, config: {prefix: SSL_}}]
services:
- {name: s, host: '${{ env "DECK_HOST" }}', port: '${{ env "DECK_PORT" | toInt }}', tags: ['{vault://env/nope}']}
certificates:
- {cert: '{vault://mine/cert}', key: '{vault://env/my-key/pem}'}
consumers:
- {username: 'a-${{ env "DECK_HOST" }}-b', keyauth_credentials: [{key: '{vault://env/k?prefix=app-#2}'}]}
"#
    .replace("tags: ['{vault://env/nope}']", "tags: ['x-{vault:']");
    let env = [
        ("DECK_HOST", "h"),
        ("DECK_PORT", "8080"),
        ("SSL_CERT", "CERT"),
        ("MY_KEY", "{\"pem\": \"KEY\"}"),
        ("APP_K_PREVIOUS", "old"),
    ];
    let (model, report) = read_with(&text, &env);
    let model = model.unwrap_or_else(|| panic!("{}", report.to_text()));
    assert_eq!(
        (&*model.services[0].host, model.services[0].port),
        ("h", 8080)
    );
    assert_eq!(
        (&*model.certificates[0].cert, &*model.certificates[0].key),
        ("CERT", "KEY")
    );
    assert_eq!(model.consumers[0].username.as_deref(), Some("a-h-b"));
    assert_eq!(model.credentials[0].row.get::<String>().unwrap(), "old");
    assert_eq!(
        model.environment,
        [
            "APP_K_PREVIOUS",
            "DECK_HOST",
            "DECK_PORT",
            "MY_KEY",
            "SSL_CERT"
        ]
    );
    let report = read_with(&text, &[("DECK_PORT", "x"), ("MY_KEY", "plain")])
        .1
        .to_text();
    for line in [
        "services[0].host: environment variable 'DECK_HOST' is not set",
        "services[0].port: environment variable 'DECK_PORT' does not fit 'toInt'",
        "certificates[0].cert: environment variable 'SSL_CERT' is not set",
        "certificates[0].key: environment variable 'MY_KEY' is no JSON object with a text 'pem'",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let text = "
services: [{name: t, host: h, protocol: tcp, routes: [{protocols: [tcp], sources: [{ip: 10.0.0.1}]}]}]
workspaces: [{name: default}, {name: w}]
filter_chains: [{}]
keys: [{}]
key_sets: []
_info: {a: 1}
oauth2_credentials: []
consumers: [{username: a, jwt_secrets: []}]
plugins: [{name: zipkin}, {name: openid-connect}, {name: rate-limit}, {name: my-own}]
";
    assert_eq!(
        lines(text),
        [
            "f.yaml:2:41: error: services[0].protocol: stream proxying is not supported",
            "  hint: 'tcp' is no protocol of requests: use http, https, grpc or grpcs",
            "f.yaml:2:67: error: services[0].routes[0].protocols: stream proxying is not supported",
            "  hint: 'tcp' is no protocol of requests: use http, https, grpc or grpcs",
            "f.yaml:3:31: error: workspaces[1]: not supported: workspaces other than 'default'",
            "f.yaml:4:16: error: filter_chains: not supported: filter chains",
            "f.yaml:5:7: error: keys: not supported: no plugin here uses keys",
            "f.yaml:7:8: warning: _info: a key of decK, which Kong itself refuses: ignored",
            "f.yaml:8:1: error: oauth2_credentials: not supported: the plugin that these credentials belong to is not built in",
            "f.yaml:9:27: error: consumers[0].jwt_secrets: not supported: the plugin that these credentials belong to is not built in",
            "f.yaml:10:18: error: plugins[0].name: plugin 'zipkin' not enabled; add it to the 'plugins' configuration property",
            "  hint: zipkin is a Kong plugin that sluicegate does not support yet",
            "f.yaml:10:34: error: plugins[1].name: plugin 'openid-connect' not enabled; add it to the 'plugins' configuration property",
            "  hint: openid-connect is a plugin of Kong's commercial edition",
            "f.yaml:10:58: error: plugins[2].name: plugin 'rate-limit' not enabled; add it to the 'plugins' configuration property",
            "  hint: did you mean `rate-limiting`?",
            "f.yaml:10:78: error: plugins[3].name: plugin 'my-own' not enabled; add it to the 'plugins' configuration property",
        ]
    );
}

#[test]
fn shared_plugin_configurations_of_deck() {
    let text = "
_plugin_configs:
  strict: {minute: 5, policy: redis, headers: {a: '1'}}
plugins:
- {name: rate-limiting, _config: strict, config: {minute: 6, headers: {b: '2'}}}
- {name: cors, _config: nope}
";
    let report = read_with(text, &[]).1.to_text();
    assert!(
        report.contains("plugins[1]._config: no entry 'nope' in '_plugin_configs'"),
        "{report}"
    );
    let model = model(&text.replace(", _config: nope", ""));
    assert_eq!(
        model.plugins[0].shown,
        serde_json::json!({"minute": 6, "hour": null, "policy": "redis", "secret": null,
            "http_endpoint": null, "headers": {"a": "1", "b": "2"}})
    );
}

#[test]
fn plugin_scopes_are_checked() {
    let text = "
services: [{name: s, host: h, protocol: http}]
consumers: [{username: c, plugins: [{name: jwt}, {name: rate-limiting, config: {minute: 1, secret: x}}]}]
plugins:
- {name: acme, service: s}
- {name: cors, service: s, protocols: [https]}
- {name: rate-limiting, config: {minute: 5, hour: 2}}
";
    assert_eq!(
        lines(text),
        [
            "f.yaml:3:37: error: consumers[0].plugins[0].consumer: value must be null",
            "  hint: jwt cannot be set on a consumer",
            "f.yaml:5:25: error: plugins[0].service: value must be null",
            "  hint: acme can only be set globally",
            "f.yaml:6:39: error: plugins[1].protocols: must match the associated service's protocol",
            "f.yaml:7:51: error: plugins[2].config.hour: must not be lower than 'minute'",
        ]
    );
}

#[test]
fn certificates_and_their_names() {
    let text = "
certificates:
- id: 00000000-0000-4000-8000-000000000001
  cert: C
  key: K
  snis: [a.test, {name: '*.b.test'}, {name: '*'}]
snis: [{name: c.test, certificate: 00000000-0000-4000-8000-000000000001}]
services:
- {host: h, protocol: https, port: 443, client_certificate: {id: 00000000-0000-4000-8000-000000000001}, ca_certificates: [00000000-0000-4000-8000-000000000002]}
ca_certificates: [{id: 00000000-0000-4000-8000-000000000002, cert: X}]
";
    let model = model(text);
    let names: Vec<&str> = model.snis.iter().map(|sni| &*sni.name).collect();
    assert_eq!(names, ["a.test", "*.b.test", "*", "c.test"]);
    assert_eq!(model.services[0].client_certificate, Some(0));
    assert_eq!(model.services[0].trusted, Some(vec![0]));
    assert_eq!(
        lines(
            "certificates: [{cert: C, cert_alt: D, snis: [1.2.3.4, 'a:80']}]\nsnis: [{name: x.test}]"
        ),
        [
            "f.yaml:1:16: error: certificates[0].key: required field missing",
            "f.yaml:1:16: error: certificates[0]: all or none of these fields must be set: 'cert_alt', 'key_alt'",
            "f.yaml:1:46: error: certificates[0].snis[0].name: must not be an IP",
            "f.yaml:1:55: error: certificates[0].snis[1].name: must not have a port",
            "f.yaml:2:8: error: snis[0].certificate: required field missing",
        ]
    );
}

#[test]
fn the_gateway_section_becomes_a_layer() {
    let model = model(
        "gateway: {drain_timeout: 5s, workers: 2, admin_listen: off, trusted_ips: [10.0.0.0/8, 1.2.3.4]}",
    );
    let merged = settings::merge(&Default::default(), &Default::default(), &model.settings);
    assert_eq!(merged.errors, []);
    assert_eq!(merged.settings.workers, Some(2));
    assert!(merged.settings.admin_listen.is_empty());
    assert_eq!(merged.settings.trusted_ips.len(), 2);
    assert_eq!(
        lines("gateway: {drain_timeout: 5, drain_delays: 1s, proxy_listen: '*'}"),
        [
            "f.yaml:1:26: error: gateway.drain_timeout: '5' is no time",
            "  hint: write 250ms, 10s or 1m",
            "f.yaml:1:29: error: gateway.drain_delays: unknown field",
            "  hint: did you mean `drain_delay`?",
            "f.yaml:1:61: error: gateway.proxy_listen: '*' is no address to listen on",
            "  hint: write ADDR:PORT, IPv6 in brackets: [::]:8000",
        ]
    );
}

#[test]
fn a_file_is_shown_without_its_secrets() {
    let text = "
_format_version: '2.1'
_ignore: [{secret: s3cret}]
_plugin_configs: {x: {secret: s3cret, minute: 1}}
gateway: {consul_token: s3cret, workers: 2}
consumers:
- username: a
  keyauth_credentials: [{key: s3cret}, {key: '{vault://env/K}'}]
  basicauth_credentials: [{username: u, password: s3cret}]
  plugins: [{name: rate-limiting, _config: x}]
certificates: [{cert: C, key: s3cret}]
";
    let shown = masked(text, &known()).unwrap();
    let yaml = serde_yaml::to_string(&shown).unwrap();
    assert!(!yaml.contains("s3cret"), "{yaml}");
    for kept in [
        "{vault://env/K}",
        "username: u",
        "minute: 1",
        "workers: 2",
        "_format_version: '3.0'",
    ] {
        assert!(yaml.contains(kept), "{kept}\n{yaml}");
    }
    assert!(
        yaml.find("consumers:") < yaml.find("certificates:"),
        "{yaml}"
    );
}
