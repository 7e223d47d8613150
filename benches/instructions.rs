//! Instructions of the gateway's own code per request: `cargo bench --bench instructions`.
//!
//! Runs the release build (or what the variable `SLUICEGATE` names) with one worker under
//! callgrind, and counts while requests go one after the other over one connection that has served
//! some before: free of what starting costs, which is never the same, and of other programs' noise.
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
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// What a budget may be missed by.
const SLACK: f64 = 1.03;

/// Not counted: buffers and connections are made in them.
const FIRST: usize = 200;
const COUNTED: usize = 1000;

/// Sends the requests, and says when those begin and end that count.
type Client = fn(SocketAddr, &dyn Fn(&str));

struct Case {
    name: &'static str,
    /// Instructions per request.
    budget: f64,
    plugins: &'static str,
    client: Client,
}

/// Budgets are measurements; lower them when the path gets shorter.
const CASES: [Case; 4] = [
    Case {
        name: "plain GET",
        budget: 23_200.0,
        plugins: "",
        client: |gateway, counting| http1(gateway, common::REQUEST, counting),
    },
    Case {
        name: "owner's chain: jwt, rate-limiting, cors",
        budget: 30_500.0,
        plugins: common::OWNERS,
        client: |gateway, counting| http1(gateway, &common::guarded(), counting),
    },
    Case {
        name: "six plugins",
        budget: 37_200.0,
        plugins: common::PLUGINS,
        client: |gateway, counting| http1(gateway, &common::guarded(), counting),
    },
    Case {
        name: "HTTP/2 in",
        budget: 74_800.0,
        plugins: "",
        client: http2,
    },
];

fn main() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("not run: valgrind is not installed");
        return;
    }
    let upstream = common::upstream(common::ANSWER);
    let mut over = Vec::new();
    println!("{:<44}{:>14}{:>12}", "", "instructions", "budget");
    for case in &CASES {
        let each = count(case, upstream) as f64 / COUNTED as f64;
        println!("{:<44}{each:>14.0}{:>12.0}", case.name, case.budget);
        if each > case.budget * SLACK {
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
            "1",
            "--admin-listen",
            "off",
        ])
        .args(["--proxy-listen", "127.0.0.1:0", "-c"])
        .arg(file);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let at = address(&mut child);
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

/// The address that the program says it listens at.
fn address(child: &mut Child) -> SocketAddr {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut found = lines.map_while(Result::ok).filter_map(|line| {
        let at = line.split_once("proxy http ")?.1;
        at.split_whitespace().next()?.parse().ok()
    });
    found.next().expect("the gateway does not start")
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

/// Requests one after the other on one connection.
fn http1(gateway: SocketAddr, request: &[u8], counting: &dyn Fn(&str)) {
    let mut socket = connect(gateway);
    socket.set_nodelay(true).unwrap();
    let mut answer = Vec::new();
    for nth in 0..FIRST + COUNTED {
        if nth == FIRST {
            counting("on");
        }
        socket.write_all(request).unwrap();
        answer.clear();
        while !answer.ends_with(common::BODY) {
            let mut piece = [0; 4096];
            let count = socket.read(&mut piece).unwrap();
            answer.extend_from_slice(&piece[..count]);
            let text = String::from_utf8_lossy(&answer);
            assert!(count > 0 && text.starts_with("HTTP/1.1 200"), "{text}");
        }
    }
    counting("off");
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
