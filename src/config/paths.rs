//! Paths in their normal form, and the meaning of paths in old files.

/// Characters that stay percent-encoded when they come so (RFC 3986 reserved, and `%`).
const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

/// A path in the normal form that requests are matched in: triplets of characters that need none
/// are decoded, the others upper-cased; dot segments are removed; repeated slashes are one.
#[must_use]
pub fn normalise(path: &str) -> String {
    let decoded = decode(path, |byte, out| out.push(byte));
    // What is no UTF-8 when decoded cannot be written here: it stays encoded.
    remove_dots(&String::from_utf8(decoded).unwrap_or_else(|_| path.to_owned()))
}

/// Decodes the triplets of characters that are not reserved, handing each to `push`.
fn decode(path: &str, push: impl Fn(u8, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match triplet(rest) {
            Some(byte) if RESERVED.contains(&byte) => {
                out.extend(rest[..3].to_ascii_uppercase());
                rest = &rest[3..];
            }
            Some(byte) => {
                push(byte, &mut out);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

fn triplet(bytes: &[u8]) -> Option<u8> {
    let digits = bytes.strip_prefix(b"%")?.get(..2)?;
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

fn remove_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let body = path.strip_prefix('/').unwrap_or(path);
    let mut ends_in_slash = false;
    for segment in body.split('/') {
        ends_in_slash = false;
        match segment {
            "" | "." => ends_in_slash = true,
            ".." => {
                kept.pop();
                ends_in_slash = true;
            }
            other => kept.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if out.is_empty() || ends_in_slash {
        out.push('/');
    }
    out
}

/// What a path of a file before 3.0 means in 3.0: a plain prefix in its normal form, or a regular
/// expression behind `~`.
#[must_use]
pub fn migrate(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~/%".contains(&b);
    if path.bytes().all(plain) {
        return normalise(path);
    }
    let decoded = decode(path, |byte, out| {
        if regex_syntax_char(byte) {
            out.push(b'\\');
        }
        out.push(byte);
    });
    match String::from_utf8(decoded) {
        Ok(text) => format!("~{text}"),
        Err(_) => format!("~{path}"),
    }
}

fn regex_syntax_char(byte: u8) -> bool {
    b"\\.+*?()|[]{}^$-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_form() {
        for (from, to) in [
            ("/a/../v1//x", "/v1/x"),
            ("/v1/%7Efoo", "/v1/~foo"),
            ("/v1/a%2fb", "/v1/a%2Fb"),
            ("/a/../../etc", "/etc"),
            ("/%2e%2e/x", "/x"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/", "/"),
            ("", "/"),
            ("/a/", "/a/"),
            ("/%zz%4", "/%zz%4"),
        ] {
            assert_eq!(normalise(from), to, "{from}");
        }
    }

    #[test]
    fn old_paths_keep_their_meaning() {
        for (from, to) in [
            ("/v1/%7Efoo", "/v1/~foo"),
            ("/a//b", "/a/b"),
            ("/a.b", "/a.b"),
            (r"/users/\d+", r"~/users/\d+"),
            ("/foo(bar)?", "~/foo(bar)?"),
            ("/x%2e/[a-z]+", r"~/x\./[a-z]+"),
            ("/x%2f/[a-z]+", "~/x%2F/[a-z]+"),
        ] {
            assert_eq!(migrate(from), to, "{from}");
        }
    }
}
