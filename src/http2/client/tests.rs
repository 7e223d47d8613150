use std::convert::Infallible;

use http_body_util::Empty;
use tokio::io::DuplexStream;

use super::*;
use crate::util::sweep::Sweep;

type Body = Empty<Bytes>;

/// What opening may fail with in these tests.
#[derive(Debug, PartialEq, Eq)]
struct No;

impl From<Failure> for No {
    fn from(_: Failure) -> No {
        No
    }
}

impl From<Infallible> for No {
    fn from(never: Infallible) -> No {
        match never {}
    }
}

struct World {
    pool: Pool<&'static str, Body>,
    sweep: Sweep,
    drain: Drain,
    opened: Rc<Cell<usize>>,
    demand: Rc<Cell<Demand>>,
}

impl World {
    fn new() -> Rc<World> {
        let sweep = Sweep::new();
        local::spawn(sweep.clone().run());
        Rc::new(World {
            pool: Pool::new(Duration::from_secs(60)),
            sweep,
            drain: Drain::new(),
            opened: Rc::default(),
            demand: Rc::new(Cell::new(Demand::None)),
        })
    }

    async fn lease(&self, key: &'static str) -> Result<Lease<Body>, No> {
        let connect = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.opened.set(self.opened.get() + 1);
            let demand = Rc::clone(&self.demand);
            let ask: Ask = Box::new(move || demand.get());
            Ok((answering(), Some(ask)))
        };
        self.lease_over(key, &Cell::new(false), connect).await
    }

    async fn lease_over(
        &self,
        key: &'static str,
        stuck: &Cell<bool>,
        connect: impl Future<Output = Result<(DuplexStream, Option<Ask>), No>>,
    ) -> Result<Lease<Body>, No> {
        let slot = || self.sweep.slot();
        let pool = &self.pool;
        pool.lease(&key, slot, &self.drain, stuck, connect).await
    }

    /// A request that may not open a connection; it never gets one of its own.
    fn stuck(self: &Rc<World>, stuck: Rc<Cell<bool>>) -> tokio::task::JoinHandle<Lease<Body>> {
        let world = Rc::clone(self);
        local::spawn(async move {
            let connect = async {
                stuck.set(true);
                pending().await
            };
            world.lease_over("a", &stuck, connect).await.unwrap()
        })
    }
}

/// The near end of a connection whose far end answers everything with 200.
fn answering() -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    local::spawn(async move {
        let mut connection = h2::server::handshake(far).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            respond.send_response(Response::new(()), true).unwrap();
        }
    });
    near
}

fn ask() -> Request<Body> {
    Request::get("http://a/").body(Empty::new()).unwrap()
}

#[tokio::test(flavor = "local")]
async fn requests_at_once_open_one_connection_per_key() {
    let world = World::new();
    let tasks: Vec<_> = (0..80)
        .map(|at| {
            let world = Rc::clone(&world);
            local::spawn(async move {
                let lease = world
                    .lease(if at % 2 == 0 { "a" } else { "b" })
                    .await
                    .unwrap();
                lease.send(ask()).await.unwrap().status()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!((world.opened.get(), world.pool.len()), (2, 2));
}

#[tokio::test(flavor = "local")]
async fn a_full_connection_gets_a_sister() {
    let world = World::new();
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.push(world.lease("a").await.unwrap());
    }
    assert_eq!(world.opened.get(), 1);
    held.push(world.lease("a").await.unwrap());
    assert_eq!(world.opened.get(), 2);
    held.truncate(50);
    world.lease("a").await.unwrap();
    assert_eq!(world.opened.get(), 2);
}

#[tokio::test(flavor = "local")]
async fn whoever_waits_for_a_failed_opening_tries_himself() {
    let world = World::new();
    let there = Rc::clone(&world);
    let first = local::spawn(async move {
        let connect = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err(No)
        };
        let stuck = Cell::new(false);
        there.lease_over("a", &stuck, connect).await.err()
    });
    tokio::task::yield_now().await;
    let second = world.lease("a").await;
    assert!(second.is_ok());
    assert_eq!(first.await.unwrap(), Some(No));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn idle_and_retired_connections_go() {
    let world = World::new();
    let lease = world.lease("a").await.unwrap();
    lease.send(ask()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.pool.len(), 1, "a stream is open");
    drop(lease);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(world.pool.len(), 1, "not idle for long enough");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(world.pool.len(), 0);

    let lease = world.lease("a").await.unwrap();
    lease.retire();
    let other = world.lease("a").await.unwrap();
    assert_eq!(world.opened.get(), 3);
    drop(lease);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.pool.len(), 1);
    drop(other);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn streams_that_end_go_to_those_who_may_open_none() {
    let world = World::new();
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        held.push(world.lease("a").await.unwrap());
    }
    let stuck: Vec<Rc<Cell<bool>>> = (0..50).map(|_| Rc::default()).collect();
    let waiting: Vec<_> = stuck
        .iter()
        .map(|stuck| world.stuck(stuck.clone()))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.iter().any(|task| task.is_finished()));
    assert!(stuck.iter().all(|stuck| stuck.get()), "nobody is to blame");
    held.truncate(STREAMS - 20);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let served = |tasks: &[tokio::task::JoinHandle<_>]| {
        tasks.iter().filter(|task| task.is_finished()).count()
    };
    assert_eq!(served(&waiting), 20);
    // One that leaves takes nobody's turn.
    let left = waiting.iter().find(|task| !task.is_finished()).unwrap();
    left.abort();
    drop(held);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(served(&waiting), 50);
    assert_eq!(world.opened.get(), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_wanted_connection_goes_when_it_is_idle() {
    let world = World::new();
    drop(world.lease("a").await.unwrap());
    world.pool.make_room();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.pool.len(), 1, "nobody wants it");
    world.demand.set(Demand::Waiting);
    world.pool.make_room();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.pool.len(), 0);

    let busy = world.lease("a").await.unwrap();
    world.pool.make_room();
    world.pool.share();
    assert!(world.pool.lease_open(&"a").is_some(), "others have theirs");
    world.demand.set(Demand::Starving);
    world.pool.share();
    assert!(world.pool.lease_open(&"a").is_none());
    assert_eq!(busy.send(ask()).await.unwrap().status(), 200);
    drop(busy);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.pool.len(), 0);
}
