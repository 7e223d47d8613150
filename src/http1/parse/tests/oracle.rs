//! A second reading of RFC 9112, slow and by regular expressions, that must come to the same
//! verdict as the parser on valid heads and on damaged ones.

use std::sync::LazyLock;

use proptest::prelude::*;
use regex::bytes::Regex;

use super::*;

const TOKEN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";
const HOST: &str = r"(?:\[[0-9A-Fa-f:.]+\]|(?:[0-9A-Za-z\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+)";

fn regex(pattern: &str) -> Regex {
    Regex::new(&format!("(?s-u)^(?:{pattern})$")).unwrap()
}

static REQUEST_LINE: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!(r"({TOKEN}) ([\x21-\x7e]+) HTTP/1\.([01])")));
static STATUS_LINE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?"));
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(
        r"({TOKEN}):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
    ))
});
static ABSOLUTE: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?i)(https?)://([^/?]*)(/[^?]*)?(\?.*)?"));
static ORIGIN: LazyLock<Regex> = LazyLock::new(|| regex(r"(/[^?]*)(\?.*)?"));
static AUTHORITY: LazyLock<Regex> =
    LazyLock::new(|| regex(&format!("({HOST})(?::([0-9]{{0,5}}))?")));
static CODING: LazyLock<Regex> = LazyLock::new(|| {
    regex(&format!(
        r"{TOKEN}(?:[ \t]*;[ \t]*{TOKEN}[ \t]*=[ \t]*{TOKEN})*"
    ))
});
static OPTION: LazyLock<Regex> = LazyLock::new(|| regex(TOKEN));

/// A head cut into its first line and its fields; nothing if a line is not one.
struct Cut {
    first: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    len: usize,
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn cut(text: &[u8]) -> Option<Cut> {
    let len = find(text, b"\r\n\r\n")? + 4;
    let mut lines = Vec::new();
    let mut rest = &text[..len - 2];
    while let Some(at) = find(rest, b"\r\n") {
        lines.push(rest[..at].to_vec());
        rest = &rest[at + 2..];
    }
    let first = lines.remove(0);
    let mut fields = Vec::new();
    for line in lines {
        let found = FIELD.captures(&line)?;
        let name = String::from_utf8(found[1].to_vec()).unwrap();
        fields.push((name, found[2].to_vec()));
    }
    Some(Cut { first, fields, len })
}

impl Cut {
    fn all(&self, name: &str) -> Vec<String> {
        self.fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.iter().map(|&byte| char::from(byte)).collect())
            .collect()
    }

    /// The elements of all lines of a list field in lower case, empty ones included.
    fn list(&self, name: &str) -> Vec<String> {
        let lines = self.all(name);
        let parts = lines.iter().flat_map(|line| line.split(','));
        parts
            .map(|part| part.trim_matches([' ', '\t']).to_ascii_lowercase())
            .collect()
    }

    /// The declared framing: an error, nothing, or what a summary says.
    fn framing(&self, minor: u8) -> Option<Option<String>> {
        let lengths = self.all("content-length");
        let codings = self.list("transfer-encoding");
        match (&lengths[..], &codings[..]) {
            ([], []) => Some(None),
            ([length], []) => {
                let digits = length.chars().all(|digit| digit.is_ascii_digit());
                let good = digits && !length.is_empty() && length.len() <= 18;
                let number = good.then(|| length.parse::<u64>().unwrap())?;
                Some(Some(match number {
                    0 => "none".to_owned(),
                    more => more.to_string(),
                }))
            }
            ([], [coding]) if coding == "chunked" && minor == b'1' => {
                Some(Some("chunked".to_owned()))
            }
            _ => None,
        }
    }

    /// Persistence and whether other fields were named; nothing for a `Connection` that is none.
    fn connection(&self, minor: u8) -> Option<(bool, bool, bool)> {
        const NEVER: [&str; 11] = [
            "host",
            "content-length",
            "transfer-encoding",
            "content-type",
            "connection",
            "authorization",
            "cookie",
            "set-cookie",
            "cache-control",
            "content-encoding",
            "content-range",
        ];
        let options = self.list("connection");
        let options: Vec<_> = options.iter().filter(|option| !option.is_empty()).collect();
        for option in &options {
            if !OPTION.is_match(option.as_bytes()) || NEVER.contains(&option.as_str()) {
                return None;
            }
        }
        let has = |name: &str| options.iter().any(|option| *option == name);
        let keep = !has("close") && (minor == b'1' || has("keep-alive"));
        let known = ["close", "keep-alive", "upgrade", "te"];
        let names = options
            .iter()
            .any(|option| !known.contains(&option.as_str()));
        Some((keep, names, has("upgrade")))
    }

