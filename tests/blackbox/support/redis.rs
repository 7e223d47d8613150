//! A real Redis server as a child process, and a client that speaks just enough to look into it.
//!
//! Used by the tests of the library too, so it depends on nothing of this folder.
#![allow(dead_code, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that runs; killed when dropped.
pub struct Redis {
    child: Child,
    port: u16,
    args: Vec<String>,
    dir: TempDir,
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Redis {
    /// A server on a port of its own, with further arguments.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        // Somebody else may take the port first.
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut child = spawn(port, &args, &dir);
            if is_up(port, &mut child) {
                return Self {
                    child,
                    port,
                    args,
                    dir,
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, empty.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = spawn(self.port, &self.args, &self.dir);
        assert!(is_up(self.port, &mut self.child), "does not start again");
    }

    /// It answers nobody any more, and holds its connections.
    pub fn hang(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// It goes on.
    pub fn go_on(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }

    /// A command as one would type it; the answer, its parts joined by spaces.
    #[track_caller]
    pub fn ask(&self, command: &str) -> String {
        self.ask_all(&[command]).pop().unwrap()
    }

    /// Several commands on one connection; their answers.
    #[track_caller]
    pub fn ask_all(&self, commands: &[&str]) -> Vec<String> {
        let mut stream = connect(self.port).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        let ask = |command: &&str| {
            stream
                .write_all(format!("{command}\r\n").as_bytes())
                .unwrap();
            reply(&mut answers).unwrap()
        };
        commands.iter().map(ask).collect()
    }

    /// How often a command was called since the start.
    #[track_caller]
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.ask("INFO commandstats");
        let begin = format!("cmdstat_{command}:calls=");
        let found = stats
            .split_whitespace()
            .find_map(|line| line.strip_prefix(&begin));
        found.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, args: &[String], dir: &TempDir) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.arg("--dir").arg(dir.path()).args(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .expect("redis-server is not installed; scripts/test brings it")
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Waits until it answers, or has ended.
fn is_up(port: u16, child: &mut Child) -> bool {
    let begin = Instant::now();
    let pings = || {
        let mut stream = connect(port).ok()?;
        stream.write_all(b"PING\r\n").ok()?;
        let answer = reply(&mut BufReader::new(stream)).ok()?;
        (answer == "PONG" || answer.starts_with("NOAUTH")).then_some(())
    };
    while pings().is_none() {
        if child.try_wait().unwrap().is_some() || begin.elapsed() > PATIENCE {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// One answer.
fn reply(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let line = line.trim_end();
    let Some((kind, rest)) = line.split_at_checked(1) else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    Ok(match (kind, rest.parse::<usize>()) {
        ("$", Ok(length)) => {
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes)?;
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        }
        ("*", Ok(count)) => {
            let parts: Result<Vec<String>, _> = (0..count).map(|_| reply(from)).collect();
            parts?.join(" ")
        }
        _ => rest.to_owned(),
    })
}

/// Three servers that are one cluster.
pub struct Cluster(pub Vec<Redis>);

impl Cluster {
    /// Starts them and waits until they agree.
    #[track_caller]
    pub fn start() -> Self {
        let node = || {
            let bus = free_port().to_string();
            Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        };
        let nodes: Vec<Redis> = (0..3).map(|_| node()).collect();
        let ends = [0, 5461, 10_923, 16_384];
        for (node, range) in nodes.iter().zip(ends.windows(2)) {
            let slots = format!("CLUSTER ADDSLOTSRANGE {} {}", range[0], range[1] - 1);
            assert_eq!(node.ask(&slots), "OK");
        }
        for node in &nodes[1..] {
            let bus = node.ask("CONFIG GET cluster-port");
            let bus = bus.split(' ').nth(1).unwrap();
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port());
            assert_eq!(nodes[0].ask(&meet), "OK");
        }
        let begin = Instant::now();
        let agrees = |node: &Redis| {
            let info = node.ask("CLUSTER INFO");
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        while !nodes.iter().all(agrees) {
            assert!(begin.elapsed() < PATIENCE, "the cluster does not come up");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Self(nodes)
    }
}
