//! Sixteen bytes at once: which of them are of a kind, as a mask with a bit for each byte, the
//! lowest for the first.

use wide::u8x16;

/// So many bytes at once.
pub const LANES: usize = 16;
const ALL: u32 = 0xffff;

fn equal(bytes: u8x16, byte: u8) -> u8x16 {
    bytes.simd_eq(u8x16::splat(byte))
}

/// Bytes from `first` on, `count` of them.
fn among(bytes: u8x16, first: u8, count: u8) -> u8x16 {
    // What lies before them wraps around to large numbers.
    let from = bytes - u8x16::splat(first);
    from.min(u8x16::splat(count - 1)).simd_eq(from)
}

/// Length of the run of bytes at the front that `others` does not mark; zeros it must mark.
#[inline]
pub fn run_of(text: &[u8], others: impl Fn([u8; LANES]) -> u32) -> usize {
    let (blocks, rest) = text.as_chunks::<LANES>();
    for (nth, block) in blocks.iter().enumerate() {
        let marked = others(*block);
        if marked != 0 {
            return nth * LANES + marked.trailing_zeros() as usize;
        }
    }
    let mut block = [0; LANES];
    block[..rest.len()].copy_from_slice(rest);
    let marked = others(block);
    text.len() - rest.len() + (marked.trailing_zeros() as usize).min(rest.len())
}

/// Control bytes, the tab among them.
#[inline]
pub fn controls(block: [u8; LANES]) -> u32 {
    let bytes = u8x16::from(block);
    (among(bytes, 0, 0x20) | equal(bytes, 0x7f)).to_bitmask()
}

/// Bytes that no request target may have: all but visible ASCII, and `#`.
#[inline]
pub fn not_target(block: [u8; LANES]) -> u32 {
    let bytes = u8x16::from(block);
    let visible = among(bytes, 0x21, 0x7f - 0x21).to_bitmask();
    equal(bytes, b'#').to_bitmask() | visible ^ ALL
}

/// Bytes other than ASCII letters, digits and the dash: of what most field names are made.
#[inline]
pub fn not_word(block: [u8; LANES]) -> u32 {
    let bytes = u8x16::from(block);
    let letters = among(bytes | u8x16::splat(0x20), b'a', 26);
    let word = letters | among(bytes, b'0', 10) | equal(bytes, b'-');
    word.to_bitmask() ^ ALL
}

/// Bytes other than those of [`not_word`] and the dot: of what most hosts are made.
#[inline]
pub fn not_host(block: [u8; LANES]) -> u32 {
    let bytes = u8x16::from(block);
    let letters = among(bytes | u8x16::splat(0x20), b'a', 26);
    // The dot follows the dash.
    let host = letters | among(bytes, b'0', 10) | among(bytes, b'-', 2);
    host.to_bitmask() ^ ALL
}

/// Bytes other than those of [`not_host`], the slash, the underscore and the tilde: of what most paths
/// are made.
#[inline]
pub fn not_path(block: [u8; LANES]) -> u32 {
    let bytes = u8x16::from(block);
    let letters = among(bytes | u8x16::splat(0x20), b'a', 26);
    // The dash is followed by the dot and the slash, and they by the digits.
    let path = letters | among(bytes, b'-', 13) | equal(bytes, b'_') | equal(bytes, b'~');
    path.to_bitmask() ^ ALL
}

/// What makes a path worth a closer look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMarks {
    /// Slashes.
    pub slashes: u32,
    /// Slashes and dots.
    pub dots_too: u32,
    /// Controls, percent signs, hashes, and bytes beyond ASCII.
    pub special: u32,
}

/// The marks of a piece of a path.
#[inline]
pub fn path_marks(block: [u8; LANES]) -> PathMarks {
    let bytes = u8x16::from(block);
    let ordinary = among(bytes, 0x20, 0x7f - 0x20).to_bitmask();
    let special = equal(bytes, b'%') | equal(bytes, b'#');
    PathMarks {
        slashes: equal(bytes, b'/').to_bitmask(),
        // The slash follows the dot.
        dots_too: among(bytes, b'.', 2).to_bitmask(),
        special: special.to_bitmask() | ordinary ^ ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_told_apart_at_every_place() {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        for byte in 0..=255u8 {
            for at in 0..LANES {
                for filling in [b'a', b'-', 0, b' ', 0xff] {
                    let mut block = [filling; LANES];
                    block[at] = byte;
                    let mask = |of: &dyn Fn(u8) -> bool| -> u32 {
                        (0..LANES).map(|at| u32::from(of(block[at])) << at).sum()
                    };
                    let seen =
                        [controls, not_target, not_word, not_host, not_path].map(|of| of(block));
                    let meant = [
                        mask(&|b| b < 0x20 || b == 0x7f),
                        mask(&|b| !b.is_ascii_graphic() || b == b'#'),
                        mask(&|b| !word(b)),
                        mask(&|b| !word(b) && b != b'.'),
                        mask(&|b| !word(b) && !b"._~/".contains(&b)),
                    ];
                    assert_eq!(seen, meant, "{byte:#x} at {at} of {block:?}");
                    let special = |b: u8| b"%#".contains(&b) || !(0x20..=0x7e).contains(&b);
                    let marks = PathMarks {
                        slashes: mask(&|b| b == b'/'),
                        dots_too: mask(&|b| b == b'/' || b == b'.'),
                        special: mask(&special),
                    };
                    assert_eq!(path_marks(block), marks, "{byte:#x} at {at} of {block:?}");
                }
            }
        }
    }
}
