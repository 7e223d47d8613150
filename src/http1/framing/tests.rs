//! Bodies as peers send them, and a naive reading of RFC 9112 §7.1 beside the decoder.

use proptest::prelude::*;

use super::*;
use crate::http1::write::Encoder;

/// What a body came to: its data, the bytes used, its trailers as `name=value;`.
type Outcome = Result<(Vec<u8>, usize, String), FramingError>;

/// Feeds the pieces; an input that ends early is [`FramingError::Truncated`].
fn feed(framing: Framing, pieces: &[&[u8]]) -> Outcome {
    let mut decoder = Decoder::new(framing);
    let (mut data, mut used) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let decoded = decoder.decode(rest)?;
            data.extend_from_slice(&rest[decoded.data.clone()]);
            used += decoded.consumed;
            rest = &rest[decoded.consumed..];
            assert_eq!(decoded.done, decoder.is_done());
            if decoded.done {
                return Ok((data, used, shown(decoder.trailers())));
            }
            if decoded.consumed == 0 {
                assert!(rest.is_empty(), "stuck before {rest:?}");
                break;
            }
        }
    }
    decoder.eof()?;
    assert!(decoder.is_done());
    Ok((data, used, shown(decoder.trailers())))
}

fn shown(trailers: Option<&Headers>) -> String {
    let fields = trailers.into_iter().flat_map(Headers::iter);
    fields.fold(String::new(), |text, (name, value)| {
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        format!("{text}{name}={value};")
    })
}

/// Whole, cut once at every byte, and byte by byte: the outcome is always the same.
fn in_all_ways(framing: Framing, text: &[u8]) -> Outcome {
    let whole = feed(framing, &[text]);
    for at in 0..=text.len() {
        let (front, back) = text.split_at(at);
        assert_eq!(
            feed(framing, &[front, back]),
            whole,
            "{:?} cut at {at}",
            text.escape_ascii()
        );
    }
    let single: Vec<_> = text.chunks(1).collect();
    assert_eq!(
        feed(framing, &single),
        whole,
        "{:?} by bytes",
        text.escape_ascii()
    );
    whole
}

#[test]
fn chunked_bodies() {
    for (text, data, trailers) in [
        ("0\r\n\r\n", "", ""),
        ("3\r\nabc\r\n0\r\n\r\n", "abc", ""),
        ("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", ""),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
        ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc", ""),
        ("0000000000000000\r\n\r\n", "", ""),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", ""),
        ("1;a\r\nx\r\n0\r\n\r\n", "x", ""),
        ("1;a=b\r\nx\r\n0;c\r\n\r\n", "x", ""),
        ("1;a=b;c;d=e\r\nx\r\n0\r\n\r\n", "x", ""),
        ("1 ; a = b ; c\r\nx\r\n0\r\n\r\n", "x", ""),
        ("1;a=\"b c;\\\"=\"\r\nx\r\n0\r\n\r\n", "x", ""),
        ("1;a=\"\"\r\nx\r\n0\r\n\r\n", "x", ""),
        ("1;a=\"x\" ;b\r\nx\r\n0\r\n\r\n", "x", ""),
        ("1;a=\"\u{e9}\t\"\r\nx\r\n0\r\n\r\n", "x", ""),
        ("0\r\nA: b\r\n\r\n", "", "A=b;"),
        (
            "1\r\nx\r\n0\r\ngrpc-status: 0\r\nX-Sum:\t1 \r\n\r\n",
            "x",
            "grpc-status=0;X-Sum=1;",
        ),
        ("0\r\nServer-Timing: a\r\n\r\n", "", "Server-Timing=a;"),
    ] {
        let expected = Ok((data.as_bytes().to_vec(), text.len(), trailers.to_owned()));
        assert_eq!(
            in_all_ways(Framing::Chunked, text.as_bytes()),
            expected,
            "{text:?}"
        );
    }
}

