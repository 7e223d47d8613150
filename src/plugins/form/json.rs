//! The members of a JSON object as pieces of its text.
//!
//! Parsing and writing again would round numbers and reorder members; a client's body is only cut.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::Field;

/// One member.
pub(in crate::plugins) struct Member {
    /// Its key, quotes included.
    pub(in crate::plugins) key: Range<usize>,
    /// Its value.
    pub(in crate::plugins) value: Range<usize>,
}

/// What the object says under a name; the last of equal members counts.
pub(super) fn field(body: &[u8], name: &str) -> Field<'static> {
    let members = members(body).unwrap_or_default();
    let Some(member) = members.iter().rfind(|member| is_named(body, member, name)) else {
        return Field::Absent;
    };
    let value = &body[member.value.clone()];
    match value.first() {
        Some(b'"') => serde_json::from_slice::<String>(value)
            .map_or(Field::Other, |text| Field::Text(text.into())),
        Some(b'[' | b'{') => Field::Repeated,
        _ => Field::Other,
    }
}

/// The object without the members of that name.
pub(super) fn without(body: &[u8], name: &str) -> Option<Vec<u8>> {
    let members = members(body)?;
    let mut out = b"{".to_vec();
    for member in members
        .iter()
        .filter(|member| !is_named(body, member, name))
    {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(&body[member.key.start..member.value.end]);
    }
    out.push(b'}');
    Some(out)
}

fn is_named(body: &[u8], member: &Member, name: &str) -> bool {
    serde_json::from_slice::<String>(&body[member.key.clone()]).is_ok_and(|key| key == name)
}

/// The members of the object; `None` if the text is no JSON object. What is walked here is known to
/// be well-formed, so that only strings and brackets matter.
pub(in crate::plugins) fn members(body: &[u8]) -> Option<Vec<Member>> {
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    let mut at = skip_blanks(body, 0);
    if body.get(at) != Some(&b'{') {
        return None;
    }
    let mut members = Vec::new();
    loop {
        at = skip_blanks(body, at + 1);
        if body.get(at)? == &b'}' {
            return Some(members);
        }
        let key = at..value_end(body, at)?;
        let colon = skip_blanks(body, key.end);
        let start = skip_blanks(body, colon + 1);
        let value = start..value_end(body, start)?;
        at = skip_blanks(body, value.end);
        members.push(Member { key, value });
        if body.get(at)? == &b'}' {
            return Some(members);
        }
    }
}

fn skip_blanks(body: &[u8], from: usize) -> usize {
    let rest = body.get(from..).unwrap_or_default();
    let blanks = rest.iter().take_while(|b| b" \t\r\n".contains(b)).count();
    from + blanks
}

/// Behind the value that begins here.
fn value_end(body: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        match *body.get(at)? {
            b'"' => {
                at = string_end(body, at)?;
                if depth == 0 {
                    return Some(at);
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

/// Behind the string that begins here.
fn string_end(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match *body.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
