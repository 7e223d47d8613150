//! How many connections a client address has open.
//!
//! Looked at when a connection comes and when it ends, never for a request, and only where there is a
//! limit. Invariant: an address is in the table as long as it has a connection, so the table is no
//! larger than their number.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The limit of the process over all workers. Clones are the same limit.
#[derive(Clone, Debug)]
pub struct PerAddress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: u32,
    /// Several tables, so that workers seldom meet at one.
    shards: [Mutex<HashMap<Key, u32>>; SHARDS],
    hasher: std::hash::RandomState,
}

const SHARDS: usize = 16;

/// An IPv4 address, or the network part of an IPv6 one: a client has a whole /64 of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    V4(u32),
    V6(u64),
}

impl Key {
    fn of(address: IpAddr) -> Key {
        match address.to_canonical() {
            IpAddr::V4(address) => Key::V4(address.to_bits()),
            IpAddr::V6(address) => Key::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// One connection of an address, given back when it is dropped.
#[derive(Debug)]
pub struct AddressPlace {
    shared: Arc<Shared>,
    key: Key,
}

impl PerAddress {
    /// A limit of `most` connections for each address; none where that is 0.
    pub fn new(most: u32) -> Option<PerAddress> {
        let shared = |most| Shared {
            most,
            shards: Default::default(),
            hasher: Default::default(),
        };
        (most > 0).then(|| PerAddress(Arc::new(shared(most))))
    }

    /// A place for one more connection, if the address may have it.
    pub fn take(&self, address: IpAddr) -> Option<AddressPlace> {
        let key = Key::of(address);
        let mut open = self.0.shard(key);
        let count = open.entry(key).or_default();
        if *count >= self.0.most {
            return None;
        }
        *count += 1;
        Some(AddressPlace {
            shared: Arc::clone(&self.0),
            key,
        })
    }
}

impl Shared {
    fn shard(&self, key: Key) -> MutexGuard<'_, HashMap<Key, u32>> {
        let shard = self.hasher.hash_one(key) as usize % SHARDS;
        // Numbers are whole whatever became of the thread that held them.
        let locked = self.shards[shard].lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.shared.shard(self.key);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_so_many_places() {
        let limit = PerAddress::new(2).unwrap();
        let one = address("192.0.2.1");
        let places = [limit.take(one).unwrap(), limit.take(one).unwrap()];
        assert!(limit.take(one).is_none());
        assert!(limit.take(address("::ffff:192.0.2.1")).is_none());
        let other = limit.take(address("192.0.2.2"));
        assert!(other.is_some());
        drop(places);
        let again = limit.take(one);
        assert!(again.is_some());
        drop((other, again));
        let left = |shard: &Mutex<HashMap<Key, u32>>| shard.lock().unwrap().len();
        assert_eq!(limit.0.shards.iter().map(left).sum::<usize>(), 0);
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let limit = PerAddress::new(1).unwrap();
        let _place = limit.take(address("2001:db8::1")).unwrap();
        assert!(limit.take(address("2001:db8::2")).is_none());
        assert!(limit.take(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn there_may_be_no_limit() {
        assert!(PerAddress::new(0).is_none());
    }
}
