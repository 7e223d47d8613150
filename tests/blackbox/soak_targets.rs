//! Twenty targets that fall ill and recover all the time, under load: clients see nothing that
//! another attempt could have kept from them.
//!
//! Short in the ordinary run; a minute with `SLUICEGATE_SOAK=full`, and then with figures:
//! `SLUICEGATE_SOAK=full cargo test --profile bench --test blackbox soak_targets -- --nocapture`.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::support::soak::{Quantiles, is_full, runtime};
use crate::support::{Conn, Gateway, Request, gateway};

const TARGETS: u8 = 20;
const CLIENTS: usize = 4;
/// One more target falls ill so often.
const TICK: Duration = Duration::from_millis(100);
/// So many are ill at a time.
const ILL: usize = 5;

/// What a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Well,
    /// Nobody listens, and what was open is closed.
    Gone,
    /// Requests are taken and reset.
    Resets,
    /// Requests are taken and that is all.
    Hangs,
    /// Answers with 503.
    Busy,
}

const ILLNESSES: [State; 4] = [State::Gone, State::Resets, State::Hangs, State::Busy];

/// What all targets know.
#[derive(Default)]
struct World {
    /// POST requests that reached a target: those may not be sent again.
    reached: Mutex<HashSet<String>>,
    over: AtomicBool,
}

#[test]
fn flapping_targets_are_hidden_from_clients() {
    let length = Duration::from_secs(if is_full() { 60 } else { 5 });
    let world = Arc::new(World::default());
    let (tell, told) = mpsc::channel();
    let theirs = world.clone();
    let targets = std::thread::spawn(move || {
        LocalSet::new().block_on(&runtime(), flap(theirs, tell));
    });
    let addresses: Vec<SocketAddr> = told.recv().unwrap();
    let lines = addresses.iter().map(|at| format!("{{target: '{at}'}}"));
    let config = "
services: [{host: pool, retries: 10, read_timeout: 300, connect_timeout: 1000,
  retry_on: [connect-failure, reset, timeout, '502-504'], routes: [{paths: ['/']}]}]
upstreams:
- name: pool
  healthchecks:
    active: {type: http, http_path: /probe, timeout: 0.2, concurrency: 20,
      healthy: {interval: 0.5, successes: 1},
      unhealthy: {interval: 0.2, http_failures: 1, tcp_failures: 1, timeouts: 1}}
    passive: {unhealthy: {http_statuses: [503], http_failures: 2, tcp_failures: 2, timeouts: 1}}
  targets: [<targets>]";
    let setup = gateway(config).fill("targets", lines.collect::<Vec<_>>().join(", "));
    let gateway = setup.flag("--workers", 2).start();

    let end = Instant::now() + length;
    let clients = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|nth| {
                let (gateway, world) = (&gateway, &world);
                scope.spawn(move || Client::new(nth).run(gateway, world, end))
            })
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    world.over.store(true, Ordering::Relaxed);
    targets.join().unwrap();

    let mut took = Quantiles::default();
    clients.iter().for_each(|client| took.add(&client.took));
    let lost: usize = clients.iter().map(|client| client.lost).sum();
    let metrics = gateway.ask("/metrics").text();
    let sum = |name: &str| -> f64 {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    eprintln!(
        "{} requests in {length:?}, {lost} POST requests that a target had and did not answer, \
         {} attempts that failed, {} turns of health; {took}",
        took.len(),
        sum("sluicegate_upstream_target_failures_total"),
        sum("sluicegate_upstream_target_transitions_total"),
    );
    assert!(took.len() > 100, "{}", took.len());
    // Of those on their way, a target that falls ill or goes can take one per client with it.
    let turns = length.as_millis() / TICK.as_millis() * 2;
    assert!(lost as u128 <= turns * CLIENTS as u128, "{lost}");
    let used = metrics.lines().filter(|line| {
        line.starts_with("sluicegate_upstream_target_requests_total") && !line.ends_with(" 0")
    });
    assert_eq!(used.count(), usize::from(TARGETS), "{metrics}");
}

/// A client that sends one request after the other.
struct Client {
    nth: usize,
    took: Quantiles,
    lost: usize,
}

impl Client {
    fn new(nth: usize) -> Client {
        Client {
            nth,
            took: Quantiles::default(),
            lost: 0,
        }
    }

    fn run(mut self, gateway: &Gateway, world: &World, end: Instant) -> Client {
        let mut conn = gateway.connect();
        for count in 0.. {
            if Instant::now() >= end {
                break;
            }
            self.ask(&mut conn, count, world);
        }
        self
    }

