//! Which target gets a request, over several workers, as clients and targets see it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::upstream::{Nobody, reply};
use crate::support::{Gateway, Request, Response, Upstream, gateway};

/// An upstream that answers with its name.
fn named(name: &'static str) -> Upstream {
    Upstream::answering(move |_| reply(200, &[], name.as_bytes()))
}

/// Requests that targets hold until the test lets them go.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn target(&self) -> Upstream {
        let gate = self.clone();
        Upstream::answering(move |_| {
            gate.pass();
            reply(200, &[], b"")
        })
    }
}

#[test]
fn turns_follow_the_weights() {
    let targets = [named("a"), named("b"), named("c")];
    let config = "
services: [{host: pool, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, targets: [{target: '<a>', weight: 10}, {target: '<b>', weight: 20},
  {target: '<c>', weight: 0}]}]";
    let gateway = with(config, &targets);
    for _ in 0..120 {
        assert_eq!(gateway.get("/").status, 200);
    }
    // Each worker's turns are exact: over four of them a turn each may be half done.
    assert!(targets[0].requests().len().abs_diff(40) <= 4);
    assert!(targets[2].requests().is_empty());
}

/// Starts four workers on the targets `<a>`, `<b>`, `<c>`.
fn with(config: &str, targets: &[Upstream]) -> Gateway {
    let setup = gateway(config).flag("--workers", 4);
    let names = ["a", "b", "c"].iter().zip(targets);
    names
        .fold(setup, |setup, (name, target)| setup.fill(name, target))
        .start()
}

#[test]
fn the_least_loaded_target_is_next_over_all_workers() {
    let gate = Gate::default();
    let targets = [gate.target(), gate.target(), gate.target()];
    let config = "
services: [{host: pool, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, algorithm: least-connections, targets: [{target: '<a>', weight: 10},
  {target: '<b>', weight: 10}, {target: '<c>', weight: 20}]}]";
    let gateway = with(config, &targets);
    let total = || targets.iter().map(|of| of.requests().len()).sum::<usize>();
    let mut waiting = Vec::new();
    for sent in 1..=40 {
        let mut conn = gateway.connect();
        conn.send(Request::get("/").bytes());
        waiting.push(conn);
        crate::support::eventually("the request arrives", || total() == sent);
    }
    let found = targets.each_ref().map(|target| target.requests().len());
    assert_eq!(found, [10, 10, 20]);
    gate.open();
    for mut conn in waiting {
        assert_eq!(conn.response("GET").status, 200);
    }
}

#[test]
fn the_faster_target_gets_most_requests() {
    let slow = Upstream::answering(|_| {
        std::thread::park_timeout(Duration::from_millis(60));
        reply(200, &[], b"slow")
    });
    let targets = [slow, named("fast")];
    let config = "
services: [{host: pool, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, algorithm: latency, targets: [{target: '<a>'}, {target: '<b>'}]}]";
    let gateway = with(config, &targets);
    for _ in 0..60 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let slow = targets[0].requests().len();
    assert!((1..20).contains(&slow), "{slow} of 60");
}

#[test]
fn a_dead_target_is_passed_over_whatever_the_algorithm() {
    for algorithm in [
        "algorithm: round-robin",
        "algorithm: least-connections",
        "algorithm: latency",
        "hash_on: path",
    ] {
        let config = "
services: [{host: pool, retries: 1, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, <how>, targets: [{target: '<bad>'}, {target: '<good>'}]}]";
        let good = named("good");
        let gateway = gateway(config)
            .fill("how", algorithm)
            .fill("bad", Nobody::new())
            .fill("good", &good)
            .start();
        for nth in 0..12 {
            let response = gateway.get(&format!("/{nth}"));
            assert_eq!(response.text(), "good", "{algorithm}");
        }
    }
}

const HASHED: &str = "
services: [{host: pool, routes: [{paths: ['/', '~/item/(?<id>[^/]+)']}]}]
upstreams: [{name: pool, <how>, targets: [{target: '<a>'}, {target: '<b>'}, {target: '<c>'}]}]
consumers: [<consumers>]
plugins: [<plugins>]";

fn hashed(how: &str, targets: &[Upstream]) -> Gateway {
    let names: Vec<String> = (0..16).map(|nth| format!("c{nth}")).collect();
    let consumers = names
        .iter()
        .map(|name| format!("{{username: {name}, keyauth_credentials: [{{key: {name}}}]}}"))
        .collect::<Vec<_>>();
    let by_consumer = how.contains("consumer");
    let plugins = if by_consumer { "{name: key-auth}" } else { "" };
    let config = HASHED
        .replace("<how>", how)
        .replace("<consumers>", &consumers.join(", "))
        .replace("<plugins>", plugins);
    let setup = gateway(&config).flag("--trusted-ips", "127.0.0.1");
    let names = ["a", "b", "c"].iter().zip(targets);
    names
        .fold(setup.flag("--workers", 4), |setup, (name, target)| {
            setup.fill(name, target)
        })
        .start()
}

fn pool() -> [Upstream; 3] {
    [named("a"), named("b"), named("c")]
}

#[track_caller]
fn where_to(gateway: &Gateway, request: Request) -> String {
    let response = gateway.send(request);
    assert_eq!(response.status, 200, "{response:?}");
    response.text()
}

