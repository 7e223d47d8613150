//! Picks as a client would see them, against what each algorithm promises.

use std::collections::HashMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::upstream::cluster::{ClusterKey, EndpointSpec, Resolution};
use crate::upstream::hash::mix;

fn cluster(weights: &[u32]) -> Arc<Cluster> {
    let cluster = Arc::new(Cluster::new(ClusterKey::Upstream("u".into())));
    set(&cluster, weights);
    cluster
}

/// Endpoint `ix` has port `ix + 1`.
fn set(cluster: &Cluster, weights: &[u32]) {
    let all: Vec<_> = (1..).zip(weights.iter().copied()).collect();
    set_ports(cluster, &all);
}

fn set_ports(cluster: &Cluster, all: &[(u16, u32)]) {
    let specs: Vec<_> = all
        .iter()
        .map(|(port, weight)| EndpointSpec {
            address: SocketAddr::from(([127, 0, 0, 1], *port)),
            host: "h".into(),
            target: format!("h:{port}"),
            weight: *weight,
        })
        .collect();
    cluster.set_endpoints(&specs, Resolution::Known);
}

fn on(cluster: &Arc<Cluster>, algorithm: Algorithm, start: u32) -> Balancer {
    let policy = Policy {
        algorithm,
        ..Policy::default()
    };
    Balancer::new(cluster.clone(), Arc::new(policy), start)
}

fn round_robin(weights: &[u32], start: u32) -> Balancer {
    on(&cluster(weights), Algorithm::RoundRobin, start)
}

fn pick(balancer: &mut Balancer) -> Option<Picked> {
    balancer.pick(None, clock::now(), |_| false)
}

fn picks(balancer: &mut Balancer, count: usize) -> Vec<u16> {
    (0..count)
        .filter_map(|_| pick(balancer).map(|endpoint| endpoint.address.port()))
        .collect()
}

fn count(found: &[u16], port: u16) -> usize {
    found.iter().filter(|other| **other == port).count()
}

/// Where each of so many keys leads.
fn owners(balancer: &mut Balancer, keys: u64) -> Vec<u16> {
    let owner = |key| balancer.pick(Some(mix(key)), clock::now(), |_| false);
    (0..keys)
        .map(owner)
        .map(|picked| picked.unwrap().address.port())
        .collect()
}

#[test]
fn equal_weights_take_turns_and_workers_start_apart() {
    assert_eq!(
        picks(&mut round_robin(&[1, 1, 1], 0), 6),
        [1, 2, 3, 1, 2, 3]
    );
    assert_eq!(
        picks(&mut round_robin(&[1, 1, 1], 1), 6),
        [2, 3, 1, 2, 3, 1]
    );
}

#[test]
fn heavy_endpoints_are_spread() {
    let order = picks(&mut round_robin(&[5, 1, 1], 0), 7);
    assert!(
        order
            .windows(4)
            .all(|window| window.iter().any(|port| *port != 1)),
        "{order:?}"
    );
}

#[test]
fn weight_zero_gets_nothing() {
    for algorithm in ALL {
        let mut one = on(&cluster(&[0, 1]), algorithm, 0);
        assert_eq!(picks(&mut one, 3), [2, 2, 2], "{algorithm:?}");
        assert_eq!(owners(&mut one, 3), [2, 2, 2], "{algorithm:?}");
        for weights in [&[0, 0][..], &[]] {
            let mut none = on(&cluster(weights), algorithm, 3);
            assert!(pick(&mut none).is_none(), "{algorithm:?}");
            assert!(none.pick(Some(1), clock::now(), |_| false).is_none());
        }
    }
}

const ALL: [Algorithm; 4] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::Latency,
    Algorithm::ConsistentHashing,
];

