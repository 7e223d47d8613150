//! An HTTP/1.1 client that sends any bytes and shows what came back as it was.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::PATIENCE;

/// A socket, plain or TLS.
pub trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A client connection.
pub struct Conn {
    wire: Box<dyn Wire>,
    tcp: TcpStream,
    read: Vec<u8>,
}

/// A request to be written.
#[derive(Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// A response as received.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names as sent, values.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Sizes of the chunks.
    pub chunks: Vec<usize>,
    /// Fields behind a chunked body.
    pub trailers: Vec<(String, String)>,
    /// The body ended as its framing said it would.
    pub complete: bool,
}

impl Request {
    /// A request for `gateway.test`, unless a Host header is added.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `POST` with a body.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let has = |wanted: &str| {
            let mut names = self.headers.iter();
            names.any(|(name, _)| name.eq_ignore_ascii_case(wanted))
        };
        if !has("host") {
            text += "Host: gateway.test\r\n";
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = (text + "\r\n").into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }

    /// Sends it on a connection of its own and reads the answer.
    #[track_caller]
    pub fn send(&self, to: SocketAddr) -> Response {
        Conn::open(to).ask(self)
    }
}

impl Conn {
    /// Connects.
    pub fn open(to: SocketAddr) -> Self {
        let tcp = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self {
            wire: Box::new(tcp.try_clone().unwrap()),
            tcp,
            read: Vec::new(),
        }
    }

    /// Connects with TLS. The handshake happens with the first bytes.
    pub fn tls(to: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let mut conn = Self::open(to);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = ClientConnection::new(config, name).unwrap();
        conn.wire = Box::new(StreamOwned::new(tls, conn.tcp.try_clone().unwrap()));
        conn
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes, which the peer may refuse by closing.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.wire.write_all(bytes.as_ref())?;
        self.wire.flush()
    }

    /// Sends bytes beneath TLS.
    pub fn send_plain(&mut self, bytes: impl AsRef<[u8]>) {
        self.tcp.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub fn ask(&mut self, request: &Request) -> Response {
        self.send(request.bytes());
        self.response(&request.method)
    }

    /// Closes with a reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.tcp);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// Reads more; `false` at the end of the connection, in whatever way it ended.
    fn more(&mut self) -> bool {
        let mut buf = [0; 16 * 1024];
        loop {
            return match self.wire.read(&mut buf) {
                Ok(0) => false,
                Ok(read) => {
                    self.read.extend_from_slice(&buf[..read]);
                    true
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("nothing came: {error}, so far {}", show(&self.read))
                }
                Err(_) => false,
            };
        }
    }

    /// Reads up to and with `end`; `None` when the connection ended before.
    pub fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
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

    /// Reads exactly `count` bytes, or what there was.
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count && self.more() {}
        let count = count.min(self.read.len());
        self.read.drain(..count).collect()
    }

    /// Everything until the connection ends.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    /// Whether the peer closes without sending anything more.
    pub fn closes(&mut self) -> bool {
        let rest = self.rest();
        rest.is_empty()
    }

    /// A response head.
    #[track_caller]
    pub fn head(&mut self) -> Response {
        let head = self.until(b"\r\n\r\n");
        let head = head.unwrap_or_else(|| panic!("no head, but {}", show(&self.read)));
        parse(&head)
    }

    /// One chunk; `None` for the last one.
    #[track_caller]
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        self.try_chunk().expect("the body broke off")
    }

    fn try_chunk(&mut self) -> Option<Option<Vec<u8>>> {
        let line = self.until(b"\r\n")?;
        let text = String::from_utf8(line).unwrap();
        let size = usize::from_str_radix(text.trim().split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            return Some(None);
        }
        let data = self.exactly(size + 2);
        if data.len() < size + 2 {
            return None;
        }
        assert!(data.ends_with(b"\r\n"), "chunk without its end");
        Some(Some(data[..size].to_vec()))
    }

    /// The answer to a request with this method. Interim answers are skipped.
    #[track_caller]
    pub fn response(&mut self, method: &str) -> Response {
        let mut response = self.head();
        while (100..200).contains(&response.status) && response.status != 101 {
            response = self.head();
        }
        self.body_of(&mut response, method);
        response
    }

    /// Reads the body of a head.
    #[track_caller]
    pub fn body_of(&mut self, response: &mut Response, method: &str) {
        response.complete = true;
        if method == "HEAD" || matches!(response.status, 101 | 204 | 304) {
            return;
        }
        if response.header("transfer-encoding").is_some() {
            loop {
                match self.try_chunk() {
                    Some(Some(chunk)) => {
                        response.chunks.push(chunk.len());
                        response.body.extend(chunk);
                    }
                    Some(None) => break,
                    None => {
                        response.complete = false;
                        return;
                    }
                }
            }
            loop {
                let line = self.until(b"\r\n").expect("the end of the trailers");
                if line == b"\r\n" {
                    return;
                }
                response.trailers.push(field(&line));
            }
        }
        match response.header("content-length") {
            Some(length) => {
                let length: usize = length.parse().unwrap();
                response.body = self.exactly(length);
                response.complete = response.body.len() == length;
            }
            None => response.body = self.rest(),
        }
    }
}

/// Bytes for a message.
pub fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// One header line.
pub fn field(line: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(line);
    let (name, value) = text.split_once(':').expect("a field");
    (name.to_owned(), value.trim().to_owned())
}

fn parse(head: &[u8]) -> Response {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap();
    let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
    Response {
        status: status.unwrap_or_else(|| panic!("no status in {line:?}")),
        headers: lines
            .filter(|line| !line.is_empty())
            .map(|line| field(line.as_bytes()))
            .collect(),
        ..Response::default()
    }
}

impl Response {
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

    /// The body as a text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let json = serde_json::from_slice(&self.body);
        json.unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The `message` of a body in the gateway's form.
    #[track_caller]
    pub fn message(&self) -> String {
        let json = self.json();
        json["message"].as_str().expect("a message").to_owned()
    }

    /// Asserts that this is the gateway's own error, exactly.
    #[track_caller]
    pub fn is_error(&self, status: u16, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let id = self.header("x-kong-request-id").expect("a request id");
        assert_eq!(id.len(), 32, "{id}");
        let body = format!("{{\"message\":\"{message}\",\"request_id\":\"{id}\"}}");
        assert_eq!(self.text(), body);
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/json; charset=utf-8"));
        assert!(self.complete);
    }
}
