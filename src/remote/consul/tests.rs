use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::by_chance;
use super::testkit::{Script, answer, entry, list};
use super::watch::WAIT;
use super::*;

fn web() -> ServiceQuery {
    ServiceQuery {
        service: "web".into(),
        ..ServiceQuery::default()
    }
}

fn start() -> (Arc<Script>, Watch<ServiceQuery>) {
    let script = Arc::new(Script::default());
    let watch = Watch::new(script.client(), web());
    (script, watch)
}

fn one(id: &str) -> String {
    list(&[entry(id, "10.0.0.1", 80, "passing")])
}

#[tokio::test(start_paused = true)]
async fn it_reads_at_once_and_then_waits_for_changes() {
    let (script, mut watch) = start();
    script.body(7, &one("a"));
    script.say((Duration::from_secs(30), Ok(answer(9, &one("b")))));
    let first = watch.next(WAIT).await.unwrap();
    assert_eq!((first.answer.list[0].id.as_str(), first.fell), ("a", false));
    let begin = Instant::now();
    assert_eq!(watch.next(WAIT).await.unwrap().answer.list[0].id, "b");
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    assert_eq!(
        script.asked(),
        [
            "/v1/health/service/web?stale",
            "/v1/health/service/web?stale&index=7&wait=60000ms"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_hangs_is_given_up_after_the_wait_and_what_consul_may_add() {
    let (script, mut watch) = start();
    script.body(7, "[]");
    watch.next(WAIT).await.unwrap();
    let begin = Instant::now();
    assert_eq!(watch.next(WAIT).await.unwrap_err(), ConsulError::TimedOut);
    let took = begin.elapsed();
    assert!(took > WAIT * 17 / 16 && took < WAIT * 5 / 4, "{took:?}");
    script.body(7, "[]");
    watch.next(WAIT).await.unwrap();
    assert_eq!(script.asked()[2], "/v1/health/service/web?stale");
}

#[tokio::test(start_paused = true)]
async fn an_index_that_falls_is_told_and_asked_anew() {
    let (script, mut watch) = start();
    script.body(90, &one("a"));
    script.body(20, &one("b"));
    script.body(20, &one("b"));
    assert!(!watch.next(WAIT).await.unwrap().fell);
    let fallen = watch.next(WAIT).await.unwrap();
    assert_eq!(
        (fallen.answer.list[0].id.as_str(), fallen.fell),
        ("b", true)
    );
    assert!(!watch.next(WAIT).await.unwrap().fell);
    let asked = script.asked();
    assert!(asked[1].contains("index=90") && !asked[2].contains("index"));
}

#[tokio::test(start_paused = true)]
async fn without_an_index_nothing_spins() {
    let (script, mut watch) = start();
    for _ in 0..100 {
        script.body(0, "[]");
    }
    let begin = Instant::now();
    for _ in 0..100 {
        watch.next(WAIT).await.unwrap();
    }
    assert!(begin.elapsed() > Duration::from_secs(40));
    assert!(script.asked()[50].contains("index=1&"));
}

#[tokio::test(start_paused = true)]
async fn failures_pause_longer_and_longer_and_end_with_a_plain_read() {
    let (script, mut watch) = start();
    script.body(7, "[]");
    watch.next(WAIT).await.unwrap();
    for _ in 0..30 {
        script.error(ConsulError::Unreachable("refused".into()));
        assert_eq!(watch.next(WAIT).await.unwrap_err().kind(), "unreachable");
    }
    script.body(8, "[]");
    watch.next(WAIT).await.unwrap();
    let times = script.times();
    let pauses: Vec<Duration> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(
        pauses[1..]
            .iter()
            .all(|pause| *pause >= Duration::from_millis(50))
    );
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(15)));
    let late: Duration = pauses[10..].iter().sum();
    assert!(late > Duration::from_secs(30), "{late:?}");
    assert!(!script.asked()[31].contains("index"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_behind_is_asked_for_its_leader() {
    for meta in [
        Meta {
            leaderless: true,
            ..Meta::default()
        },
        Meta {
            last_contact: Duration::from_secs(3),
            ..Meta::default()
        },
    ] {
        let (script, mut watch) = start();
        let old = |body: &str| Answer {
            meta: meta.clone(),
            ..answer(0, body)
        };
        script.say((Duration::ZERO, Ok(old("[]"))));
        script.body(8, &one("a"));
        assert_eq!(watch.next(WAIT).await.unwrap().answer.list.len(), 1);
        assert_eq!(script.asked()[1], "/v1/health/service/web");
        // No leader: old news are better than none, and nothing is no news.
        script.say((Duration::ZERO, Ok(old(&one("b")))));
        script.error(ConsulError::Failed(500, "No cluster leader".into()));
        assert_eq!(watch.next(WAIT).await.unwrap().answer.list[0].id, "b");
        script.say((Duration::ZERO, Ok(old("[]"))));
        script.error(ConsulError::Failed(500, "No cluster leader".into()));
        assert_eq!(watch.next(WAIT).await.unwrap_err().kind(), "failed");
    }
}

#[tokio::test]
async fn every_status_has_its_error() {
    for (status, body, kind, lasting) in [
        (400, "Failed to parse filter", "bad_question", true),
        (401, "", "forbidden", true),
        (403, "Permission denied", "forbidden", true),
        (404, "", "not_found", false),
        (
            429,
            "Your IP is issuing too many concurrent connections",
            "busy",
            false,
        ),
        (503, "", "busy", false),
        (500, "ACL not found", "forbidden", true),
        (500, "No cluster\nleader", "failed", false),
        (302, "", "unexpected", false),
    ] {
        let script = Arc::new(Script::default());
        let said = Answer {
            status,
            body: body.into(),
            ..Answer::default()
        };
        script.say((Duration::ZERO, Ok(said)));
        let error = script
            .client()
            .call(Call::get("/v1/x".into()))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.is_lasting()),
            (kind, lasting),
            "{status}"
        );
        assert!(!error.to_string().contains('\n'));
        assert!(KINDS.contains(&error.kind()));
    }
}

#[test]
fn chance_stays_below_its_bound() {
    assert!((0..100).all(|_| by_chance(WAIT) <= WAIT));
}
