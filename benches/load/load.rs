//! Who makes the load: wrk and h2load where they are installed, else a client of our own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::cases::{Case, Load};
use crate::client::{Kind, Spec};
use crate::machine::{Pins, Running, cpu_seconds, found, private_kib, rss_kib, scratch};
use crate::measure::Sample;
use crate::peers::Proxy;

/// Makes load.
pub struct Loader {
    wrk: Option<PathBuf>,
    h2load: Option<PathBuf>,
    pins: Pins,
}

impl Loader {
    pub fn choose(own_client: bool) -> Loader {
        let installed = |program, variable| match own_client {
            true => None,
            false => found(program, variable),
        };
        fs::create_dir_all(scratch()).unwrap();
        fs::write(scratch().join("load.lua"), SCRIPT).unwrap();
        Loader {
            wrk: installed("wrk", "WRK"),
            h2load: installed("h2load", "H2LOAD"),
            pins: Pins::choose(),
        }
    }

    pub fn pins(&self) -> Pins {
        self.pins
    }

    pub fn describe(&self) -> String {
        let or_own =
            |tool: &Option<PathBuf>, name| if tool.is_some() { name } else { "own client" };
        format!(
            "HTTP/1.1 by {}, HTTP/2 by {}; {}; one thread a proxy",
            or_own(&self.wrk, "wrk"),
            or_own(&self.h2load, "h2load"),
            self.pins.describe()
        )
    }

    /// Makes load for so long and looks at the proxy before and after. `rate`: requests a second,
    /// where they come at their own times.
    pub fn run(&self, proxy: &Proxy, case: &Case, time: Duration, rate: Option<f64>) -> Sample {
        let before = proxy.pid.map_or(0.0, cpu_seconds);
        let said = self.make(proxy, case, time, rate);
        let cpu = proxy.pid.map_or(0.0, cpu_seconds) - before;
        let number = |key: &str| said.get(key).and_then(Value::as_f64).unwrap_or_default();
        let requests = number("requests").max(1.0);
        Sample {
            proxy: proxy.name,
            case: case.name,
            requests_per_second: number("requests") / (number("duration_us").max(1.0) / 1e6),
            errors: number("errors") as u64,
            latency_us: ["p50", "p99", "p999"].map(number),
            cpu_us_per_request: cpu * 1e6 / requests,
            rss_kib: proxy.pid.map_or(0, rss_kib),
            ..Sample::default()
        }
    }

    fn make(&self, proxy: &Proxy, case: &Case, time: Duration, rate: Option<f64>) -> Value {
        let command = match (case.load, &self.wrk, &self.h2load) {
            (
                Load::Get {
                    path,
                    connections,
                    tls,
                },
                Some(wrk),
                _,
            ) => self.wrk(wrk, proxy, time, path, connections, tls, None),
            (Load::Post { bytes, connections }, Some(wrk), _) => {
                self.wrk(wrk, proxy, time, "/small", connections, false, Some(bytes))
            }
            (Load::Http2 { streams }, _, Some(h2load)) => {
                return h2load_run(self, h2load, proxy, time, streams, false);
            }
            (Load::Grpc, _, Some(h2load)) => {
                return h2load_run(self, h2load, proxy, time, 10, true);
            }
            (load, ..) => own(&Spec::of(load, proxy, time, rate)),
        };
        let mut command = self.pins.others(command);
        let out = command.stderr(Stdio::inherit()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        let line = text.lines().rfind(|line| line.starts_with('{'));
        let line = line.unwrap_or_else(|| panic!("{}: the client said: {text}", proxy.name));
        serde_json::from_str(line).unwrap()
    }

    #[expect(clippy::too_many_arguments, reason = "a command line has many")]
    fn wrk(
        &self,
        wrk: &PathBuf,
        proxy: &Proxy,
        time: Duration,
        path: &str,
        connections: usize,
        tls: bool,
        body: Option<usize>,
    ) -> Command {
        let mut command = Command::new(wrk);
        command.args(["-t1", "-c", &connections.to_string()]);
        // wrk knows whole seconds alone.
        let seconds = time.as_secs_f64().ceil().max(1.0);
        command.args([
            "-d",
            &format!("{seconds}s"),
            "--timeout",
            "10s",
            "--latency",
        ]);
        command.arg("-s").arg(scratch().join("load.lua"));
        command.args(["-H", "Host: bench.test"]);
        let (scheme, address) = match tls {
            true => ("https", proxy.tls),
            false => ("http", proxy.http),
        };
        command.arg(format!("{scheme}://{address}{path}"));
        if let Some(bytes) = body {
            command.arg("--").arg(bytes.to_string());
        }
        command
    }

    /// Private memory of each of many connections that wait.
    pub fn idle(&self, proxy: &Proxy, case: &Case) -> Option<Sample> {
        let Load::Idle { connections, .. } = case.load else {
            return None;
        };
        let pid = proxy.pid?;
        // A first load, so that what is made once is there.
        let warm = Spec {
            kind: Kind::Closed,
            connections: 16,
            ..Spec::of(case.load, proxy, Duration::from_millis(300), None)
        };
        self.pins.others(own(&warm)).output().ok()?;
        let before = private_kib(pid);
        let spec = Spec::of(case.load, proxy, Duration::from_secs(60), None);
        let mut command = self.pins.others(own(&spec));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = Running(command.spawn().unwrap());
        let mut line = String::new();
        let out = client.0.stdout.take()?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).ok()?;
        let said: Value = serde_json::from_str(&line).ok()?;
        let open = said.get("open").and_then(Value::as_u64)?;
        let errors = connections as u64 - open;
        // Memory that a connection keeps for a second after its request is not what it idles with.
        std::thread::sleep(Duration::from_secs(6));
        let after = private_kib(pid);
        Some(Sample {
            proxy: proxy.name,
            case: case.name,
            errors,
            rss_kib: rss_kib(pid),
            idle_bytes: Some(after.saturating_sub(before) as f64 * 1024.0 / open.max(1) as f64),
            ..Sample::default()
        })
    }
}

