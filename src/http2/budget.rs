//! How much of something a peer may do per second.

use tokio::time::Instant;

use crate::util::clock;

/// A bucket of tokens that fills with time.
#[derive(Debug)]
pub struct Budget {
    tokens: u64,
    most: u64,
    per_second: u64,
    filled: Instant,
}

impl Budget {
    /// A full bucket of so many tokens that regains so many per second.
    pub fn new(most: u64, per_second: u64) -> Budget {
        Budget {
            tokens: most,
            most,
            per_second,
            filled: clock::now(),
        }
    }

    /// Adds tokens, up to the most.
    pub fn earn(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.most);
    }

    /// Takes tokens; whether there were enough. The clock is read only where there are not.
    pub fn spend(&mut self, tokens: u64) -> bool {
        if self.tokens < tokens {
            self.refill();
        }
        match self.tokens.checked_sub(tokens) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self) {
        let since = self.filled.elapsed().as_millis();
        let gained = since.saturating_mul(u128::from(self.per_second)) / 1000;
        if gained > 0 {
            self.filled = clock::now();
            self.earn(u64::try_from(gained).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_the_pace() {
        let mut budget = Budget::new(10, 5);
        assert!((0..10).all(|_| budget.spend(1)));
        assert!(!budget.spend(1));
        tokio::time::advance(Duration::from_millis(400)).await;
        assert!(budget.spend(2));
        assert!(!budget.spend(1));
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!((0..10).all(|_| budget.spend(1)));
        assert!(!budget.spend(1));
        budget.earn(1);
        assert!(budget.spend(1));
    }
}
