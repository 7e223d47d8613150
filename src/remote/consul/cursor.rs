//! Where a blocking query goes on: the rules of `X-Consul-Index`.
//!
//! Invariant: a query never blocks on 0, and never on a number that is larger than what the server
//! has: it would wait for changes that lie behind.

/// The index of one query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// 0: the next call is a plain read.
    at: u64,
    /// The last one known, over errors too.
    last: u64,
}

impl Cursor {
    /// What to block on; `None` asks without waiting.
    pub fn index(&self) -> Option<u64> {
        (self.at > 0).then_some(self.at)
    }

    /// An answer came with this index. Says whether it went backwards, as after a restored
    /// snapshot or a lost state.
    pub fn advance(&mut self, answered: Option<u64>) -> bool {
        let Some(new) = answered.filter(|new| *new > 0) else {
            self.at = 1;
            return false;
        };
        let fell = new < self.last;
        // Ask once more without waiting: there may be other news already.
        self.at = if new < self.at { 0 } else { new };
        self.last = new;
        fell
    }

    /// A call failed: what was known of the server may not hold any more.
    pub fn clear(&mut self) {
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &[Option<u64>]) -> (Option<u64>, bool) {
        let mut cursor = Cursor::default();
        let mut fell = false;
        for answer in answers {
            fell = cursor.advance(*answer);
        }
        (cursor.index(), fell)
    }

    #[test]
    fn the_first_call_is_a_plain_read() {
        assert_eq!(Cursor::default().index(), None);
    }

    #[test]
    fn it_follows_growing_and_equal_indexes() {
        assert_eq!(after(&[Some(7)]), (Some(7), false));
        assert_eq!(after(&[Some(7), Some(9)]), (Some(9), false));
        assert_eq!(after(&[Some(7), Some(7)]), (Some(7), false));
    }

    #[test]
    fn nothing_and_zero_become_one() {
        for none in [None, Some(0)] {
            assert_eq!(after(&[none]), (Some(1), false));
            assert_eq!(after(&[Some(7), none]), (Some(1), false));
        }
    }

    #[test]
    fn backwards_asks_anew_without_waiting() {
        assert_eq!(after(&[Some(90), Some(5)]), (None, true));
        assert_eq!(after(&[Some(90), Some(5), Some(5)]), (Some(5), false));
    }

    #[test]
    fn an_error_asks_anew_and_still_sees_a_fall() {
        let mut cursor = Cursor::default();
        cursor.advance(Some(90));
        cursor.clear();
        assert_eq!(cursor.index(), None);
        assert!(cursor.advance(Some(20)));
        assert_eq!(cursor.index(), Some(20));
    }
}
