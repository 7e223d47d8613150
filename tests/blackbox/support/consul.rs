//! A real Consul agent in development mode as a child process, and a client for its API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// An agent that runs; killed when dropped.
pub struct Consul {
    child: Child,
    binary: PathBuf,
    /// HTTP, RPC between servers, gossip.
    ports: [u16; 3],
}

/// Where the program is: `CONSUL_BIN`, the path, or what `scripts/consul` brought.
fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CONSUL_BIN") {
        return Some(named.into());
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let brought = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/consul/usr/bin");
    std::env::split_paths(&paths)
        .chain([brought])
        .map(|folder| folder.join("consul"))
        .find(|path| path.is_file())
}

/// An agent; none on a machine without Consul, which is loudly said, and in CI an error.
#[track_caller]
pub fn consul() -> Option<Consul> {
    let Some(binary) = binary() else {
        assert!(
            std::env::var_os("CI").is_none(),
            "no Consul: run scripts/consul or set CONSUL_BIN"
        );
        eprintln!("NOT RUN: no Consul here; run scripts/consul or set CONSUL_BIN");
        return None;
    };
    // Somebody else may take a port first.
    for _ in 0..10 {
        let ports = [0; 3].map(|_| own_port());
        let mut child = spawn(&binary, ports);
        if is_up(ports[0], &mut child) {
            return Some(Consul {
                child,
                binary,
                ports,
            });
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    panic!("consul does not start");
}

/// A port that nobody has, and that nobody is given who asks for any: an agent that was killed finds
/// it free when it comes back.
fn own_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id() * 61 + nth) % 18_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn spawn(binary: &Path, [http, server, serf]: [u16; 3]) -> Child {
    let mut command = Command::new(binary);
    command.args(["agent", "-dev", "-bind", "127.0.0.1", "-log-level", "err"]);
    for (flag, port) in [
        ("-http-port", i32::from(http)),
        ("-server-port", i32::from(server)),
        ("-serf-lan-port", i32::from(serf)),
        ("-serf-wan-port", -1),
        ("-dns-port", -1),
        ("-grpc-port", -1),
    ] {
        command.args([flag, &port.to_string()]);
    }
    // Checks of services may be as short as tests need them.
    command.args(["-hcl", "check_update_interval = \"0s\""]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Whether it has elected itself, and knows of itself.
fn is_up(port: u16, child: &mut Child) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && child.try_wait().unwrap().is_none() {
        if let Ok((200, body)) = call(port, "GET", "/v1/catalog/service/consul", b"")
            && body.contains("ServiceID")
        {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn call(port: u16, method: &str, path: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let mut rest = String::new();
    answer.read_to_string(&mut rest)?;
    let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.unwrap_or(0), body.to_owned()))
}

impl Consul {
    /// `host:port` of its API.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Changes something.
    #[track_caller]
    pub fn put(&self, path: &str, body: impl AsRef<[u8]>) {
        let (status, text) = call(self.ports[0], "PUT", path, body.as_ref()).unwrap();
        assert_eq!(status, 200, "PUT {path}: {text}");
    }

    /// Asks for something.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        let (status, text) = call(self.ports[0], "GET", path, b"").unwrap();
        assert_eq!(status, 200, "GET {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Deletes a key.
    #[track_caller]
    pub fn delete(&self, path: &str) {
        let (status, text) = call(self.ports[0], "DELETE", path, b"").unwrap();
        assert_eq!(status, 200, "DELETE {path}: {text}");
    }

    /// Registers an instance on this machine, with further fields as JSON.
    #[track_caller]
    pub fn register(&self, name: &str, id: &str, port: u16, more: &str) {
        let body =
            format!(r#"{{"Name":"{name}","ID":"{id}","Address":"127.0.0.1","Port":{port}{more}}}"#);
        self.put("/v1/agent/service/register", &body);
    }

    /// Takes an instance out.
    #[track_caller]
    pub fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{id}"), "");
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same ports, with nothing in it.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = spawn(&self.binary, self.ports);
        let up = is_up(self.ports[0], &mut self.child);
        assert!(up, "does not start again");
    }
}

impl Drop for Consul {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