#[test]
fn broken_chunked_bodies() {
    let long = format!("1;{}\r\nx", "a".repeat(256));
    let trailer = format!("0\r\nA: {}", "b".repeat(8192));
    let many = format!("0\r\n{}", "A: b\r\n".repeat(33));
    for (text, label) in [
        ("", "truncated"),
        ("3", "truncated"),
        ("3\r\nab", "truncated"),
        ("3\r\nabc\r\n", "truncated"),
        ("0\r\n", "truncated"),
        ("0\r\n\r", "truncated"),
        ("0\r\nA: b\r\n", "truncated"),
        ("\r\n", "chunk_size"),
        (" 3\r\nabc", "chunk_size"),
        ("\t3\r\nabc", "chunk_size"),
        ("+3\r\nabc", "chunk_size"),
        ("-3\r\nabc", "chunk_size"),
        ("0x3\r\nabc", "chunk_size"),
        ("3h\r\nabc", "chunk_size"),
        ("g\r\n", "chunk_size"),
        (";a\r\n", "chunk_size"),
        ("3_0\r\n", "chunk_size"),
        ("00000000000000003\r\nabc", "chunk_size"),
        ("10000000000000000\r\n", "chunk_size"),
        ("3\nabc\n0\n\n", "chunk_size"),
        ("3\rabc", "chunk_line"),
        ("3\r\r\nabc", "chunk_line"),
        ("3 \r\nabc", "chunk_line"),
        ("3 a\r\nabc", "chunk_line"),
        ("3;\r\nabc", "chunk_line"),
        ("3;;a\r\nabc", "chunk_line"),
        ("3;a=\r\nabc", "chunk_line"),
        ("3;a \r\nabc", "chunk_line"),
        ("3;=b\r\nabc", "chunk_line"),
        ("3;a b\r\nabc", "chunk_line"),
        ("3;a=b c\r\nabc", "chunk_line"),
        ("3;a\nabc", "chunk_line"),
        ("3;a=\"b\r\nabc", "chunk_line"),
        ("3;a=\"b\\\r\nabc", "chunk_line"),
        ("3;a=\"b\"c\r\nabc", "chunk_line"),
        ("3;a=\"\0\"\r\nabc", "chunk_line"),
        ("3;\u{e9}\r\nabc", "chunk_line"),
        (&long, "chunk_extension_too_large"),
        ("3\r\nabcd\r\n", "chunk_end"),
        ("3\r\nabc\n0\r\n\r\n", "chunk_end"),
        ("3\r\nabc\rx", "chunk_end"),
        ("3\r\nabc0\r\n\r\n", "chunk_end"),
        ("3\r\nabc\r\n\r\n", "chunk_size"),
        ("0\r\n\n", "trailer"),
        ("0\r\n\rx", "trailer"),
        ("0\r\nx\r\n\r\n", "trailer"),
        ("0\r\n A: b\r\n\r\n", "trailer"),
        ("0\r\nA : b\r\n\r\n", "trailer"),
        ("0\r\nA: b\r\n c\r\n\r\n", "trailer"),
        ("0\r\nA: b\nB: c\r\n\r\n", "trailer"),
        ("0\r\nA: \0\r\n\r\n", "trailer"),
        ("0\r\n: b\r\n\r\n", "trailer"),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", "trailer"),
        (&trailer, "trailer"),
        (&many, "trailer"),
        ("0\r\nContent-Length: 1\r\n\r\n", "trailer_forbidden"),
        (
            "0\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n",
            "trailer_forbidden",
        ),
        ("0\r\nHost: h\r\n\r\n", "trailer_forbidden"),
        ("0\r\nAuthorization: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nCookie: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nSet-Cookie: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nConnection: close\r\n\r\n", "trailer_forbidden"),
        ("0\r\nTrailer: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nContent-Type: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nContent-Encoding: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nX-Forwarded-For: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nX-Consumer-Username: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nIf-Match: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nLocation: x\r\n\r\n", "trailer_forbidden"),
        ("0\r\nWWW-Authenticate: x\r\n\r\n", "trailer_forbidden"),
    ] {
        match feed(Framing::Chunked, &[text.as_bytes()]) {
            Err(error) => assert_eq!(error.label(), label, "{text:?}"),
            other => panic!("{text:?} gave {other:?}"),
        }
        if text.len() < 100 {
            assert!(in_all_ways(Framing::Chunked, text.as_bytes()).is_err());
        }
    }
}