    fn fields_shown(&self) -> String {
        self.fields
            .iter()
            .fold(String::new(), |text, (name, value)| {
                format!("{text} | {name}={}", String::from_utf8_lossy(value))
            })
    }
}

/// Host in lower case and port, if that is an authority.
fn authority(text: &[u8]) -> Option<(String, String)> {
    let found = AUTHORITY.captures(text)?;
    let host = String::from_utf8(found[1].to_vec()).unwrap().to_lowercase();
    if let Some(inner) = host.strip_prefix('[') {
        let address = inner.trim_end_matches(']');
        address.parse::<std::net::Ipv6Addr>().ok()?;
    }
    let port = found.get(2).map_or(&b""[..], |port| port.as_bytes());
    let port = String::from_utf8(port.to_vec()).unwrap();
    if !port.is_empty() && port.parse::<u32>().unwrap() > 65535 {
        return None;
    }
    Some((host, port))
}

/// Path, query, authority and scheme of a target.
struct Target {
    path: String,
    query: String,
    authority: Option<(String, String)>,
    shown: String,
    scheme: String,
}

fn target(method: &str, text: &[u8]) -> Option<Target> {
    let string = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
    let group = |found: &regex::bytes::Captures<'_>, at: usize| {
        found.get(at).map(|part| string(part.as_bytes()))
    };
    let mut target = Target {
        path: String::new(),
        query: String::new(),
        authority: None,
        shown: String::new(),
        scheme: String::new(),
    };
    if text.contains(&b'#') {
        return None;
    } else if method == "CONNECT" {
        target.authority = Some(authority(text).filter(|(_, port)| !port.is_empty())?);
        target.shown = string(text);
    } else if text == b"*" && method == "OPTIONS" {
        target.path = "*".to_owned();
    } else if let Some(found) = ORIGIN.captures(text) {
        target.path = group(&found, 1)?;
        target.query = group(&found, 2).unwrap_or_default();
    } else {
        let found = ABSOLUTE.captures(text)?;
        target.scheme = group(&found, 1)?.to_lowercase();
        target.shown = group(&found, 2)?;
        target.authority = Some(authority(target.shown.as_bytes())?);
        target.path = group(&found, 3).unwrap_or_else(|| "/".to_owned());
        target.query = group(&found, 4).unwrap_or_default();
    }
    Some(target)
}

/// Whether `Host` fits the target, and what it says.
fn host(cut: &Cut, minor: u8, target: &Target) -> Option<String> {
    let hosts = cut.all("host");
    match &hosts[..] {
        [] if minor == b'0' => Some(target.shown.clone()),
        [host] if host.is_empty() && target.authority.is_none() => {
            (minor == b'0' || target.path == "*").then(String::new)
        }
        [host] => {
            let latin: Vec<u8> = host.chars().map(|letter| letter as u8).collect();
            let (name, port) = authority(&latin)?;
            let Some((asked, asked_port)) = &target.authority else {
                return Some(host.clone());
            };
            let default = if target.scheme == "https" {
                "443"
            } else {
                "80"
            };
            let or_default = |port: &str| match port {
                "" => default.to_owned(),
                port => port.to_owned(),
            };
            let same = *asked == name && or_default(&port) == or_default(asked_port);
            (same || target.scheme.is_empty()).then(|| target.shown.clone())
        }
        _ => None,
    }
}

