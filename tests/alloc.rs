//! The allocation budget of proxied keep-alive requests.
//!
//! A counting allocator stands around one worker's thread. After some warm-up, requests over one
//! client connection are driven through [`sluicegate::gateway::drive_http1::serve`] to an upstream
//! on loopback. The upstream has its own threads; only this thread is counted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../benches/common.rs"]
mod common;
#[path = "../benches/counting.rs"]
mod counting;

use common::Client;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting(std::alloc::System);

const WARM_UP: usize = 200;
const REQUESTS: u64 = 500;

/// On a busy machine the client may be held up for so long that its connection goes to sleep, which
/// is not free. What requests themselves allocate shows in every round.
const ROUNDS: usize = 3;

/// Allocations on this thread during [`REQUESTS`] requests, in the round with the fewest.
fn allocations(config: &str, request: &[u8]) -> u64 {
    common::run(async {
        let mut client = Client::new(common::worker(config));
        for _ in 0..WARM_UP {
            client.exchange(request, common::BODY).await;
        }
        let mut fewest = u64::MAX;
        for _ in 0..ROUNDS {
            let before = counting::count();
            for _ in 0..REQUESTS {
                client.exchange(request, common::BODY).await;
            }
            fewest = fewest.min(counting::count() - before);
        }
        fewest
    })
}

#[test]
fn a_plain_proxied_request_allocates_nothing() {
    let config = common::config(common::upstream(common::ANSWER), "");
    let made = allocations(&config, common::REQUEST);
    assert_eq!(made, 0, "{made} allocations in {REQUESTS} requests");
}

#[test]
fn a_closed_breaker_allocates_nothing() {
    let config = common::config(common::upstream(common::ANSWER), common::BREAKER);
    let made = allocations(&config, common::REQUEST);
    assert_eq!(made, 0, "{made} allocations in {REQUESTS} requests");
}

#[test]
fn choosing_and_judging_targets_allocates_nothing() {
    for how in [
        "algorithm: least-connections",
        "algorithm: latency",
        "hash_on: header, hash_on_header: host",
    ] {
        let config = format!(
            "services: [{{host: pool, routes: [{{paths: [/]}}]}}]
upstreams: [{{name: pool, {how}, targets: [{{target: '{}'}}],
  healthchecks: {{passive: {{unhealthy: {{tcp_failures: 2, http_failures: 2}}}}}}}}]",
            common::upstream(common::ANSWER)
        );
        let made = allocations(&config, common::REQUEST);
        assert_eq!(made, 0, "{how}: {made} allocations in {REQUESTS} requests");
    }
}

/// Ids, credentials, keys and origins are looked up where they stand, or noted in memory that stays.
#[test]
fn six_plugins_allocate_nothing() {
    let config = common::config(common::upstream(common::ANSWER), common::PLUGINS);
    let made = allocations(&config, &common::guarded());
    assert_eq!(made, 0, "{made} allocations in {REQUESTS} requests");
}

/// Who may pass is one bit, one search among addresses, one look at what was decided before.
#[test]
fn judging_who_asks_allocates_nothing() {
    const PLUGINS: &str = "
plugins:
- name: key-auth
- {name: acl, config: {allow: [staff]}}
- {name: ip-restriction, config: {allow: [127.0.0.0/8, 10.0.0.0/8]}}
- {name: bot-detection, config: {deny: [old-app]}}
consumers:
- {username: c, keyauth_credentials: [{key: k}], acls: [{group: beta}, {group: staff}]}
";
    let config = common::config(common::upstream(common::ANSWER), PLUGINS);
    let made = allocations(&config, &common::guarded());
    assert_eq!(made, 0, "{made} allocations in {REQUESTS} requests");
}
