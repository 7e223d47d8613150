//! HTTP dates as clients may write them (RFC 9110 section 5.6.7): the one form that is to be
//! written, and the two old ones that are still to be read.
//!
//! Invariant: what is read is a moment of the calendar from 1970 on; the name of the weekday is
//! not looked at.

use crate::util::clock::Civil;

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Seconds since the Unix epoch of a date; `None` if it is none.
pub fn parse(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let comma = memchr::memchr(b',', text);
    let date = match comma {
        Some(3) => imf_fixdate(text)?,
        Some(comma) => rfc850(text.get(comma + 1..)?)?,
        None => asctime(text)?,
    };
    let known = date.year >= 1970 && (1..=31).contains(&date.day);
    let secs = known.then(|| date.unix_secs())?;
    (Civil::of(secs) == date).then_some(secs)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Civil> {
    let [
        _,
        _,
        _,
        b',',
        b' ',
        d1,
        d2,
        b' ',
        m1,
        m2,
        m3,
        b' ',
        y1,
        y2,
        y3,
        y4,
        b' ',
        time @ ..,
        b' ',
        b'G',
        b'M',
        b'T',
    ] = text
    else {
        return None;
    };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    civil(year, &[*m1, *m2, *m3], number(&[*d1, *d2])?, time)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`, from behind the comma: of years before 70, those of this
/// century.
fn rfc850(text: &[u8]) -> Option<Civil> {
    let [
        b' ',
        d1,
        d2,
        b'-',
        m1,
        m2,
        m3,
        b'-',
        y1,
        y2,
        b' ',
        time @ ..,
        b' ',
        b'G',
        b'M',
        b'T',
    ] = text
    else {
        return None;
    };
    let short = number(&[*y1, *y2])?;
    let year = short + if short < 70 { 2000 } else { 1900 };
    civil(year, &[*m1, *m2, *m3], number(&[*d1, *d2])?, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<Civil> {
    let [
        _,
        _,
        _,
        b' ',
        m1,
        m2,
        m3,
        b' ',
        d1,
        d2,
        b' ',
        time @ ..,
        b' ',
        y1,
        y2,
        y3,
        y4,
    ] = text
    else {
        return None;
    };
    let tens = if *d1 == b' ' { b'0' } else { *d1 };
    let year = number(&[*y1, *y2, *y3, *y4])?;
    civil(year, &[*m1, *m2, *m3], number(&[tens, *d2])?, time)
}

fn civil(year: u64, month: &[u8], day: u64, time: &[u8]) -> Option<Civil> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = time else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let (hour, minute) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
    let second = number(&[*s1, *s2])?;
    Some(Civil {
        year,
        month,
        day,
        hour,
        minute,
        second,
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = (*digit as char).to_digit(10)?;
        Some(number * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::util::clock;

    #[test]
    fn the_three_forms_of_the_standard() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(784_111_777), "{text}");
        }
        assert_eq!(
            parse(b"Thursday, 26-Nov-26 00:00:00 GMT"),
            Some(1_795_651_200)
        );
        assert_eq!(parse(b"Thu Nov 26 00:00:00 2026"), Some(1_795_651_200));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "now",
            "1994-11-06T08:49:37Z",
            "784111777",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT+1",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 1995 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 0000 08:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(secs in 0u64..253_402_300_800) {
            prop_assert_eq!(parse(&clock::imf_fixdate(secs)), Some(secs));
        }

        #[test]
        fn anything_may_come(text in "[A-Z][a-z]{2}[, ]{1,2}[0-9A-Za-z: -]{0,26}") {
            let _ = parse(text.as_bytes());
        }
    }
}
