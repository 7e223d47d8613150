//! Upstreams that record what reached them and answer as a test tells them to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::PATIENCE;
use super::client::{Wire, field};

/// A request as it reached an upstream.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// Names as sent, values.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
    /// The connection that it came over, counted from 1.
    pub connection: usize,
}

impl Received {
    /// The method.
    pub fn method(&self) -> &str {
        self.line.split(' ').next().unwrap()
    }

    /// The request target.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// The value of a field that is there at most once.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let values = self.values(name);
        assert!(
            values.len() < 2,
            "{name} is there more than once: {values:?}"
        );
        values.first().copied()
    }

    /// All values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.headers.iter();
        let fitting = fields.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        fitting.map(|(_, value)| value.as_str()).collect()
    }
}

/// What an upstream has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections accepted.
    pub connections: usize,
    /// Connections over, whoever ended them.
    pub ended: usize,
    /// Requests, heads at least.
    pub requests: Vec<Received>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
    over: AtomicBool,
}

impl Shared {
    fn change(&self, how: impl FnOnce(&mut Seen)) {
        how(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

/// One accepted connection, as a script sees it.
pub struct Serving {
    wire: Box<dyn Wire>,
    tcp: TcpStream,
    read: Vec<u8>,
    shared: Arc<Shared>,
    /// Its number, from 1.
    pub number: usize,
}

impl Serving {
    fn more(&mut self) -> bool {
        let mut buf = [0; 64 * 1024];
        match self.wire.read(&mut buf) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.read.extend_from_slice(&buf[..read]);
                true
            }
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self.read.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                return Some(self.read.drain(..at + end.len()).collect());
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// Reads exactly so much, or what there was.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more() {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// Reads a head and records it; `None` when the peer left.
    pub fn head(&mut self) -> Option<Received> {
        let head = self.until(b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let received = Received {
            line: lines.next().unwrap().to_owned(),
            headers: lines.map(|line| field(line.as_bytes())).collect(),
            connection: self.number,
            ..Received::default()
        };
        let copy = received.clone();
        self.shared.change(|seen| seen.requests.push(copy));
        Some(received)
    }

    /// Reads the body of a request whose head was read last, and records it.
    pub fn body(&mut self, request: &mut Received) -> Option<()> {
        if request.header("transfer-encoding").is_some() {
            loop {
                let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    break;
                }
                let data = self.exactly(size + 2);
                if data.len() < size + 2 {
                    return None;
                }
                request.body.extend(&data[..size]);
            }
            loop {
                let line = self.until(b"\r\n")?;
                if line == b"\r\n" {
                    break;
                }
                request.trailers.push(field(&line));
            }
        } else if let Some(length) = request.header("content-length") {
            let length: usize = length.parse().unwrap();
            request.body = self.exactly(length);
            if request.body.len() < length {
                return None;
            }
        }
        let copy = request.clone();
        self.shared.change(|seen| {
            let ours = |known: &&mut Received| known.connection == copy.connection;
            if let Some(last) = seen.requests.iter_mut().rev().find(ours) {
                *last = copy.clone();
            }
        });
        Some(())
    }

    /// A head and its body.
    pub fn request(&mut self) -> Option<Received> {
        let mut request = self.head()?;
        self.body(&mut request)?;
        Some(request)
    }

    /// The address that the peer connected to.
    pub fn address(&self) -> SocketAddr {
        self.tcp.local_addr().unwrap()
    }

    /// Writes bytes; whether that worked.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let written = self.wire.write_all(bytes.as_ref());
        written.and_then(|()| self.wire.flush()).is_ok()
    }

    /// Answers with a length.
    pub fn reply(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> bool {
        self.write(reply(status, headers, body))
    }

    /// Waits until the peer leaves.
    pub fn left(&mut self) {
        while self.more() {}
    }

    /// Resets the connection.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.tcp);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.change(|seen| seen.ended += 1);
    }
}

/// A response with a length.
pub fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Word\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

/// An upstream; gone when dropped.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Upstream {
    /// Every connection goes to a script of its own.
    pub fn raw(script: impl Fn(Serving) + Send + Sync + 'static) -> Self {
        Self::listen(None, "127.0.0.1:0", script)
    }

    /// As [`Upstream::raw`], at every address of this machine.
    pub fn everywhere(script: impl Fn(Serving) + Send + Sync + 'static) -> Self {
        Self::listen(None, "0.0.0.0:0", script)
    }

    /// As [`Upstream::raw`], behind TLS.
    pub fn raw_tls(
        config: Arc<ServerConfig>,
        script: impl Fn(Serving) + Send + Sync + 'static,
    ) -> Self {
        Self::listen(Some(config), "127.0.0.1:0", script)
    }

    fn listen(
        tls: Option<Arc<ServerConfig>>,
        address: &str,
        script: impl Fn(Serving) + Send + Sync + 'static,
    ) -> Self {
        Self::accepting(TcpListener::bind(address).unwrap(), tls, script)
    }

    fn accepting(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(Serving) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (state, script) = (shared.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for number in 1.. {
                let Ok((tcp, _)) = listener.accept() else {
                    return;
                };
                if state.over.load(Ordering::SeqCst) {
                    return;
                }
                state.change(|seen| seen.connections += 1);
                tcp.set_nodelay(true).unwrap();
                let other = tcp.try_clone().unwrap();
                let wire: Box<dyn Wire> = match tls.clone() {
                    Some(tls) => {
                        let tls = ServerConnection::new(tls).unwrap();
                        Box::new(StreamOwned::new(tls, other))
                    }
                    None => Box::new(other),
                };
                let serving = Serving {
                    wire,
                    tcp,
                    read: Vec::new(),
                    shared: state.clone(),
                    number,
                };
                let script = script.clone();
                std::thread::spawn(move || script(serving));
            }
        });
        Self { address, shared }
    }