#[test]
fn avoided_endpoints_come_back_only_when_nothing_else_is_left() {
    for algorithm in ALL {
        let mut balancer = on(&cluster(&[1, 1, 1]), algorithm, 0);
        for key in [None, Some(7)] {
            let now = clock::now();
            let tried = |endpoint: &Endpoint| endpoint.address.port() != 3;
            let picked = balancer.pick(key, now, tried);
            assert_eq!(picked.unwrap().address.port(), 3, "{algorithm:?}");
            assert!(balancer.pick(key, now, |_| true).is_some());
        }
    }
    let mut balancer = round_robin(&[1, 1, 1], 0);
    let tried = |endpoint: &Endpoint| endpoint.address.port() != 3;
    balancer.pick(None, clock::now(), tried);
    let later = count(&picks(&mut balancer, 30), 3);
    assert!((9..=10).contains(&later), "its early turn counts: {later}");
}

#[test]
fn a_changed_list_is_used_at_once() {
    for algorithm in ALL {
        let cluster = cluster(&[1]);
        let mut balancer = on(&cluster, algorithm, 0);
        picks(&mut balancer, 3);
        owners(&mut balancer, 3);
        set(&cluster, &[0, 1]);
        assert_eq!(picks(&mut balancer, 2), [2, 2], "{algorithm:?}");
        assert_eq!(owners(&mut balancer, 2), [2, 2], "{algorithm:?}");
    }
}

#[test]
fn turns_go_on_after_years_of_requests() {
    let mut balancer = round_robin(&[2, 1], 0);
    let Choice::RoundRobin(turns) = &mut balancer.choice else {
        panic!()
    };
    turns.age(1 << 62);
    let found = picks(&mut balancer, 300);
    assert!(count(&found, 1).abs_diff(200) <= 1, "{found:?}");
}

#[test]
fn the_least_loaded_is_next_whichever_worker_asks() {
    let cluster = cluster(&[1, 1, 2]);
    let mut workers: Vec<_> = (0..4)
        .map(|start| on(&cluster, Algorithm::LeastConnections, start))
        .collect();
    for ix in 0..40 {
        pick(&mut workers[ix % 4]).unwrap().begin();
    }
    let set = cluster.endpoints();
    let loads: Vec<u32> = set.endpoints.iter().map(|of| of.in_flight()).collect();
    assert_eq!(loads, [10, 10, 20]);
    for _ in 0..5 {
        set.endpoints[1].end(false);
    }
    let first = picks(&mut workers[2], 1);
    assert_eq!(first, [2]);
}

#[test]
fn idle_endpoints_take_turns() {
    for algorithm in [Algorithm::LeastConnections, Algorithm::Latency] {
        let found = picks(&mut on(&cluster(&[1, 1, 1]), algorithm, 1), 6);
        assert_eq!(found, [2, 3, 1, 2, 3, 1], "{algorithm:?}");
    }
}

fn took(picked: &Picked, ms: u64) {
    let now = clock::now();
    picked.answered(200, now - Duration::from_millis(ms), now);
}

#[test]
fn the_fastest_is_next_and_a_peak_counts_at_once() {
    let cluster = cluster(&[1, 1]);
    let mut workers = [
        on(&cluster, Algorithm::Latency, 0),
        on(&cluster, Algorithm::Latency, 1),
    ];
    let (one, two) = (
        pick(&mut workers[0]).unwrap(),
        pick(&mut workers[1]).unwrap(),
    );
    assert_eq!((one.address.port(), two.address.port()), (1, 2));
    took(&one, 10);
    took(&two, 100);
    for worker in &mut workers {
        assert_eq!(picks(worker, 3), [1, 1, 1]);
    }
    took(&one, 500);
    for worker in &mut workers {
        assert_eq!(picks(worker, 3), [2, 2, 2]);
    }
    // Waiting requests count: five at one hundred are slower than one at five hundred.
    (0..5).for_each(|_| two.begin());
    assert_eq!(picks(&mut workers[0], 1), [1]);
}

#[test]
fn refusing_is_no_fast_answer() {
    let mut balancer = on(&cluster(&[1, 1]), Algorithm::Latency, 0);
    let one = pick(&mut balancer).unwrap();
    let now = clock::now();
    one.failed(UpstreamErrorKind::Connect, now, now);
    took(&pick(&mut balancer).unwrap(), 300);
    assert_eq!(picks(&mut balancer, 3), [2, 2, 2]);
}

