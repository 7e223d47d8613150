use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::server::bind::bind;
use crate::util::drain::Phase;
use crate::util::local;

const PATIENCE: Duration = Duration::from_secs(10);

fn listeners(workers: usize, limit: &ConnLimit) -> Vec<Listener> {
    let bound = bind(([127, 0, 0, 1], 0).into(), 128, workers).unwrap();
    let listeners = bound.sockets.into_iter();
    listeners
        .map(|socket| Listener::new(socket, limit.clone()).unwrap())
        .collect()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Polls the other tasks until `done`.
async fn until(done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

#[tokio::test(flavor = "local")]
async fn connections_come_with_their_peer_and_work() {
    let mut listener = listeners(1, &ConnLimit::new(10)).pop().unwrap();
    let mut client = connect(listener.address()).await;
    let mut accepted = listener.accept().await;
    assert_eq!(accepted.peer, client.local_addr().unwrap());
    assert!(accepted.socket.nodelay().unwrap());
    client.write_all(b"x").await.unwrap();
    assert_eq!(accepted.socket.read_u8().await.unwrap(), b'x');
}

#[tokio::test(flavor = "local")]
async fn over_the_limit_connections_wait_in_the_kernel() {
    let limit = ConnLimit::new(1);
    // Two sockets: an idle one must not hold the only place.
    let listeners = listeners(2, &limit);
    let address = listeners[0].address();
    let drain = Drain::new();
    let open = Rc::new(RefCell::new(Vec::new()));
    for listener in listeners {
        let (drain, open) = (drain.clone(), Rc::clone(&open));
        local::spawn(async move {
            listener
                .run(&drain, |accepted| open.borrow_mut().push(accepted))
                .await;
        });
    }
    let _clients = [
        connect(address).await,
        connect(address).await,
        connect(address).await,
    ];
    for _ in 0..3 {
        until(|| !open.borrow().is_empty()).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(open.borrow().len(), 1);
        open.borrow_mut().clear();
    }
}

#[tokio::test(flavor = "local")]
async fn a_drain_takes_what_waits_and_then_closes() {
    let limit = ConnLimit::new(1);
    let listener = listeners(1, &limit).pop().unwrap();
    let address = listener.address();
    let drain = Drain::new();
    let _clients = [
        connect(address).await,
        connect(address).await,
        connect(address).await,
    ];
    drain.advance(Phase::Draining {
        deadline: clock::now() + PATIENCE,
    });
    let mut accepted = Vec::new();
    timeout(PATIENCE, listener.run(&drain, |one| accepted.push(one)))
        .await
        .unwrap();
    assert_eq!(accepted.len(), 3);
    assert_eq!(limit.open(), 3);
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test(flavor = "local")]
async fn a_drain_ends_a_listener_that_waits_for_a_connection_or_a_place() {
    for places in [1, 2] {
        let limit = ConnLimit::new(places);
        let listener = listeners(1, &limit).pop().unwrap();
        let _held = limit.try_take();
        let _client = connect(listener.address()).await;
        let drain = Drain::new();
        let theirs = drain.clone();
        let task = local::spawn(async move { listener.run(&theirs, drop).await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!task.is_finished());
        drain.advance(Phase::Draining {
            deadline: clock::now() + PATIENCE,
        });
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn complaints_are_seldom_and_pauses_grow() {
    let mut seldom = Seldom::default();
    assert!(seldom.is_due() && !seldom.is_due());
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert!(!seldom.is_due());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(seldom.is_due() && !seldom.is_due());
    let mut patience = Patience::default();
    let pauses: Vec<_> = (0..9).map(|_| patience.next().as_millis()).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
}

#[test]
fn only_errors_of_the_process_are_waited_out() {
    assert!(concerns_one_connection(Errno::CONNABORTED));
    for error in [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::BADF,
    ] {
        assert!(!concerns_one_connection(error));
    }
}
