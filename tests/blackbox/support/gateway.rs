//! The built program as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Conn, PATIENCE, Request, Response};

/// The program with an empty environment.
pub fn command() -> Command {
    bare(Command::new(env!("CARGO_BIN_EXE_sluicegate")))
}

/// The program, started by a shell that lowers the limit of descriptors.
fn limited(most: u32) -> Command {
    let mut shell = bare(Command::new("sh"));
    let script = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_sluicegate")]);
    shell
}

/// The program, started by a shell that passes its standard input on as systemd passes sockets.
fn activated(pid: &str) -> Command {
    let mut shell = bare(Command::new("sh"));
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID={pid} LISTEN_FDNAMES=http exec \"$0\" \"$@\""
    );
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_sluicegate")]);
    shell
}

fn bare(mut command: Command) -> Command {
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Lines that a process writes, kept and waited for.
#[derive(Default)]
pub struct Lines {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Lines {
    fn follow(stream: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let writer = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writer.state.lock().unwrap().0.push(line);
                writer.changed.notify_all();
            }
            writer.state.lock().unwrap().1 = true;
            writer.changed.notify_all();
        });
        lines
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<String> {
        self.state.lock().unwrap().0.clone()
    }

    /// The first `count` lines that fit, or fewer where the process ended or time is over.
    pub fn several(&self, count: usize, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let begin = Instant::now();
        let mut state = self.state.lock().unwrap();
        loop {
            let fitting = state.0.iter().filter(|line| fits(line));
            let found: Vec<String> = fitting.take(count).cloned().collect();
            if found.len() == count || state.1 || begin.elapsed() >= PATIENCE {
                return found;
            }
            state = self.changed.wait_timeout(state, PATIENCE / 100).unwrap().0;
        }
    }

    /// Waits for a line that contains `part`.
    #[track_caller]
    pub fn wait(&self, part: &str) -> String {
        let found = self.several(1, |line| line.contains(part)).pop();
        found.unwrap_or_else(|| panic!("no line with {part:?} among {:#?}", self.all()))
    }
}

/// A gateway to be started.
pub struct Setup {
    config: String,
    source: Option<String>,
    command: &'static str,
    proxy: String,
    flags: Vec<(String, String)>,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
    passed: Option<(TcpListener, String)>,
    dir: TempDir,
}

/// A gateway for this configuration, in which `<name>` stands for what is filled in later.
pub fn gateway(config: &str) -> Setup {
    Setup {
        config: config.to_owned(),
        source: None,
        command: "run",
        proxy: "127.0.0.1:0".to_owned(),
        flags: vec![("--admin-listen".to_owned(), "127.0.0.1:0".to_owned())],
        env: Vec::new(),
        descriptors: None,
        passed: None,
        dir: tempfile::tempdir().unwrap(),
    }
}

impl Setup {
    /// Puts a value in place of `<name>`.
    pub fn fill(mut self, name: &str, value: impl ToString) -> Self {
        self.config = self
            .config
            .replace(&format!("<{name}>"), &value.to_string());
        self
    }

    /// Puts a text of several lines in place of `<name>`, as a YAML string.
    pub fn fill_text(self, name: &str, value: &str) -> Self {
        let quoted = serde_json::to_string(value).unwrap();
        self.fill(name, quoted)
    }

    /// Listens so instead of on one plain port.
    pub fn listen(mut self, listeners: &str) -> Self {
        self.proxy = listeners.to_owned();
        self
    }

    /// Reads its configuration from there instead of from a file.
    pub fn source(mut self, source: &str) -> Self {
        self.source = Some(source.to_owned());
        self
    }

    /// Adds a flag; a repeated one replaces the former.
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.retain(|(known, _)| known != name);
        self.flags.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// May have no more open descriptors than this.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Passes it this socket as systemd does; `pid` is what `LISTEN_PID` says, `$$` the truth.
    pub fn pass(mut self, socket: TcpListener, pid: &str) -> Self {
        self.passed = Some((socket, pid.to_owned()));
        self
    }

    /// A path in the gateway's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts `sluicegate demo` instead, which has a file of its own.
    pub fn demo(mut self) -> Self {
        self.command = "demo";
        self
    }