#[test]
fn an_unknown_endpoint_counts_as_the_mean() {
    let cluster = cluster(&[1, 1]);
    let mut balancer = on(&cluster, Algorithm::Latency, 0);
    for ms in [10, 100] {
        took(&pick(&mut balancer).unwrap(), ms);
    }
    set(&cluster, &[1, 1, 1]);
    let tried = |endpoint: &Endpoint| endpoint.address.port() == 1;
    let next = balancer.pick(None, clock::now(), tried).unwrap();
    assert_eq!(next.address.port(), 3);
    assert_eq!(picks(&mut balancer, 1), [1]);
}

#[test]
fn workers_and_orders_of_the_list_agree_on_owners() {
    let first = cluster(&[]);
    set_ports(&first, &[(1, 10), (2, 20), (3, 30)]);
    let second = cluster(&[]);
    set_ports(&second, &[(3, 30), (1, 10), (2, 20)]);
    let mut one = on(&first, Algorithm::ConsistentHashing, 0);
    let mut two = on(&second, Algorithm::ConsistentHashing, 3);
    assert_eq!(owners(&mut one, 500), owners(&mut two, 500));
}

#[test]
fn requests_without_a_value_take_turns() {
    let mut balancer = on(&cluster(&[1, 1]), Algorithm::ConsistentHashing, 0);
    assert_eq!(picks(&mut balancer, 4), [1, 2, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_new_endpoint_starts_slowly() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections] {
        let cluster = cluster(&[1]);
        let policy = Policy {
            algorithm,
            slow_start: Duration::from_secs(10),
            ..Policy::default()
        };
        let mut balancer = Balancer::new(cluster.clone(), Arc::new(policy), 0);
        tokio::time::advance(Duration::from_secs(60)).await;
        set(&cluster, &[1, 1]);
        for (wait, least, most) in [(0, 8, 10), (5, 31, 35), (6, 49, 51)] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            let held: Vec<Picked> = (0..100)
                .map(|_| pick(&mut balancer).unwrap())
                .inspect(|picked| picked.begin())
                .collect();
            let ports: Vec<u16> = held.iter().map(|of| of.address.port()).collect();
            let new = count(&ports, 2);
            assert!((least..=most).contains(&new), "{algorithm:?} {new}");
            held.iter().for_each(|picked| picked.end(false));
        }
    }
}

/// Passive checks: one failure to connect is enough.
fn checked(algorithm: Algorithm, threshold: f64) -> Policy {
    let counts = crate::upstream::Counts {
        healthy_statuses: vec![200],
        unhealthy_statuses: vec![500],
        tcp_failures: 1,
        http_failures: 2,
        ..Default::default()
    };
    Policy {
        algorithm,
        checks: crate::upstream::Checks {
            threshold,
            trial: counts.clone(),
            passive: Some(counts),
            probation: Duration::from_secs(30),
            ..Default::default()
        },
        ..Policy::default()
    }
}

