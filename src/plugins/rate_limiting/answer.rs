//! What a client is told of its limits. Nothing is allocated: where it stands is noted as numbers,
//! and the fields are written into the response in one piece, from text prepared for each limit.

use super::config::Limit;
use crate::limits::{Period, Taken};
use crate::message::headers::Field;
use crate::plugin::{RequestCx, ResponseCx};

/// The prepared text of a limit, around the numbers that differ from request to request.
#[derive(Clone, Debug)]
pub(super) struct Text {
    names: (&'static str, &'static str),
    /// Up to what remains in its period.
    own: String,
    /// The same for the case that it is the limit closest to refusing.
    closest: String,
    /// Length of the limit in digits.
    digits: usize,
}

impl Text {
    pub(super) fn new(period: Period, limit: u64) -> Text {
        let names = names(period);
        let (limit_name, remaining_name) = names;
        Text {
            names,
            own: format!("{limit_name}: {limit}\r\n{remaining_name}: "),
            closest: format!("{LIMIT}: {limit}\r\n{REMAINING}: "),
            digits: limit.to_string().len(),
        }
    }
}

const LIMIT: &str = "RateLimit-Limit";
const REMAINING: &str = "RateLimit-Remaining";
const RESET: &str = "RateLimit-Reset";
const RETRY_AFTER: &str = "Retry-After";

/// Notes where the client stands, for the response.
pub(super) fn note(cx: &mut RequestCx<'_>, limits: &[Limit], taken: &Taken) {
    cx.note([u64::from(taken.allowed), 0]);
    let standing = taken.remaining.into_iter().zip(taken.reset);
    for (_, (remaining, reset)) in limits.iter().zip(standing) {
        cx.note([remaining, reset]);
    }
}

/// Writes the fields of what was noted; nothing when nothing was.
pub(super) fn tell(cx: &mut ResponseCx<'_>, limits: &[Limit]) {
    let mut noted = cx.noted();
    let Some([allowed, _]) = noted.next() else {
        return;
    };
    let mut fields = Fields::default();
    let mut standing = [Digits::default(); Period::ALL.len()];
    let mut told = 0;
    let mut closest: Option<(&Limit, [u64; 2], Digits)> = None;
    for ((limit, numbers), digits) in limits.iter().zip(noted).zip(&mut standing) {
        let (limit_name, remaining_name) = limit.text.names;
        *digits = Digits::of(numbers[0]);
        fields.push(limit_name, limit.text.digits);
        fields.push(remaining_name, digits.len());
        told += 1;
        if closest.is_none_or(|(_, least, _)| numbers[0] <= least[0]) {
            closest = Some((limit, numbers, *digits));
        }
    }
    let Some((limit, [_, reset], remaining)) = closest else {
        return;
    };
    let reset = Digits::of(reset);
    fields.push(LIMIT, limit.text.digits);
    fields.push(REMAINING, remaining.len());
    fields.push(RESET, reset.len());
    let refused = allowed == 0;
    if refused {
        fields.push(RETRY_AFTER, reset.len());
    }
    cx.response.headers.set_block(fields.all(), |out| {
        for (limit, digits) in limits.iter().zip(&standing).take(told) {
            out.extend_from_slice(limit.text.own.as_bytes());
            out.extend_from_slice(digits.line());
        }
        out.extend_from_slice(limit.text.closest.as_bytes());
        out.extend_from_slice(remaining.line());
        out.extend_from_slice(b"RateLimit-Reset: ");
        out.extend_from_slice(reset.line());
        if refused {
            out.extend_from_slice(b"Retry-After: ");
            out.extend_from_slice(reset.line());
        }
    });
}

/// Names and the lengths of their values: two for each period and four for the closest limit.
struct Fields {
    list: [Field; 2 * Period::ALL.len() + 4],
    count: usize,
}

impl Default for Fields {
    fn default() -> Fields {
        Fields {
            list: [Field::other("", 0); 2 * Period::ALL.len() + 4],
            count: 0,
        }
    }
}

impl Fields {
    fn push(&mut self, name: &'static str, length: usize) {
        if let Some(place) = self.list.get_mut(self.count) {
            *place = Field::other(name, length);
            self.count += 1;
        }
    }

    fn all(&self) -> &[Field] {
        self.list.get(..self.count).unwrap_or_default()
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

/// A number in decimal digits, and the end of its line.
#[derive(Clone, Copy)]
struct Digits {
    text: [u8; Digits::MOST + 2],
    from: usize,
}

impl Default for Digits {
    fn default() -> Digits {
        Digits {
            text: *b"00000000000000000000\r\n",
            from: Digits::MOST,
        }
    }
}

impl Digits {
    const MOST: usize = 20;

    fn of(mut number: u64) -> Digits {
        let mut digits = Digits::default();
        loop {
            digits.from -= 1;
            digits.text[digits.from] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return digits;
            }
        }
    }

    fn len(&self) -> usize {
        Digits::MOST - self.from
    }

    fn line(&self) -> &[u8] {
        self.text.get(self.from..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 429, u64::MAX] {
            let digits = Digits::of(number);
            assert_eq!(digits.line(), format!("{number}\r\n").as_bytes());
            assert_eq!(digits.len(), number.to_string().len());
        }
    }
}