/// The verdict on a request that is all there: its length and summary, or refused.
fn naive_request(text: &[u8]) -> Option<(usize, String)> {
    let mut lead = 0;
    while lead < 4 && text[lead..].starts_with(b"\r\n") {
        lead += 2;
    }
    let cut = cut(&text[lead..])?;
    let found = REQUEST_LINE.captures(&cut.first)?;
    let minor = found[3][0];
    let method = String::from_utf8(found[1].to_vec()).unwrap();
    let target = target(&method, &found[2])?;
    let host = host(&cut, minor, &target)?;
    let framing = cut.framing(minor)?.unwrap_or_else(|| "none".to_owned());
    let (keep, names, upgrade) = cut.connection(minor)?;
    let codings_are_well_formed = cut
        .list("transfer-encoding")
        .iter()
        .all(|coding| CODING.is_match(coding.as_bytes()));
    assert!(codings_are_well_formed);

    let mut shown = format!("{method} {}", target.path);
    if !target.query.is_empty() {
        shown += &format!(" {}", target.query);
    }
    if !host.is_empty() {
        shown += &format!(" @{host}");
    }
    let keep = if keep { "keep" } else { "drop" };
    shown += &format!(" 1.{} {framing} {keep}", char::from(minor));
    let expects = cut
        .all("expect")
        .iter()
        .any(|value| value.eq_ignore_ascii_case("100-continue"));
    let websocket = cut.list("upgrade").contains(&"websocket".to_owned());
    let flags = [
        (expects && minor == b'1', " expect"),
        (
            websocket && upgrade && minor == b'1' && framing == "none" && method == "GET",
            " websocket",
        ),
        (cut.list("te").contains(&"trailers".to_owned()), " trailers"),
        (names, " names"),
    ];
    shown.extend(flags.iter().filter(|(set, _)| *set).map(|(_, word)| *word));
    Some((lead + cut.len, shown + &cut.fields_shown()))
}

/// The verdict on a response that is all there.
fn naive_response(method: &str, text: &[u8]) -> Option<(usize, String)> {
    let cut = cut(text)?;
    let found = STATUS_LINE.captures(&cut.first)?;
    let minor = found[1][0];
    let status = String::from_utf8(found[2].to_vec()).unwrap();
    let reason = found.get(3).map_or(&b""[..], |reason| reason.as_bytes());
    let declared = cut.framing(minor)?;
    let (mut keep, names, _) = cut.connection(minor)?;
    if status.starts_with('1') && (declared.is_some()) {
        return None;
    }
    let none = status.starts_with('1')
        || ["204", "304"].contains(&status.as_str())
        || method == "HEAD"
        || method == "CONNECT" && status.starts_with('2');
    if status == "204" && declared.as_ref().is_some_and(|framing| framing != "none") {
        keep = false;
    }
    let framing = match none {
        true => "none".to_owned(),
        false => declared.unwrap_or_else(|| "close".to_owned()),
    };
    let keep = if keep && framing != "close" {
        "keep"
    } else {
        "drop"
    };
    let names = if names { " names" } else { "" };
    let reason = String::from_utf8_lossy(reason);
    let shown = format!(
        "{status} [{reason}] 1.{} {framing} {keep}{names}{}",
        char::from(minor),
        cut.fields_shown()
    );
    Some((cut.len, shown))
}

const METHODS: &[&str] = &["GET", "POST", "OPTIONS", "CONNECT", "HEAD", "x~y"];
const TARGETS: &[&str] = &[
    "/",
    "/a?b",
    "*",
    "http://h",
    "http://h/x?y",
    "https://h:443/",
    "HTTP://H:80?q",
    "h:443",
    "[::1]:80",
    "/a%00b",
    "//h/..",
    "http://h:81/",
];
const FIELDS: &[&str] = &[
    "Host: h",
    "host:\th:80 ",
    "Host: ",
    "Content-Length: 5",
    "content-length:0",
    "Content-Length: 999999999999999999",
    "Transfer-Encoding: chunked",
    "transfer-encoding: gzip, chunked",
    "Connection: close",
    "Connection: keep-alive, x-hop",
    "Connection: upgrade",
    "connection: host",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "TE: trailers",
    "X-A: b",
    "X-B:",
    "X-C:  caf\u{e9}\tx  ",
];
const BYTES: &[u8] = b"\r\n\t :,;=/?#@[]%*\"\0\x7f\x80\xffaHG019._-\x1f";