/// Makes the endpoint with that port fail once.
fn fail(balancer: &mut Balancer, port: u16) {
    let now = clock::now();
    let picked = balancer.pick(None, now, |of| of.address.port() != port);
    let picked = picked.unwrap();
    assert_eq!(picked.address.port(), port);
    picked.failed(UpstreamErrorKind::Connect, now, now);
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_endpoint_gets_one_trial_after_its_probation() {
    for algorithm in ALL {
        let cluster = cluster(&[1, 1, 1]);
        let policy = Arc::new(checked(algorithm, 0.0));
        let mut workers = [0, 1].map(|nth| Balancer::new(cluster.clone(), policy.clone(), nth));
        fail(&mut workers[0], 2);
        for worker in &mut workers {
            assert_eq!(count(&picks(worker, 30), 2), 0, "{algorithm:?}");
            assert_eq!(count(&owners(worker, 100), 2), 0, "{algorithm:?}");
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        let trial = pick(&mut workers[1]).unwrap();
        assert_eq!(trial.address.port(), 2, "{algorithm:?}");
        for worker in &mut workers {
            assert_eq!(count(&picks(worker, 30), 2), 0, "{algorithm:?}");
        }
        let now = clock::now();
        trial.failed(UpstreamErrorKind::ReadTimeout, now, now);
        tokio::time::advance(Duration::from_secs(31)).await;
        let trial = pick(&mut workers[0]).unwrap();
        // In neither list, but an answer.
        trial.answered(404, clock::now(), clock::now());
        assert_eq!(cluster.turned(), [1, 1]);
        tokio::time::advance(Duration::from_secs(200)).await;
        for worker in &mut workers {
            assert!(count(&owners(worker, 100), 2) > 0, "{algorithm:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_back_gets_no_burst() {
    let cluster = cluster(&[1, 1]);
    let mut balancer = Balancer::new(
        cluster.clone(),
        Arc::new(checked(Algorithm::RoundRobin, 0.0)),
        0,
    );
    fail(&mut balancer, 2);
    picks(&mut balancer, 100);
    cluster.set_health(&cluster.endpoints().endpoints[1], true, clock::now());
    assert_eq!(count(&picks(&mut balancer, 10), 2), 5);
}

#[tokio::test(start_paused = true)]
async fn too_little_healthy_weight_is_none_but_for_trials() {
    let cluster = cluster(&[50, 30, 20]);
    let policy = Arc::new(checked(Algorithm::RoundRobin, 50.0));
    let mut balancer = Balancer::new(cluster.clone(), policy, 0);
    fail(&mut balancer, 2);
    assert!(pick(&mut balancer).is_some(), "70 % is more than 50 %");
    fail(&mut balancer, 3);
    assert!(pick(&mut balancer).is_none(), "50 % is not");
    tokio::time::advance(Duration::from_secs(31)).await;
    let trials = [pick(&mut balancer).unwrap(), pick(&mut balancer).unwrap()];
    assert!(pick(&mut balancer).is_none());
    let now = clock::now();
    trials[0].answered(200, now, now);
    assert!(pick(&mut balancer).is_some());
}

#[test]
fn statuses_count_and_a_success_forgets_them() {
    let cluster = cluster(&[1]);
    let policy = Arc::new(checked(Algorithm::RoundRobin, 0.0));
    let mut balancer = Balancer::new(cluster.clone(), policy, 0);
    let mut answer = |status| {
        let picked = pick(&mut balancer);
        if let Some(picked) = &picked {
            picked.answered(status, clock::now(), clock::now());
        }
        picked.is_some()
    };
    for status in [500, 404, 200, 500] {
        assert!(answer(status));
    }
    assert!(answer(500));
    assert!(!answer(200));
    assert_eq!(cluster.turned(), [0, 1]);
}

#[test]
fn one_taken_out_by_hand_stays_out_without_any_checks() {
    for algorithm in ALL {
        let cluster = cluster(&[1, 1]);
        let mut balancer = on(&cluster, algorithm, 0);
        let set = cluster.endpoints();
        cluster.set_health(&set.endpoints[0], false, clock::now());
        assert_eq!(picks(&mut balancer, 3), [2, 2, 2], "{algorithm:?}");
        cluster.set_health(&set.endpoints[0], true, clock::now());
        assert!(count(&picks(&mut balancer, 10), 1) > 0);
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0u32..40, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn shares_follow_weights(weights in weights(), start in 0u32..9, turns in 1usize..4) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let found = picks(&mut round_robin(&weights, start), total as usize * turns);
        for (ix, weight) in weights.iter().enumerate() {
            let count = count(&found, ix as u16 + 1);
            let due = *weight as usize * turns;
            prop_assert!(count.abs_diff(due) <= 1, "{weights:?} {ix}: {count} of {due}");
        }
    }

    /// Against the definition: nobody else would have had a lower load. And by it, whoever stays
    /// busy has at least its share of what is in flight.
    #[test]
    fn no_other_load_is_lower(
        weights in weights(),
        steps in proptest::collection::vec((0usize..4, any::<u16>(), any::<bool>()), 1..120),
    ) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let cluster = cluster(&weights);
        let mut workers: Vec<_> = (0..4)
            .map(|start| on(&cluster, Algorithm::LeastConnections, start))
            .collect();
        let set = cluster.endpoints();
        let mut held: Vec<Picked> = Vec::new();
        for (worker, which, end) in steps {
            if end && !held.is_empty() {
                held.swap_remove(usize::from(which) % held.len()).end(false);
                continue;
            }
            let picked = pick(&mut workers[worker]).unwrap();
            let load = |of: &Endpoint| f64::from(of.in_flight() + 1) / f64::from(of.weight());
            let open = set.endpoints.iter().filter(|of| of.weight() > 0);
            let least = open.map(|of| load(of)).fold(f64::MAX, f64::min);
            prop_assert!(load(&picked) <= least + 1e-9);
            picked.begin();
            held.push(picked);
        }
    }

    #[test]
    fn those_in_flight_are_shared_by_weight(weights in weights(), requests in 1u32..200) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let cluster = cluster(&weights);
        let mut balancer = on(&cluster, Algorithm::LeastConnections, 0);
        for _ in 0..requests {
            pick(&mut balancer).unwrap().begin();
        }
        for endpoint in &cluster.endpoints().endpoints {
            let due = requests * endpoint.weight() / total;
            prop_assert!(endpoint.in_flight() >= due, "{} of {due}", endpoint.in_flight());
        }
    }

    /// Against counting: shares are as the weights say, within what chance allows on the ring.
    #[test]
    fn positions_are_shared_by_weight(weights in proptest::collection::vec(1u32..40, 1..6)) {
        const KEYS: u64 = 20_000;
        let total: u32 = weights.iter().sum();
        let found = owners(&mut on(&cluster(&weights), Algorithm::ConsistentHashing, 0), KEYS);
        for (port, weight) in (1..).zip(&weights) {
            let due = f64::from(*weight) / f64::from(total);
            let share = count(&found, port) as f64 / KEYS as f64;
            let sigma = (due * (1.0 - due) / 10_000.0).sqrt();
            prop_assert!((share - due).abs() <= 7.0 * sigma + 1e-9, "{weights:?}: {share} {due}");
        }
    }

    /// Against the list before: a key moves only away from what has shrunk or to what has grown.
    #[test]
    fn only_what_must_move_moves(
        before in proptest::collection::hash_map(1u16..12, 0u32..40, 1..8),
        after in proptest::collection::hash_map(1u16..12, 0u32..40, 1..8),
        same in any::<bool>(),
        gone in any::<prop::sample::Index>(),
    ) {
        let after = match same {
            false => after,
            // The common case: one of them leaves.
            true => {
                let leaves = *gone.get(&before.keys().copied().collect::<Vec<_>>());
                before.clone().into_iter().filter(|(port, _)| *port != leaves).collect()
            }
        };
        let listed = |all: &HashMap<u16, u32>| all.iter().map(|(p, w)| (*p, *w)).collect::<Vec<_>>();
        let weight = |all: &HashMap<u16, u32>, port| all.get(&port).copied().unwrap_or(0);
        prop_assume!(before.values().any(|weight| *weight > 0));
        prop_assume!(after.values().any(|weight| *weight > 0));
        let cluster = cluster(&[]);
        set_ports(&cluster, &listed(&before));
        let mut balancer = on(&cluster, Algorithm::ConsistentHashing, 0);
        let old = owners(&mut balancer, 1000);
        set_ports(&cluster, &listed(&after));
        let new = owners(&mut balancer, 1000);
        for (old, new) in old.into_iter().zip(new).filter(|(old, new)| old != new) {
            let shrunk = weight(&after, old) < weight(&before, old);
            let grown = weight(&after, new) > weight(&before, new);
            prop_assert!(shrunk || grown, "{before:?} {after:?}: {old} to {new}");
        }
    }
}
