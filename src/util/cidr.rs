//! Sets of addresses: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`, `unix:`.
//!
//! Invariant: each family is a sorted list of ranges that neither touch nor overlap, so a look-up
//! is one binary search. An IPv4 address written as `::ffff:a.b.c.d` is that IPv4 address, in the
//! set and in a look-up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// What is wrong with an entry of an address list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddrError {
    /// Neither an address nor an address with a prefix length.
    #[error("invalid ip or cidr range: '{0}'")]
    Address(String),
    /// The part after the slash is not a number of bits that the address has.
    #[error("invalid ip or cidr range: '{entry}' (the prefix length must be 0 to {most})")]
    Prefix {
        /// The entry as written.
        entry: String,
        /// Bits of the address: 32 or 128.
        most: u8,
    },
}

/// One entry of an address list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrBlock {
    /// IPv4 addresses, first and last.
    V4(u32, u32),
    /// IPv6 addresses, first and last.
    V6(u128, u128),
    /// Peers of unix sockets: no IP address at all.
    Unix,
}

impl AddrBlock {
    /// Reads one entry. Bits behind the prefix are ignored: `10.1.2.3/8` is `10.0.0.0/8`.
    pub fn parse(entry: &str) -> Result<Self, AddrError> {
        if entry == "unix:" {
            return Ok(Self::Unix);
        }
        let (address, prefix) = match entry.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (entry, None),
        };
        let address = address
            .parse()
            .map_err(|_| AddrError::Address(entry.to_owned()))?;
        let most = if matches!(address, IpAddr::V4(_)) {
            32
        } else {
            128
        };
        match prefix.map_or(Some(most), |prefix| bits(prefix, most)) {
            Some(bits) => Ok(Self::of(address, bits)),
            None => Err(AddrError::Prefix {
                entry: entry.to_owned(),
                most,
            }),
        }
    }

    /// The block of the addresses that share the first `bits` bits with `address`.
    fn of(address: IpAddr, bits: u8) -> Self {
        match address {
            IpAddr::V4(address) => Self::v4(address, bits),
            IpAddr::V6(address) => match (address.to_ipv4_mapped(), bits.checked_sub(96)) {
                (Some(mapped), Some(bits)) => Self::v4(mapped, bits),
                _ => Self::v6(address, bits),
            },
        }
    }

    fn v4(address: Ipv4Addr, bits: u8) -> Self {
        let low = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
        Self::V4(address.to_bits() & !low, address.to_bits() | low)
    }

    fn v6(address: Ipv6Addr, bits: u8) -> Self {
        let low = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
        Self::V6(address.to_bits() & !low, address.to_bits() | low)
    }
}

/// A prefix length: digits only (the standard parser would take `+8`), at most `most`.
fn bits(text: &str, most: u8) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let bits = if digits { text.parse().ok() } else { None };
    bits.filter(|bits| *bits <= most)
}

/// A set of addresses. Look-ups take O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddrSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
    unix: bool,
}

impl AddrSet {
    /// Reads a list of entries; the first that is wrong ends it.
    pub fn parse<I>(entries: I) -> Result<Self, AddrError>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        entries
            .into_iter()
            .map(|entry| AddrBlock::parse(entry.as_ref()))
            .collect()
    }

    /// Whether an IP address is in the set.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(mapped) => within(&self.v4, mapped.to_bits()),
                None => within(&self.v6, address.to_bits()),
            },
        }
    }

    /// Whether peers of unix sockets are in the set.
    pub fn contains_unix(&self) -> bool {
        self.unix
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && !self.unix
    }
}

impl FromIterator<AddrBlock> for AddrSet {
    fn from_iter<I: IntoIterator<Item = AddrBlock>>(blocks: I) -> Self {
        let (mut v4, mut v6, mut unix) = (Vec::new(), Vec::new(), false);
        for block in blocks {
            match block {
                AddrBlock::V4(first, last) => v4.push((first, last)),
                AddrBlock::V6(first, last) => v6.push((first, last)),
                AddrBlock::Unix => unix = true,
            }
        }
        Self {
            v4: merge(v4, |last| last.saturating_add(1)),
            v6: merge(v6, |last| last.saturating_add(1)),
            unix,
        }
    }
}

