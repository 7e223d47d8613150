//! Cookies of a request (RFC 6265 section 4.2): pairs in order.

/// The pairs of one `Cookie` line, blanks around names and values left out; what has no `=` is
/// passed over.
pub fn pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|byte| *byte == b';').filter_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    })
}

/// The first value of that name, as nginx finds it: whatever its case.
pub fn find<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    pairs(line)
        .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_counts() {
        let line = b"a=1; flag;  Session = x=y ;session=2; ;=3";
        assert_eq!(find(line, "session"), Some(&b"x=y"[..]));
        assert_eq!(find(line, "SESSION"), Some(&b"x=y"[..]));
        assert_eq!(find(line, "flag"), None);
        assert_eq!(find(line, ""), Some(&b"3"[..]));
        assert_eq!(find(b"", "a"), None);
        assert_eq!(pairs(line).count(), 4);
    }
}
