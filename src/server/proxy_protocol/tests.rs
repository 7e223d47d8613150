use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use super::*;

fn client(source: &str, destination: &str) -> ProxyHeader {
    ProxyHeader::Tcp {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A header of version 2.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    [V2_SIGNATURE, &[command, family][..], &length, body].concat()
}

const BODY4: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0x04, 0xd2, 0x00, 0x50];

fn body6() -> Vec<u8> {
    let (source, destination) = ("fd00::1".parse::<Ipv6Addr>(), "::2".parse::<Ipv6Addr>());
    [
        &source.unwrap().octets()[..],
        &destination.unwrap().octets(),
        &[0, 1, 0, 2],
    ]
    .concat()
}

fn whole(input: &[u8]) -> Result<ProxyHeader, Invalid> {
    match parse(input)? {
        Parsed::Complete { header, length } => {
            assert_eq!(length, input.len());
            Ok(header)
        }
        Parsed::Incomplete { needs } => panic!("{needs} more bytes wanted"),
    }
}

fn good() -> Vec<(Vec<u8>, ProxyHeader)> {
    let with_extension = [&BODY4[..], b"\x04\x00\x02ab"].concat();
    let mapped = "PROXY TCP6 ::ffff:1.2.3.4 ::1 65535 0\r\n";
    vec![
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1234 80\r\n".into(),
            client("1.2.3.4:1234", "5.6.7.8:80"),
        ),
        (
            b"PROXY TCP6 fd00::1 ::2 1 2\r\n".into(),
            client("[fd00::1]:1", "[::2]:2"),
        ),
        (mapped.into(), client("1.2.3.4:65535", "[::1]:0")),
        (b"PROXY UNKNOWN\r\n".into(), ProxyHeader::Unknown),
        (
            b"PROXY UNKNOWN whatever  it says\r\n".into(),
            ProxyHeader::Unknown,
        ),
        (v2(0x21, 0x11, &BODY4), client("1.2.3.4:1234", "5.6.7.8:80")),
        (
            v2(0x21, 0x11, &with_extension),
            client("1.2.3.4:1234", "5.6.7.8:80"),
        ),
        (v2(0x21, 0x21, &body6()), client("[fd00::1]:1", "[::2]:2")),
        (v2(0x21, 0x31, &[b'/'; 216]), ProxyHeader::Unix),
        (v2(0x21, 0x00, b""), ProxyHeader::Unknown),
        (v2(0x20, 0x00, b""), ProxyHeader::Unknown),
        (v2(0x20, 0x11, &BODY4), ProxyHeader::Unknown),
        (v2(0x20, 0x77, b"noise"), ProxyHeader::Unknown),
    ]
}

