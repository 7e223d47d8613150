//! Sets of three-digit codes as texts write them: `503`, `500-599`.
//!
//! Invariant: only codes from 100 to 999 are ever in a set.

use std::ops::RangeInclusive;

/// A set of codes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Codes([u64; 1000_usize.div_ceil(64)]);

impl Codes {
    /// Adds a range.
    pub fn insert(&mut self, range: RangeInclusive<u16>) {
        for code in range {
            if let Some(word) = self.0.get_mut(usize::from(code) / 64) {
                *word |= 1 << (code % 64);
            }
        }
    }

    /// Whether a code is among them.
    pub fn contains(&self, code: u16) -> bool {
        let word = self.0.get(usize::from(code) / 64);
        word.is_some_and(|word| word >> (code % 64) & 1 == 1)
    }
}

/// A code or a range of them, both ends included.
pub fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (code(first.trim())?, code(last.trim())?);
    (first <= last).then_some(first..=last)
}

fn code(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let code = digits.then(|| text.parse().ok())?;
    code.filter(|code| *code >= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_its_ranges_say() {
        let mut set = Codes::default();
        for text in ["500-599", "429", "100", "999"] {
            set.insert(range(text).unwrap());
        }
        let has: Vec<u16> = (0..=u16::MAX).filter(|at| set.contains(*at)).collect();
        let want: Vec<u16> = [100, 429]
            .into_iter()
            .chain(500..=599)
            .chain([999])
            .collect();
        assert_eq!(has, want);
    }

    #[test]
    fn what_is_no_range_is_none() {
        for text in [
            "", "5xx", "99", "1000", "500-", "-500", "599-500", "5 0 0", "+50",
        ] {
            assert_eq!(range(text), None, "{text}");
        }
        assert_eq!(range(" 500 - 503 "), Some(500..=503));
    }
}
