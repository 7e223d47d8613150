//! A client of our own: so many keep-alive connections, each asking again as soon as it has its
//! answer. Prints one JSON line of counts and percentiles, in microseconds.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Latencies by the microsecond, up to a second.
struct Histogram(Vec<u32>);

impl Histogram {
    fn add(&mut self, time: Duration) {
        let place = (time.as_micros() as usize).min(self.0.len() - 1);
        self.0[place] += 1;
    }

    fn percentile(&self, percent: f64) -> usize {
        let total: u64 = self.0.iter().copied().map(u64::from).sum();
        let mut left = (total as f64 * percent / 100.0).ceil() as u64;
        for (place, count) in self.0.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return place;
            }
        }
        0
    }
}

struct Tally {
    latencies: Histogram,
    requests: u64,
    errors: u64,
}

/// Makes load for so long.
pub fn run(address: &str, path: &str, connections: usize, time: Duration, headers: &[&str]) {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    request += "\r\n";
    let request: Rc<[u8]> = request.into_bytes().into();
    let tally = Rc::new(RefCell::new(Tally {
        latencies: Histogram(vec![0; 1_000_000]),
        requests: 0,
        errors: 0,
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        let connection = |_| {
            let asking = ask(
                address.to_owned(),
                request.clone(),
                start + time,
                tally.clone(),
            );
            tokio::task::spawn_local(asking)
        };
        let tasks: Vec<_> = (0..connections).map(connection).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let tally = tally.borrow();
    let line = json!({
        "requests": tally.requests,
        "errors": tally.errors,
        "duration_us": start.elapsed().as_micros() as u64,
        "p50": tally.latencies.percentile(50.0),
        "p99": tally.latencies.percentile(99.0),
        "p999": tally.latencies.percentile(99.9),
    });
    println!("{line}");
}

async fn ask(address: String, request: Rc<[u8]>, until: Instant, tally: Rc<RefCell<Tally>>) {
    let Ok(mut socket) = TcpStream::connect(address).await else {
        tally.borrow_mut().errors += 1;
        return;
    };
    let _ = socket.set_nodelay(true);
    let mut buffer = vec![0; 256 * 1024];
    while Instant::now() < until {
        let began = Instant::now();
        let asked = socket.write_all(&request).await.is_ok();
        let answered = asked && answer(&mut socket, &mut buffer).await;
        let mut tally = tally.borrow_mut();
        if !answered {
            tally.errors += 1;
            return;
        }
        tally.requests += 1;
        tally.latencies.add(began.elapsed());
    }
}

/// Reads one answer with a length; whether it was a 200 and whole.
async fn answer(socket: &mut TcpStream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    let mut whole = usize::MAX;
    while filled < whole {
        match socket.read(&mut buffer[filled..]).await {
            Ok(count) if count > 0 => filled += count,
            _ => return false,
        }
        if whole == usize::MAX
            && let Some(end) = buffer[..filled].windows(4).position(|at| at == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let Some(length) = head.split("content-length: ").nth(1) else {
                return false;
            };
            let length = length.split("\r\n").next().unwrap_or_default();
            whole = end + 4 + length.parse::<usize>().unwrap_or_default();
        }
    }
    buffer.starts_with(b"HTTP/1.1 200")
}
