//! The counters of one instance in this process, whatever the shape of its limits.

use std::hash::Hash;
use std::time::Duration;

use super::bucket::Buckets;
use super::period::Period;
use super::sliding::{Sliding, Used};
use super::table::{Key, Tally};
use super::window::Windows;
use super::{MOST, Taken};

/// How time is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Windows of the calendar.
    Fixed,
    /// Windows that end now.
    Sliding,
    /// A bucket of tokens, refilled evenly.
    Bucket,
}

/// What others have counted of a key, or seen of its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// How often each period's window was used.
    Fixed([u64; MOST]),
    /// How often each period's two windows were used.
    Sliding([Used; MOST]),
    /// When the bucket will be full again, in nanoseconds since 1970.
    Bucket(u64),
}

/// Counters under keys. They outlive a change of the limits.
#[derive(Debug)]
pub enum Local {
    /// Of [`Shape::Fixed`].
    Fixed(Windows),
    /// Of [`Shape::Sliding`].
    Sliding(Sliding),
    /// Of [`Shape::Bucket`].
    Bucket(Buckets),
}

impl Local {
    /// Counters of these periods for at most about so many keys; a bucket has the first period
    /// alone.
    pub fn new(shape: Shape, periods: &[Period], most_keys: usize) -> Local {
        match shape {
            Shape::Fixed => Local::Fixed(Windows::new(periods, most_keys)),
            Shape::Sliding => Local::Sliding(Sliding::new(periods, most_keys)),
            Shape::Bucket => {
                let period = periods.first().copied().unwrap_or(Period::Second);
                Local::Bucket(Buckets::new(period, most_keys))
            }
        }
    }

    /// The key of whatever is counted.
    pub fn key(&self, of: impl Hash) -> Key {
        match self {
            Local::Fixed(windows) => windows.key(of),
            Local::Sliding(windows) => windows.key(of),
            Local::Bucket(buckets) => buckets.key(of),
        }
    }

    /// How many keys have counters.
    pub fn keys(&self) -> usize {
        match self {
            Local::Fixed(windows) => windows.keys(),
            Local::Sliding(windows) => windows.keys(),
            Local::Bucket(buckets) => buckets.keys(),
        }
    }

    /// Memory that the counters have reserved.
    pub fn bytes(&self) -> usize {
        match self {
            Local::Fixed(windows) => windows.bytes(),
            Local::Sliding(windows) => windows.bytes(),
            Local::Bucket(buckets) => buckets.bytes(),
        }
    }

    /// What was decided so far.
    pub fn tally(&self) -> Tally {
        match self {
            Local::Fixed(windows) => windows.tally(),
            Local::Sliding(windows) => windows.tally(),
            Local::Bucket(buckets) => buckets.tally(),
        }
    }

    /// Lets a request through unless a limit is reached. `now` is the time since 1970; `limits`
    /// are those of the periods, in the same order.
    pub fn take(&self, key: Key, now: Duration, limits: &[u64]) -> Taken {
        match self {
            Local::Fixed(windows) => windows.take(key, now, limits),
            Local::Sliding(windows) => windows.take(key, now, limits),
            Local::Bucket(buckets) => {
                buckets.take(key, now, limits.first().copied().unwrap_or(u64::MAX))
            }
        }
    }

    /// Takes over what others have counted, so that this process goes on from there when it must
    /// count alone. Own counts that are higher stay. `decided` is the decision that came with it.
    pub fn raise(&self, key: Key, now: Duration, counts: &Counts, decided: Option<bool>) {
        match (self, counts) {
            (Local::Fixed(windows), Counts::Fixed(used)) => windows.raise(key, now, used, decided),
            (Local::Sliding(windows), Counts::Sliding(used)) => {
                windows.raise(key, now, used, decided);
            }
            (Local::Bucket(buckets), Counts::Bucket(full_at)) => {
                buckets.raise(key, now, *full_at, decided);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a table; what it has reserved then. Without an allocator that counts, what the lists
    /// of a table reserve is what they take.
    fn filled(shape: Shape, periods: &[Period], keys: u32) -> usize {
        let local = Local::new(shape, periods, 1 << 20);
        let now = Duration::from_secs(1_709_244_850);
        for key in 0..keys {
            assert!(local.take(local.key(key), now, &[1; MOST]).allowed);
        }
        assert_eq!((local.keys(), local.tally().crowded), (keys as usize, 0));
        local.bytes()
    }

    #[test]
    fn a_million_keys_stay_below_150_megabytes() {
        let bytes = filled(Shape::Fixed, &Period::ALL[..2], 1_000_000);
        assert!(bytes < 80_000_000, "{bytes}");
        // The others a part of it, for time's sake.
        for (shape, periods, most) in [
            (Shape::Fixed, &Period::ALL[..], 150_000_000),
            (Shape::Sliding, &Period::ALL[..2], 100_000_000),
            (Shape::Bucket, &Period::ALL[..1], 60_000_000),
        ] {
            let bytes = 64 * filled(shape, periods, 1_000_000 / 64);
            assert!(bytes < most, "{shape:?}: {bytes}");
        }
    }

    #[test]
    fn what_nobody_uses_takes_next_to_nothing() {
        let local = Local::new(Shape::Sliding, &Period::ALL, 1 << 20);
        assert!(local.bytes() <= 1_024, "{}", local.bytes());
        local.take(local.key("one"), Duration::from_secs(1), &[1; MOST]);
        assert!(local.bytes() <= 8_192, "{}", local.bytes());
    }
}
