//! The machine: processors, processes and what they cost, programs that are installed.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Clock ticks a second in `/proc/<pid>/stat`: 100 wherever Linux runs.
const TICKS: f64 = 100.0;

/// A process that ends with its owner, together with what it has started.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        for pid in tree(self.0.id()).into_iter().skip(1) {
            let _ = Command::new("kill").arg("-9").arg(pid.to_string()).status();
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which processors proxies and the rest have, if they can be told apart.
#[derive(Clone, Copy)]
pub struct Pins(bool);

impl Pins {
    pub fn choose() -> Pins {
        let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        Pins(several && found("taskset", "TASKSET").is_some())
    }

    pub fn describe(self) -> &'static str {
        match self.0 {
            true => "the proxies on processor 0, upstream and client on processor 1",
            false => "not pinned",
        }
    }

    /// A command on the first processor.
    pub fn proxy(self, command: Command) -> Command {
        self.pin("0", command)
    }

    /// A command on the second.
    pub fn others(self, command: Command) -> Command {
        self.pin("1", command)
    }

    fn pin(self, processor: &str, command: Command) -> Command {
        if !self.0 {
            return command;
        }
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", processor]).arg(command.get_program());
        pinned.args(command.get_args());
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                pinned.env(name, value);
            }
        }
        pinned
    }
}

/// A program: what the variable names, else on the path.
pub fn found(program: &str, variable: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A folder for files of a run.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// How many descriptors a process may have.
pub fn descriptors() -> usize {
    let text = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let number = |line: &str| line.split_whitespace().nth(1)?.parse().ok();
    line.and_then(number).unwrap_or(1024)
}

/// An address that nobody listens at.
pub fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Starts a program that says nothing, and waits until it accepts everywhere.
pub fn start(name: &str, mut command: Command, addresses: &[std::net::SocketAddr]) -> Running {
    let log = fs::File::create(scratch().join(format!("{name}.log"))).unwrap();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    let running = Running(
        command
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}")),
    );
    let patience = Instant::now() + Duration::from_secs(30);
    for address in addresses {
        while std::net::TcpStream::connect(address).is_err() {
            let log = fs::read_to_string(scratch().join(format!("{name}.log")));
            assert!(
                Instant::now() < patience,
                "{name} does not accept at {address}: {}",
                log.unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    running
}

/// A process and all that it has started, itself first.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(parent) = all.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten();
        for task in tasks.flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    all
}

/// User and system time of a process and its children so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    tree(pid).into_iter().map(of_one).sum()
}

fn of_one(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold anything; what follows the last bracket does not.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |ix: usize| fields.get(ix).and_then(|field| field.parse::<f64>().ok());
    (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / TICKS
}

/// Resident memory of a process and its children.
pub fn rss_kib(pid: u32) -> u64 {
    let each = |pid| lines(&format!("/proc/{pid}/status"), &["VmRSS:"]);
    tree(pid).into_iter().map(each).sum()
}

/// Memory that no other process shares.
pub fn private_kib(pid: u32) -> u64 {
    let each = |pid| {
        let file = format!("/proc/{pid}/smaps_rollup");
        lines(&file, &["Private_Clean:", "Private_Dirty:"])
    };
    tree(pid).into_iter().map(each).sum()
}

/// The sum of numbers behind these words in a file of `/proc`.
fn lines(file: &str, words: &[&str]) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let number = |line: &str| {
        line.split_whitespace()
            .nth(1)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let named = |line: &&str| words.iter().any(|word| line.starts_with(word));
    text.lines().filter(named).filter_map(number).sum()
}

/// The machine and the programs on it, for a report.
pub fn describe() -> Vec<String> {
    let said = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).output().ok()?;
        let text = [out.stdout, out.stderr].concat();
        Some(
            String::from_utf8_lossy(&text)
                .lines()
                .next()?
                .trim()
                .to_owned(),
        )
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = vec![format!(
        "{cores} processors ({}), Linux {}",
        cpu.map_or("unknown", |(_, name)| name),
        kernel.trim().split('-').next().unwrap_or_default()
    )];
    let versions = [
        ("nginx", "NGINX", "-v"),
        ("haproxy", "HAPROXY", "-v"),
        ("envoy", "ENVOY", "--version"),
        ("caddy", "CADDY", "version"),
        ("wrk", "WRK", "-v"),
        ("h2load", "H2LOAD", "--version"),
    ];
    for (program, variable, flag) in versions {
        let file = found(program, variable);
        let version = file.and_then(|file| said(&file.display().to_string(), &[flag]));
        if let Some(version) = version.filter(|text| !text.is_empty()) {
            all.push(match version.contains(program) {
                true => version,
                false => format!("{program} {version}"),
            });
        }
    }
    all
}