#[derive(Clone, Debug)]
enum Damage {
    Replace(usize, u8),
    Insert(usize, u8),
    Delete(usize, usize),
    Repeat(usize, usize),
    Swap(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || prop_oneof![4 => prop::sample::select(BYTES), 1 => any::<u8>()];
    prop_oneof![
        (any::<usize>(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<usize>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (any::<usize>(), 1..4usize).prop_map(|(at, len)| Damage::Delete(at, len)),
        (any::<usize>(), 1..30usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        (any::<usize>(), any::<usize>()).prop_map(|(at, to)| Damage::Swap(at, to)),
    ]
}

impl Damage {
    fn apply(&self, text: &mut Vec<u8>) {
        let len = text.len();
        if len == 0 {
            return;
        }
        match *self {
            Damage::Replace(at, byte) => text[at % len] = byte,
            Damage::Insert(at, byte) => text.insert(at % (len + 1), byte),
            Damage::Delete(at, count) => {
                let at = at % len;
                text.drain(at..(at + count).min(len));
            }
            Damage::Repeat(at, count) => {
                let at = at % len;
                let piece = text[at..(at + count).min(len)].to_vec();
                text.splice(at..at, piece);
            }
            Damage::Swap(at, to) => text.swap(at % len, to % len),
        }
    }
}

fn assemble(first: String, fields: Vec<&str>, damages: &[Damage]) -> Vec<u8> {
    let mut text = first.into_bytes();
    text.extend_from_slice(b"\r\n");
    for field in fields {
        text.extend_from_slice(field.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    for damage in damages {
        damage.apply(&mut text);
    }
    text
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    prop_oneof![2 => Just(Vec::new()), 5 => prop::collection::vec(damage(), 1..4)]
}

fn request_text() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(prop::sample::select(FIELDS), 0..4);
    let host = prop_oneof![4 => Just(vec!["Host: h"]), 1 => Just(vec![])];
    (
        prop_oneof![3 => Just(""), 1 => Just("\r\n"), 1 => Just("\r\n\r\n")],
        prop::sample::select(METHODS),
        prop::sample::select(TARGETS),
        prop_oneof![3 => Just("1.1"), 1 => Just("1.0")],
        host,
        fields,
        damages(),
    )
        .prop_map(
            |(lead, method, target, version, mut host, fields, damages)| {
                host.extend(fields);
                assemble(
                    format!("{lead}{method} {target} HTTP/{version}"),
                    host,
                    &damages,
                )
            },
        )
}

fn response_text() -> impl Strategy<Value = Vec<u8>> {
    (
        prop_oneof![3 => Just("1.1"), 1 => Just("1.0")],
        prop::sample::select(&["200", "204", "304", "100", "101", "404", "999"][..]),
        prop::sample::select(&["", " ", " OK", " a\tb\u{e9}"][..]),
        prop::collection::vec(prop::sample::select(FIELDS), 0..4),
        damages(),
    )
        .prop_map(|(version, status, reason, fields, damages)| {
            assemble(format!("HTTP/{version} {status}{reason}"), fields, &damages)
        })
}

/// The parser may refuse before a head is complete; otherwise both say the same.
fn compare(text: &[u8], found: Outcome, naive: Option<(usize, String)>) {
    let shown = String::from_utf8_lossy(text);
    match found {
        Ok(None) => assert_eq!(naive, None, "{shown:?} was not seen to end"),
        Ok(found) => assert_eq!(found, naive, "{shown:?}"),
        Err(error) => assert_eq!(naive, None, "{shown:?} was refused for {error}"),
    }
}

/// The pieces of `text` between the cuts.
fn pieces<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|at| at % (text.len() + 1)).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut from = 0;
    ends.into_iter()
        .map(|to| &text[std::mem::replace(&mut from, to)..to])
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_agree(text in request_text(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let whole = feed_request(&Limits::default(), [&text[..]]);
        let cut = feed_request(&Limits::default(), pieces(&text, &cuts));
        prop_assert_eq!(&cut, &whole);
        compare(&text, whole, naive_request(&text));
    }

    #[test]
    fn responses_agree(
        text in response_text(),
        method in prop::sample::select(METHODS),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let whole = feed_response(method, [&text[..]]);
        let cut = feed_response(method, pieces(&text, &cuts));
        prop_assert_eq!(&cut, &whole);
        compare(&text, whole, naive_response(method, &text));
    }
}
