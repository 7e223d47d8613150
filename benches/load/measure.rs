//! One run against one proxy: load, and what it cost the proxy's process.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

use crate::Case;
use crate::proxies::{Proxy, plugin_headers};

/// Clock ticks a second in `/proc/<pid>/stat`: 100 wherever Linux runs.
const TICKS: f64 = 100.0;

/// A process that ends with its owner.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which processors proxies and the rest have, if they can be told apart.
#[derive(Clone, Copy)]
pub struct Pins(bool);

impl Pins {
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
        // Streams cannot be read back out of a command, and none is set but by those that read.
        pinned.stdout(std::process::Stdio::piped());
        pinned
    }
}

/// How load is made.
pub struct Load {
    script: Option<PathBuf>,
    pins: Pins,
}

/// What one run gave.
pub struct Sample {
    pub proxy: &'static str,
    pub case: &'static str,
    pub requests_per_second: f64,
    pub errors: u64,
    /// Percentiles in microseconds: 50, 99, 99.9.
    pub latency: [f64; 3],
    /// Processor time of the proxy, user and system.
    pub cpu_us_per_request: f64,
    pub rss_kib: u64,
}

pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// A folder for files of a run.
pub fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

impl Load {
    /// wrk where it is installed.
    pub fn choose(own_client: bool) -> Load {
        let several = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        let pins = Pins(several && on_path("taskset"));
        let script = (!own_client && on_path("wrk")).then(|| {
            let script = scratch().join("load.lua");
            fs::write(&script, SCRIPT).unwrap();
            script
        });
        Load { script, pins }
    }

    pub fn pins(&self) -> Pins {
        self.pins
    }

    pub fn describe(&self) -> String {
        let client = if self.script.is_some() {
            "wrk"
        } else {
            "own client"
        };
        let pins = if self.pins.0 {
            "the proxy on processor 0, upstream and client on processor 1"
        } else {
            "not pinned"
        };
        format!("load by {client}; {pins}; one thread a proxy")
    }

    /// Makes load for so long and looks at the proxy before and after.
    pub fn run(&self, proxy: &Proxy, case: &Case, time: Duration) -> Sample {
        let before = proxy.pid.map_or(0.0, cpu_seconds);
        let said = self.make(proxy, case, time);
        let cpu = proxy.pid.map_or(0.0, cpu_seconds) - before;
        let number = |key: &str| said.get(key).and_then(Value::as_f64).unwrap_or_default();
        let requests = number("requests").max(1.0);
        Sample {
            proxy: proxy.name,
            case: case.name,
            requests_per_second: number("requests") / (number("duration_us").max(1.0) / 1e6),
            errors: number("errors") as u64,
            latency: ["p50", "p99", "p999"].map(number),
            cpu_us_per_request: cpu * 1e6 / requests,
            rss_kib: proxy.pid.map_or(0, rss_kib),
        }
    }

    fn make(&self, proxy: &Proxy, case: &Case, time: Duration) -> Value {
        let headers = if case.plugins {
            plugin_headers()
        } else {
            Vec::new()
        };
        let mut command = match &self.script {
            Some(script) => {
                let mut wrk = Command::new("wrk");
                wrk.args(["-t1", "-c", &case.connections.to_string()]);
                // wrk knows whole seconds alone.
                let seconds = time.as_secs_f64().ceil().max(1.0);
                wrk.args(["-d", &format!("{seconds}s"), "--latency", "-s"]);
                wrk.arg(script);
                for header in &headers {
                    wrk.args(["-H", header]);
                }
                wrk.arg(format!("http://{}{}", proxy.address, case.path));
                wrk
            }
            None => {
                let mut own = Command::new(std::env::current_exe().unwrap());
                own.args(["client", &proxy.address.to_string(), case.path]);
                own.args([case.connections.to_string(), time.as_millis().to_string()]);
                own.args(&headers);
                own
            }
        };
        command.stdout(std::process::Stdio::piped());
        let out = self.pins.others(command).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let line = text.lines().rfind(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("{}: the client said: {text}", proxy.name));
        serde_json::from_str(line).unwrap()
    }
}

/// What wrk prints at its end.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"errors":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;

/// User and system time of a process so far.
fn cpu_seconds(pid: u32) -> f64 {
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

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
