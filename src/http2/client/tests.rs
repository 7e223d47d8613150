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
        })
    }

    async fn lease(&self, key: &'static str) -> Result<Lease<Body>, No> {
        let connect = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.opened.set(self.opened.get() + 1);
            Ok::<_, No>(answering())
        };
        let slot = || self.sweep.slot();
        self.pool.lease(&key, slot, &self.drain, connect).await
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
            Err::<DuplexStream, No>(No)
        };
        let slot = || there.sweep.slot();
        there
            .pool
            .lease(&"a", slot, &there.drain, connect)
            .await
            .err()
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