#[test]
fn right_headers_are_read() {
    for (input, want) in good() {
        assert_eq!(
            whole(&input),
            Ok(want),
            "{:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

#[test]
fn wrong_headers_are_refused_with_a_reason() {
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat();
    assert_eq!(long.len(), 108);
    assert_eq!(whole(&long[1..]), Err(Invalid::Signature));
    let cases: Vec<(Vec<u8>, Invalid)> = vec![
        (b"GET / HTTP/1.1\r\n\r\n".into(), Invalid::Signature),
        (
            b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n".into(),
            Invalid::Signature,
        ),
        (long, Invalid::TooLong),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".into(), Invalid::LineEnd),
        (b"PROXY UNKNOWN\rx\r\n".into(), Invalid::LineEnd),
        (
            b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n".into(),
            Invalid::Family,
        ),
        (b"PROXY TCP4 fd00::1 ::2 1 2\r\n".into(), Invalid::Address),
        (
            b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n".into(),
            Invalid::Address,
        ),
        (
            b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n".into(),
            Invalid::Address,
        ),
        (
            b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n".into(),
            Invalid::Address,
        ),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".into(), Invalid::Address),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n".into(), Invalid::Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n".into(), Invalid::Port),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n".into(), Invalid::Port),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n".into(),
            Invalid::Port,
        ),
        (v2(0x11, 0x11, &BODY4), Invalid::Command),
        (v2(0x22, 0x11, &BODY4), Invalid::Command),
        (v2(0x21, 0x12, &BODY4), Invalid::Family),
        (v2(0x21, 0x41, &BODY4), Invalid::Family),
        (v2(0x21, 0x11, &BODY4[1..]), Invalid::Address),
        (v2(0x21, 0x21, &BODY4), Invalid::Address),
        (v2(0x21, 0x31, &[0; 215]), Invalid::Address),
        (v2(0x21, 0x11, &[0; 4097]), Invalid::TooLong),
    ];
    for (input, want) in cases {
        assert_eq!(
            parse(&input),
            Err(want),
            "{:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

#[tokio::test]
async fn what_follows_the_header_stays_unread() {
    for (header, want) in good() {
        let (mut ours, mut theirs) = tokio::io::duplex(8 << 10);
        ours.write_all(&[&header, b"GET".as_slice()].concat())
            .await
            .unwrap();
        drop(ours);
        assert_eq!(
            read(&mut theirs, Duration::from_secs(5)).await.unwrap(),
            want
        );
        let mut rest = Vec::new();
        theirs.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"GET");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_must_come_in_time_and_whole() {
    let within = Duration::from_secs(5);
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    ours.write_all(b"PROXY TCP4 1.2.3.4").await.unwrap();
    assert!(matches!(
        read(&mut theirs, within).await,
        Err(ProxyError::TimedOut)
    ));
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    ours.write_all(b"PROXY TCP4 1.2.3.4").await.unwrap();
    drop(ours);
    assert!(matches!(
        read(&mut theirs, within).await,
        Err(ProxyError::Closed)
    ));
    let (mut ours, mut theirs) = tokio::io::duplex(64);
    ours.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let error = read(&mut theirs, within).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid PROXY protocol header: neither version 1 nor 2"
    );
}

/// Whatever is asked for must be part of the header, or bytes behind it would be swallowed.
#[test]
fn no_beginning_asks_for_more_than_the_header_has() {
    for (input, _) in good() {
        for length in 0..input.len() {
            match parse(&input[..length]) {
                Ok(Parsed::Incomplete { needs }) => {
                    assert!(
                        needs >= 1 && length + needs <= input.len(),
                        "{length} + {needs}"
                    );
                }
                other => panic!("{length} bytes are {other:?}"),
            }
        }
    }
}

proptest! {
    #[test]
    fn noise_never_panics(
        start in prop_oneof![
            Just(b"PROXY ".to_vec()),
            Just(b"PROXY TCP4 ".to_vec()),
            Just(b"PROXY TCP6 ".to_vec()),
            Just(V2_SIGNATURE.to_vec()),
            Just(v2(0x21, 0x11, &BODY4)),
            Just(Vec::new()),
        ],
        noise in prop::collection::vec(any::<u8>(), 0..128),
    ) {
        let input = [start, noise].concat();
        match parse(&input) {
            Ok(Parsed::Complete { length, .. }) => prop_assert!(length <= input.len()),
            Ok(Parsed::Incomplete { needs }) => prop_assert!(needs >= 1),
            Err(_) => {}
        }
    }

    #[test]
    fn addresses_of_version_1_come_back(
        source in any::<Ipv4Addr>(), destination in any::<Ipv6Addr>(), from: u16, to: u16,
    ) {
        let line = format!("PROXY TCP4 {source} {source} {from} {to}\r\n");
        let want = tcp(source.into(), from, source.into(), to);
        prop_assert_eq!(whole(line.as_bytes()), Ok(want));
        let line = format!("PROXY TCP6 {destination} {destination} {from} {to}\r\n");
        let want = tcp(destination.into(), from, destination.into(), to);
        prop_assert_eq!(whole(line.as_bytes()), Ok(want));
    }
}