/// Sorts ranges and joins those that overlap or touch.
fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>, after: fn(T) -> T) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(open) if first <= after(open.1) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

fn within<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(entries: &[&str], address: &str) -> bool {
        AddrSet::parse(entries)
            .unwrap()
            .contains(address.parse().unwrap())
    }

    #[test]
    fn entries_cover_what_they_say() {
        for (entry, inside, outside) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.3/8", "10.0.0.0", "9.255.255.255"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("1.2.3.4/32", "1.2.3.4", "1.2.3.5"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.9.9.9", "11.0.0.0"),
            ("::ffff:10.0.0.1", "10.0.0.1", "::10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::ffff:11.1.1.1"),
        ] {
            assert!(holds(&[entry], inside), "{entry} has {inside}");
            assert!(!holds(&[entry], outside), "{entry} has no {outside}");
        }
    }

    #[test]
    fn unix_peers_are_apart() {
        let set = AddrSet::parse(["unix:"]).unwrap();
        assert!(set.contains_unix() && !set.is_empty());
        assert!(!set.contains("127.0.0.1".parse().unwrap()));
        assert!(AddrSet::parse([""; 0]).unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_entry_and_the_bound() {
        for (entry, want) in [
            ("", "invalid ip or cidr range: ''"),
            ("10.0.0", "invalid ip or cidr range: '10.0.0'"),
            ("localhost", "invalid ip or cidr range: 'localhost'"),
            (" 10.0.0.1", "invalid ip or cidr range: ' 10.0.0.1'"),
            (
                "10.0.0.0/33",
                "invalid ip or cidr range: '10.0.0.0/33' (the prefix length must be 0 to 32)",
            ),
            (
                "10.0.0.0/",
                "invalid ip or cidr range: '10.0.0.0/' (the prefix length must be 0 to 32)",
            ),
            (
                "10.0.0.0/+8",
                "invalid ip or cidr range: '10.0.0.0/+8' (the prefix length must be 0 to 32)",
            ),
            (
                "::1/129",
                "invalid ip or cidr range: '::1/129' (the prefix length must be 0 to 128)",
            ),
        ] {
            assert_eq!(AddrBlock::parse(entry).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn touching_blocks_become_one() {
        let set = AddrSet::parse(["10.0.0.0/9", "10.128.0.0/9", "10.3.0.0/16", "9.0.0.0/8"]);
        assert_eq!(set.unwrap().v4.len(), 1);
    }

    /// Few high bits, so that blocks overlap and addresses hit.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0u32..64).prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n << 26 | n))),
            (0u128..64).prop_map(|n| IpAddr::V6(Ipv6Addr::from_bits(n << 122 | n))),
            (0u32..64)
                .prop_map(|n| { IpAddr::V6(Ipv4Addr::from_bits(n << 26 | n).to_ipv6_mapped()) }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn the_set_agrees_with_asking_each_block(
            blocks in prop::collection::vec((address(), 0u8..=128), 0..24),
            asked in prop::collection::vec(address(), 1..24),
        ) {
            let nets: Vec<ipnet::IpNet> = blocks
                .into_iter()
                .map(|(address, bits)| {
                    let address = address.to_canonical();
                    let most = if address.is_ipv4() { 32 } else { 128 };
                    ipnet::IpNet::new(address, bits % (most + 1)).unwrap()
                })
                .collect();
            let set = AddrSet::parse(nets.iter().map(ToString::to_string)).unwrap();
            for address in asked {
                let want = nets.iter().any(|net| net.contains(&address.to_canonical()));
                prop_assert_eq!(set.contains(address), want);
            }
        }

        #[test]
        fn reading_never_panics(entry in "[0-9a-f:./x]{0,24}") {
            let _ = AddrBlock::parse(&entry);
        }
    }
}
