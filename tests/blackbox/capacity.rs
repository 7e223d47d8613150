//! Many connections, few descriptors, several workers.

use rustix::process::Signal;

use crate::support::{Conn, Gateway, Request, Upstream, eventually, gateway};

const ALL: &str = "services: [{url: 'http://<up>', retries: 0, routes: [{paths: ['/']}]}]";

/// Connections that each have sent a request.
fn asking(gateway: &Gateway, count: usize) -> Vec<Conn> {
    let conns = (0..count).map(|_| {
        let mut conn = gateway.connect();
        conn.send(Request::get("/").bytes());
        conn
    });
    conns.collect()
}

fn active(gateway: &Gateway) -> String {
    let text = gateway.ask("/metrics").text();
    let name = "sluicegate_connections{state=\"active\"} ";
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}in {text}"))
        .to_owned()
}

#[test]
fn connections_over_the_limit_wait_for_one_to_close() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let setup = setup.flag("--max-connections", 2).flag("--workers", 1);
    let mut gateway = setup.start();
    let mut conns = asking(&gateway, 5).into_iter();
    let mut open: Vec<Conn> = conns.by_ref().take(2).collect();
    for conn in &mut open {
        assert_eq!(conn.response("GET").text(), "hello");
    }
    gateway.err.wait("2 connections are open (max_connections)");
    assert_eq!(active(&gateway), "2");
    assert_eq!(upstream.requests().len(), 2);
    // One goes, the next one's turn comes; the kernel keeps their order.
    for mut waiting in conns {
        open.remove(0);
        assert_eq!(waiting.response("GET").text(), "hello");
        open.push(waiting);
        assert_eq!(active(&gateway), "2");
    }
    // What still waits when the gateway drains is served too.
    let mut last = asking(&gateway, 1);
    gateway.signal(Signal::TERM);
    assert_eq!(last[0].response("GET").text(), "hello");
    assert_eq!(gateway.exited().code(), Some(0));
}

#[test]
fn few_descriptors_mean_few_connections() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let setup = setup.descriptors(100).flag("--workers", 1);
    let mut gateway = setup.start();
    let conns = asking(&gateway, 60);
    gateway
        .err
        .wait("18 connections are open (max_connections)");
    for mut conn in conns {
        assert_eq!(conn.response("GET").text(), "hello");
    }
    assert_eq!(upstream.requests().len(), 60);
    assert!(gateway.runs());
}

#[test]
fn running_out_of_descriptors_is_no_end() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let setup = setup.descriptors(80).flag("--max-connections", 1000);
    let mut gateway = setup.start();
    let admin = gateway.admin();
    let conns = asking(&gateway, 150);
    gateway.err.wait("cannot accept connections at present");
    let mut statuses = Vec::new();
    // They come in no order: several workers took them.
    let readers: Vec<_> = conns
        .into_iter()
        .map(|mut conn| std::thread::spawn(move || conn.response("GET").status))
        .collect();
    for reader in readers {
        statuses.push(reader.join().unwrap());
    }
    let strange = |status: &&u16| ![200, 502].contains(*status);
    assert_eq!(statuses.iter().find(strange), None, "{statuses:?}");
    assert!(gateway.runs());
    eventually("all is well again", || gateway.get("/").status == 200);
    let request = Request::get("/ready").header("Host", &admin.to_string());
    assert_eq!(request.send(admin).status, 200);
}

/// Answers with the number of its connection. Each worker has its own to the upstream, so where
/// requests come one at a time this is the worker's number.
fn telling() -> Upstream {
    Upstream::raw(|mut serving| {
        let number = serving.number.to_string();
        while serving.request().is_some() {
            serving.reply(200, &[], number.as_bytes());
        }
    })
}

/// The worker that serves a connection.
fn worker(conn: &mut Conn) -> usize {
    conn.ask(&Request::get("/")).text().parse().unwrap()
}

/// How many of the connections each worker has, in the order of their first requests.
fn spread(conns: &mut [Conn]) -> Vec<usize> {
    let mut counts = Vec::new();
    for worker in conns.iter_mut().map(worker) {
        counts.resize(counts.len().max(worker), 0);
        counts[worker - 1] += 1;
    }
    counts
}

#[test]
fn few_long_connections_spread_evenly_when_balanced() {
    let upstream = telling();
    let setup = gateway(ALL)
        .fill("up", &upstream)
        .flag("--accept", "balance");
    let gateway = setup
        .listen("127.0.0.1:0, 127.0.0.1:0")
        .flag("--workers", 4);
    let gateway = gateway.start();
    let mut conns: Vec<Conn> = (0..4).map(|_| gateway.connect()).collect();
    assert_eq!(spread(&mut conns), [1, 1, 1, 1]);
    // Those of another address count too.
    conns.extend((0..4).map(|_| Conn::open(gateway.nth(1))));
    assert_eq!(spread(&mut conns), [2, 2, 2, 2]);
    // Whoever has lost his gets the next ones.
    conns.retain_mut(|conn| worker(conn) != 3);
    eventually("both are closed", || active(&gateway) == "6");
    let mut new: Vec<Conn> = (0..2).map(|n| Conn::open(gateway.nth(n))).collect();
    assert_eq!(spread(&mut new), [0, 0, 2]);
}

