use std::sync::Arc;

use super::super::testing::{Keys, TABLE};
use super::*;
use crate::snapshot::{Surroundings, check};
use crate::upstream::Resolution;

/// Things of one process.
struct Process {
    keeps: Keeps,
    metrics: Arc<Metrics>,
    tls: UpstreamTls,
}

impl Process {
    fn new() -> Self {
        Process {
            keeps: Keeps::default(),
            metrics: Metrics::new(1),
            tls: UpstreamTls::new().unwrap(),
        }
    }

    fn compile(&self, text: &str) -> Snapshot {
        let (checked, report) = check(text, "f", &Surroundings::default(), TABLE);
        let checked = checked.unwrap_or_else(|| panic!("{}", report.to_text()));
        let parts = Parts {
            table: TABLE,
            keeps: &self.keeps,
            handles: &Handles::default(),
            metrics: &self.metrics,
            tls: &self.tls,
            workers: 1,
            generation: 7,
        };
        compile(checked, &parts)
    }
}

fn compiled(text: &str) -> Snapshot {
    Process::new().compile(text)
}

#[test]
fn a_service_finds_its_upstream_and_hosts_are_shared() {
    let snapshot = compiled(
        "services:
- {name: pooled, host: pool, path: /base}
- {name: one, url: 'http://A.test:81'}
- {name: two, url: 'http://a.TEST:81'}
- {name: v6, url: 'http://[::1]:82'}
upstreams:
- name: pool
  host_header: h.test
  targets: [{target: '10.0.0.1:80', weight: 5}, {target: '10.0.0.2', weight: 0}]
",
    );
    let [pooled, one, two, v6] = &snapshot.services[..] else {
        panic!("{}", snapshot.services.len());
    };
    assert_eq!(
        (pooled.upstream, snapshot.host_header(pooled)),
        (Some(0), Some("h.test"))
    );
    assert_eq!(
        (one.cluster, one.upstream, one.path.as_str()),
        (two.cluster, None, "/")
    );
    let names: Vec<String> = snapshot.clusters.iter().map(|c| c.key().name()).collect();
    assert_eq!(names, ["pool", "a.test:81", "[::1]:82"]);
    let pool = snapshot.clusters[pooled.cluster].endpoints();
    assert_eq!(pool.resolution, Resolution::Known);
    let weights: Vec<u32> = pool.endpoints.iter().map(|e| e.weight()).collect();
    assert_eq!(weights, [5, 0]);
    assert_eq!(
        snapshot.clusters[one.cluster].endpoints().resolution,
        Resolution::Pending
    );
    let v6 = snapshot.clusters[v6.cluster].endpoints();
    assert_eq!(v6.endpoints[0].address.to_string(), "[::1]:82");
}

#[test]
fn clusters_outlive_a_reload_and_are_not_changed_by_it() {
    let process = Process::new();
    let text = |target: &str| {
        format!(
            "services: [{{name: a, host: u}}]
upstreams: [{{name: u, targets: [{{target: '{target}'}}]}}]
"
        )
    };
    let first = process.compile(&text("10.0.0.1:1"));
    let second = process.compile(&text("10.0.0.2:2"));
    assert!(Arc::ptr_eq(&first.clusters[0], &second.clusters[0]));
    let living = second.clusters[0].endpoints();
    assert_eq!(
        living.endpoints[0].address.port(),
        1,
        "compiling is not publishing"
    );
    assert_eq!(second.targets[0][0].port, 2);
}

#[test]
fn equal_tls_identities_share_a_number_for_ever() {
    let process = Process::new();
    let number = |snapshot: &Snapshot, ix: usize| snapshot.services[ix].tls.as_ref().map(|t| t.1);
    let first = process.compile(
        "services:
- {name: a, url: 'https://a.test'}
- {name: b, url: 'https://b.test'}
- {name: c, url: 'https://c.test', tls_verify: true}
- {name: d, url: 'http://d.test'}
- {name: e, url: 'https://e.test', http2: true}
",
    );
    assert_eq!(number(&first, 0), number(&first, 1));
    assert_ne!(number(&first, 0), number(&first, 2));
    assert_ne!(number(&first, 0), number(&first, 4));
    assert_eq!(number(&first, 3), None);
    let verified = number(&first, 2);
    drop(first);
    let second =
        process.compile("services: [{name: z, url: 'https://z.test', tls_verify: true}]\n");
    assert_eq!(number(&second, 0), verified);
}

