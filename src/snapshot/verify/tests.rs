use rcgen::{CertificateParams, KeyPair};

use super::super::testing::TABLE;
use super::*;

fn with(text: &str, variables: &[(&str, &str)]) -> (Option<Checked>, Report) {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let around = Surroundings {
        flags: Layer::default(),
        variables: variables.collect(),
    };
    check(text, "f", &around, TABLE)
}

fn report(text: &str) -> String {
    let (checked, report) = with(text, &[]);
    assert_eq!(checked.is_some(), report.is_ok(), "{}", report.to_text());
    report.to_text()
}

/// PEM indented for a block scalar.
fn block(pem: &str) -> String {
    pem.lines().map(|line| format!("\n    {line}")).collect()
}

fn made() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    let cert = cert.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem())
}

#[test]
fn a_file_in_order_has_nothing_to_report() {
    let (cert, key) = made();
    let (cert, key) = (block(&cert), block(&key));
    let text = format!(
        "_format_version: '3.0'
services:
- name: a
  url: https://a.test
  client_certificate: {{id: 3f9ba20e-53a1-4f3a-9d7b-4f1e2b9a7d10}}
  routes: [{{name: r, paths: [/a]}}]
certificates:
- id: 3f9ba20e-53a1-4f3a-9d7b-4f1e2b9a7d10
  cert: |{cert}
  key: |{key}
  snis: [{{name: a.test}}, {{name: '*.b.test'}}]
"
    );
    let (checked, report) = with(&text, &[]);
    assert_eq!(report.to_text(), "");
    let checked = checked.unwrap();
    assert!(checked.server_names.find(Some("x.b.test")).is_some());
    assert_eq!(checked.certificates.len(), 1);
    let shown = masked(&text, TABLE);
    assert!(shown.contains("certificates") && !shown.contains("PRIVATE KEY"));
}

#[test]
fn certificates_are_looked_into_at_their_places() {
    let ((cert, key), (_, other)) = (made(), made());
    let (cert, key, other) = (block(&cert), block(&key), block(&other));
    let text = format!(
        "certificates:
- cert: |{cert}
  key: |{other}
- cert: nonsense
  key: |{key}
  snis: [{{name: a.test}}]
ca_certificates:
- cert: |{cert}
",
    );
    let lines: Vec<String> = report(&text).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[0].ends_with("error: certificates[0].key: certificate does not match key"));
    assert!(lines[1].ends_with(
        "error: certificates[1].cert: invalid certificate: \
         no PEM block found, expected -----BEGIN CERTIFICATE-----"
    ));
    assert!(lines[2].contains("error: ca_certificates[0].cert: certificate does not appear"));
    let line_of_key = 3 + cert.lines().count();
    assert!(
        lines[0].starts_with(&format!("f:{line_of_key}:5: ")),
        "{}",
        lines[0]
    );
}

#[test]
fn mistakes_of_all_floors_come_in_one_report() {
    let found = report(
        "services:
- name: a
  url: http://a
  retires: 3
  routes: [{paths: [/x], headers: {x-a: ['~*(']}}]
certificates: [{cert: x, key: y}]
",
    );
    for expected in [
        "f:4:3: error: services[0].retires: unknown field",
        "services[0].routes[0].headers.x-a[0]: ",
        "certificates[0].cert: invalid certificate: ",
    ] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
}

#[test]
fn a_route_that_cannot_match_is_a_warning() {
    let found = report(
        "services:
- name: a
  url: http://a
  routes:
  - {name: all, paths: [/x]}
  - {name: same, paths: [/x]}
- name: hidden
  url: http://off
  enabled: false
  routes: [{paths: [/x]}]
",
    );
    assert_eq!(
        found,
        "f:6:5: warning: services[0].routes[1]: this route can never match: \
         route 'all' (services[0].routes[0]) takes all its requests\n  \
         hint: `sluicegate explain` shows which route wins, and why\n"
    );
}

#[test]
fn path_handling_v1_counts_only_in_the_older_flavor() {
    let text = "routes:\n- paths: [/x]\n  path_handling: v1\n";
    assert!(report(text).starts_with("f:3:18: warning: routes[0].path_handling: v1 does nothing"));
    let older = format!("gateway: {{router_flavor: traditional}}\n{text}");
    assert_eq!(report(&older), "");
    let (checked, found) = with(text, &[("KONG_ROUTER_FLAVOR", "traditional")]);
    assert!(checked.is_some() && found.issues().is_empty());
}

#[test]
fn a_plugin_s_anonymous_consumer_must_be_there() {
    let found = report(
        "consumers: [{username: guest}]
plugins:
- name: auth
  config:
    anonymous: gest
",
    );
    assert_eq!(
        found,
        "f:5:16: error: plugins[0].config.anonymous: there is no consumer 'gest'\n  \
         hint: did you mean `guest`?\n"
    );
}

#[test]
fn a_plugin_that_never_runs_is_a_warning() {
    let found = report(
        "services: [{name: a, url: 'http://a'}, {name: b, url: 'http://b'}]
routes: [{name: r, paths: [/r], service: a}]
plugins: [{name: tag, route: r, service: b}]
",
    );
    assert!(
        found.contains("warning: plugins[0]: this plugin never runs"),
        "{found}"
    );
}

#[test]
fn server_names_are_unique_whatever_their_case() {
    let (cert, key) = made();
    let (cert, key) = (block(&cert), block(&key));
    let found = report(&format!(
        "certificates:
- cert: |{cert}
  key: |{key}
  snis: [{{name: a.test}}, {{name: A.test}}]
"
    ));
    assert!(
        found.contains("error: certificates[0].snis[1].name: the server name 'A.test'"),
        "{found}"
    );
}

#[test]
fn the_environment_fills_references() {
    let text = "services: [{name: a, host: '{vault://env/THE_HOST}'}]\n";
    let (checked, _) = with(text, &[("THE_HOST", "h.test")]);
    assert_eq!(checked.unwrap().model().services[0].host, "h.test");
    assert!(report(text).contains("environment variable 'THE_HOST' is not set"));
}
