//! Time: one monotonic clock, one wall clock, and their written forms.
//!
//! Invariant: everything reads time here, so that a test with paused time sees all of it stand
//! still. In unit tests the wall clock runs on tokio's clock from an anchor; in the built program
//! it is the system's, read anew each time, so a clock that is set forwards or back is seen.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The monotonic clock (tokio's: it stands still in tests with paused time).
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, as time since the Unix epoch in UTC.
pub fn unix() -> Duration {
    if cfg!(test) { anchored() } else { system() }
}

/// The wall clock in milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    let since = unix();
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

/// The wall clock in whole seconds since the Unix epoch.
pub fn unix_secs() -> u64 {
    unix().as_secs()
}

/// Makes this thread's wall clock show `unix_ms` now; it runs on with tokio's clock.
#[cfg(test)]
pub fn set_wall(unix_ms: u64) {
    ANCHOR.set(Some((Duration::from_millis(unix_ms), now())));
}

thread_local! {
    /// Wall time and tokio time of one moment; unit tests count from there.
    static ANCHOR: Cell<Option<(Duration, Instant)>> = const { Cell::new(None) };
    /// The second that was last written out, and its text.
    static DATE: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [0; 29])) };
}

fn system() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn anchored() -> Duration {
    let now = now();
    let (wall, at) = ANCHOR.get().unwrap_or_else(|| {
        let anchor = (system(), now);
        ANCHOR.set(Some(anchor));
        anchor
    });
    wall + now.saturating_duration_since(at)
}

/// The value of a `Date` header for this moment; written once a second and thread.
pub fn date() -> [u8; 29] {
    date_at(unix_secs())
}

/// The value of a `Date` header for a second that the caller has at hand.
pub fn date_at(unix_secs: u64) -> [u8; 29] {
    let (second, text) = DATE.get();
    if second == unix_secs {
        return text;
    }
    let text = imf_fixdate(unix_secs);
    DATE.set((unix_secs, text));
    text
}

/// IMF-fixdate (RFC 9110 section 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn imf_fixdate(unix_secs: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let at = Civil::of(unix_secs);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    out[0..3].copy_from_slice(DAYS[(unix_secs / 86_400 % 7) as usize]);
    digits(&mut out[5..7], at.day);
    out[8..11].copy_from_slice(MONTHS[(at.month - 1) as usize]);
    digits(&mut out[12..16], at.year);
    digits(&mut out[17..19], at.hour);
    digits(&mut out[20..22], at.minute);
    digits(&mut out[23..25], at.second);
    out
}

/// RFC 3339 in UTC with milliseconds, such as `1994-11-06T08:49:37.000Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    let at = Civil::of(unix_ms / 1000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        at.year,
        at.month,
        at.day,
        at.hour,
        at.minute,
        at.second,
        unix_ms % 1000
    )
}

/// A second of the Gregorian calendar in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, such as 1994.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u64,
    /// Day of the month, 1 to 31.
    pub day: u64,
    /// Hour, 0 to 23.
    pub hour: u64,
    /// Minute, 0 to 59.
    pub minute: u64,
    /// Second, 0 to 59.
    pub second: u64,
}

impl Civil {
    /// The calendar's reading of seconds since the Unix epoch.
    ///
    /// Counts days in eras of 400 years that begin on 1 March, so that the leap day is the last
    /// day of a year.
    pub fn of(unix_secs: u64) -> Self {
        const ERA: u64 = 146_097;
        let time = unix_secs % 86_400;
        let days = unix_secs / 86_400 + 719_468;
        let of_era = days % ERA;
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        Self {
            year: year_of_era + days / ERA * 400 + u64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: time / 3_600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }

    /// Seconds since the Unix epoch of this moment; the inverse of [`Civil::of`].
    pub fn unix_secs(self) -> u64 {
        let years = self.year - u64::from(self.month <= 2);
        let of_era = years % 400;
        let from_march = (self.month + 9) % 12;
        let of_year = (153 * from_march + 2) / 5 + self.day - 1;
        let days = years / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
        days.saturating_sub(719_468) * 86_400 + self.hour * 3_600 + self.minute * 60 + self.second
    }
}

/// Writes the last decimal digits of `n` that have room, zeros in front.
fn digits(out: &mut [u8], mut n: u64) {
    for place in out.iter_mut().rev() {
        *place = b'0' + (n % 10) as u8;
        n /= 10;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(unix_secs: u64) -> String {
        String::from_utf8(imf_fixdate(unix_secs).to_vec()).unwrap()
    }

    #[test]
    fn dates_as_http_writes_them() {
        for (unix_secs, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(unix_secs), want);
        }
    }

    #[test]
    fn timestamps_carry_milliseconds() {
        assert_eq!(rfc3339(784_111_777_042), "1994-11-06T08:49:37.042Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }

    #[tokio::test(start_paused = true)]
    async fn the_wall_clock_runs_with_paused_time() {
        set_wall(784_111_777_900);
        assert_eq!(&date(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(unix_ms(), 784_111_777_999);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(unix_secs(), 784_111_778);
        assert_eq!(&date(), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }

    #[test]
    fn the_wall_clock_starts_at_the_systems() {
        assert!(unix().abs_diff(system()) < Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn the_calendar_goes_both_ways(unix_secs in 0u64..300_000_000_000) {
            let at = Civil::of(unix_secs);
            prop_assert!((1..=12).contains(&at.month) && (1..=31).contains(&at.day));
            prop_assert_eq!(at.unix_secs(), unix_secs);
        }

        #[test]
        fn the_next_day_is_the_calendars_next(day in 0u64..3_000_000) {
            let (one, two) = (Civil::of(day * 86_400), Civil::of((day + 1) * 86_400));
            let leap = one.year % 4 == 0 && (one.year % 100 != 0 || one.year % 400 == 0);
            let length = match one.month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let want = match (one.month, one.day) {
                (12, 31) => (one.year + 1, 1, 1),
                (month, day) if day == length => (one.year, month + 1, 1),
                (month, day) => (one.year, month, day + 1),
            };
            prop_assert_eq!((two.year, two.month, two.day), want);
        }
    }
}
