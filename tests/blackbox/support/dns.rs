//! A DNS server that says what a test wants (RFC 1035), over UDP on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::eventually;

/// What a server says about a name.
#[derive(Clone, Debug)]
pub enum Says {
    /// These records, good for so many seconds.
    Records(Vec<Record>, u32),
    /// No such name.
    Nobody,
    /// It failed.
    Failure,
    /// Not a word.
    Nothing,
}

/// What a server knows of a name.
#[derive(Clone, Debug)]
pub enum Record {
    /// An address.
    At(IpAddr),
    /// A service: priority, weight, port, host.
    Service(u16, u16, u16, &'static str),
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Record::At(IpAddr::V4(_)) => TYPE_A,
            Record::At(IpAddr::V6(_)) => 28,
            Record::Service(..) => 33,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Record::At(IpAddr::V4(ip)) => ip.octets().to_vec(),
            Record::At(IpAddr::V6(ip)) => ip.octets().to_vec(),
            Record::Service(priority, weight, port, host) => {
                let numbers = [priority, weight, port];
                let mut data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
                for label in host.split('.') {
                    data.push(u8::try_from(label.len()).unwrap());
                    data.extend(label.as_bytes());
                }
                data.push(0);
                data
            }
        }
    }
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
        let addresses = addresses.iter().map(|ip| Record::At((*ip).into()));
        self.set(name, Says::Records(addresses.collect(), ttl));
    }

    /// One address of each family.
    pub fn at_both(&self, name: &str, four: [u8; 4], six: Ipv6Addr) {
        let records = vec![Record::At(four.into()), Record::At(six.into())];
        self.set(name, Says::Records(records, 60));
    }

    /// The services of a name from now on.
    pub fn offers(&self, name: &str, services: &[(u16, u16, u16, &'static str)], ttl: u32) {
        let records = services
            .iter()
            .map(|of| Record::Service(of.0, of.1, of.2, of.3));
        self.set(name, Says::Records(records.collect(), ttl));
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
    let (code, records, ttl) = match state.names.get(&name).cloned() {
        Some(Says::Records(records, ttl)) => (0, records, ttl),
        Some(Says::Nobody) | None => (3, Vec::new(), 0),
        Some(Says::Failure) => (2, Vec::new(), 0),
        Some(Says::Nothing) => return None,
    };
    let records: Vec<&Record> = records.iter().filter(|it| it.kind() == kind).collect();
    let mut out = query[..2].to_vec();
    // An answer, recursion desired and available.
    out.extend([0x81, 0x80 | code]);
    out.extend([0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(&query[12..end + 4]);
    for record in records {
        // The name of the question, IN.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(ttl.to_be_bytes());
        let data = record.data();
        out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        out.extend(data);
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
