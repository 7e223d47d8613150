//! Header and trailer sections: field lines up to the empty line (RFC 9112 §5).
//!
//! The section can be fed in any pieces: what was recorded in [`Headers`] says where the current
//! line begins, `scan` how far it was looked at. Invariant: the outcome is the same for all ways
//! of cutting the input.

use super::{ParseError, bytes};
use crate::http1::limits::Limits;
use crate::message::{Headers, Known};

/// One line, as offsets into the text.
struct Field {
    colon: usize,
    value: usize,
    value_end: usize,
    end: usize,
}

/// Reads the section that begins at `start`; `Some` is the offset behind its empty line.
pub fn section(
    text: &[u8],
    start: usize,
    headers: &mut Headers,
    scan: &mut usize,
    limits: Limits,
) -> Result<Option<usize>, ParseError> {
    let most = start + limits.head;
    let text = &text[..text.len().min(most)];
    let mut line = headers.received_end().unwrap_or(start);
    let mut room = limits.headers.saturating_sub(headers.len());
    loop {
        if *scan <= line {
            line += plain_lines(&text[line..], line, &mut room, headers);
        }
        if let Some(end) = empty_line(text, line)? {
            return Ok(Some(end));
        }
        if line + 1 >= text.len() && text.get(line).is_none_or(|&byte| byte == b'\r') {
            break;
        }
        room = room.checked_sub(1).ok_or(ParseError::TooManyFields)?;
        let Some(field) = field(text, line, scan)? else {
            break;
        };
        record(text, line, &field, headers)?;
        line = field.end;
    }
    if text.len() == most {
        return Err(ParseError::HeadTooLarge);
    }
    Ok(None)
}

/// Records lines as almost all are: complete, one blank before the value, none behind it, no tab.
/// Whatever else there is, right or wrong, ends the run: [`field`] has the last word on it.
/// Returns the bytes of the run, which begins at offset `at` of the text.
fn plain_lines(text: &[u8], at: usize, room: &mut usize, headers: &mut Headers) -> usize {
    let mut rest = text;
    while *room > 0
        && let Some((name, value_len)) = plain_line(rest)
        && let Ok(name_len) = u16::try_from(name.len())
    {
        // No offset exceeds the clamped limits.
        let start = (at + text.len() - rest.len()) as u32;
        let value = start + u32::from(name_len) + 2;
        let end = value + value_len as u32 + 2;
        let known = Known::of(name);
        headers.push_known(known, start, name_len, value, value_len as u32, end);
        *room -= 1;
        rest = &rest[name.len() + value_len + 4..];
    }
    text.len() - rest.len()
}

/// Name and length of the value of such a line.
fn plain_line(text: &[u8]) -> Option<(&[u8], usize)> {
    let (name, rest) = text.split_at_checked(bytes::token_len(text))?;
    let [b':', b' ', rest @ ..] = rest else {
        return None;
    };
    let (value, rest) = rest.split_at_checked(bytes::printable_len(rest))?;
    let [b'\r', b'\n', ..] = rest else {
        return None;
    };
    let ([first, ..], [.., last]) = (value, value) else {
        return None;
    };
    let plain = !name.is_empty() && *first != b' ' && *last != b' ';
    plain.then_some((name, value.len()))
}

/// The offset behind the empty line, if one begins here.
fn empty_line(text: &[u8], at: usize) -> Result<Option<usize>, ParseError> {
    match text.get(at..) {
        Some([b'\r', b'\n', ..]) => Ok(Some(at + 2)),
        Some([b'\r', _, ..]) => Err(ParseError::BareCr),
        _ => Ok(None),
    }
}

/// Reads the line that begins at `line`; bytes before `scan` were found good earlier.
fn field(text: &[u8], line: usize, scan: &mut usize) -> Result<Option<Field>, ParseError> {
    let seen = (*scan).max(line);
    let resumed = match seen > line {
        true => memchr::memchr(b':', &text[line..seen]),
        false => None,
    };
    let colon = match resumed {
        Some(at) => line + at,
        None => {
            let at = seen + bytes::token_len(&text[seen..]);
            match text.get(at) {
                Some(b':') if at > line => at,
                Some(&byte) => return Err(name_error(byte, at == line)),
                None => {
                    *scan = at;
                    return Ok(None);
                }
            }
        }
    };
    let from = seen.max(colon + 1);
    let at = from + bytes::value_len(&text[from..]);
    match text[at..] {
        [b'\r', b'\n', ..] => Ok(Some(value(text, colon, at))),
        [] | [b'\r'] => {
            *scan = at;
            Ok(None)
        }
        [byte, ..] => Err(byte_error(byte)),
    }
}

/// Leaves out the blanks around the value between the colon and `end`.
fn value(text: &[u8], colon: usize, end: usize) -> Field {
    let mut value = colon + 1;
    let mut value_end = end;
    while value < value_end && bytes::is_blank(text[value]) {
        value += 1;
    }
    while value < value_end && bytes::is_blank(text[value_end - 1]) {
        value_end -= 1;
    }
    Field {
        colon,
        value,
        value_end,
        end: end + 2,
    }
}

fn record(
    text: &[u8],
    line: usize,
    field: &Field,
    headers: &mut Headers,
) -> Result<(), ParseError> {
    let name = &text[line..field.colon];
    let name_len = u16::try_from(name.len()).map_err(|_| ParseError::HeadTooLarge)?;
    headers.push_known(
        Known::of(name),
        line as u32,
        name_len,
        field.value as u32,
        (field.value_end - field.value) as u32,
        field.end as u32,
    );
    Ok(())
}

fn name_error(byte: u8, first: bool) -> ParseError {
    match byte {
        b':' => ParseError::EmptyName,
        b' ' | b'\t' if first => ParseError::ObsFold,
        b' ' | b'\t' => ParseError::SpaceBeforeColon,
        b'\n' => ParseError::BareLf,
        _ => ParseError::FieldName,
    }
}

/// The fault of a byte that no value or reason phrase may have.
pub fn byte_error(byte: u8) -> ParseError {
    match byte {
        b'\r' => ParseError::BareCr,
        b'\n' => ParseError::BareLf,
        _ => ParseError::ControlByte,
    }
}
