//! One set of rules for both stores: what a limit means must not depend on who counts.

use std::net::IpAddr;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::limits::Local;
use crate::remote::redis::server::Redis;
use crate::remote::redis::{Address, RedisClients, Target};
use crate::telemetry::Metrics;
use crate::tls::TlsClients;

/// 2024-02-29 22:14:10 UTC.
const AT: Duration = Duration::from_secs(1_709_244_850);

fn ms(after: u64) -> Duration {
    AT + Duration::from_millis(after)
}

fn clients() -> Arc<RedisClients> {
    let runtime = tokio::runtime::Handle::current();
    RedisClients::new(runtime, Metrics::new(1), TlsClients::new().unwrap())
}

fn target(port: u16) -> Target {
    Target {
        nodes: vec![Address {
            host: "127.0.0.1".into(),
            port,
        }],
        cluster: false,
        // A busy machine is not what is tested here.
        timeout: Duration::from_secs(10),
        username: None,
        password: None,
        database: 0,
        tls: None,
    }
}

fn scope(route: u32) -> Scope {
    Scope {
        route: format!("route-{route}"),
        ..Scope::default()
    }
}

/// A place to count in.
enum Store {
    Here(Local),
    There(Shared),
}

impl Store {
    async fn take(&self, who: u8, now: Duration, limits: &[u64]) -> Taken {
        let who = Who::Ip(IpAddr::from([10, 0, 0, who]));
        match self {
            Store::Here(local) => local.take(local.key(who), now, limits),
            Store::There(shared) => {
                let taken = shared.take(&shared.name(who), now, limits).await;
                taken.unwrap().0
            }
        }
    }

    /// Whether the next one passes, and what remains.
    async fn next(&self, now: Duration, limits: &[u64]) -> (bool, u64) {
        let taken = self.take(1, now, limits).await;
        (taken.allowed, taken.remaining[0])
    }
}

/// Stores of both kinds.
struct Stores {
    _server: Redis,
    clients: Arc<RedisClients>,
    client: Arc<RedisClient>,
    made: std::cell::Cell<u32>,
}

impl Stores {
    fn start() -> Self {
        let server = Redis::start(&[]);
        let clients = clients();
        Self {
            client: clients.client(target(server.port())),
            _server: server,
            clients,
            made: std::cell::Cell::new(0),
        }
    }

    fn of(&self, shape: Shape, periods: &[Period]) -> [Store; 2] {
        self.made.set(self.made.get() + 1);
        let shared = Shared::new(self.client.clone(), &scope(self.made.get()), shape, periods);
        let local = Local::new(shape, periods, 1024);
        [Store::Here(local), Store::There(shared)]
    }
}

#[tokio::test(flavor = "local")]
async fn a_limit_means_the_same_in_both_stores() {
    use Period::{Hour, Minute, Second};
    let stores = Stores::start();
    for store in stores.of(Shape::Fixed, &[Minute]) {
        for left in (0..5).rev() {
            assert_eq!(store.next(AT, &[5]).await, (true, left));
        }
        for _ in 0..3 {
            assert_eq!(store.next(ms(49_999), &[5]).await, (false, 0));
        }
        assert_eq!(store.next(ms(50_000), &[5]).await, (true, 4));
    }
    // What one period refuses, the others do not count.
    for store in stores.of(Shape::Fixed, &[Second, Minute, Hour]) {
        for _ in 0..2 {
            assert!(store.next(AT, &[2, 3, 4]).await.0);
        }
        for _ in 0..5 {
            let refused = store.take(1, AT, &[2, 3, 4]).await;
            assert_eq!(
                (refused.allowed, &refused.remaining[..3]),
                (false, &[0, 1, 2][..])
            );
            assert_eq!(refused.reset[..3], [1, 50, 2750]);
        }
        assert!(store.next(ms(1_000), &[2, 3, 4]).await.0);
        assert!(!store.next(ms(2_000), &[2, 3, 4]).await.0);
    }
    for store in stores.of(Shape::Sliding, &[Minute]) {
        let minute = ms(50_000);
        for left in (0..10).rev() {
            assert_eq!(store.next(minute, &[10]).await, (true, left));
        }
        let half = minute + Duration::from_secs(90);
        for left in (0..5).rev() {
            assert_eq!(store.next(half, &[10]).await, (true, left));
        }
        let refused = store.take(1, half, &[10]).await;
        assert_eq!((refused.allowed, refused.reset[0]), (false, 6));
        let just_before = half + Duration::from_millis(5_999);
        assert!(!store.next(just_before, &[10]).await.0);
        assert!(store.next(half + Duration::from_secs(6), &[10]).await.0);
    }
    for store in stores.of(Shape::Bucket, &[Minute]) {
        for left in (0..6).rev() {
            assert_eq!(store.next(AT, &[6]).await, (true, left));
        }
        let refused = store.take(1, AT, &[6]).await;
        assert_eq!((refused.allowed, refused.reset[0]), (false, 10));
        assert!(!store.next(ms(9_999), &[6]).await.0);
        assert_eq!(store.next(ms(10_000), &[6]).await, (true, 0));
        assert_eq!(store.next(ms(600_000), &[6]).await, (true, 5));
    }
    // Clients have counters of their own.
    for store in stores.of(Shape::Fixed, &[Hour]) {
        assert!(store.take(1, AT, &[1]).await.allowed);
        assert!(store.take(2, AT, &[1]).await.allowed);
        assert!(!store.take(1, AT, &[1]).await.allowed);
    }
    assert_eq!(stores.clients.check().unwrap().message, "1 server");
}