#[test]
fn a_balanced_gateway_keeps_its_limit_and_forgets_nobody_at_its_end() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL)
        .fill("up", &upstream)
        .flag("--accept", "balance");
    let setup = setup.flag("--max-connections", 2).flag("--workers", 4);
    let mut gateway = setup.start();
    let mut conns = asking(&gateway, 8);
    for conn in &mut conns[..2] {
        assert_eq!(conn.response("GET").text(), "hello");
    }
    gateway.err.wait("2 connections are open (max_connections)");
    assert_eq!(upstream.requests().len(), 2);
    gateway.signal(Signal::TERM);
    for conn in &mut conns[2..] {
        assert_eq!(conn.response("GET").text(), "hello");
    }
    assert_eq!(gateway.exited().code(), Some(0));
}

#[test]
fn connections_that_wait_are_served_at_the_end_though_nobody_else_is_there() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let setup = setup.flag("--max-connections", 1).flag("--workers", 2);
    let mut gateway = setup.start();
    // An idle one holds the only place, and is closed when the gateway drains.
    let mut idle = gateway.connect();
    assert_eq!(idle.ask(&Request::get("/")).text(), "hello");
    let waiting = asking(&gateway, 6);
    gateway.err.wait("1 connections are open (max_connections)");
    gateway.signal(Signal::TERM);
    for mut conn in waiting {
        assert_eq!(conn.response("GET").text(), "hello");
    }
    assert!(idle.closes());
    assert_eq!(gateway.exited().code(), Some(0));
}

#[test]
fn shares_are_right_over_several_workers() {
    let upstreams: Vec<Upstream> = (0..3).map(|_| Upstream::saying("hello")).collect();
    let config = format!(
        "{{services: [{{host: pool, routes: [{{paths: ['/']}}]}}],
          upstreams: [{{name: pool, targets: [
            {{target: '{}', weight: 10}}, {{target: '{}', weight: 30}},
            {{target: '{}', weight: 60}}]}}]}}",
        upstreams[0], upstreams[1], upstreams[2]
    );
    for accept in ["reuseport", "balance"] {
        let before = upstreams.iter().map(|upstream| upstream.requests().len());
        let before: Vec<usize> = before.collect();
        let setup = gateway(&config).flag("--workers", 4);
        let gateway = setup.flag("--accept", accept).start();
        let mut conns: Vec<Conn> = (0..40).map(|_| gateway.connect()).collect();
        for n in 0..1000 {
            assert_eq!(conns[n % 40].ask(&Request::get("/")).status, 200);
        }
        let got = upstreams.iter().zip(&before);
        let got: Vec<usize> = got
            .map(|(upstream, before)| upstream.requests().len() - before)
            .collect();
        assert_eq!(got.iter().sum::<usize>(), 1000);
        for (got, share) in got.iter().zip([100, 300, 600]) {
            assert!(got.abs_diff(share) <= 20, "{got} of 1000, not {share}");
        }
    }
}

/// Connections that each have had an answer.
fn answered(gateway: &Gateway, count: usize) -> Vec<Conn> {
    let mut conns = asking(gateway, count);
    for conn in &mut conns {
        assert_eq!(conn.response("GET").text(), "hello");
    }
    conns
}

fn refused(gateway: &Gateway) -> u64 {
    let text = gateway.ask("/metrics").text();
    let name = "sluicegate_connections_refused_total{reason=\"per_ip\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn an_address_has_no_more_connections_than_it_may() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL).fill("up", &upstream);
    let gateway = setup.flag("--max-connections-per-ip", 2).start();
    let mut held = answered(&gateway, 2);
    // Closed at once, whatever it would have asked.
    let mut third = gateway.connect();
    third.send(Request::get("/").bytes());
    assert_eq!(third.rest(), b"");
    assert_eq!(refused(&gateway), 1);
    // Who was there goes on, and a place that is left is there for the next.
    assert_eq!(held[0].ask(&Request::get("/")).text(), "hello");
    drop(held.pop());
    eventually("a place is free", || {
        let mut next = gateway.connect();
        next.send(Request::get("/").header("Connection", "close").bytes());
        next.rest().ends_with(b"hello")
    });
}

#[test]
fn a_balancer_in_front_is_not_one_client() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(ALL)
        .fill("up", &upstream)
        .flag("--trusted-ips", "127.0.0.1");
    let setup = setup.listen("127.0.0.1:0, 127.0.0.1:0 proxy_protocol");
    let gateway = setup.flag("--max-connections-per-ip", 1).start();
    // It names nobody.
    let _unnamed = answered(&gateway, 3);
    let named = |client: &str| {
        let mut conn = Conn::open(gateway.nth(1));
        let header = format!("PROXY TCP4 {client} 192.0.2.9 4000 80\r\n");
        conn.send([header.as_bytes(), &Request::get("/").bytes()].concat());
        conn
    };
    // It names its clients, and each of them has its own.
    let mut first = named("192.0.2.1");
    assert_eq!(first.response("GET").text(), "hello");
    let mut other = named("192.0.2.2");
    assert_eq!(other.response("GET").text(), "hello");
    assert_eq!(named("192.0.2.1").rest(), b"");
    assert_eq!(refused(&gateway), 1);
}
