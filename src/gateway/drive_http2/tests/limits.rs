//! What an HTTP/2 client may not do.

use super::*;
use crate::gateway::live::Policy;

/// Raw bytes to a served connection, and what comes back until it ends.
struct Raw {
    io: Io,
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// `GET http://a/` in HPACK.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 0x01, b'a'];

impl Raw {
    async fn open(worker: &Rc<Worker>) -> Raw {
        let (near, far) = Io::pair(64 * 1024);
        let there = Rc::clone(worker);
        local::spawn(async move { serve(far, Vec::new(), conn(), there).await });
        let mut raw = Raw { io: near };
        raw.send(PREFACE).await.unwrap();
        raw.send(&frame(4, 0, 0, &[])).await.unwrap();
        raw
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await
    }

    /// Takes in what has come; `false` once the connection has ended.
    async fn drain(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = tokio::time::timeout(Duration::ZERO, self.io.read(&mut buffer)).await;
            match read {
                Err(_) => return true,
                Ok(Ok(count)) if count > 0 => {}
                Ok(_) => return false,
            }
        }
    }
}

fn with_limits(change: impl FnOnce(&mut Policy)) -> Rc<Worker> {
    let mut policy = policy();
    change(&mut policy);
    worker_with("_format_version: '3.0'", policy)
}

#[tokio::test(flavor = "local")]
async fn heads_are_held_to_the_same_limits_as_over_http1() {
    let worker = with_limits(|policy| {
        policy.limits.head = 2000;
        policy.limits.headers = 20;
        policy.limits.uri = 100;
    });
    let mut client = connect(&worker).await;
    let ask = |path: &str, fields: usize, size: usize| {
        let mut request = request("GET", path, full(""));
        for at in 0..fields {
            let name: http::HeaderName = format!("x-{at}").parse().unwrap();
            request
                .headers_mut()
                .insert(name, "v".repeat(size).parse().unwrap());
        }
        request
    };
    for (request, status) in [
        (ask("/", 10, 100), 404),
        (ask("/", 10, 200), 431),
        (ask("/", 30, 1), 431),
        (ask("/", 1, 6000), 431),
        (ask(&format!("/{}", "p".repeat(100)), 0, 0), 414),
        (ask("/", 1, 1), 404),
    ] {
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), status);
    }
}

#[tokio::test(flavor = "local")]
async fn ambiguous_heads_are_refused() {
    let mut client = connect(&worker("_format_version: '3.0'")).await;
    for (field, value, status) in [
        ("host", "gate.test", 404),
        ("host", "GATE.test:80", 404),
        ("host", "other.test", 400),
        ("host", "a b", 400),
        ("content-length", "5, 5", 400),
        ("content-length", "+5", 400),
    ] {
        let mut request = request("GET", "/", full(""));
        request.headers_mut().insert(field, value.parse().unwrap());
        let answer = client.send_request(request).await;
        // What h2 refuses by itself is reset.
        let status_seen = answer.map_or(400, |response| response.status().as_u16());
        assert_eq!(status_seen, status, "{field}: {value}");
    }
    for path in ["/%00", "/%zz", "/a%"] {
        let response = client
            .send_request(request("GET", path, full("")))
            .await
            .unwrap();
        assert_eq!(response.status(), 400, "{path}");
    }
}

#[tokio::test(flavor = "local")]
async fn bodies_over_the_limit_are_413() {
    let address = upstream(false, echo).await;
    let mut policy = policy();
    policy.max_body = 1000;
    let worker = worker_with(&file(&format!("http://{address}"), "pass"), policy);
    let mut client = connect(&worker).await;
    for declared in [true, false] {
        let mut request = request("POST", "/", full_with(vec![0; 5000], HeaderMap::new()));
        if declared {
            request.headers_mut().insert("content-length", 5000.into());
        }
        let response = client.send_request(request).await.unwrap();
        assert_eq!(response.status(), 413, "declared: {declared}");
    }
    let response = client
        .send_request(request("POST", "/", full(vec![0; 1000])))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "local")]
async fn a_paced_rapid_reset_ends_the_connection() {
    async fn never(_: Request<Incoming>) -> Response<AnyBody> {
        pending().await
    }
    let address = upstream(false, never).await;
    let worker = gate(address, "pass");
    let mut raw = Raw::open(&worker).await;
    let mut pairs = 0;
    for stream in (1..4001).step_by(2) {
        let mut both = frame(1, 5, stream, GET);
        both.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
        let head = both.len() - 13;
        if raw.send(&both[..head]).await.is_err() {
            break;
        }
        // Each stream gets its turn before it is reset.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        if raw.send(&both[head..]).await.is_err() || !raw.drain().await {
            break;
        }
        pairs += 1;
    }
    assert!((100..600).contains(&pairs), "ended after {pairs}");
}

#[tokio::test(flavor = "local")]
async fn a_flood_of_pings_ends_the_connection() {
    let worker = worker("_format_version: '3.0'");
    let mut raw = Raw::open(&worker).await;
    let mut pings = 0;
    while pings < 20_000 {
        if raw.send(&frame(6, 0, 0, &[0; 8]).repeat(10)).await.is_err() || !raw.drain().await {
            break;
        }
        pings += 10;
    }
    assert!((500..5000).contains(&pings), "ended after {pings}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn idle_connections_are_told_to_leave() {
    let worker = worker("_format_version: '3.0'");
    let start = tokio::time::Instant::now();
    let mut client = connect(&worker).await;
    let response = client
        .send_request(request("GET", "/", full("")))
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    drop(response);
    while !client.is_closed() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let idle = start.elapsed();
    assert!((75..80).contains(&idle.as_secs()), "{idle:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_asks_nothing_is_dropped_sooner() {
    let worker = worker("_format_version: '3.0'");
    let start = tokio::time::Instant::now();
    let mut raw = Raw::open(&worker).await;
    while raw.drain().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let idle = start.elapsed();
    assert!((10..15).contains(&idle.as_secs()), "{idle:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_stops_reading_is_dropped() {
    let text = file("http://127.0.0.1:9", "replace");
    // Never asked: the answer is the probe's own, larger than any window.
    let mut policy = policy();
    policy.body_timeout = Duration::from_secs(5);
    let worker = worker_with(&text, policy);
    let mut raw = Raw::open(&worker).await;
    // A window of nothing.
    raw.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]))
        .await
        .unwrap();
    raw.send(&frame(1, 5, 1, GET)).await.unwrap();
    let start = tokio::time::Instant::now();
    while raw.drain().await {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(start.elapsed() < Duration::from_secs(60), "still there");
    }
}