#[test]
fn whatever_happens_both_stores_say_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let stores = runtime.block_on(async { Stores::start() });
    let shapes = prop_oneof![
        Just(Shape::Fixed),
        Just(Shape::Sliding),
        Just(Shape::Bucket)
    ];
    let periods = proptest::collection::btree_map(0usize..MOST, 1u64..9, 1..4);
    let step = prop_oneof![
        3 => Just(0u64), 4 => 0u64..900, 3 => 0u64..70_000, 1 => 0u64..7_200_000,
        1 => 0u64..3_000_000_000
    ];
    let steps = proptest::collection::vec((0u8..3, step), 1..40);
    let start = 1_600_000_000_000u64..1_900_000_000_000;
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(60)
    };
    let ran = TestRunner::new(config).run(
        &(shapes, periods, start, steps),
        |(shape, periods, start, steps)| {
            let taken = if shape == Shape::Bucket { 1 } else { MOST };
            let chosen: Vec<(usize, u64)> = periods.into_iter().take(taken).collect();
            let periods: Vec<Period> = chosen.iter().map(|(at, _)| Period::ALL[*at]).collect();
            let limits: Vec<u64> = chosen.iter().map(|(_, limit)| *limit).collect();
            let [here, there] = stores.of(shape, &periods);
            let mut now = Duration::from_millis(start);
            for (who, step) in steps {
                now += Duration::from_millis(step);
                let one = runtime.block_on(here.take(who, now, &limits));
                let other = runtime.block_on(there.take(who, now, &limits));
                prop_assert_eq!(one, other, "{:?} {:?} {:?}", shape, periods, now);
            }
            Ok(())
        },
    );
    ran.unwrap();
}

#[tokio::test(flavor = "local")]
async fn a_hundred_means_a_hundred_over_many_tasks() {
    let stores = Stores::start();
    for shape in [Shape::Fixed, Shape::Sliding, Shape::Bucket] {
        let [_, store] = stores.of(shape, &[Period::Hour]);
        let store = std::rc::Rc::new(store);
        let tasks: Vec<_> = (0..250)
            .map(|_| {
                let store = store.clone();
                tokio::task::spawn_local(async move { store.take(1, AT, &[100]).await.allowed })
            })
            .collect();
        let mut passed = 0;
        for task in tasks {
            passed += usize::from(task.await.unwrap());
        }
        assert_eq!(passed, 100, "{shape:?}");
    }
    // One connection for the probe, one for this thread, one that asks.
    let clients = stores._server.ask("CLIENT LIST");
    assert_eq!(clients.matches("name=").count(), 3, "{clients}");
    // Each script was sent once, and all else by its digest.
    let (whole, digests) = (
        stores._server.calls("eval"),
        stores._server.calls("evalsha"),
    );
    assert!(whole <= 250 * 3 && digests >= 750, "{whole} {digests}");
}

#[tokio::test(flavor = "local")]
async fn keys_are_those_that_are_documented_and_do_not_stay() {
    let stores = Stores::start();
    let [_, fixed] = stores.of(Shape::Fixed, &[Period::Minute, Period::Month]);
    let [_, sliding] = stores.of(Shape::Sliding, &[Period::Minute]);
    let [_, bucket] = stores.of(Shape::Bucket, &[Period::Minute]);
    fixed.take(1, AT, &[5, 9]).await;
    sliding.take(1, AT, &[5]).await;
    bucket.take(1, AT, &[6]).await;
    let mut keys: Vec<String> = Vec::new();
    for key in stores._server.ask("KEYS *").split(' ') {
        let ttl: u64 = stores._server.ask(&format!("PTTL {key}")).parse().unwrap();
        let longest = if key.contains("month") {
            40 * 86_400_000
        } else {
            140_000
        };
        assert!((15_000..longest).contains(&ttl), "{key}: {ttl}");
        keys.push(key.to_owned());
    }
    keys.sort();
    let name = |route: u32| format!("{{ratelimit:route-{route}:{NIL}:10.0.0.1}}");
    let want = [
        format!("{}:1706745600000:month", name(1)),
        format!("{}:1709244840000:minute", name(1)),
        format!("{}:1709244840000:minute:sliding", name(2)),
        format!("{}:minute:token-bucket", name(3)),
    ];
    assert_eq!(keys, want);
}

#[tokio::test(flavor = "local")]
async fn a_key_of_another_kind_is_an_error_and_no_more() {
    let stores = Stores::start();
    let [_, store] = stores.of(Shape::Bucket, &[Period::Minute]);
    let Store::There(shared) = &store else {
        unreachable!();
    };
    let name = shared.name(Who::Ip([10, 0, 0, 1].into()));
    stores
        ._server
        .ask(&format!("SET {name}:minute:token-bucket rubbish"));
    let taken = shared.take(&name, AT, &[5]).await;
    assert!(matches!(taken, Err(Away::Refused(_))), "{taken:?}");
    stores._server.ask("FLUSHALL");
    assert!(shared.take(&name, AT, &[5]).await.unwrap().0.allowed);
}

#[tokio::test(flavor = "local")]
async fn consumers_and_scopes_keep_apart() {
    let clients = RedisClients::detached();
    let shared = |scope: &Scope| {
        Shared::new(
            clients.client(target(1)),
            scope,
            Shape::Fixed,
            &[Period::Minute],
        )
    };
    let of = |route: &str, service: &str, consumer: &str| {
        let scope = Scope {
            id: "i".into(),
            route: route.into(),
            service: service.into(),
            consumer: consumer.into(),
        };
        shared(&scope).name(Who::Header(b"x"))
    };
    assert_eq!(of("r", "s", ""), "{ratelimit:r:s:header:x}");
    assert_eq!(
        of("", "s", "c"),
        format!("{{ratelimit:{NIL}:s:c:header:x}}")
    );
    let taken = shared(&scope(1)).take("n", AT, &[1]).await;
    assert_eq!(taken.unwrap_err(), Away::Detached);
}
