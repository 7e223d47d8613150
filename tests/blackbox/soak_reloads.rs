//! A file of 2,000 routes that keeps changing, under load: no request, stream or message is lost,
//! no memory either, and hardly any time.
//!
//! Short in the ordinary run; a thousand reloads with `SLUICEGATE_SOAK=full`, and then with figures:
//! `SLUICEGATE_SOAK=full cargo test --profile bench --test blackbox soak_reloads -- --nocapture`.

use std::fmt::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::body::Frame;
use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::support::grpc::{Fed, Feed, fed};
use crate::support::h2::{connect, request, whole};
use crate::support::soak::{Quantiles, Tireless, is_full, runtime};
use crate::support::x509::{Authority, Pair};
use crate::support::{Conn, Gateway, PATIENCE, Request, Upstream, eventually, gateway};

const SERVICES: usize = 200;
const ROUTES: usize = 10;
/// No reload begins sooner after the one before.
const PACE: Duration = Duration::from_millis(100);

/// What the files name.
struct World {
    up: Tireless,
    /// Takes bodies and sends them back.
    echo: Upstream,
    sockets: Upstream,
    /// Two that issue certificates for one name, in turn.
    authorities: [Authority; 2],
    pairs: [Pair; 2],
}

impl World {
    fn new() -> World {
        let authorities = [Authority::new(), Authority::new()];
        let pairs = [&authorities[0], &authorities[1]];
        World {
            up: Tireless::start(),
            echo: Upstream::echo(),
            sockets: Upstream::raw(|serving| {
                let Ok(mut socket) = tungstenite::accept(serving) else {
                    return;
                };
                while let Ok(message) = socket.read() {
                    if message.is_text() && socket.send(message).is_err() {
                        return;
                    }
                }
            }),
            pairs: pairs.map(|authority| authority.issue(&["gateway.test"])),
            authorities,
        }
    }

    /// The file of a round: a route, a consumer and the certificate are other ones each time.
    fn file(&self, round: usize) -> String {
        let (up, pair) = (&self.up, &self.pairs[round % 2]);
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let (cert, key) = (quoted(&pair.cert), quoted(&pair.key));
        let mut file = format!(
            "_format_version: '3.0'
certificates: [{{cert: {cert}, key: {key}, snis: [gateway.test]}}]
consumers:
- {{username: always, keyauth_credentials: [{{key: key-always}}]}}
- {{username: user-{round}, keyauth_credentials: [{{key: key-{round}}}]}}
plugins: [{{name: prometheus, config: {{per_consumer: true, status_code_metrics: true}}}}]
services:
- {{name: ws, url: 'http://{}', routes: [{{paths: [/ws]}}]}}
- {{name: echo, url: 'http://{}', routes: [{{paths: [/echo]}}]}}
- {{name: changing, url: 'http://{up}', routes: [{{name: round-{round}, paths: [/round/{round}]}}]}}
- name: secured
  url: 'http://{up}'
  routes: [{{paths: [/secured]}}]
  plugins: [{{name: key-auth}}, {{name: rate-limiting, config: {{minute: 1000000}}}}]
",
            self.sockets, self.echo
        );
        for service in 0..SERVICES {
            let _ = writeln!(file, "- name: s{service}\n  url: http://{up}\n  routes:");
            for route in 0..ROUTES {
                let path = format!("/s{service}/r{route}");
                let _ = writeln!(file, "  - {{name: s{service}-r{route}, paths: [{path}]}}");
            }
        }
        file
    }
}

#[test]
fn reloads_under_load_lose_nothing() {
    let rounds = if is_full() { 1000 } else { 30 };
    let world = World::new();
    let setup = gateway(&world.file(0)).flag("--workers", 2);
    let gateway = setup.listen("127.0.0.1:0, 127.0.0.1:0 tls").start();
    let load = Load::start(&gateway);
    let mut streams = Streams::open(&gateway);

    // The same load without reloads, for comparison.
    let quiet = Instant::now() + PACE * (rounds as u32 / 10).max(10);
    eventually("traffic", || load.requests.load(Ordering::Relaxed) > 100);
    while Instant::now() < quiet {
        streams.step();
        std::thread::sleep(PACE / 10);
    }
    load.reloading.store(true, Ordering::Relaxed);

    let mut took = Quantiles::default();
    let mut memory = Vec::new();
    for round in 1..=rounds {
        let begin = Instant::now();
        gateway.load(&world.file(round));
        took.push(begin.elapsed());
        shows_effect(&gateway, &world, round);
        streams.step();
        memory.push(gateway.memory());
        std::thread::sleep(PACE.saturating_sub(begin.elapsed()));
    }
    streams.close(rounds);
    let (before, during) = load.stop();

    let last: u64 = memory[memory.len() * 8 / 10..].iter().sum();
    let previous: u64 = memory[memory.len() * 6 / 10..memory.len() * 8 / 10]
        .iter()
        .sum();
    let growth = last as f64 / previous as f64;
    eprintln!(
        "{rounds} reloads: {took}\n{} requests without: {before}\n{} requests with: {during}\n\
         memory: {} KiB after the first, {} KiB after the last, the last fifth {growth:.3} of the \
         one before",
        before.len(),
        during.len(),
        memory[0],
        memory[memory.len() - 1],
    );
    assert!(during.len() > 100);
    if is_full() {
        assert!(growth < 1.05, "memory grows");
        assert!(during.at(990) <= before.at(990) * 2, "{before}\n{during}");
    }
}

