//! HTTP/1.1: closed loop, open loop, a connection a request.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, spawn_local};

use super::{Dial, Spec, Stream, Tally};
use crate::cases::Tokens;
use crate::tokens::Mint;

/// Where a connection's requests come from.
struct Source {
    plain: Vec<u8>,
    spec: Spec,
    mint: Option<Mint>,
    made: Vec<Vec<u8>>,
    next: u64,
}

impl Source {
    fn new(spec: &Spec, nth: usize) -> Source {
        let mint = spec.tokens.as_ref().map(|(_, keys)| keys.mint());
        let mut source = Source {
            plain: spec.request(""),
            spec: spec.clone(),
            mint,
            made: Vec::new(),
            // Apart from the other connections' and from those of other runs.
            next: spec.first_token + ((nth as u64) << 24),
        };
        let count = match spec.tokens {
            Some((Tokens::One, _)) => 1,
            Some((Tokens::Thousand, _)) => 1000,
            _ => 0,
        };
        source.made = (0..count).map(|number| source.with_token(number)).collect();
        source.next += nth as u64 * 17;
        source
    }

    fn with_token(&self, number: u64) -> Vec<u8> {
        let token = self.mint.as_ref().map(|mint| mint.token(number));
        self.spec.request(&format!(
            "Origin: https://app.example.com\r\nAuthorization: Bearer {}\r\n",
            token.unwrap_or_default()
        ))
    }

    /// The next request.
    async fn send(&mut self, socket: &mut dyn Stream) -> bool {
        self.next += 1;
        let fresh;
        let request = match (&self.spec.tokens, self.made.len()) {
            (None, _) => &self.plain,
            (Some(_), 0) => {
                fresh = self.with_token(self.next);
                &fresh
            }
            (Some(_), count) => &self.made[(self.next % count as u64) as usize],
        };
        socket.write_all(request).await.is_ok() && socket.flush().await.is_ok()
    }
}

/// Runs one task a connection to their ends.
async fn all<F: Future<Output = ()> + 'static>(spec: &Spec, each: impl Fn(usize) -> F) {
    let tasks: Vec<_> = (0..spec.connections)
        .map(|nth| spawn_local(each(nth)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

pub async fn closed(spec: &Spec, dial: &Dial, tally: &Rc<Tally>) {
    all(spec, |nth| {
        let (spec, dial, tally) = (spec.clone(), dial.clone(), tally.clone());
        async move {
            let Some(mut socket) = dial.connect().await else {
                return tally.failed();
            };
            let mut source = Source::new(&spec, nth);
            let mut buffer = vec![0; 64 * 1024];
            while tally.goes_on() {
                let began = Instant::now();
                let asked = source.send(&mut socket).await;
                if !asked || !answer(&mut socket, &mut buffer).await {
                    return tally.failed();
                }
                tally.done(began);
            }
        }
    })
    .await;
}

pub async fn open(spec: &Spec, rate: f64, dial: &Dial, tally: &Rc<Tally>) {
    let pause = Duration::from_secs_f64(spec.connections as f64 / rate.max(1.0));
    let start = Instant::now() + Duration::from_millis(50);
    all(spec, |nth| {
        let (spec, dial, tally) = (spec.clone(), dial.clone(), tally.clone());
        async move {
            let Some(mut socket) = dial.connect().await else {
                return tally.failed();
            };
            let mut source = Source::new(&spec, nth);
            let mut buffer = vec![0; 64 * 1024];
            // Each connection has its own times, spread evenly.
            let mut due = start + pause.mul_f64(nth as f64 / spec.connections as f64);
            while tally.goes_on() {
                let mut began = due;
                if Instant::now() < due {
                    tokio::time::sleep_until(due.into()).await;
                    // A timer that is late is not the proxy's fault; an answer that is, is.
                    began = Instant::now();
                }
                let asked = source.send(&mut socket).await;
                if !asked || !answer(&mut socket, &mut buffer).await {
                    return tally.failed();
                }
                tally.done(began);
                due += pause;
            }
        }
    })
    .await;
}

pub async fn churn(spec: &Spec, dial: &Dial, tally: &Rc<Tally>) {
    all(spec, |nth| {
        let (spec, dial, tally) = (spec.clone(), dial.clone(), tally.clone());
        async move {
            let mut source = Source::new(&spec, nth);
            let mut buffer = vec![0; 16 * 1024];
            while tally.goes_on() {
                let began = Instant::now();
                let Some(mut socket) = dial.connect().await else {
                    tally.failed();
                    continue;
                };
                let asked = source.send(&mut socket).await;
                match asked && answer(&mut socket, &mut buffer).await {
                    true => tally.done(began),
                    false => tally.failed(),
                }
            }
        }
    })
    .await;
}

/// Reads one answer with a length; whether it was a 200 and whole.
pub async fn answer(socket: &mut dyn Stream, buffer: &mut [u8]) -> bool {
    let mut filled = 0;
    let end = loop {
        match socket.read(&mut buffer[filled..]).await {
            Ok(count) if count > 0 => filled += count,
            _ => return false,
        }
        if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 4;
        }
    };
    let Some(length) = length(&buffer[..end]) else {
        return false;
    };
    let good = buffer.starts_with(b"HTTP/1.1 200");
    let mut left = length.saturating_sub(filled - end);
    while left > 0 {
        match socket.read(buffer).await {
            Ok(count) if count > 0 => left -= count.min(left),
            _ => return false,
        }
    }
    good
}

fn length(head: &[u8]) -> Option<usize> {
    let field = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked("content-length:".len())?;
        name.eq_ignore_ascii_case(b"content-length:")
            .then_some(value)
    })?;
    std::str::from_utf8(field).ok()?.trim().parse().ok()
}

/// Many connections that have had an answer.
pub async fn open_many(spec: &Spec, dial: &Dial) -> Vec<Box<dyn Stream>> {
    let mut all = Vec::new();
    let mut waiting = spec.connections;
    while waiting > 0 {
        let mut batch = JoinSet::new();
        for _ in 0..waiting.min(64) {
            let (dial, request) = (dial.clone(), spec.request(""));
            batch.spawn_local(async move {
                let mut socket = dial.connect().await?;
                socket.write_all(&request).await.ok()?;
                socket.flush().await.ok()?;
                let good = answer(&mut socket, &mut vec![0; 16 * 1024]).await;
                good.then_some(socket)
            });
        }
        waiting -= waiting.min(64);
        all.extend(batch.join_all().await.into_iter().flatten());
    }
    all
}
