//! Sets of HTTP statuses as texts write them: `503`, `500-599`.
//!
//! Invariant: only statuses that can be sent, 100 to 999, are ever in a set.

use std::ops::RangeInclusive;

/// A set of statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Statuses([u64; 1000_usize.div_ceil(64)]);

impl Statuses {
    /// Adds a range.
    pub(super) fn insert(&mut self, range: RangeInclusive<u16>) {
        for status in range {
            if let Some(word) = self.0.get_mut(usize::from(status) / 64) {
                *word |= 1 << (status % 64);
            }
        }
    }

    /// Whether a status is among them.
    pub(super) fn contains(&self, status: u16) -> bool {
        let word = self.0.get(usize::from(status) / 64);
        word.is_some_and(|word| word >> (status % 64) & 1 == 1)
    }
}

/// A status or a range of them, both ends included.
pub(super) fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first.trim())?, status(last.trim())?);
    (first <= last).then_some(first..=last)
}

fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let status = digits.then(|| text.parse().ok())?;
    status.filter(|status| *status >= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_its_ranges_say() {
        let mut set = Statuses::default();
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
