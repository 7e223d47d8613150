//! What stands around the proxies, and what they are set up for.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::machine::{self, Pins, Running, found, free_address, scratch};
use crate::peers::Proxy;
use crate::tokens::{Algorithm, Keys};
use crate::upstream;

/// What a proxy is set up for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Every kind of request passed on, nothing logged.
    Plain,
    /// The same, in front of an upstream that reads what it is sent.
    Uploads,
    /// An access log of JSON lines in a file.
    JsonLog,
    /// Tokens checked, requests counted by consumer, CORS.
    Chain(Algorithm),
    /// So many routes; `/deepest` is the last.
    Routes(usize),
    /// An upstream of so many targets.
    Targets(usize),
    /// With an admin listener.
    Admin,
    /// Metrics are read every second.
    Scraped,
    /// The configuration changes every second.
    Reloaded,
    /// A limit that is never reached, counted locally.
    Limited,
    /// The same, counted in Redis.
    Redis,
}

/// What all proxies share.
pub struct Surroundings {
    /// Answers `/small`, `/large`, `/huge`.
    http: SocketAddr,
    /// The same, and reads bodies: nginx answers at once and cuts large ones off.
    own_http: SocketAddr,
    /// Answers unary calls over HTTP/2 without TLS.
    pub grpc: SocketAddr,
    /// Sends WebSocket messages back.
    pub websocket: SocketAddr,
    /// A certificate for `bench.test` and its key, apart and together, as PEM.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub both: PathBuf,
    pub redis: Option<SocketAddr>,
    keys: [Keys; 3],
    _running: Vec<Running>,
}

impl Surroundings {
    pub fn start(pins: Pins) -> Surroundings {
        fs::create_dir_all(scratch()).unwrap();
        let (certificate, key, both) = certificate();
        let (own, own_addresses) = upstream::spawn(pins);
        let [own_http, grpc, websocket] = own_addresses;
        let mut running = vec![own];
        let mut http = own_http;
        if let Some(nginx) = found("nginx", "NGINX") {
            http = free_address();
            let command = pins.others(upstream::nginx(nginx, http));
            running.push(machine::start("upstream-nginx", command, &[http]));
        }
        let redis = found("redis-server", "REDIS_SERVER").map(|program| {
            let address = free_address();
            let mut command = Command::new(program);
            command.args([
                "--port",
                &address.port().to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ]);
            let command = pins.others(command);
            running.push(machine::start("redis", command, &[address]));
            address
        });
        Surroundings {
            http,
            own_http,
            grpc,
            websocket,
            certificate,
            key,
            both,
            redis,
            keys: [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256].map(Keys::new),
            _running: running,
        }
    }

    /// The upstream of plain requests.
    pub fn http(&self, stage: Stage) -> SocketAddr {
        match stage {
            Stage::Uploads => self.own_http,
            _ => self.http,
        }
    }

    /// The keys of one run.
    pub fn keys(&self, algorithm: Algorithm) -> &Keys {
        self.keys
            .iter()
            .find(|keys| keys.algorithm == algorithm)
            .unwrap()
    }
}

/// A self-signed one with a P-256 key.
fn certificate() -> (PathBuf, PathBuf, PathBuf) {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["bench.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let file = |name: &str, text: String| {
        let path = scratch().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = (certificate.pem(), pair.serialize_pem());
    (
        file("bench.crt", certificate.clone()),
        file("bench.key", key.clone()),
        file("bench.pem", format!("{certificate}{key}")),
    )
}

/// What happens to a proxy while it is under load. Ends when it is dropped.
pub struct Bustle {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Bustle {
    pub fn start(proxy: &Proxy) -> Bustle {
        let over = Arc::new(AtomicBool::new(false));
        let each: Option<Box<dyn FnMut() + Send>> = match proxy.stage {
            Stage::Scraped => proxy
                .admin
                .map(|admin| Box::new(move || scrape(admin)) as Box<dyn FnMut() + Send>),
            Stage::Reloaded => {
                let (pid, mut texts) = (proxy.pid.unwrap(), proxy.texts.clone().unwrap());
                Some(Box::new(move || {
                    let (file, one, other) = &mut texts;
                    std::mem::swap(one, other);
                    fs::write(file, &*one).unwrap();
                    let _ = Command::new("kill")
                        .arg("-HUP")
                        .arg(pid.to_string())
                        .status();
                }))
            }
            _ => None,
        };
        let thread = each.map(|mut each| {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let next = Instant::now() + Duration::from_secs(1);
                    each();
                    while Instant::now() < next && !over.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        });
        Bustle { over, thread }
    }
}

impl Drop for Bustle {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn scrape(admin: SocketAddr) {
    use std::io::{Read, Write};
    let Ok(mut socket) = std::net::TcpStream::connect(admin) else {
        return;
    };
    let _ = write!(
        socket,
        "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
    );
    let _ = socket.read_to_end(&mut Vec::new());
}
