//! Query strings: pairs in order, and their decoding (WHATWG URL, form encoding).

use std::borrow::Cow;

/// The pairs of a query, with or without its question mark; keys and values still encoded.
pub fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = query.strip_prefix('?').unwrap_or(query);
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes `+` and percent triplets. What is not a triplet stays as it is; what is not UTF-8
/// afterwards is replaced.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let triplet = (byte == b'%').then(|| triplet(bytes, at)).flatten();
        out.push(match byte {
            b'+' => b' ',
            other => triplet.unwrap_or(other),
        });
        at += if triplet.is_some() { 3 } else { 1 };
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn triplet(bytes: &[u8], at: usize) -> Option<u8> {
    let high = (*bytes.get(at + 1)? as char).to_digit(16)?;
    let low = (*bytes.get(at + 2)? as char).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

/// The query without the parameters of that name: their pairs are cut out, the rest stays byte
/// for byte. The question mark goes with the last pair.
pub fn without(query: &str, name: &str) -> String {
    let body = query.strip_prefix('?').unwrap_or(query);
    let kept: Vec<&str> = body
        .split('&')
        .filter(|pair| decode(pair.split_once('=').map_or(*pair, |(key, _)| key)) != name)
        .collect();
    if kept.is_empty() {
        String::new()
    } else {
        format!("?{}", kept.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_order_and_flags() {
        let found: Vec<_> = pairs("?a=1&b&&c=x=y").collect();
        assert_eq!(found, [("a", "1"), ("b", ""), ("c", "x=y")]);
    }

    #[test]
    fn decoding_is_lenient_and_never_fails() {
        assert_eq!(decode("a+b%20c"), "a b c");
        assert_eq!(decode("%zz%4"), "%zz%4");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }

    #[test]
    fn a_parameter_is_cut_out_and_the_rest_stays() {
        assert_eq!(without("?apikey=x&b=%20&apikey=y", "apikey"), "?b=%20");
        assert_eq!(without("?api%6bey=x", "apikey"), "");
        assert_eq!(without("?b", "apikey"), "?b");
    }
}
