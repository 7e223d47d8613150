//! Sizes and counts that a peer may not exceed.
//!
//! Invariant: every bound holds for input that is still incomplete, so a peer cannot make us keep
//! more than this much of a head.

/// Bounds of one message head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request target in bytes; in responses the longest reason phrase.
    pub uri: usize,
    /// Largest header section in bytes: all field lines and the empty line behind them.
    pub head: usize,
    /// Most field lines.
    pub headers: usize,
}

impl Limits {
    /// For requests when the configuration says nothing.
    pub const REQUEST: Limits = Limits {
        uri: 8 * 1024,
        head: 32 * 1024,
        headers: 100,
    };
    /// For answers of upstreams, which are trusted a little more than clients.
    pub const RESPONSE: Limits = Limits {
        uri: 8 * 1024,
        head: 64 * 1024,
        headers: 200,
    };
    /// For the trailer section behind a chunked body, in either direction.
    pub const TRAILERS: Limits = Limits {
        uri: 0,
        head: 8 * 1024,
        headers: 32,
    };

    /// The same, each bound small enough for offsets of 32 bits.
    pub(crate) fn clamped(self) -> Limits {
        const MOST: usize = 1 << 30;
        Limits {
            uri: self.uri.min(MOST),
            head: self.head.min(MOST),
            headers: self.headers,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::REQUEST
    }
}

/// Longest method in bytes; no registered method has half of it.
pub const METHOD: usize = 64;
/// Most bytes of chunk extensions on one chunk.
pub const CHUNK_EXTENSION: u32 = 256;
/// Most bytes of chunk extensions in one body.
pub const CHUNK_EXTENSIONS: u32 = 16 * 1024;