    /// Every request, body included, is answered with these bytes; the connection stays open.
    pub fn answering(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::raw(move |serving| serve(serving, &answer))
    }

    /// As [`Upstream::answering`], behind TLS.
    pub fn answering_tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::raw_tls(config, move |serving| serve(serving, &answer))
    }

    /// As [`Upstream::raw`], where nobody was before.
    pub fn raw_at(nobody: Nobody, script: impl Fn(Serving) + Send + Sync + 'static) -> Self {
        nobody.socket.listen(128).unwrap();
        Self::accepting(nobody.socket.into(), None, script)
    }

    /// As [`Upstream::answering`], where nobody was before.
    pub fn answering_at(
        nobody: Nobody,
        answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::raw_at(nobody, move |serving| serve(serving, &answer))
    }

    /// Answers every request with 200 and this body.
    pub fn saying(body: &'static str) -> Self {
        Self::answering(move |_| reply(200, &[("Content-Type", "text/plain")], body.as_bytes()))
    }

    /// Answers with the body that it was sent.
    pub fn echo() -> Self {
        Self::answering(|request| reply(200, &[("Server", "upstream")], &request.body))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.seen().requests
    }

    /// The only request so far.
    #[track_caller]
    pub fn only(&self) -> Received {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:#?}");
        requests.remove(0)
    }

    /// The last request so far.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.requests().pop().expect("a request")
    }

    /// Waits until it has seen something.
    #[track_caller]
    pub fn wait(&self, what: &str, yes: impl Fn(&Seen) -> bool) -> Seen {
        let begin = Instant::now();
        let mut seen = self.shared.seen.lock().unwrap();
        while !yes(&seen) {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            assert!(!left.is_zero(), "never happened: {what}; seen: {seen:#?}");
            seen = self.shared.changed.wait_timeout(seen, left).unwrap().0;
        }
        seen.clone()
    }
}

fn serve(mut serving: Serving, answer: &impl Fn(&Received) -> Vec<u8>) {
    while let Some(request) = serving.request() {
        if !serving.write(answer(&request)) {
            return;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// An address where nobody listens: bound, never listened on, so that nobody else gets it.
pub struct Nobody {
    socket: socket2::Socket,
    address: SocketAddr,
}

impl Nobody {
    /// Takes an address.
    pub fn new() -> Self {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        );
        let socket = socket.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, address }
    }
}

impl std::fmt::Display for Nobody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Read for Serving {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.read.is_empty() {
            return self.wire.read(into);
        }
        let count = into.len().min(self.read.len());
        into[..count].copy_from_slice(&self.read[..count]);
        self.read.drain(..count);
        Ok(count)
    }
}

impl Write for Serving {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.wire.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.wire.flush()
    }
}
