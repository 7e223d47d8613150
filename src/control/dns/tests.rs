use std::sync::Arc;

use super::super::loader::Loader;
use super::super::testkit::{self, Names};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Lets every task that can go on go on.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(seconds as u32 * SECOND).await;
    settle().await;
}

fn start() -> (Arc<Names>, Arc<Loader>) {
    let names = Arc::new(Names::default());
    (names.clone(), testkit::loader(names))
}

/// Addresses and resolution of the cluster of the first service.
fn seen(snapshot: &Snapshot) -> (Vec<String>, Resolution) {
    let cluster = &snapshot.clusters[snapshot.services[0].cluster];
    let set = cluster.endpoints();
    let endpoint = |e: &Arc<crate::upstream::Endpoint>| format!("{} {}", e.address, e.weight());
    (set.endpoints.iter().map(endpoint).collect(), set.resolution)
}

fn known(list: &[&str]) -> (Vec<String>, Resolution) {
    (
        list.iter().map(|text| (*text).to_owned()).collect(),
        Resolution::Known,
    )
}

const HOST: &str = "services: [{name: a, url: 'http://A.test:80'}]";

#[tokio::test(start_paused = true)]
async fn answers_are_asked_for_again_when_they_end() {
    let (names, loader) = start();
    names.set("a.test", &["10.0.0.2", "10.0.0.1"], 30);
    let snapshot = testkit::load(&loader, HOST);
    assert_eq!(seen(&snapshot).1, Resolution::Pending);
    settle().await;
    assert_eq!(
        seen(&snapshot),
        known(&["10.0.0.1:80 100", "10.0.0.2:80 100"])
    );
    let cluster = &snapshot.clusters[0];
    let version = cluster.endpoints().version;
    names.set("a.test", &["10.0.0.1", "10.0.0.2"], 30);
    pass(29).await;
    assert_eq!(names.asked(), 1);
    pass(1).await;
    assert_eq!(
        (names.asked(), cluster.endpoints().version),
        (2, version),
        "order is no change"
    );
    names.set("a.test", &["::1"], 0);
    pass(30).await;
    assert_eq!(seen(&snapshot), known(&["[::1]:80 100"]));
    pass(1).await;
    assert_eq!(names.asked(), 4, "a TTL of 0 is one second");
}