/// The file of that round is what clients meet.
#[track_caller]
fn shows_effect(gateway: &Gateway, world: &World, round: usize) {
    assert_eq!(gateway.get(&format!("/round/{round}")).status, 200);
    assert_eq!(gateway.get(&format!("/round/{}", round - 1)).status, 404);
    let secured = |key: &str| {
        let request = Request::get("/secured").header("apikey", key);
        gateway.send(request).status
    };
    assert_eq!(secured(&format!("key-{round}")), 200);
    assert_eq!(secured(&format!("key-{}", round - 1)), 401);
    assert_eq!(secured("key-always"), 200);
    let trusting: Arc<ClientConfig> = world.authorities[round % 2].client(&[]);
    let mut conn = Conn::tls(gateway.nth(1), "gateway.test", trusting);
    assert_eq!(conn.ask(&Request::get("/s0/r0")).status, 200);
}

/// What is open from the first reload to the last: a WebSocket, and an upload over HTTP/2.
struct Streams {
    socket: WebSocket<TcpStream>,
    feed: Option<Feed>,
    upload: JoinHandle<bytes::Bytes>,
    steps: usize,
}

impl Streams {
    fn open(gateway: &Gateway) -> Streams {
        let tcp = TcpStream::connect(gateway.proxy()).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client("ws://gateway.test/ws", tcp).unwrap();
        let ((feed, body), proxy) = (fed(), gateway.proxy());
        let upload = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut client = connect::<Fed>(proxy).await;
                let head = http::Request::post("http://gateway.test/echo");
                let answer = client.send_request(head.body(body).unwrap()).await;
                whole(answer.unwrap()).await.1
            })
        });
        Streams {
            socket,
            feed: Some(feed),
            upload,
            steps: 0,
        }
    }

    #[track_caller]
    fn step(&mut self) {
        let message = Message::text(format!("message {}", self.steps));
        self.socket.send(message.clone()).unwrap();
        assert_eq!(self.socket.read().unwrap(), message);
        let piece = Frame::data("0123456789".into());
        self.feed.as_ref().unwrap().send(piece).unwrap();
        self.steps += 1;
    }

    #[track_caller]
    fn close(mut self, rounds: usize) {
        self.socket.close(None).unwrap();
        self.feed.take();
        assert!(self.steps > rounds);
        assert_eq!(self.upload.join().unwrap().len(), self.steps * 10);
    }
}

/// Clients that ask all the time: two over kept connections, one over new ones, and one over HTTP/2
/// with several streams at once.
struct Load {
    requests: Arc<AtomicUsize>,
    reloading: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<(Quantiles, Quantiles)>>,
}

impl Load {
    fn start(gateway: &Gateway) -> Load {
        let mut load = Load {
            requests: Arc::default(),
            reloading: Arc::default(),
            over: Arc::default(),
            clients: Vec::new(),
        };
        let proxy = gateway.proxy();
        for client in 0..2 {
            let mut conn = gateway.connect();
            load.client(client, move |path| conn.ask(&Request::get(path)).status);
        }
        load.client(2, move |path| Request::get(path).send(proxy).status);
        let runtime = runtime();
        let client = runtime.block_on(connect(proxy));
        load.client(3, move |path| {
            let ask = || {
                let mut client = client.clone();
                let request = request("GET", path, "");
                async move {
                    let answer = client.send_request(request).await.unwrap();
                    whole(answer).await.0.status
                }
            };
            let (one, two, three) = runtime.block_on(async { tokio::join!(ask(), ask(), ask()) });
            assert_eq!((one, two), (three, three));
            three.as_u16()
        });
        load
    }

    fn client(&mut self, nth: usize, mut ask: impl FnMut(&str) -> u16 + Send + 'static) {
        let (requests, reloading) = (self.requests.clone(), self.reloading.clone());
        let over = self.over.clone();
        self.clients.push(std::thread::spawn(move || {
            let (mut before, mut during) = (Quantiles::default(), Quantiles::default());
            for count in nth.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (service, route) = (count * 7 % SERVICES, count % ROUTES);
                let path = format!("/s{service}/r{route}");
                let begin = Instant::now();
                assert_eq!(ask(&path), 200, "{path}");
                match reloading.load(Ordering::Relaxed) {
                    true => during.push(begin.elapsed()),
                    false => before.push(begin.elapsed()),
                }
                requests.fetch_add(1, Ordering::Relaxed);
                // Steady, not as fast as can be: the machine has other work.
                std::thread::sleep(Duration::from_millis(1));
            }
            (before, during)
        }));
    }

    /// Ends the clients: how long requests took without reloads and with them.
    #[track_caller]
    fn stop(self) -> (Quantiles, Quantiles) {
        self.over.store(true, Ordering::Relaxed);
        let (mut before, mut during) = (Quantiles::default(), Quantiles::default());
        for client in self.clients {
            let (without, with) = client.join().unwrap();
            before.add(&without);
            during.add(&with);
        }
        (before, during)
    }
}
