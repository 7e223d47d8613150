use super::*;

fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn read(parts: &request::Parts) -> Result<RequestHead, ParseError> {
    let mut head = RequestHead::default();
    read_request(&mut head, parts, false, &Limits::REQUEST)?;
    Ok(head)
}

fn fields(head: &RequestHead) -> Vec<String> {
    let line = |(name, value): (&[u8], &[u8])| {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        format!("{}: {}", text(name), text(value))
    };
    head.headers.iter().map(line).collect()
}

#[test]
fn a_head_reads_as_one_of_http1_would() {
    let parts = parts(
        "PATCH",
        "https://a.test:8443/x/y?q=1&r",
        &[
            ("accept", "*/*"),
            ("cookie", "a=1"),
            ("te", "trailers"),
            ("x-blank", ""),
            ("cookie", "b=2"),
        ],
    );
    let head = read(&parts).unwrap();
    assert_eq!(head.method(), "PATCH");
    assert_eq!(head.target(), "/x/y?q=1&r");
    assert_eq!((head.raw_path(), head.query()), ("/x/y", "?q=1&r"));
    assert_eq!(head.host(), "a.test:8443");
    assert_eq!(head.version, Version::Http2);
    assert_eq!(head.framing, Framing::Frames);
    assert!(head.te_trailers && head.keep_alive);
    assert_eq!(
        fields(&head),
        [
            "host: a.test:8443",
            "accept: */*",
            "te: trailers",
            "x-blank: ",
            "cookie: a=1; b=2"
        ]
    );
}

#[test]
fn the_host_stands_in_for_a_missing_authority() {
    let with = read(&parts("GET", "/", &[("host", "a.test")])).unwrap();
    assert_eq!((with.host(), with.authority), ("a.test", None));
    let without = read(&parts("GET", "/", &[]));
    assert_eq!(without.unwrap_err(), ParseError::HostMissing);
}

#[test]
fn what_two_readers_could_understand_differently_is_refused() {
    let uri = "http://a.test/";
    for (field, value, error) in [
        ("host", "b.test", ParseError::HostDiffers),
        ("host", "a.test:81", ParseError::HostDiffers),
        ("host", "", ParseError::HostMalformed),
        ("content-length", "1, 1", ParseError::LengthMalformed),
        ("content-length", "-1", ParseError::LengthMalformed),
        ("content-length", "", ParseError::LengthMalformed),
        ("transfer-encoding", "chunked", ParseError::CodingMisplaced),
        ("connection", "close", ParseError::ConnectionMalformed),
        ("upgrade", "websocket", ParseError::ConnectionMalformed),
        ("te", "gzip", ParseError::ConnectionMalformed),
    ] {
        let read = read(&parts("GET", uri, &[(field, value)]));
        assert_eq!(read.unwrap_err(), error, "{field}: {value}");
    }
    let twice = [("content-length", "1"), ("content-length", "1")];
    let read_twice = read(&parts("POST", uri, &twice));
    assert_eq!(read_twice.unwrap_err(), ParseError::LengthRepeated);
    let hosts = [("host", "a.test"), ("host", "a.test")];
    let read_hosts = read(&parts("GET", uri, &hosts));
    assert_eq!(read_hosts.unwrap_err(), ParseError::HostRepeated);
    let high = read(&parts("GET", "http://a.test/\u{e9}", &[]));
    assert_eq!(high.unwrap_err(), ParseError::Target);
}

#[test]
fn the_length_must_fit_the_stream() {
    let mut head = RequestHead::default();
    let five = parts("POST", "http://a/", &[("content-length", "5")]);
    let ended = read_request(&mut head, &five, true, &Limits::REQUEST);
    assert_eq!(ended, Err(ParseError::LengthMisplaced));
    read_request(&mut head, &five, false, &Limits::REQUEST).unwrap();
    assert_eq!(head.framing, Framing::Length(5));
    let none = parts("GET", "http://a/", &[]);
    read_request(&mut head, &none, true, &Limits::REQUEST).unwrap();
    assert_eq!(head.framing, Framing::None);
}

#[test]
fn an_asterisk_and_an_authority_are_targets_of_one_method_each() {
    let mut options = parts("OPTIONS", "*", &[("host", "a")]);
    assert_eq!(read(&options).unwrap().raw_path(), "*");
    options.method = Method::GET;
    assert_eq!(read(&options).unwrap_err(), ParseError::Target);
    let connect = read(&parts("CONNECT", "a.test:443", &[])).unwrap();
    assert_eq!((connect.target(), connect.raw_path()), ("a.test:443", ""));
}

#[test]
fn a_path_that_a_uri_would_have_encoded_is_sent_encoded() {
    assert_eq!(path_and_query(b"/a?b=c").unwrap(), "/a?b=c");
    assert_eq!(path_and_query(b"/a`b<c>?d^").unwrap(), "/a%60b%3Cc%3E?d%5E");
}

#[test]
fn trailers_lose_what_may_not_stand_there() {
    let mut map = HeaderMap::new();
    map.insert("x-sum", HeaderValue::from_static("1"));
    map.insert("content-length", HeaderValue::from_static("1"));
    map.insert("authorization", HeaderValue::from_static("1"));
    let lines = trailer_lines(&map);
    assert_eq!(lines.len(), 1);
    assert_eq!(trailer_map(&lines)["x-sum"], "1");
}

#[test]
fn a_response_with_two_lengths_is_none() {
    let answer = |fields: &[(&'static str, &'static str)]| {
        let mut parts = http::Response::new(()).into_parts().0;
        for (name, value) in fields {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        let mut head = ResponseHead::default();
        read_response(&mut head, &parts, "GET", false).map(|()| head.framing)
    };
    let length = "content-length";
    assert_eq!(answer(&[(length, "5")]), Some(Framing::Length(5)));
    assert_eq!(answer(&[(length, "5"), (length, "5")]), None);
    assert_eq!(answer(&[(length, "five")]), None);
    assert_eq!(answer(&[]), Some(Framing::Frames));
}
