//! Calendar periods in UTC, as Kong counts them.

use crate::util::clock::Civil;

/// A span of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// A second.
    Second,
    /// A minute, from its second 0.
    Minute,
    /// An hour, from its minute 0.
    Hour,
    /// A day, from midnight.
    Day,
    /// A month, from its first day.
    Month,
    /// A year, from the first of January.
    Year,
}

impl Period {
    /// All, the shortest first.
    pub const ALL: [Period; 6] = [
        Period::Second,
        Period::Minute,
        Period::Hour,
        Period::Day,
        Period::Month,
        Period::Year,
    ];

    /// Its name in files: `minute`.
    pub const fn name(self) -> &'static str {
        match self {
            Period::Second => "second",
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
            Period::Year => "year",
        }
    }

    /// Its length in seconds, that of months and years flat: 30 and 365 days.
    pub const fn seconds(self) -> u64 {
        match self {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3_600,
            Period::Day => 86_400,
            Period::Month => 2_592_000,
            Period::Year => 31_536_000,
        }
    }

    /// When the period began that holds this moment, both in seconds since 1970.
    pub fn start(self, now: u64) -> u64 {
        let first = |month| {
            let year = Civil::of(now).year;
            Civil {
                year,
                month,
                day: 1,
                hour: 0,
                minute: 0,
                second: 0,
            }
            .unix_secs()
        };
        match self {
            Period::Month => first(Civil::of(now).month),
            Period::Year => first(1),
            other => now - now % other.seconds(),
        }
    }

    /// Seconds until it is over, at least 1. Months and years are taken at their flat length, as
    /// Kong does.
    pub fn reset(self, now: u64) -> u64 {
        (self.start(now) + self.seconds())
            .saturating_sub(now)
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29 22:14:10 UTC.
    const LEAP: u64 = 1_709_244_850;

    #[test]
    fn periods_begin_where_the_calendar_says() {
        for (period, start, reset) in [
            (Period::Second, LEAP, 1),
            (Period::Minute, LEAP - 10, 50),
            (Period::Hour, LEAP - 14 * 60 - 10, 2750),
            (Period::Day, 1_709_164_800, 6350),
            (Period::Month, 1_706_745_600, 92_750),
            (Period::Year, 1_704_067_200, 26_358_350),
        ] {
            assert_eq!(period.start(LEAP), start, "{period:?}");
            assert_eq!(period.start(start), start, "{period:?}");
            assert_eq!(period.reset(LEAP), reset, "{period:?}");
        }
    }

    #[test]
    fn the_last_day_of_a_long_month_is_beyond_its_flat_length() {
        let end_of_january = 1_706_745_599;
        assert_eq!(Period::Month.start(end_of_january), 1_704_067_200);
        assert_eq!(Period::Month.reset(end_of_january), 1);
    }
}
