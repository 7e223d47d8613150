//! HTTP/2 clients that cost more than they bring: their connection ends, the others' does not.

use std::time::Instant;

use crate::support::frames::{END_HEADERS, END_STREAM, GET, Raw, cancel, frame, get, kind, ping};
use crate::support::h2::{Whole, connect, request, whole};
use crate::support::upstream::reply;
use crate::support::{Conn, Gateway, PATIENCE, Request, Upstream, eventually, gateway};

/// `GET http://b/` in HPACK, which is answered; of `a` nothing is heard.
const TO_B: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'b'];

/// A gateway on one worker, so that a hog would be felt, and a client that behaves.
struct House {
    gateway: Gateway,
    upstream: Upstream,
    neighbour: Conn,
    friend: Raw,
    streams: u32,
}

impl House {
    fn new(flags: &[(&str, &str)]) -> Self {
        let upstream = Upstream::raw(|mut serving| {
            while let Some(request) = serving.request() {
                match request.target() {
                    "/" if request.header("host") == Some("never") => serving.left(),
                    "/large" => drop(serving.reply(200, &[], &vec![b'x'; 1 << 20])),
                    _ => drop(serving.write(reply(200, &[], b"hello"))),
                }
            }
        });
        let config = "
services:
- {url: 'http://<up>/', routes: [{paths: ['/']}]}
- {url: 'http://<up>/large', routes: [{paths: ['/large']}]}
- {host: never.pool, routes: [{hosts: [a]}]}
upstreams: [{name: never.pool, host_header: never, targets: [{target: '<up>'}]}]";
        let mut setup = gateway(config).fill("up", &upstream).flag("--workers", 1);
        for (name, value) in flags {
            setup = setup.flag(name, value);
        }
        let gateway = setup.start();
        Self {
            neighbour: gateway.connect(),
            friend: Raw::open(gateway.proxy(), &[]),
            upstream,
            gateway,
            streams: 1,
        }
    }

    fn open(&self) -> Raw {
        Raw::open(self.gateway.proxy(), &[])
    }

    /// Clients that did nothing are served on the connections that they had.
    #[track_caller]
    fn others_are_served(&mut self) {
        assert_eq!(self.neighbour.ask(&Request::get("/")).text(), "hello");
        let mut head = vec![0x82, 0x86, 0x84, 0x41, 1];
        head.push(b'b');
        let flags = END_STREAM | END_HEADERS;
        assert!(
            self.friend
                .send(frame(kind::HEADERS, flags, self.streams, &head))
        );
        self.streams += 2;
        let data = self.friend.until(kind::DATA).expect("an answer");
        assert_eq!(data.payload, b"hello");
        assert_eq!(self.gateway.get("/").text(), "hello");
        assert!(self.gateway.runs());
    }
}

#[test]
fn a_paced_rapid_reset_is_told_to_go() {
    let mut house = House::new(&[]);
    house.others_are_served();
    let mut raw = house.open();
    let mut pairs = 0;
    let mut told = false;
    for stream in (1..8001).step_by(2) {
        // Each stream is begun before it is taken back: hyper alone would not mind.
        raw.send(get(stream));
        let seen = raw.pong();
        raw.send(cancel(stream));
        told |= seen
            .as_ref()
            .is_some_and(|frame| frame.kind == kind::GOAWAY);
        if seen.is_none() || told {
            break;
        }
        pairs += 1;
    }
    told |= raw.ends();
    assert!(told, "no GOAWAY");
    assert!((100..2000).contains(&pairs), "ended after {pairs}");
    house.others_are_served();
    // The requests that were begun upstream are given up too.
    house.upstream.wait("all ended", |seen| {
        // Those of the neighbours stay.
        seen.connections - seen.ended <= 3
    });
}

