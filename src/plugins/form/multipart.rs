//! The parts of `multipart/form-data` (RFC 7578) as pieces of the body.

use std::ops::Range;

use memchr::memmem;

use super::parameter;

/// One part.
pub(in crate::plugins) struct Part {
    /// The name of its field.
    pub(in crate::plugins) name: String,
    /// Its content.
    pub(in crate::plugins) value: Range<usize>,
    /// From its delimiter to the next one.
    pub(in crate::plugins) whole: Range<usize>,
}

/// The parts that have a name; none where the body does not keep to its boundary.
pub(in crate::plugins) fn parts(body: &[u8], boundary: &str) -> Vec<Part> {
    let delimiter = format!("--{boundary}");
    let starts = delimiters(body, delimiter.as_bytes());
    let spans = starts.windows(2).map(|pair| pair[0]..pair[1]);
    spans
        .filter_map(|whole| part(body, whole, delimiter.len()))
        .collect()
}

/// The body without the parts of that name.
pub(in crate::plugins) fn without(body: &[u8], boundary: &str, name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut from = 0;
    for part in parts(body, boundary)
        .into_iter()
        .filter(|part| part.name == name)
    {
        out.extend_from_slice(&body[from..part.whole.start]);
        from = part.whole.end;
    }
    out.extend_from_slice(&body[from..]);
    out
}

/// Where delimiters begin: at the start of a line.
fn delimiters(body: &[u8], delimiter: &[u8]) -> Vec<usize> {
    let at_line = |at: &usize| *at == 0 || body[..*at].ends_with(b"\n");
    memmem::find_iter(body, delimiter).filter(at_line).collect()
}

fn part(body: &[u8], whole: Range<usize>, delimiter: usize) -> Option<Part> {
    let start = whole.start + delimiter;
    let text = body.get(start..whole.end)?;
    // What follows the delimiter on its line is blank, or `--` behind the last part.
    let line = memchr::memchr(b'\n', text)?;
    let blank = text[..line].iter().all(u8::is_ascii_whitespace);
    let head_end = memmem::find(text, b"\r\n\r\n").filter(|_| blank)?;
    let head = std::str::from_utf8(text.get(line + 1..head_end)?).ok()?;
    let value = start + head_end + 4;
    let content = body.get(value..whole.end)?;
    let content = content.strip_suffix(b"\r\n").unwrap_or(content);
    Some(Part {
        name: field_name(head)?,
        value: value..value + content.len(),
        whole,
    })
}

/// The name in `Content-Disposition: form-data; name="field"`.
fn field_name(head: &str) -> Option<String> {
    let disposition = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    let (_, parameters) = disposition.split_once(';')?;
    parameter(parameters, "name")
}
