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
    let gateway = gateway(&config).flag("--workers", 4).start();
    let mut conns: Vec<Conn> = (0..40).map(|_| gateway.connect()).collect();
    for n in 0..1000 {
        assert_eq!(conns[n % 40].ask(&Request::get("/")).status, 200);
    }
    let got = upstreams.iter().map(|upstream| upstream.requests().len());
    let got: Vec<usize> = got.collect();
    assert_eq!(got.iter().sum::<usize>(), 1000);
    for (got, share) in got.iter().zip([100, 300, 600]) {
        assert!(got.abs_diff(share) <= 20, "{got} of 1000, not {share}");
    }
}