#[test]
fn routes_of_disabled_services_are_left_out_and_the_others_keep_their_place() {
    let snapshot = compiled(
        "services:
- {name: hidden, url: 'http://h.test', enabled: false, routes: [{name: gone, paths: [/x]}]}
- {name: b, url: 'http://b.test', routes: [{name: kept, paths: [/x], strip_path: false}]}
",
    );
    assert_eq!(snapshot.routes.len(), 1);
    let kept = &snapshot.routes[0];
    assert_eq!((kept.entity.label(), kept.strip_path), ("kept", false));
    let service = snapshot.service_of(kept).unwrap();
    assert_eq!(service.entity.label(), "b");
}

#[test]
fn chains_and_credentials_are_built() {
    let snapshot = compiled(
        "services:
- name: a
  url: http://a.test
  plugins: [{name: auth}]
  routes:
  - {name: one, paths: [/1], plugins: [{name: tag, config: {tag: x, token: SECRET}}]}
  - {name: two, paths: [/2], plugins: [{name: auth, enabled: false}]}
consumers:
- {username: u, auth_keys: [{key: K1}]}
- {username: v, auth_keys: [{key: K2}], plugins: [{name: tag, config: {tag: mine}}]}
",
    );
    let chain = |ix: usize| -> Vec<(&str, bool, usize)> {
        let slots = snapshot.routes[ix].plan.slots().iter();
        let slot = |slot: &crate::plugin::Slot| {
            (
                slot.def.known.name,
                slot.base.is_some(),
                slot.by_consumer.len(),
            )
        };
        slots.map(slot).collect()
    };
    assert_eq!(chain(0), [("auth", true, 0), ("tag", true, 1)]);
    assert_eq!(chain(1), [("auth", true, 0), ("tag", false, 1)]);
    assert!(snapshot.global.slots().is_empty());
    assert_eq!(snapshot.plugins.len(), 4);
    let shown = serde_json::to_string(&snapshot.plugins[1].json).unwrap();
    let all: String = snapshot
        .plugins
        .iter()
        .map(|plugin| plugin.json.to_string())
        .collect();
    assert!(
        !all.contains("SECRET") && !snapshot.masked().contains("K1"),
        "{shown}"
    );
}

#[test]
fn credentials_know_their_consumers() {
    let text = "consumers: [{username: u}, {username: v}]
auth_keys: [{key: K1, consumer: v}, {key: K2, consumer: u}]
";
    let (checked, _) = check(text, "f", &Surroundings::default(), TABLE);
    let mut model = checked.unwrap().model;
    let keys = Credentials::take(&mut model, TABLE).table::<Keys>("auth_keys");
    assert_eq!(*keys, [("K1".to_owned(), 1), ("K2".to_owned(), 0)]);
}

#[test]
fn entities_have_kong_s_shape() {
    let snapshot = compiled(
        "services:
- name: a
  id: 3f9ba20e-53a1-4f3a-9d7b-4f1e2b9a7d10
  url: https://a.test/base
  tags: [t]
  routes: [{name: r, paths: [/x], headers: {x-a: [b]}}]
",
    );
    let service = &snapshot.services[0].entity;
    assert_eq!(service.id, "3f9ba20e-53a1-4f3a-9d7b-4f1e2b9a7d10");
    assert_eq!(service.json["port"], 443);
    assert_eq!(service.json["tags"][0], "t");
    let route = &snapshot.routes[0].entity.json;
    assert_eq!(route["service"]["id"], service.id.as_str());
    assert_eq!(route["methods"], serde_json::Value::Null);
    assert_eq!(route["headers"]["x-a"][0], "b");
    assert_eq!(route["path_handling"], "v0");
}
