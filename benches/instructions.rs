//! Instructions of the gateway's own code per request: `cargo bench --bench instructions`.
//!
//! Runs the release build (or what the variable `SLUICEGATE` names) with one worker under
//! callgrind, and counts while requests go over connections that have served some before, one after
//! the other or many at once: free of what starting costs, which is never the same, and of other programs' noise.
//! More than [`SLACK`] over a budget fails the run: so a change that slows the path down is
//! seen. Instructions inside the kernel are not counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

#[path = "common.rs"]
mod common;
#[path = "load/gateway.rs"]
mod gateway;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// What a budget may be missed by.
const SLACK: f64 = 1.03;

/// Not counted: buffers and connections are made in them.
const FIRST: usize = 200;
const COUNTED: usize = 1000;

/// Connections that are asked all at once, as under load: what a turn of the event loop costs is
/// then shared.
const AT_ONCE: usize = 50;

/// Sends the requests, and says when those begin and end that count.
type Client = fn(Entries, &dyn Fn(&str));

/// Where the gateway listens.
#[derive(Clone, Copy)]
struct Entries {
    http: SocketAddr,
    tls: SocketAddr,
}

struct Case {
    name: &'static str,
    /// Instructions per request.
    budget: f64,
    plugins: &'static str,
    client: Client,
    workers: usize,
}

const fn case(name: &'static str, budget: f64, plugins: &'static str, client: Client) -> Case {
    Case {
        name,
        budget,
        plugins,
        client,
        workers: 1,
    }
}

const PLAIN: &str = "plain GET, 50 connections at once";
const TWO_WORKERS: &str = "the same, two workers";

/// Budgets are measurements; lower them when the path gets shorter.
const CASES: [Case; 7] = [
    case("plain GET", 18_700.0, "", |gateway, counting| {
        http1(gateway.http, common::REQUEST, 1, counting)
    }),
    case(PLAIN, 16_900.0, "", |gateway, counting| {
        http1(gateway.http, common::REQUEST, AT_ONCE, counting)
    }),
    Case {
        workers: 2,
        ..case(TWO_WORKERS, 16_900.0, "", |gateway, counting| {
            http1(gateway.http, common::REQUEST, AT_ONCE, counting)
        })
    },
    case(
        "owner's chain: jwt, rate-limiting, cors",
        25_600.0,
        common::OWNERS,
        |gateway, counting| http1(gateway.http, &common::guarded(), 1, counting),
    ),
    case(
        "six plugins",
        32_300.0,
        common::PLUGINS,
        |gateway, counting| http1(gateway.http, &common::guarded(), 1, counting),
    ),
    case("TLS 1.3", 25_500.0, "", tls),
    case("HTTP/2 in", 57_400.0, "", |gateway, counting| {
        http2(gateway.http, counting)
    }),
];

/// What a second worker may cost: nothing is shared on the path.
const SHARED: f64 = 1.02;

fn main() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("not run: valgrind is not installed");
        return;
    }
    let upstream = common::upstream(common::ANSWER);
    let mut over = Vec::new();
    let mut plain = f64::MAX;
    println!("{:<44}{:>14}{:>12}", "", "instructions", "budget");
    for case in &CASES {
        let each = count(case, upstream) as f64 / COUNTED as f64;
        println!("{:<44}{each:>14.0}{:>12.0}", case.name, case.budget);
        if case.name == PLAIN {
            plain = each;
        }
        let shares = case.name == TWO_WORKERS && each > plain * SHARED;
        if shares || each > case.budget * SLACK {
            over.push(case.name);
        }
    }
    assert!(over.is_empty(), "over budget: {}", over.join(", "));
}