#[tokio::test(start_paused = true)]
async fn the_last_good_answer_outlives_failures() {
    let (names, loader) = start();
    names.set("a.test", &["10.0.0.1"], 5);
    let snapshot = testkit::load(&loader, HOST);
    settle().await;
    names.put("a.test", Err(LookupError::Failed("refused".to_owned())));
    pass(5).await;
    assert_eq!(seen(&snapshot), known(&["10.0.0.1:80 100"]));
    let asked = names.asked();
    pass(1).await;
    assert_eq!(names.asked(), asked + 1, "asked again soon");
    names.put("a.test", Err(LookupError::NotFound));
    for _ in 0..10 {
        pass(30).await;
    }
    assert_eq!(seen(&snapshot), known(&["10.0.0.1:80 100"]));
    for _ in 0..130 {
        pass(30).await;
    }
    assert_eq!(
        seen(&snapshot),
        (Vec::new(), Resolution::NotFound),
        "gone for an hour"
    );
    names.set("a.test", &["10.0.0.3"], 5);
    pass(30).await;
    assert_eq!(seen(&snapshot), known(&["10.0.0.3:80 100"]));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_there_says_so() {
    let (names, loader) = start();
    names.put("a.test", Err(LookupError::NotFound));
    let snapshot = testkit::load(&loader, HOST);
    settle().await;
    assert_eq!(seen(&snapshot), (Vec::new(), Resolution::NotFound));
    names.put("a.test", Err(LookupError::Failed("refused".to_owned())));
    pass(1).await;
    assert_eq!(seen(&snapshot), (Vec::new(), Resolution::Failed));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_name_that_does_not_answer() {
    let (names, loader) = start();
    names.set("good.test", &["10.0.0.1"], 60);
    let text = "services: [{name: a, host: pool.internal}, {name: b, url: 'http://stuck.test'}]
upstreams:
- name: pool.internal
  targets:
  - {target: '10.9.9.9:8080', weight: 7}
  - {target: 'stuck.test:8080'}
  - {target: 'good.test:8081', weight: 20}
";
    let snapshot = testkit::load(&loader, text);
    settle().await;
    assert_eq!(
        seen(&snapshot),
        known(&["10.9.9.9:8080 7", "10.0.0.1:8081 20"])
    );
    assert_eq!(names.asked(), 2, "one task a name");
    let alone = &snapshot.clusters[snapshot.services[1].cluster];
    assert_eq!(alone.endpoints().resolution, Resolution::Pending);
    pass(10).await;
    assert_eq!(alone.endpoints().resolution, Resolution::Failed);
}

#[tokio::test(start_paused = true)]
async fn every_address_has_the_full_weight() {
    let (names, loader) = start();
    names.set("a.test", &["10.0.0.1", "10.0.0.2"], 60);
    let text = "services: [{name: a, host: u}]
upstreams: [{name: u, targets: [{target: 'a.test:80', weight: 30}, {target: '10.0.0.9', weight: 10}]}]
";
    let snapshot = testkit::load(&loader, text);
    settle().await;
    assert_eq!(
        seen(&snapshot),
        known(&["10.0.0.1:80 30", "10.0.0.2:80 30", "10.0.0.9:8000 10"])
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_are_never_asked_for() {
    let (names, loader) = start();
    let snapshot = testkit::load(&loader, "services: [{name: a, url: 'http://[::1]:81'}]");
    assert_eq!(seen(&snapshot), known(&["[::1]:81 100"]));
    settle().await;
    assert_eq!(names.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_answers_and_ends_names_that_are_gone() {
    let (names, loader) = start();
    names.set("a.test", &["10.0.0.1"], 10);
    names.set("b.test", &["10.0.0.2"], 10);
    testkit::load(&loader, HOST);
    settle().await;
    // The port is another, so the cluster is new; its name is known already.
    let snapshot = testkit::load(&loader, "services: [{name: a, url: 'http://a.test:81'}]");
    assert_eq!(seen(&snapshot), known(&["10.0.0.1:81 100"]));
    assert_eq!(names.asked(), 1);
    let snapshot = testkit::load(&loader, "services: [{name: b, url: 'http://b.test'}]");
    settle().await;
    assert_eq!(seen(&snapshot), known(&["10.0.0.2:80 100"]));
    pass(100).await;
    let asked = names.asked();
    assert!(asked < 20, "{asked}");
    let only_b = asked - 1;
    assert!(only_b >= 2);
}

#[tokio::test(start_paused = true)]
async fn changed_targets_of_a_living_cluster_are_used() {
    let (_names, loader) = start();
    let text = |target: &str| {
        format!(
            "services: [{{name: a, host: u}}]\nupstreams: [{{name: u, targets: [{{target: '{target}'}}]}}]\n"
        )
    };
    let first = testkit::load(&loader, &text("10.0.0.1:1"));
    let second = testkit::load(&loader, &text("10.0.0.2:2"));
    assert!(Arc::ptr_eq(&first.clusters[0], &second.clusters[0]));
    assert_eq!(seen(&second), known(&["10.0.0.2:2 100"]));
}

#[tokio::test(start_paused = true)]
async fn services_are_asked_for_where_there_may_be_some() {
    let (names, loader) = start();
    names.set("a.test", &["10.0.0.1"], 10);
    let snapshot = testkit::load(&loader, HOST);
    settle().await;
    assert_eq!(names.last(), Some(Services::Try));
    // That there are none is remembered for a while.
    for _ in 0..2 {
        pass(10).await;
        assert_eq!(names.last(), Some(Services::Skip));
    }
    let service = |host: &str, ip: [u8; 4], port, weight| Found {
        ip: ip.into(),
        service: Some(Service {
            host: host.into(),
            port,
            weight,
        }),
    };
    let found = vec![
        service("one", [10, 0, 0, 1], 8001, 3),
        // Two hosts that are one count together.
        service("two", [10, 0, 0, 2], 0, 4),
        service("three", [10, 0, 0, 2], 0, 5),
    ];
    let ttl = 10 * SECOND;
    names.put("a.test", Ok(Answer { found, ttl }));
    pass(10).await;
    assert_eq!(names.last(), Some(Services::Try));
    assert_eq!(
        seen(&snapshot),
        known(&["10.0.0.1:8001 3", "10.0.0.2:80 9"])
    );
    pass(10).await;
    assert_eq!(names.last(), Some(Services::Need));
}
