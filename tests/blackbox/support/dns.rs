//! A DNS server that says what a test wants (RFC 1035), over UDP on loopback.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::eventually;

/// What a server says about a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These addresses, good for so many seconds.
    At(Vec<Ipv4Addr>, u32),
    /// No such name.
    Nobody,
    /// It failed.
    Failure,
    /// Not a word.
    Nothing,
}

#[derive(Default)]
struct State {
    names: HashMap<String, Says>,
    /// Questions for IPv4 addresses, by name.
    asked: HashMap<String, usize>,
    over: bool,
}

/// The server; gone when dropped. Names that it was not told of do not exist.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl NameServer {
    /// Starts one.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || serve(&socket, &shared));
        Self { address, state }
    }

    /// What it says about a name from now on.
    pub fn set(&self, name: &str, says: Says) {
        let mut state = self.state.lock().unwrap();
        state.names.insert(name.to_owned(), says);
    }

    /// The addresses of a name from now on.
    pub fn at(&self, name: &str, addresses: &[[u8; 4]], ttl: u32) {
        let addresses = addresses.iter().map(|ip| Ipv4Addr::from(*ip));
        self.set(name, Says::At(addresses.collect(), ttl));
    }

    /// How often it was asked for this name.
    pub fn asked(&self, name: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.get(name).copied().unwrap_or_default()
    }

    /// Waits until it is asked for this name again, so many times.
    #[track_caller]
    pub fn asked_again(&self, name: &str, times: usize) {
        let before = self.asked(name);
        eventually("another question", || self.asked(name) >= before + times);
    }
}

impl std::fmt::Display for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.address)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.state.lock().unwrap().over = true;
    }
}

fn serve(socket: &UdpSocket, state: &Mutex<State>) {
    let mut buf = [0; 1500];
    while !state.lock().unwrap().over {
        let Ok((size, peer)) = socket.recv_from(&mut buf) else {
            continue;
        };
        if let Some(answer) = answer(&buf[..size], state) {
            let _ = socket.send_to(&answer, peer);
        }
    }
}

const TYPE_A: u16 = 1;

fn answer(query: &[u8], state: &Mutex<State>) -> Option<Vec<u8>> {
    let (name, end) = name(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let mut state = state.lock().unwrap();
    if kind == TYPE_A {
        *state.asked.entry(name.clone()).or_default() += 1;
    }
    let (code, addresses, ttl) = match state.names.get(&name).cloned() {
        Some(Says::At(addresses, ttl)) if kind == TYPE_A => (0, addresses, ttl),
        Some(Says::At(_, ttl)) => (0, Vec::new(), ttl),
        Some(Says::Nobody) | None => (3, Vec::new(), 0),
        Some(Says::Failure) => (2, Vec::new(), 0),
        Some(Says::Nothing) => return None,
    };
    let mut out = query[..2].to_vec();
    // An answer, recursion desired and available.
    out.extend([0x81, 0x80 | code]);
    out.extend([0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(&query[12..end + 4]);
    for address in addresses {
        // The name of the question, IN A.
        out.extend([0xc0, 12, 0, 1, 0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

/// The name of the question, and where it ends.
fn name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let size = usize::from(*query.get(at)?);
        at += 1;
        if size == 0 {
            return Some((labels.join("."), at));
        }
        let label = query.get(at..at + size)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += size;
    }
}