#[test]
fn a_flood_of_small_extensions_is_ended() {
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(127));
    let outcome = |count| {
        feed(
            Framing::Chunked,
            &[(chunk.repeat(count) + "0\r\n\r\n").as_bytes()],
        )
    };
    assert!(outcome(128).is_ok());
    assert_eq!(outcome(129), Err(FramingError::ExtensionTooLarge));
}

#[test]
fn other_framings() {
    for (framing, text, data, used) in [
        (Framing::None, "GET", "", 0),
        (Framing::Length(3), "abcdef", "abc", 3),
        (Framing::Length(0), "abc", "", 0),
        (Framing::Close, "abcdef", "abcdef", 6),
        (Framing::Close, "", "", 0),
    ] {
        let expected = Ok((data.as_bytes().to_vec(), used, String::new()));
        assert_eq!(
            in_all_ways(framing, text.as_bytes()),
            expected,
            "{framing:?}"
        );
    }
    let short = in_all_ways(Framing::Length(4), b"abc");
    assert_eq!(short, Err(FramingError::Truncated));
}

#[test]
fn what_follows_a_body_is_left_alone() {
    let text = b"3\r\nabc\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let outcome = in_all_ways(Framing::Chunked, text).unwrap();
    assert_eq!(outcome, (b"abc".to_vec(), 19, "A=b;".to_owned()));
}

#[test]
fn large_runs_are_handed_out_whole_with_the_end_behind_them() {
    let mut text = b"10000\r\n".to_vec();
    text.resize(text.len() + 0x10000, b'x');
    text.extend_from_slice(b"\r\n0\r\n\r\n");
    let decoded = Decoder::new(Framing::Chunked).decode(&text).unwrap();
    assert_eq!(decoded.data, 7..7 + 0x10000);
    assert_eq!((decoded.consumed, decoded.done), (text.len(), true));
}

#[test]
fn the_largest_chunk_is_counted_without_overflow() {
    let mut decoder = Decoder::new(Framing::Chunked);
    let decoded = decoder.decode(b"ffffffffffffffff\r\nabc").unwrap();
    assert_eq!((decoded.data, decoded.done), (18..21, false));
    assert_eq!(decoder.decode(b"def").unwrap().data, 0..3);
}

#[test]
fn a_failed_decoder_stays_failed() {
    let mut decoder = Decoder::new(Framing::Chunked);
    for _ in 0..2 {
        assert_eq!(decoder.decode(b"x"), Err(FramingError::ChunkSize));
    }
    assert_eq!(decoder.eof(), Err(FramingError::ChunkSize));
    assert!(!decoder.is_done());
}

#[test]
fn trailers_can_be_taken_once_the_body_is_complete() {
    let mut decoder = Decoder::new(Framing::Chunked);
    decoder.decode(b"0\r\nA: b\r\n").unwrap();
    assert!(decoder.trailers().is_none());
    assert!(decoder.take_trailers().is_none());
    decoder.decode(b"\r\n").unwrap();
    assert_eq!(decoder.trailers().unwrap().get("a"), Some(&b"b"[..]));
    assert_eq!(decoder.take_trailers().unwrap().len(), 1);
    assert!(decoder.take_trailers().is_none());
}

#[test]
fn the_state_is_small() {
    assert!(size_of::<Decoder>() <= 48, "{}", size_of::<Decoder>());
}