/// Our own client.
fn own(spec: &Spec) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["client", &serde_json::to_string(spec).unwrap()]);
    command
}

fn h2load_run(
    loader: &Loader,
    h2load: &PathBuf,
    proxy: &Proxy,
    time: Duration,
    streams: usize,
    grpc: bool,
) -> Value {
    let mut command = Command::new(h2load);
    let seconds = time.as_secs_f64().ceil().max(1.0);
    command.args([
        "-t1",
        "-c8",
        "-m",
        &streams.to_string(),
        "-D",
        &seconds.to_string(),
    ]);
    let log = scratch().join("h2load.log");
    let _ = fs::remove_file(&log);
    command.arg(format!("--log-file={}", log.display()));
    let path = if grpc { "/bench.Echo/Call" } else { "/small" };
    if grpc {
        let frame = scratch().join("grpc.frame");
        fs::write(&frame, b"\0\0\0\0\x05hello").unwrap();
        command.args(["-H", "content-type: application/grpc", "-H", "te: trailers"]);
        command.arg("-d").arg(frame);
    }
    command.args([
        "-H",
        ":authority: bench.test",
        "--connect-to",
        &proxy.tls.to_string(),
    ]);
    command.arg(format!("https://bench.test{path}"));
    let out = loader.pins.others(command).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let number = |before: &str, behind: &str| -> u64 {
        let found = text
            .split(behind)
            .next()
            .filter(|front| front.len() < text.len());
        let found = found.and_then(|front| front.rsplit(before).next());
        found
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or_default()
    };
    let done = number("status codes:", " 2xx");
    let failed = number(",", " failed").max(number(",", " errored"));
    // Start, status and time of each request, the times in microseconds.
    let mut times: Vec<u64> = fs::read_to_string(&log)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.rsplit('\t').next()?.parse().ok())
        .collect();
    times.sort_unstable();
    let percentile = |share: f64| {
        let at = (times.len() as f64 * share) as usize;
        times
            .get(at.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    assert!(done > 0, "{}: h2load said: {text}", proxy.name);
    serde_json::json!({
        "requests": done,
        "errors": failed,
        "duration_us": seconds * 1e6,
        "p50": percentile(0.5),
        "p99": percentile(0.99),
        "p999": percentile(0.999),
    })
}

/// What wrk sends where it has a body, and prints at its end.
const SCRIPT: &str = r#"
init = function(args)
  if args[1] then
    wrk.method = "POST"
    wrk.body = string.rep("x", tonumber(args[1]))
  end
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"errors":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"#;
