use std::sync::Arc;

use super::super::testkit::{self, Names};
use super::*;

const ONE: &str = "services: [{name: a, url: 'http://127.0.0.1:1', routes: [{paths: [/a]}]}]\n";
const TWO: &str = "services: [{name: b, url: 'http://127.0.0.1:2', routes: [{paths: [/b]}]}]\n";

fn start() -> Reloads {
    Reloads::start(testkit::loader(Arc::new(Names::default())))
}

fn service(reloads: &Reloads) -> Option<String> {
    let snapshot = reloads.loader().snapshot()?;
    snapshot.services[0].entity.name.clone()
}

#[tokio::test]
async fn a_text_goes_live_once() {
    let reloads = start();
    let applied = reloads.load(ONE, Origin::Post).await.unwrap();
    assert_eq!(
        (applied.live.generation, service(&reloads).as_deref()),
        (1, Some("a"))
    );
    let again = reloads.load(ONE, Origin::Post).await;
    assert!(matches!(again, Err(ReloadError::Unchanged(live)) if live.generation == 1));
    let applied = reloads.load(TWO, Origin::Post).await.unwrap();
    assert_eq!(
        (applied.live.generation, service(&reloads).as_deref()),
        (2, Some("b"))
    );
}

#[tokio::test]
async fn a_bad_text_changes_nothing_and_is_remembered_until_a_good_one() {
    let reloads = start();
    reloads.load(ONE, Origin::Post).await.unwrap();
    let bad = reloads
        .load("services: 5\n", Origin::File("x.yaml".to_owned()))
        .await;
    let Err(ReloadError::Invalid(report)) = bad else {
        panic!("{bad:?}");
    };
    assert_eq!(report.file(), "x.yaml");
    assert_eq!(service(&reloads).as_deref(), Some("a"));
    let last = reloads.loader().last().unwrap();
    assert_eq!(
        (last.result, last.report.unwrap().error_count()),
        ("rejected", 1)
    );
    let _ = reloads.load(ONE, Origin::Post).await;
    assert_eq!(reloads.loader().last().unwrap().result, "unchanged");
    reloads.load(TWO, Origin::Post).await.unwrap();
    assert_eq!(reloads.loader().last().unwrap().result, "loaded");
}

#[tokio::test]
async fn the_newest_wins_and_the_others_are_told() {
    let reloads = start();
    let text = |n: usize| format!("services: [{{name: s{n}, url: 'http://127.0.0.1:{n}'}}]\n");
    let asking: Vec<_> = (1..=5)
        .map(|n| {
            let reloads = reloads.clone();
            tokio::spawn(async move { reloads.load(text(n), Origin::Post).await })
        })
        .collect();
    let mut live = 0;
    for (n, asked) in asking.into_iter().enumerate() {
        match asked.await.unwrap() {
            Ok(_) => live = n + 1,
            Err(ReloadError::Superseded) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(live, 5);
    assert_eq!(service(&reloads).as_deref(), Some("s5"));
}

#[tokio::test]
async fn settings_that_need_a_restart_are_named() {
    let reloads = start();
    reloads.load(ONE, Origin::Post).await.unwrap();
    let changed = format!("gateway: {{workers: 7, drain_delay: 5s}}\n{TWO}");
    let applied = reloads.load(changed, Origin::Post).await.unwrap();
    assert_eq!(applied.live.restart, ["workers", "drain_delay"]);
    let back = reloads.load(ONE, Origin::Post).await.unwrap();
    assert!(back.live.restart.is_empty());
}
