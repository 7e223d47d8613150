//! A cluster: who serves which of its 16384 slots.
//!
//! Invariant: a call goes to the server of its slot directly; one that is told `MOVED` learns for
//! all. Whoever knows better than the table is believed: the servers themselves, asked now and then
//! and whenever something has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::Value;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::call::{Answer, Call};
use super::node::{Node, Side};
use super::open::open;
use super::{Address, Away, Shared, lock};

/// How many slots there are.
const SLOTS: usize = 16_384;
/// How often a call follows a server's word to another one.
const HOPS: usize = 4;
/// How often the servers are asked when nothing has happened.
const REGULAR: Duration = Duration::from_secs(10);
/// How often while a server is away.
const SOON: Duration = Duration::from_secs(1);

/// A cluster.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    runtime: Option<Handle>,
    table: ArcSwap<Table>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
}

/// The server of each slot.
#[derive(Clone)]
struct Table {
    nodes: Vec<Arc<Node>>,
    /// By slot, a place in `nodes`.
    slots: Vec<u16>,
}

impl Cluster {
    pub(super) fn start(shared: &Arc<Shared>, runtime: Option<Handle>) -> Arc<Cluster> {
        let cluster = Arc::new(Cluster {
            shared: shared.clone(),
            runtime: runtime.clone(),
            table: ArcSwap::from_pointee(Table {
                nodes: Vec::new(),
                slots: Vec::new(),
            }),
            nodes: Mutex::default(),
        });
        for seed in &shared.target.nodes {
            cluster.node(seed.clone());
        }
        if let Some(runtime) = runtime {
            runtime.spawn(keep_up(Arc::downgrade(&cluster), shared.clone()));
        }
        cluster
    }

    /// Every known server.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        lock(&self.nodes).values().cloned().collect()
    }

    fn node(&self, address: Address) -> Arc<Node> {
        let mut nodes = lock(&self.nodes);
        let made = || Node::start(&address, &self.shared, self.runtime.as_ref());
        nodes.entry(address.clone()).or_insert_with(made).clone()
    }

    /// The server of a key's slot; before the first answer about slots, any one.
    pub(super) fn node_of(&self, key: &str) -> Option<Arc<Node>> {
        let table = self.table.load();
        let place = table.slots.get(usize::from(slot(key.as_bytes())));
        let known = place.and_then(|place| table.nodes.get(usize::from(*place)));
        known.cloned().or_else(|| {
            let nodes = lock(&self.nodes);
            let seeds = self.shared.target.nodes.iter();
            let seeds: Vec<&Arc<Node>> = seeds.filter_map(|seed| nodes.get(seed)).collect();
            let awake = seeds.iter().find(|node| !node.is_open());
            awake.or(seeds.first()).copied().cloned()
        })
    }

    /// Runs a script where its keys are.
    pub(super) async fn run<S: Side>(&self, call: &Call<'_>) -> Result<Vec<i64>, Away> {
        let key = call.keys.first().map_or("", String::as_str);
        let mut node = self.node_of(key).ok_or(Away::Detached)?;
        let mut asking = false;
        for _ in 0..HOPS {
            let (slot, to) = match node.run::<S>(call, asking).await? {
                Answer::Numbers(numbers) => return Ok(numbers),
                Answer::Elsewhere {
                    slot,
                    to,
                    asking: only_now,
                } => {
                    asking = only_now;
                    (slot, to)
                }
            };
            let Some(address) = redirected(&to, &node.address) else {
                return Err(node.refused(format!("MOVED to {to}")));
            };
            node = self.node(address);
            if !asking {
                self.learn(slot, &node);
            }
        }
        Err(node.refused("it sends in circles".to_owned()))
    }

    /// A server said that another one has a slot.
    fn learn(&self, slot: u16, node: &Arc<Node>) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table);
            let place = table.place(node);
            if table.slots.is_empty() {
                table.slots = vec![u16::MAX; SLOTS];
            }
            if let Some(of) = table.slots.get_mut(usize::from(slot)) {
                *of = place;
            }
            table
        });
        self.shared.moved.notify_one();
    }

    /// Asks the servers, one after another, until one knows.
    async fn refresh(&self) {
        let bound = self.shared.target.timeout;
        for node in self.nodes().into_iter().filter(|node| !node.is_open()) {
            let asked = timeout(bound, ranges(&self.shared, &node.address)).await;
            match asked.unwrap_or(Err(Away::Timeout(bound))) {
                Ok(ranges) if !ranges.is_empty() => return self.adopt(ranges),
                Ok(_) => debug!("redis {} serves no slots yet", node.address),
                Err(away) => debug!("redis {}: slots: {away}", node.address),
            }
        }
    }

    fn adopt(&self, ranges: Vec<Range>) {
        let mut table = Table {
            nodes: Vec::new(),
            slots: vec![u16::MAX; SLOTS],
        };
        for range in ranges {
            let place = table.place(&self.node(range.address));
            if let Some(slots) = table.slots.get_mut(range.from..=range.to) {
                slots.fill(place);
            }
        }
        let seeds = &self.shared.target.nodes;
        let mut nodes = lock(&self.nodes);
        nodes.retain(|address, node| {
            seeds.contains(address) || table.nodes.iter().any(|used| Arc::ptr_eq(used, node))
        });
        if self.table.load().nodes.is_empty() {
            info!(masters = table.nodes.len(), "redis cluster found");
        }
        self.table.store(Arc::new(table));
    }
}