    fn ask(&mut self, conn: &mut Conn, count: usize, world: &World) {
        let target = format!("/{}/{count}", self.nth);
        let request = match count % 4 {
            0 => Request::post(&target, "a body"),
            _ => Request::get(&target),
        };
        let begin = Instant::now();
        let response = conn.ask(&request);
        self.took.push(begin.elapsed());
        if response.status != 200 {
            let reached = world.reached.lock().unwrap().contains(&target);
            // What a target that closed did not read had left the gateway as well.
            let may_be_lost = reached || (count.is_multiple_of(4) && response.status == 502);
            assert!(may_be_lost, "{target}: {response:?}");
            self.lost += 1;
        }
    }
}

/// Runs all targets; tells where they are.
async fn flap(world: Arc<World>, tell: mpsc::Sender<Vec<SocketAddr>>) {
    let mut targets = Vec::new();
    for nth in 1..=TARGETS {
        // Outgoing connections have 127.0.0.1 for their source: nobody takes the port of a target
        // that is gone.
        let at = Ipv4Addr::new(127, 0, 1, nth);
        let listener = TcpListener::bind((at, 0)).await.unwrap();
        targets.push(Target::start(listener, &world));
    }
    tell.send(targets.iter().map(|target| target.at).collect())
        .unwrap();
    let mut ticks = tokio::time::interval(TICK);
    let mut ill = VecDeque::new();
    for tick in 0.. {
        ticks.tick().await;
        if world.over.load(Ordering::Relaxed) {
            return;
        }
        // The prime goes through all targets in an order that no balancer has: a wave of illness
        // that runs along with round robin would hit each attempt of a request.
        let target = &targets[tick * 7 % targets.len()];
        target.set(ILLNESSES[(tick + tick / targets.len()) % ILLNESSES.len()]);
        ill.push_back(target);
        if ill.len() > ILL {
            ill.pop_front().unwrap().set(State::Well);
        }
    }
}

/// One target. Its connections are tasks that end with it.
struct Target {
    at: SocketAddr,
    inner: Rc<Inner>,
}

struct Inner {
    state: Cell<State>,
    tasks: RefCell<Vec<tokio::task::JoinHandle<()>>>,
    world: Arc<World>,
}

impl Target {
    fn start(listener: TcpListener, world: &Arc<World>) -> Target {
        let target = Target {
            at: listener.local_addr().unwrap(),
            inner: Rc::new(Inner {
                state: Cell::new(State::Well),
                tasks: RefCell::default(),
                world: world.clone(),
            }),
        };
        target.listen(listener);
        target
    }

    fn listen(&self, listener: TcpListener) {
        let inner = self.inner.clone();
        let accepting = spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let serving = spawn_local(serve(tcp, inner.clone()));
                let mut tasks = inner.tasks.borrow_mut();
                tasks.retain(|task| !task.is_finished());
                tasks.push(serving);
            }
        });
        self.inner.tasks.borrow_mut().push(accepting);
    }

    fn set(&self, state: State) {
        let before = self.inner.state.replace(state);
        if state == State::Gone || before == State::Hangs {
            let tasks = self.inner.tasks.take();
            tasks.iter().for_each(|task| task.abort());
        }
        if before == State::Hangs || (before == State::Gone && state == State::Well) {
            let (inner, at) = (self.inner.clone(), self.at);
            let target = Target { at, inner };
            let task = spawn_local(async move {
                // The task that listened ends in the same turn.
                while let Err(error) = TcpListener::bind(at).await.map(|it| target.listen(it)) {
                    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
                    tokio::task::yield_now().await;
                }
            });
            drop(task);
        }
    }
}

/// One connection of a target.
async fn serve(tcp: TcpStream, inner: Rc<Inner>) {
    tcp.set_nodelay(true).unwrap();
    let mut tcp = BufReader::new(tcp);
    loop {
        let (mut line, mut head) = (String::new(), String::new());
        while !head.ends_with("\r\n\r\n") {
            match tcp.read_line(&mut head).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
            if line.is_empty() {
                line.clone_from(&head);
            }
        }
        if line.starts_with("POST") {
            let path = line.split(' ').nth(1).unwrap();
            inner.world.reached.lock().unwrap().insert(path.to_owned());
            if tcp.read_exact(&mut [0; 6]).await.is_err() {
                return;
            }
        }
        let answer = match inner.state.get() {
            State::Well => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            State::Busy => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
            State::Gone => return,
            State::Resets => {
                let socket = socket2::SockRef::from(tcp.get_ref());
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            State::Hangs => std::future::pending().await,
        };
        if tcp.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
