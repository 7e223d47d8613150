//! What goes out, byte for byte.

use super::*;

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn first_lines() {
    for (status, phrase, line) in [
        (200, "", "HTTP/1.1 200 OK\r\n"),
        (200, "Fine", "HTTP/1.1 200 Fine\r\n"),
        (414, "", "HTTP/1.1 414 URI Too Long\r\n"),
        (599, "", "HTTP/1.1 599 \r\n"),
        (999, "", "HTTP/1.1 999 \r\n"),
    ] {
        assert_eq!(written(|out| status_line(out, status, phrase)), line);
    }
    let line = written(|out| request_line(out, "GET", "/a?b=c"));
    assert_eq!(line, "GET /a?b=c HTTP/1.1\r\n");
    assert_eq!(written(|out| field(out, "A", b"b")), "A: b\r\n");
}

#[test]
fn numbers_in_decimal() {
    for value in [0, 1, 9, 10, 99, 100, 12_345, u64::MAX] {
        assert_eq!(written(|out| number(out, value)), value.to_string());
    }
}

#[test]
fn chunk_headers_in_hexadecimal() {
    for len in [1, 9, 10, 15, 16, 255, 65_536, usize::MAX] {
        let header = chunk_header(len);
        assert_eq!(header.as_bytes(), format!("{len:x}\r\n").as_bytes());
    }
    assert!(chunk_header(0).as_bytes().is_empty());
}

#[test]
fn framing_is_announced_as_it_is_written() {
    for (framing, line) in [
        (Framing::None, ""),
        (Framing::Close, ""),
        (Framing::Length(12), "Content-Length: 12\r\n"),
        (Framing::Chunked, "Transfer-Encoding: chunked\r\n"),
        (Framing::Frames, "Transfer-Encoding: chunked\r\n"),
    ] {
        assert_eq!(written(|out| framing_field(out, framing)), line);
    }
}

#[test]
fn bodies() {
    let mut trailers = Headers::default();
    trailers.append("A", "b");
    for (framing, text) in [
        (Framing::Chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"),
        (Framing::Length(5), "abcde"),
        (Framing::Close, "abcde"),
    ] {
        let mut encoder = Encoder::new(framing);
        let out = written(|out| {
            for piece in ["abc", "", "de"] {
                encoder.encode(piece.as_bytes(), out).unwrap();
            }
            encoder.finish(Some(&trailers), out).unwrap();
        });
        assert_eq!(out, text);
    }
}

#[test]
fn a_frame_stands_around_data_written_elsewhere() {
    let mut encoder = Encoder::Chunked;
    let frame = encoder.frame(16).unwrap();
    assert_eq!(
        (frame.before(), frame.behind()),
        (&b"10\r\n"[..], &b"\r\n"[..])
    );
    let frame = encoder.frame(0).unwrap();
    assert_eq!((frame.before(), frame.behind()), (&b""[..], &b""[..]));
    let mut encoder = Encoder::Length(16);
    let frame = encoder.frame(16).unwrap();
    assert_eq!((frame.before(), frame.behind()), (&b""[..], &b""[..]));
}

#[test]
fn a_declared_length_is_kept() {
    let mut out = Vec::new();
    let mut encoder = Encoder::Length(3);
    encoder.encode(b"ab", &mut out).unwrap();
    assert_eq!(encoder.finish(None, &mut out), Err(FramingError::Truncated));
    assert_eq!(encoder.encode(b"cd", &mut out), Err(FramingError::Overrun));
    assert_eq!(out, b"ab");
    encoder.encode(b"c", &mut out).unwrap();
    assert_eq!(encoder.finish(None, &mut out), Ok(()));
    assert_eq!(
        Encoder::None.encode(b"a", &mut out),
        Err(FramingError::Overrun)
    );
    assert_eq!(Encoder::None.finish(None, &mut out), Ok(()));
}

#[test]
fn nothing_follows_a_finished_body() {
    let mut out = Vec::new();
    let mut encoder = Encoder::Chunked;
    encoder.finish(None, &mut out).unwrap();
    assert_eq!(encoder.encode(b"a", &mut out), Err(FramingError::Overrun));
    encoder.finish(None, &mut out).unwrap();
    assert_eq!(out, b"0\r\n\r\n");
}