impl Table {
    fn place(&mut self, node: &Arc<Node>) -> u16 {
        let known = self.nodes.iter().position(|of| Arc::ptr_eq(of, node));
        let place = known.unwrap_or_else(|| {
            self.nodes.push(node.clone());
            self.nodes.len() - 1
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }
}

/// Keeps the table up to date for as long as anybody uses the cluster.
async fn keep_up(cluster: Weak<Cluster>, shared: Arc<Shared>) {
    loop {
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        cluster.refresh().await;
        let known = !cluster.table.load().nodes.is_empty();
        let whole = known && !cluster.nodes().iter().any(|node| node.is_open());
        drop(cluster);
        let pause = if whole { REGULAR } else { SOON };
        tokio::select! {
            () = shared.gone.cancelled() => return,
            () = sleep(pause) => {}
            // Many calls may learn the same at once.
            () = shared.moved.notified() => sleep(SOON / 10).await,
        }
    }
}

/// Slots that one server has.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    from: usize,
    to: usize,
    address: Address,
}

async fn ranges(shared: &Shared, asked: &Address) -> Result<Vec<Range>, Away> {
    let (mut connection, driver) = open(shared, asked).await?;
    let mut command = redis::cmd("CLUSTER");
    command.arg("SLOTS");
    let reply = tokio::select! {
        reply = connection.send_packed_command(&command) => reply,
        () = driver => return Err(Away::Closed("while asking for slots".to_owned())),
    };
    let reply = reply.map_err(|error| super::open::why(&error))?;
    let Value::Array(rows) = reply else {
        return Err(Away::Garbage("a list of slots was expected".to_owned()));
    };
    Ok(rows.iter().filter_map(|row| range(row, asked)).collect())
}

/// A row of `CLUSTER SLOTS`: first, last, the master's host and port, replicas.
fn range(row: &Value, asked: &Address) -> Option<Range> {
    let Value::Array(row) = row else { return None };
    let [Value::Int(from), Value::Int(to), Value::Array(master), ..] = row.as_slice() else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() => std::str::from_utf8(host).ok()?,
        _ => &asked.host,
    };
    Some(Range {
        from: usize::try_from(*from).ok()?,
        to: usize::try_from(*to).ok()?,
        address: Address {
            host: host.to_owned(),
            port: u16::try_from(*port).ok()?,
        },
    })
}

/// Where `MOVED` or `ASK` points to: `host:port`, without brackets even for IPv6; no host is the
/// speaker's own.
fn redirected(to: &str, speaker: &Address) -> Option<Address> {
    let (host, port) = to.rsplit_once(':')?;
    let host = match host {
        "" => &speaker.host,
        host => host,
    };
    Some(Address {
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

/// The slot of a key: that of what stands in its first braces, else of the whole.
fn slot(key: &[u8]) -> u16 {
    let tag = || {
        let begin = key.iter().position(|byte| *byte == b'{')? + 1;
        let rest = key.get(begin..)?;
        let end = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..end).filter(|tag| !tag.is_empty())
    };
    crc16(tag().unwrap_or(key)) % SLOTS as u16
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_servers() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"x{foo}:1"), slot(b"foo"));
        assert_eq!(slot(b"{foo}{bar}"), slot(b"foo"));
        assert_eq!(slot(b"foo{}bar"), crc16(b"foo{}bar") % 16_384);
        assert_ne!(slot(b"foo{bar"), slot(b"bar"));
    }

    #[test]
    fn redirections_name_a_server() {
        let speaker = Address {
            host: "10.0.0.1".into(),
            port: 1,
        };
        let to = |text| redirected(text, &speaker).map(|address| address.to_string());
        assert_eq!(to("127.0.0.1:6381").as_deref(), Some("127.0.0.1:6381"));
        assert_eq!(to(":6381").as_deref(), Some("10.0.0.1:6381"));
        assert_eq!(to("::1:6381").as_deref(), Some("[::1]:6381"));
        assert_eq!(
            (to("127.0.0.1"), to("h:x"), to("h:99999")),
            (None, None, None)
        );
    }

    #[test]
    fn rows_of_slots_are_read_or_left_out() {
        let asked = Address {
            host: "h".into(),
            port: 7,
        };
        let node =
            |host: &str, port| Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        let row = |from, to, master| Value::Array(vec![Value::Int(from), Value::Int(to), master]);
        let read = |row| range(&row, &asked).map(|of| (of.from, of.to, of.address.to_string()));
        let want = Some((0, 5460, "10.0.0.2:6380".to_owned()));
        assert_eq!(read(row(0, 5460, node("10.0.0.2", 6380))), want);
        assert_eq!(read(row(1, 2, node("", 9))).unwrap().2, "h:9");
        for bad in [
            Value::Nil,
            Value::Array(vec![]),
            row(-1, 2, node("h", 9)),
            row(1, 2, node("h", 99_999)),
            row(1, 2, Value::Array(vec![])),
        ] {
            assert_eq!(read(bad), None);
        }
    }
}