/// MadeYouReset (CVE-2025-8671): frames that are wrong make the gateway take its own streams back,
/// paced, so that each request is begun upstream.
#[test]
fn making_the_gateway_reset_is_no_way_round() {
    type Wrong = fn(u32) -> Vec<u8>;
    let ways: [(&str, Wrong); 4] = [
        ("an increment of 0", |stream| frame(8, 0, stream, &[0; 4])),
        ("a window that overflows", |stream| {
            frame(8, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
        }),
        ("data behind the end", |stream| {
            frame(kind::DATA, 0, stream, b"x")
        }),
        ("a PRIORITY of four bytes", |stream| {
            frame(2, 0, stream, &stream.to_be_bytes())
        }),
    ];
    for (name, wrong) in ways {
        let mut house = House::new(&[]);
        let mut raw = house.open();
        let mut pairs = 0;
        for stream in (1..8001).step_by(2) {
            raw.send(get(stream));
            let answers = raw.pong();
            let told = answers.is_none_or(|frame| frame.kind == kind::GOAWAY);
            if told || !raw.send(wrong(stream)) {
                break;
            }
            pairs += 1;
        }
        assert!(pairs < 2000, "{name}: still open after {pairs}");
        house.others_are_served();
        house
            .upstream
            .wait("all ended", |seen| seen.connections - seen.ended <= 3);
    }
}

#[test]
fn resets_in_one_write_end_the_connection() {
    let mut house = House::new(&[]);
    let mut raw = house.open();
    let bytes: Vec<u8> = (1..10_001)
        .step_by(2)
        .flat_map(|stream| [get(stream), cancel(stream)].concat())
        .collect();
    raw.send(bytes);
    raw.ends();
    house.others_are_served();
}

#[test]
fn floods_of_frames_that_bring_nothing_end_the_connection() {
    let empty_data = frame(kind::DATA, 0, 1, &[]);
    let settings = frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    let priority = frame(2, 0, 3, &[0, 0, 0, 0, 1]);
    let mut house = House::new(&[]);
    for (name, one) in [
        ("PING", ping()),
        ("SETTINGS", settings),
        ("DATA", empty_data),
        ("PRIORITY", priority),
    ] {
        let mut raw = house.open();
        // A request whose body goes on, for frames that belong to one.
        let post = [&[0x83], &TO_B[1..]].concat();
        raw.send(frame(kind::HEADERS, END_HEADERS, 1, &post));
        let mut sent = 0;
        // What comes back is taken, so that it is not for want of room that all ends.
        while sent < 50_000 && raw.send(one.repeat(100)) && raw.pong().is_some() {
            sent += 100;
        }
        assert!(sent < 20_000, "{name}: still open after {sent}");
        house.others_are_served();
    }
}

#[test]
fn a_header_block_without_end_ends_the_connection() {
    let mut house = House::new(&[]);
    for size in [0, 16, 16_000] {
        let mut raw = house.open();
        raw.send(frame(kind::HEADERS, END_STREAM, 1, GET));
        // A field that is valid and new each time would do as well: nothing is decoded.
        let piece = frame(kind::CONTINUATION, 0, 1, &vec![0x82; size]);
        let mut sent = 0;
        while sent < 100_000 && raw.send(&piece) {
            sent += 1;
        }
        assert!(sent < 100_000, "pieces of {size}");
        raw.ends();
        house.others_are_served();
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_its_connection_stays() {
    let house = House::new(&[]);
    let mut client = connect::<Whole>(house.gateway.proxy()).await;
    for (fields, size, status) in [
        (1, 100, 200),
        // Over the gateway's limit, under what hyper was told.
        (4, 10_000, 431),
        // Over both.
        (10, 10_000, 431),
        // Too many, all small.
        (150, 1, 431),
        (1, 100, 200),
    ] {
        let mut request = request("GET", "/", "");
        for field in 0..fields {
            let name: http::HeaderName = format!("x-{field}").parse().unwrap();
            let value = "v".repeat(size).parse().unwrap();
            request.headers_mut().insert(name, value);
        }
        let response = client.send_request(request).await.unwrap();
        let (head, _) = whole(response).await;
        assert_eq!(head.status, status, "{fields} of {size}");
    }
    assert_eq!(house.upstream.requests().len(), 2);
}

#[test]
fn idle_connections_are_told_to_go_and_closed() {
    let flags = [
        ("--client-idle-timeout", "1s"),
        ("--client-header-timeout", "2s"),
    ];
    let house = House::new(&flags);
    // One that has asked before, and one that never asks.
    let begin = Instant::now();
    let (mut used, mut silent) = (house.open(), house.open());
    used.send(frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, TO_B));
    assert!(used.until(kind::DATA).is_some());
    assert!(used.until(kind::GOAWAY).is_some(), "closed without a word");
    let idle = begin.elapsed().as_millis();
    assert!((900..10_000).contains(&idle), "{idle} ms");
    assert!(
        silent.until(kind::GOAWAY).is_some(),
        "closed without a word"
    );
    assert!(begin.elapsed().as_millis() >= 1900);
    // Neither goes by itself: the sockets are closed a little later.
    used.ends();
    silent.ends();
}

#[test]
fn who_reads_nothing_is_dropped() {
    let flags = [("--client-body-timeout", "1s")];
    let mut house = House::new(&flags);
    let begin = Instant::now();
    // A window of nothing for every stream.
    let mut raw = Raw::open(house.gateway.proxy(), &[(4, 0)]);
    let mut head = vec![0x82, 0x86, 0x04, 6];
    head.extend(b"/large");
    head.extend([0x41, 1, b'b']);
    raw.send(frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &head));
    let answer = raw.until(kind::HEADERS);
    assert!(answer.is_some());
    raw.ends();
    assert!(begin.elapsed() < PATIENCE);
    house.others_are_served();
    eventually("its upstream is free", || {
        let seen = house.upstream.seen();
        seen.connections - seen.ended <= 2
    });
}
