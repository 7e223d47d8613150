//! Targets and paths as a client writes them and as routes and upstreams see them.

use proptest::prelude::*;

use super::*;

fn normal(raw: &str) -> String {
    normalise(raw.as_bytes()).unwrap().into_owned()
}

fn wire(path: &str) -> String {
    let mut out = Vec::new();
    escape_into(&mut out, path);
    String::from_utf8(out).unwrap()
}

#[test]
fn kongs_results() {
    for (raw, expected) in [
        ("/a/../v1//x", "/v1/x"),
        ("/v1/%7Efoo", "/v1/~foo"),
        ("/v1/a%2Fb", "/v1/a%2Fb"),
        ("/v1/a%2fb", "/v1/a%2Fb"),
        ("/a/../../etc", "/etc"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/%2e./b", "/b"),
        ("/a/..%2fb", "/a/..%2Fb"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/..", "/"),
        ("/.", "/"),
        ("//", "/"),
        ("/a//", "/a/"),
        ("/a//../b", "/b"),
        ("/a/.//b", "/a/b"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/..b/c..", "/a/..b/c.."),
        ("/%2525", "/%2525"),
        ("/%41%62", "/Ab"),
        ("/a%20b", "/a b"),
        ("/caf%c3%a9", "/café"),
        ("/%C3%28", "/%C3%28"),
        ("/%c3x", "/%C3x"),
        ("/%C0%AE%C0%AE/x", "/%C0%AE%C0%AE/x"),
        ("/%5c..%5C", "/\\..\\"),
        ("/a%0d%0Ab", "/a%0D%0Ab"),
        ("/%3F%23%25", "/%3F%23%25"),
    ] {
        assert_eq!(normal(raw), expected, "{raw}");
    }
}

#[test]
fn raw_bytes_over_ascii_are_kept_or_encoded() {
    assert_eq!(normalise("/é".as_bytes()).unwrap(), "/é");
    assert_eq!(normalise(b"/\xff").unwrap(), "/%FF");
    assert_eq!(normalise(b"/\xc3%A9").unwrap(), "/é");
}

#[test]
fn normal_paths_are_borrowed() {
    for path in [
        "/",
        "/a/b",
        "/a.b/.c/..d",
        "/x%2Fy",
        "/a/%25",
        "/é",
        "/~u/;p=1",
    ] {
        assert!(
            matches!(normalise(path.as_bytes()), Ok(Cow::Borrowed(p)) if p == path),
            "{path}"
        );
        assert!(is_normal(path));
    }
    for path in ["", "a", "//", "/a/..", "/a/.", "/%2f", "/%41", "/a//b"] {
        assert!(!is_normal(path), "{path}");
    }
}

#[test]
fn refusals() {
    for (raw, error) in [
        (&b"/%00"[..], UriError::Nul),
        (b"/a%", UriError::Escape),
        (b"/a%4", UriError::Escape),
        (b"/a%4g", UriError::Escape),
        (b"/a%%41", UriError::Escape),
        (b"/%u0041", UriError::Escape),
        (b"/a\tb", UriError::Control),
        (b"/a\x7f", UriError::Control),
        (b"/a#b", UriError::Fragment),
    ] {
        assert_eq!(normalise(raw), Err(error), "{raw:?}");
    }
}

#[test]
fn what_goes_on_the_wire() {
    assert_eq!(
        wire("/a b\\c\"<>^`{|}é"),
        "/a%20b%5Cc%22%3C%3E%5E%60%7B%7C%7D%C3%A9"
    );
    assert_eq!(wire("/%2F-._~:@!$&'()*+,;=[]"), "/%2F-._~:@!$&'()*+,;=[]");
}

/// The steps one after the other, over and over, on plain vectors.
fn oracle(raw: &[u8]) -> String {
    let mut decoded: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'%' {
            decoded.push(raw[at]);
            at += 1;
            continue;
        }
        let digits = std::str::from_utf8(&raw[at + 1..at + 3]).unwrap();
        let byte = u8::from_str_radix(digits, 16).unwrap();
        if b"!*'();:@&=+$,/?%#[]".contains(&byte) || byte < 32 || byte == 127 {
            decoded.extend(format!("%{byte:02X}").bytes());
        } else {
            decoded.push(byte);
        }
        at += 3;
    }
    let mut text = String::new();
    for chunk in decoded.utf8_chunks() {
        text += chunk.valid();
        chunk
            .invalid()
            .iter()
            .for_each(|b| text += &format!("%{b:02X}"));
    }
    while text.contains("//") {
        text = text.replace("//", "/");
    }
    let mut stack: Vec<&str> = Vec::new();
    let segments: Vec<&str> = text[1..].split('/').collect();
    for (i, segment) in segments.iter().enumerate() {
        let last = i + 1 == segments.len();
        match *segment {
            "." | ".." => {
                if *segment == ".." {
                    stack.pop();
                }
                if last {
                    stack.push("");
                }
            }
            other => stack.push(other),
        }
    }
    format!("/{}", stack.join("/"))
}

fn raw_path() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(&b"/"[..]),
        2 => Just(&b"."[..]),
        2 => Just(&b"a"[..]),
        1 => Just(&b"%2e"[..]),
        1 => Just(&b"%2F"[..]),
        1 => Just(&b"%c3"[..]),
        1 => Just(&b"%A9"[..]),
        1 => Just(&b"\xc3"[..]),
        1 => Just(&b"%25"[..]),
        1 => Just(&b"%0a"[..]),
        1 => Just(&b"%20"[..]),
        1 => Just(&b"\\"[..]),
    ];
    proptest::collection::vec(piece, 0..14)
        .prop_map(|pieces| [&b"/"[..], &pieces.concat()[..]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, failure_persistence: None, ..Default::default() })]

    #[test]
    fn agrees_with_the_oracle_and_is_idempotent(raw in raw_path()) {
        let once = normalise(&raw).unwrap();
        prop_assert_eq!(&once, &oracle(&raw));
        let twice = normalise(once.as_bytes()).unwrap();
        prop_assert_eq!(&twice, &once);
    }

    #[test]
    fn survives_anything(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(path) = normalise(&raw) {
            prop_assert!(path.starts_with('/'));
            let mut out = Vec::new();
            escape_into(&mut out, &path);
            prop_assert_eq!(normalise(&out).unwrap(), path);
        }
    }
}