    /// The process, without waiting for anything.
    pub fn spawn(self) -> Gateway {
        let file = self.dir.path().join("gateway.yaml");
        if self.command == "run" {
            std::fs::write(&file, &self.config).unwrap();
        }
        let mut command = match (self.descriptors, &self.passed) {
            (Some(most), _) => limited(most),
            (None, Some((_, pid))) => activated(pid),
            (None, None) => command(),
        };
        command.arg(self.command);
        if self.command == "run" {
            let source = self.source.as_ref().map(PathBuf::from);
            command.arg("-c").arg(source.as_ref().unwrap_or(&file));
        }
        command.args(["--proxy-listen", &self.proxy]);
        for (name, value) in &self.flags {
            command.args([name, value]);
        }
        command.envs(self.env);
        command.current_dir(self.dir.path());
        command.stdin(match self.passed {
            Some((socket, _)) => Stdio::from(OwnedFd::from(socket)),
            None => Stdio::null(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Gateway {
            out: Lines::follow(child.stdout.take().unwrap()),
            err: Lines::follow(child.stderr.take().unwrap()),
            child,
            file,
            dir: self.dir,
            proxies: Vec::new(),
        }
    }

    /// Starts it and waits until it says where it listens.
    #[track_caller]
    pub fn start(self) -> Gateway {
        let count = self.proxy.split(',').count();
        let mut gateway = self.spawn();
        let lines = gateway
            .out
            .several(count, |line| line.starts_with("proxy "));
        assert_eq!(
            lines.len(),
            count,
            "did not start: {:#?}",
            gateway.err.all()
        );
        gateway.proxies = lines.iter().map(|line| address(line)).collect();
        gateway
    }

    /// Runs it to its end, for starts that fail.
    pub fn output(self) -> Output {
        let mut gateway = self.spawn();
        let status = gateway.exited();
        let text = |lines: &Lines| {
            lines.several(usize::MAX, |_| true);
            (lines.all().join("\n") + "\n").into_bytes()
        };
        Output {
            status,
            stdout: text(&gateway.out),
            stderr: text(&gateway.err),
        }
    }
}

fn address(line: &str) -> SocketAddr {
    let last = line.split(' ').nth(2);
    last.and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no address in {line:?}"))
}

/// A gateway that runs; killed when dropped.
pub struct Gateway {
    child: Child,
    /// Standard output: start-up lines, and the access log where it is sent there.
    pub out: Arc<Lines>,
    /// Standard error: the log.
    pub err: Arc<Lines>,
    file: PathBuf,
    dir: TempDir,
    proxies: Vec<SocketAddr>,
}

impl Gateway {
    /// The first proxy listener.
    pub fn proxy(&self) -> SocketAddr {
        self.proxies[0]
    }

    /// A proxy listener by its place.
    pub fn nth(&self, nth: usize) -> SocketAddr {
        self.proxies[nth]
    }

    /// The admin listener.
    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        address(&self.out.wait("admin http "))
    }

    /// A connection to the first proxy listener.
    pub fn connect(&self) -> Conn {
        Conn::open(self.proxy())
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: Request) -> Response {
        request.send(self.proxy())
    }

    /// `GET` on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.send(Request::get(target))
    }

    /// `GET` of the admin listener.
    #[track_caller]
    pub fn ask(&self, target: &str) -> Response {
        let admin = self.admin();
        let request = Request::get(target).header("Host", &admin.to_string());
        request.send(admin)
    }

    /// `POST` to the admin listener.
    #[track_caller]
    pub fn post(&self, target: &str, body: &str) -> Response {
        let admin = self.admin();
        let request = Request::post(target, body).header("Host", &admin.to_string());
        request.send(admin)
    }

    /// Makes another configuration live by `POST /config`.
    #[track_caller]
    pub fn load(&self, config: &str) {
        let response = self.post("/config", config);
        assert_eq!(response.status, 201, "{}\n{config}", response.text());
    }

    /// The directory that it runs in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The process that serves after so many upgrades. All write to one log.
    #[track_caller]
    pub fn handed_over(&self, upgrades: usize) -> Pid {
        let said = "handed over to process ";
        let lines = self.err.several(upgrades, |line| line.contains(said));
        assert_eq!(lines.len(), upgrades, "{:#?}", self.err.all());
        let (_, rest) = lines[upgrades - 1].split_once(said).unwrap();
        Pid::from_raw(rest.split(':').next().unwrap().parse().unwrap()).unwrap()
    }

    /// Its resident memory, in KiB.
    #[track_caller]
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().split(' ').next());
        number.unwrap().parse().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn exited(&mut self) -> ExitStatus {
        let begin = Instant::now();
        // Standard output closes with the process.
        self.out.several(usize::MAX, |_| true);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "does not end");
            std::thread::yield_now();
        }
    }

    /// Waits for the end of this process alone: one that took over has its standard output too.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        super::eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.exited().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let lines = self.err.all();
            eprintln!("--- the gateway's log\n{}", lines.join("\n"));
        }
    }
}
