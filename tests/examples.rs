//! What the documentation shows works: example files check, manifests have what they need, and the
//! page of settings says what the table of settings says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_yaml::Value;
use sluicegate::config::settings::{SETTINGS, Variables};
use sluicegate::plugins;
use sluicegate::snapshot::{self, Surroundings};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The environment that examples ask for.
fn variables() -> Variables {
    let names = vec![
        "shop.example.com".to_owned(),
        "*.shop.example.com".to_owned(),
    ];
    let leaf = rcgen::generate_simple_self_signed(names).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = authority.self_signed(&key).unwrap();
    [
        ("TLS_CERT", leaf.cert.pem()),
        ("TLS_KEY", leaf.signing_key.serialize_pem()),
        ("UPSTREAM_CA", authority.pem()),
        ("DECK_API_HOST", "127.0.0.1".to_owned()),
        ("DECK_API_PORT", "9001".to_owned()),
        ("SECRET_MOBILE_KEY", "k".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What is wrong with a declarative file, warnings included, and its settings.
fn problems(text: &str, name: &str, around: &Surroundings) -> String {
    let (checked, report) = snapshot::check(text, name, around, plugins::TABLE);
    let mut problems = report.to_text();
    if let Some(checked) = checked {
        for error in &checked.settings().errors {
            problems += &format!("{name}: {error}\n");
        }
    }
    problems
}

#[test]
fn every_example_checks_without_a_warning() {
    let around = Surroundings {
        variables: variables(),
        ..Surroundings::default()
    };
    let mut files = 0;
    let mut found = String::new();
    let entries = fs::read_dir(root("examples")).unwrap().flatten();
    let paths = entries.map(|entry| entry.path());
    let nested =
        ["compose", "consul"].map(|folder| root(&format!("examples/{folder}/gateway.yaml")));
    for path in paths.chain(nested) {
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            files += 1;
            let name = path.file_name().unwrap().to_string_lossy();
            found += &problems(&read(&path), &name, &around);
        }
    }
    assert_eq!(found, "");
    assert!(files >= 10, "{files} examples");
}

#[test]
fn every_plugin_has_an_example_a_page_and_a_line() {
    let list = read(root("docs/plugins.md"));
    for def in plugins::TABLE {
        let name = def.known.name;
        let example = read(root(&format!("examples/{name}.yaml")));
        assert!(example.contains(&format!("name: {name}\n")), "{name}");
        assert!(root(&format!("docs/plugins/{name}.md")).exists(), "{name}");
        let line = format!("| [{name}](plugins/{name}.md) | {} |", def.priority);
        assert!(list.contains(&line), "docs/plugins.md lacks: {line}");
    }
}

#[test]
fn the_page_of_settings_has_every_setting() {
    let page = read(root("docs/settings.md"));
    for setting in SETTINGS {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let line = format!("| `{}` | {default} | {} |", setting.name, setting.doc);
        assert!(page.contains(&line), "docs/settings.md lacks: {line}");
        let kong = format!("`KONG_{}`", setting.name.to_uppercase());
        assert_eq!(page.contains(&kong), setting.kong, "{kong}");
        for also in setting.also {
            assert!(page.contains(&format!("`{also}`")), "{also}");
        }
    }
}

fn documents(text: &str) -> Vec<Value> {
    use serde::Deserialize;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

/// The value under these keys; a number is a place in a list.
fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('/').fold(value, |value, key| {
        let found = match key.parse::<usize>() {
            Ok(place) => value.get(place),
            Err(_) => value.get(key),
        };
        found.unwrap_or_else(|| panic!("{path}: no {key}"))
    })
}

#[test]
fn the_compose_file_mounts_the_folder_of_its_gateway_file() {
    let compose = &documents(&read(root("examples/compose/docker-compose.yaml")))[0];
    let gateway = at(compose, "services/gateway");
    let file = at(gateway, "environment/SLUICEGATE_CONFIG")
        .as_str()
        .unwrap();
    let (folder, name) = file.rsplit_once('/').unwrap();
    let mount = at(gateway, "volumes/0").as_str().unwrap();
    assert_eq!(mount, format!(".:{folder}:ro"));
    let text = read(root("examples/compose").join(name));
    let declared: Value = serde_yaml::from_str(&text).unwrap();
    for service in at(&declared, "services").as_sequence().unwrap() {
        let url = at(service, "url").as_str().unwrap();
        let host = url.trim_start_matches("http://").split(':').next().unwrap();
        assert!(at(compose, "services").get(host).is_some(), "{host}");
    }
    let admin = at(gateway, "ports").as_sequence().unwrap();
    let published = admin.iter().filter_map(Value::as_str);
    for port in published.filter(|port| port.ends_with(":8001")) {
        assert!(port.starts_with("127.0.0.1:"), "the admin API has no login");
    }
}

#[test]
fn the_sidecar_manifest_carries_a_file_that_checks() {
    let documents = documents(&read(root("examples/kubernetes/sidecar.yaml")));
    let of_kind = |kind: &str| {
        let found = documents.iter().find(|it| at(it, "kind") == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    };
    let text = at(of_kind("ConfigMap"), "data/gateway.yaml")
        .as_str()
        .unwrap();
    assert_eq!(problems(text, "sidecar", &Surroundings::default()), "");
    let pod = at(of_kind("Deployment"), "spec/template/spec");
    let gateway = at(pod, "containers/1");
    assert_eq!(at(gateway, "readinessProbe/httpGet/path"), "/ready");
    let mount = at(gateway, "volumeMounts/0/mountPath").as_str().unwrap();
    let file = at(gateway, "env/0/value").as_str().unwrap();
    assert_eq!(file, format!("{mount}/gateway.yaml"));
    assert_eq!(
        at(pod, "volumes/0/configMap/name"),
        at(of_kind("ConfigMap"), "metadata/name")
    );
    let drain = at(pod, "terminationGracePeriodSeconds").as_u64().unwrap();
    assert!(drain > 25, "drain_delay and drain_timeout have to fit");
    assert_eq!(
        at(of_kind("Service"), "spec/selector"),
        at(of_kind("Deployment"), "spec/selector/matchLabels")
    );
}

#[test]
fn the_image_is_small_and_not_roots() {
    let file = read(root("Dockerfile"));
    for line in ["FROM scratch", "USER 65532:65532", "EXPOSE 8000 8443 8001"] {
        assert!(file.lines().any(|it| it == line), "{line}");
    }
    assert!(file.contains("CMD [\"/sluicegate\", \"healthcheck\"]"));
    let toolchain = read(root("rust-toolchain.toml"));
    let channel = toolchain.split('"').nth(1).unwrap();
    assert!(file.contains(&format!("FROM rust:{channel}-alpine")));
    assert!(file.contains(&format!("RUSTUP_TOOLCHAIN={channel}")));
}