/// Reads a chunked body by splitting text; the data and the bytes used, or nothing.
fn naive(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    const TOKEN: &str = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+";
    thread_local! {
        static LINE: regex::bytes::Regex = regex::bytes::Regex::new(&format!(
            r#"(?s-u)^([0-9A-Fa-f]{{1,16}})((?:[ \t]*;[ \t]*{TOKEN}(?:[ \t]*=[ \t]*(?:{TOKEN}|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?)*)\r\n"#
        )).unwrap();
        static TRAILER: regex::bytes::Regex = regex::bytes::Regex::new(&format!(
            r"(?s-u)^({TOKEN}):[\t\x20-\x7e\x80-\xff]*\r\n"
        )).unwrap();
    }
    let (mut at, mut data) = (0, Vec::new());
    loop {
        let (size, len) = LINE.with(|line| {
            let found = line.captures(&text[at..])?;
            let digits = std::str::from_utf8(&found[1]).ok()?;
            Some((u64::from_str_radix(digits, 16).ok()?, found[0].len()))
        })?;
        at += len;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        let end = at.checked_add(size).filter(|end| end + 2 <= text.len())?;
        data.extend_from_slice(&text[at..end]);
        at = end + 2;
        if &text[end..at] != b"\r\n" {
            return None;
        }
    }
    while !text[at..].starts_with(b"\r\n") {
        at += TRAILER.with(|trailer| {
            let found = trailer.captures(&text[at..])?;
            let name = String::from_utf8_lossy(&found[1]).into_owned();
            let known = crate::message::Known::of(name.as_bytes());
            (!is_forbidden_trailer(known, name.as_bytes())).then_some(found[0].len())
        })?;
    }
    Some((data, at + 2))
}

const LINES: &[&str] = &["3", "003", "3;a", "3 ;\ta = b", "3;a=\"b\\\"c\"", "3;a;b=c"];
const ENDS: &[&str] = &[
    "0\r\n\r\n",
    "0;x=y\r\n\r\n",
    "0\r\nA: b\r\n\r\n",
    "00\r\nA:\r\nB: c\r\n\r\n",
];
const BYTES: &[u8] = b"\r\n\t ;=\"\\:0123aAfFgx-+\0\x7f\x80";

fn chunked_text() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec(prop::sample::select(LINES), 0..4);
    let byte = prop::sample::select(BYTES);
    let damages = prop::collection::vec((0..3u8, any::<usize>(), byte), 0..4);
    (lines, prop::sample::select(ENDS), damages).prop_map(|(lines, end, damages)| {
        let mut text = Vec::new();
        for line in lines {
            text.extend_from_slice(format!("{line}\r\nabc\r\n").as_bytes());
        }
        text.extend_from_slice(end.as_bytes());
        for (kind, at, byte) in damages {
            let at = at % text.len();
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ if text.len() > 1 => _ = text.remove(at),
                _ => {}
            }
        }
        text
    })
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
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_readings_agree(text in chunked_text(), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        let whole = feed(Framing::Chunked, &[&text]);
        prop_assert_eq!(&feed(Framing::Chunked, &pieces(&text, &cuts)), &whole);
        let short = whole.ok().map(|(data, used, _)| (data, used));
        prop_assert_eq!(short, naive(&text), "{}", text.escape_ascii());
    }

    #[test]
    fn what_was_encoded_is_decoded(
        data in prop::collection::vec(any::<u8>(), 0..2000),
        kind in 0..3u8,
        writes in prop::collection::vec(any::<usize>(), 0..8),
        reads in prop::collection::vec(any::<usize>(), 0..8),
        trailer in any::<bool>(),
    ) {
        let framing = match kind {
            0 => Framing::Chunked,
            1 => Framing::Close,
            _ => Framing::Length(data.len() as u64),
        };
        let mut trailers = Headers::default();
        trailers.append("X-Sum", "1");
        let mut encoder = Encoder::new(framing);
        let mut text = Vec::new();
        for piece in pieces(&data, &writes) {
            encoder.encode(piece, &mut text).unwrap();
        }
        encoder.finish(trailer.then_some(&trailers), &mut text).unwrap();
        let said = trailer && framing == Framing::Chunked;
        let expected = (data, text.len(), if said { "X-Sum=1;" } else { "" }.to_owned());
        prop_assert_eq!(feed(framing, &pieces(&text, &reads)), Ok(expected));
    }
}
