//! Hashes that say the same in every process: what is balanced by a value must land at the same
//! endpoint on every gateway and after every restart.
//!
//! Invariant: no seed, no version; changing the arithmetic moves every client.

/// A hash on its way (FNV-1a, mixed at the end).
#[derive(Clone, Copy, Debug)]
pub struct KeyHash(u64);

impl Default for KeyHash {
    fn default() -> KeyHash {
        KeyHash(0xcbf2_9ce4_8422_2325)
    }
}

impl KeyHash {
    /// The hash of one piece of text.
    pub fn of(text: &[u8]) -> u64 {
        KeyHash::default().and(text).finish()
    }

    /// Goes on with more of the value.
    #[must_use]
    pub fn and(self, text: &[u8]) -> KeyHash {
        let step =
            |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        KeyHash(text.iter().fold(self.0, step))
    }

    /// The value of it.
    pub fn finish(self) -> u64 {
        mix(self.0)
    }
}

/// Spreads a number over all bits (the finalizer of splitmix64).
pub fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hash_as_the_whole_and_never_change() {
        let pieces = KeyHash::default().and(b"a, ").and(b"b").finish();
        assert_eq!(pieces, KeyHash::of(b"a, b"));
        assert_eq!(KeyHash::of(b""), mix(0xcbf2_9ce4_8422_2325));
        assert_eq!(KeyHash::of(b"alice"), KeyHash::of(b"alice"));
        assert_ne!(KeyHash::of(b"alice"), KeyHash::of(b"alicf"));
    }
}