#[test]
fn equal_values_meet_equal_targets() {
    type Asking = fn(usize) -> Request;
    let modes: [(&str, Asking); 7] = [
        ("hash_on: header, hash_on_header: x-user", |nth| {
            Request::get("/").header("X-User", &format!("u{nth}"))
        }),
        ("hash_on: ip", |nth| {
            Request::get("/").header("X-Real-IP", &format!("10.0.0.{nth}"))
        }),
        ("hash_on: path", |nth| {
            Request::get(&format!("/p{nth}?changing={nth}"))
        }),
        ("hash_on: query_arg, hash_on_query_arg: user", |nth| {
            Request::get(&format!("/?x=1&user=u%20{nth}"))
        }),
        ("hash_on: uri_capture, hash_on_uri_capture: id", |nth| {
            Request::get(&format!("/item/{nth}/detail"))
        }),
        ("hash_on: uri_capture, hash_on_uri_capture: '1'", |nth| {
            Request::get(&format!("/item/{nth}"))
        }),
        ("hash_on: consumer", |nth| {
            Request::get("/").header("apikey", &format!("c{nth}"))
        }),
    ];
    for (how, asking) in modes {
        let targets = pool();
        let gateway = hashed(how, &targets);
        let mut met = BTreeSet::new();
        for nth in 0..16 {
            let first = where_to(&gateway, asking(nth));
            for _ in 0..4 {
                assert_eq!(where_to(&gateway, asking(nth)), first, "{how} {nth}");
            }
            met.insert(first);
        }
        assert_eq!(met.len(), 3, "{how}: {met:?}");
    }
}

#[test]
fn what_has_no_value_falls_back_and_then_takes_turns() {
    let targets = pool();
    let how = "hash_on: header, hash_on_header: x-user, hash_fallback: query_arg,
      hash_fallback_query_arg: user";
    let gateway = hashed(how, &targets);
    let ask = |request: Request| where_to(&gateway, request);
    let by_header = ask(Request::get("/").header("x-user", "u1"));
    let by_query = ask(Request::get("/?user=u1"));
    assert_eq!(by_header, by_query);
    let both = Request::get("/?user=other").header("x-user", "u1");
    assert_eq!(ask(both), by_header);
    let without: BTreeSet<String> = (0..24).map(|_| ask(Request::get("/"))).collect();
    assert_eq!(without.len(), 3);
}

#[track_caller]
fn session(response: &Response) -> String {
    let set = response.header("set-cookie").unwrap();
    let (pair, rest) = set.split_once(';').unwrap();
    assert_eq!(rest, " Path=/shop; SameSite=Lax; HttpOnly");
    let value = pair.strip_prefix("session=").unwrap();
    assert_eq!(value.len(), 36, "{value}");
    value.to_owned()
}

#[test]
fn a_cookie_is_given_once_and_leads_back() {
    let targets = pool();
    let how = "hash_on: cookie, hash_on_cookie: session, hash_on_cookie_path: /shop";
    let gateway = hashed(how, &targets);
    let mut met: HashMap<String, String> = HashMap::new();
    for _ in 0..16 {
        let first = gateway.get("/");
        met.insert(session(&first), first.text());
    }
    assert_eq!(met.len(), 16, "no two are the same");
    for (value, target) in met {
        for _ in 0..4 {
            let cookie = format!("theme=dark; session={value}");
            let again = gateway.send(Request::get("/").header("Cookie", &cookie));
            assert_eq!(
                (again.text(), again.header("set-cookie")),
                (target.clone(), None)
            );
        }
    }
}

#[test]
fn an_upstream_s_own_cookie_of_that_name_gives_way() {
    let targets = [Upstream::answering(|_| {
        let cookies = [
            ("Set-Cookie", "theme=dark"),
            ("Set-Cookie", "session=mine; Path=/"),
        ];
        reply(200, &cookies, b"")
    })];
    let config = "
services: [{host: pool, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, hash_on: cookie, hash_on_cookie: session, targets: [{target: '<a>'}]}]";
    let gateway = with(config, &targets);
    let first = gateway.get("/");
    let cookies = first.values("set-cookie");
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert_eq!(cookies[0], "theme=dark");
    assert!(cookies[1].starts_with("session=") && !cookies[1].contains("mine"));
    // Who has one already keeps what the upstream says.
    let again = gateway.send(Request::get("/").header("Cookie", "session=x"));
    assert_eq!(
        again.values("set-cookie"),
        ["theme=dark", "session=mine; Path=/"]
    );
}

#[test]
fn only_clients_of_a_target_that_left_move() {
    let targets = pool();
    let config = HASHED
        .replace("<how>", "hash_on: header, hash_on_header: x-user")
        .replace("<consumers>", "")
        .replace("<plugins>", "");
    let gateway = with(&config, &targets);
    let users: Vec<String> = (0..40).map(|nth| format!("user-{nth}")).collect();
    let owners = |users: &[String]| -> Vec<String> {
        let asking = |user: &String| Request::get("/").header("X-User", user);
        let found = users.iter().map(|user| where_to(&gateway, asking(user)));
        found.collect()
    };
    let before = owners(&users);
    let without = config.replace(", {target: '<b>'}", "");
    let without = without
        .replace("<a>", &targets[0].to_string())
        .replace("<c>", &targets[2].to_string());
    gateway.load(&without);
    for (before, after) in before.iter().zip(owners(&users)) {
        match before.as_str() {
            "b" => assert_ne!(after, "b"),
            stays => assert_eq!(stays, after),
        }
    }
}