/// Instructions of the requests that count.
fn count(case: &Case, upstream: SocketAddr) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let (file, counts) = (
        folder.path().join("file.yaml"),
        folder.path().join("counts"),
    );
    fs::write(&file, common::config(upstream, case.plugins)).unwrap();
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--quiet", "--instr-atstart=no"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(gateway::program())
        .args([
            "run",
            "--log-level",
            "error",
            "--workers",
            &case.workers.to_string(),
            "--admin-listen",
            "off",
        ])
        .args(["--proxy-listen", "127.0.0.1:0, 127.0.0.1:0 tls", "-c"])
        .arg(file);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let at = entries(&mut child);
    let pid = child.id().to_string();
    (case.client)(at, &|word| {
        let mut control = Command::new("callgrind_control");
        let control = control.args(["-i", word, &pid]);
        control.stdout(Stdio::null()).stderr(Stdio::null());
        assert!(control.status().unwrap().success(), "callgrind_control");
    });
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.unwrap().success() && child.wait().unwrap().success());
    total(&fs::read_to_string(counts).unwrap())
}

/// The addresses that the program says it listens at.
fn entries(child: &mut Child) -> Entries {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map_while(Result::ok);
    let mut next = |word: &str| {
        let mut found = lines.by_ref().filter_map(|line| {
            let at = line.split_once(word)?.1;
            at.split_whitespace().next()?.parse().ok()
        });
        found.next().expect("the gateway does not start")
    };
    Entries {
        http: next("proxy http "),
        tls: next("proxy tls "),
    }
}

/// The sum in callgrind's file.
fn total(counts: &str) -> u64 {
    let found = counts.lines().find_map(|line| {
        let sum = line.strip_prefix("totals: ")?;
        sum.split_whitespace().next()?.parse().ok()
    });
    found.expect("callgrind wrote no sum")
}

fn connect(gateway: SocketAddr) -> TcpStream {
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        match TcpStream::connect(gateway) {
            Ok(socket) => return socket,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Requests one after the other on one connection, or on several at once.
fn http1(gateway: SocketAddr, request: &[u8], at_once: usize, counting: &dyn Fn(&str)) {
    let connect = |_| {
        let socket = connect(gateway);
        socket.set_nodelay(true).unwrap();
        socket
    };
    let mut sockets: Vec<TcpStream> = (0..at_once).map(connect).collect();
    for nth in 0..(FIRST + COUNTED) / at_once {
        if nth == FIRST / at_once {
            counting("on");
        }
        for socket in &mut sockets {
            socket.write_all(request).unwrap();
        }
        sockets.iter_mut().for_each(read_answer);
    }
    counting("off");
}

fn read_answer(socket: &mut impl Read) {
    let mut answer = Vec::new();
    while !answer.ends_with(common::BODY) {
        let mut piece = [0; 4096];
        let count = socket.read(&mut piece).unwrap();
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        assert!(count > 0 && text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

/// Requests one after the other over TLS, whoever the gateway says it is.
fn tls(gateway: Entries, counting: &dyn Fn(&str)) {
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(Arc::new(Anybody))
    .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = rustls::pki_types::ServerName::try_from("bench.test").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = connect(gateway.tls);
    socket.set_nodelay(true).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    for nth in 0..FIRST + COUNTED {
        if nth == FIRST {
            counting("on");
        }
        stream.write_all(common::REQUEST).unwrap();
        read_answer(&mut stream);
    }
    counting("off");
}

/// Believes every certificate: the gateway has made its own.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The same with prior knowledge of HTTP/2.
fn http2(gateway: SocketAddr, counting: &dyn Fn(&str)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let socket = connect(gateway);
    socket.set_nonblocking(true).unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::from_std(socket).unwrap();
        let made =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
        let (mut sender, connection) = made.await.unwrap();
        let driver = tokio::spawn(connection);
        for nth in 0..FIRST + COUNTED {
            if nth == FIRST {
                counting("on");
            }
            let request = hyper::Request::get(format!("http://{gateway}/api/users/42?page=3"))
                .header("user-agent", "budget/1.0")
                .header("accept", "application/json")
                .body(Empty::<Bytes>::new());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
        }
        counting("off");
        drop(sender);
        let _ = driver.await;
    });
}
