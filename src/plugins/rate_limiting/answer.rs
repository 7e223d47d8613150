//! What a client is told of its limits. Nothing is allocated: numbers are written on the stack.

use super::config::Limit;
use crate::limits::{Period, Taken};
use crate::plugin::RequestCx;

/// Notes the fields for the response.
pub(super) fn tell(cx: &mut RequestCx<'_>, limits: &[Limit], taken: &Taken) {
    let mut fewest: Option<(&Limit, u64, u64, Digits)> = None;
    let standing = taken.remaining.into_iter().zip(taken.reset);
    for (limit, (remaining, reset)) in limits.iter().zip(standing) {
        let (limit_name, remaining_name) = names(limit.period);
        cx.set_later(limit_name, &limit.text);
        let digits = Digits::of(remaining);
        cx.set_later(remaining_name, digits.as_str());
        if fewest
            .as_ref()
            .is_none_or(|(_, least, ..)| remaining <= *least)
        {
            fewest = Some((limit, remaining, reset, digits));
        }
    }
    let Some((limit, _, reset, remaining)) = fewest else {
        return;
    };
    let reset = Digits::of(reset);
    cx.set_later("RateLimit-Limit", &limit.text);
    cx.set_later("RateLimit-Remaining", remaining.as_str());
    cx.set_later("RateLimit-Reset", reset.as_str());
    if !taken.allowed {
        cx.set_later("Retry-After", reset.as_str());
    }
}

fn names(period: Period) -> (&'static str, &'static str) {
    match period {
        Period::Second => ("X-RateLimit-Limit-Second", "X-RateLimit-Remaining-Second"),
        Period::Minute => ("X-RateLimit-Limit-Minute", "X-RateLimit-Remaining-Minute"),
        Period::Hour => ("X-RateLimit-Limit-Hour", "X-RateLimit-Remaining-Hour"),
        Period::Day => ("X-RateLimit-Limit-Day", "X-RateLimit-Remaining-Day"),
        Period::Month => ("X-RateLimit-Limit-Month", "X-RateLimit-Remaining-Month"),
        Period::Year => ("X-RateLimit-Limit-Year", "X-RateLimit-Remaining-Year"),
    }
}

/// A number in decimal digits.
struct Digits {
    text: [u8; 20],
    from: usize,
}

impl Digits {
    fn of(mut number: u64) -> Digits {
        let mut digits = Digits {
            text: [b'0'; 20],
            from: 20,
        };
        loop {
            digits.from -= 1;
            digits.text[digits.from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[self.from..]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 429, u64::MAX] {
            assert_eq!(Digits::of(number).as_str(), number.to_string());
        }
    }
}
