//! Names of upstreams, by a DNS server that changes its mind or says nothing.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, UdpSocket};

use crate::support::dns::{NameServer, Record, Says};
use crate::support::upstream::{Nobody, reply};
use crate::support::{Gateway, Request, Upstream, eventually, gateway};

/// Answers with the address that it was reached at.
fn upstream() -> Upstream {
    Upstream::everywhere(|mut serving| {
        let address = serving.address().ip().to_string();
        while serving.request().is_some() {
            serving.reply(200, &[], address.as_bytes());
        }
    })
}

/// Routes named like the hosts that they lead to.
fn config(upstream: &Upstream, hosts: &[&str]) -> String {
    let mut config = "services:\n".to_owned();
    for host in hosts {
        let port = upstream.port();
        config += &format!("- {{url: 'http://{host}:{port}', routes: [{{paths: [/{host}]}}]}}\n");
    }
    config
}

fn start(server: &NameServer, upstream: &Upstream, hosts: &[&str]) -> Gateway {
    let setup = gateway(&config(upstream, hosts));
    let setup = setup.flag("--dns-resolver", server);
    setup.flag("--workers", 1).start()
}

/// What the upstream behind this route says.
fn says(gateway: &Gateway, host: &str) -> String {
    gateway.get(&format!("/{host}")).text()
}

#[test]
fn answers_are_believed_for_as_long_as_they_say() {
    let (server, upstream) = (NameServer::start(), upstream());
    server.at("short.test", &[[127, 0, 0, 1]], 1);
    server.at("long.test", &[[127, 0, 0, 1]], 300);
    let gateway = start(&server, &upstream, &["short.test", "long.test"]);
    for host in ["short.test", "long.test"] {
        eventually("it resolves", || says(&gateway, host) == "127.0.0.1");
    }
    for host in ["short.test", "long.test"] {
        server.at(host, &[[127, 0, 0, 2]], 1);
    }
    eventually("it moves", || says(&gateway, "short.test") == "127.0.0.2");
    server.asked_again("short.test", 2);
    assert_eq!(says(&gateway, "long.test"), "127.0.0.1");
    assert_eq!(server.asked("long.test"), 1);
}

#[test]
fn the_last_good_answer_outlives_its_server() {
    let (server, upstream) = (NameServer::start(), upstream());
    server.at("a.test", &[[127, 0, 0, 1]], 1);
    let mut gateway = start(&server, &upstream, &["a.test"]);
    eventually("it resolves", || says(&gateway, "a.test") == "127.0.0.1");
    for trouble in [Says::Failure, Says::Nobody, Says::Nothing] {
        server.set("a.test", trouble);
        server.asked_again("a.test", 1);
        gateway.err.wait("name does not resolve");
        for _ in 0..3 {
            assert_eq!(says(&gateway, "a.test"), "127.0.0.1");
        }
    }
    server.at("a.test", &[[127, 0, 0, 3]], 1);
    eventually("it moves", || says(&gateway, "a.test") == "127.0.0.3");
    gateway.err.wait("name resolves again");
    assert!(gateway.runs());
}

#[test]
fn every_address_of_a_name_is_used() {
    let (server, upstream) = (NameServer::start(), upstream());
    server.at(
        "a.test",
        &[[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]],
        60,
    );
    let gateway = start(&server, &upstream, &["a.test"]);
    eventually("it resolves", || gateway.get("/a.test").status == 200);
    let mut conn = gateway.connect();
    let said = (0..9).map(|_| conn.ask(&Request::get("/a.test")).text());
    assert_eq!(said.collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn names_that_do_not_resolve_have_kongs_answers() {
    let (server, upstream) = (NameServer::start(), upstream());
    server.set("failing.test", Says::Failure);
    let gateway = start(&server, &upstream, &["gone.test", "failing.test"]);
    eventually("the server has said no", || server.asked("gone.test") > 0);
    let gone = gateway.get("/gone.test");
    gone.is_error(503, "name resolution failed");
    eventually("the server has failed", || {
        gateway.get("/failing.test").status == 500
    });
    let message = gateway.get("/failing.test").message();
    let begins = "failed the initial dns/balancer resolve for 'failing.test' with: ";
    assert!(message.starts_with(begins), "{message}");
    // An upstream has its own answer, whatever becomes of the names of its targets.
    gateway.load(
        "services: [{host: pool, routes: [{paths: [/pool]}]}]\n\
         upstreams: [{name: pool, targets: [{target: 'gone.test:80'}, {target: 'failing.test:80'}]}]",
    );
    let words = "failure to get a peer from the ring-balancer";
    eventually("both were asked for", || {
        gateway.get("/pool").message() == words
    });
    gateway.get("/pool").is_error(503, words);
    gateway.load(&config(&upstream, &["gone.test", "failing.test"]));
    // Both may come to be.
    for host in ["gone.test", "failing.test"] {
        server.at(host, &[[127, 0, 0, 1]], 60);
        eventually("it resolves", || says(&gateway, host) == "127.0.0.1");
    }
}

/// An upstream whose target is a name that leads to services.
fn pool(server: &NameServer, upstream: &str) -> Gateway {
    let config = format!(
        "services: [{{host: pool, routes: [{{paths: ['/']}}]}}]\n\
         upstreams: [{{name: pool, {upstream} targets: [{{target: '_web._tcp.test:9'}}]}}]"
    );
    // Shares are exact per worker.
    let setup = gateway(&config).flag("--dns-resolver", server);
    setup.flag("--workers", 1).start()
}

/// How often each of these ports answers, of ten requests.
fn turns(gateway: &Gateway, upstreams: &[&Upstream]) -> Vec<usize> {
    let before: Vec<usize> = upstreams.iter().map(|it| it.requests().len()).collect();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let after = upstreams.iter().map(|it| it.requests().len());
    after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[test]
fn services_have_ports_and_weights_of_their_own() {
    let server = NameServer::start();
    let (one, two, other) = (Upstream::echo(), Upstream::echo(), Upstream::echo());
    let name = "_web._tcp.test";
    let offers = [
        (1, 8, one.port(), "one.test"),
        (1, 2, two.port(), "two.test"),
        (2, 90, other.port(), "one.test"),
    ];
    server.offers(name, &offers, 1);
    server.at("one.test", &[[127, 0, 0, 1]], 60);
    server.at("two.test", &[[127, 0, 0, 1]], 60);
    let gateway = pool(&server, "");
    eventually("it resolves", || gateway.get("/").status == 200);
    assert_eq!(turns(&gateway, &[&one, &two, &other]), [8, 2, 0]);
    let host = format!("_web._tcp.test:{}", two.port());
    assert_eq!(two.last().header("Host"), Some(host.as_str()));
    // Nobody can say what is offered now; then others are, whose hosts are not all known.
    for trouble in [Says::Failure, Says::Nobody] {
        server.set(name, trouble);
        gateway.err.wait("name does not resolve");
        assert_eq!(turns(&gateway, &[&one, &two, &other]), [8, 2, 0]);
    }
    let offers = [(5, 0, other.port(), "one.test"), (5, 9, 1, "gone.test")];
    server.offers(name, &offers, 1);
    eventually("the other one has come", || {
        turns(&gateway, &[&one, &two, &other]) == [0, 0, 10]
    });
}

#[test]
fn a_service_without_a_host_does_not_fall_back_to_the_name() {
    let (server, own) = (NameServer::start(), Upstream::saying("own"));
    let here = Record::At([127, 0, 0, 1].into());
    let offer = Record::Service(0, 1, own.port(), "gone.test");
    server.set("a.test", Says::Records(vec![here, offer], 60));
    let gateway = start(&server, &own, &["a.test"]);
    gateway.err.wait("no host of its services has an address");
    eventually("that is final", || gateway.get("/a.test").status == 500);
    server.at("gone.test", &[[127, 0, 0, 1]], 60);
    eventually("its host has come", || says(&gateway, "a.test") == "own");
}

#[test]
fn a_services_host_may_be_what_the_upstream_is_told() {
    let (server, upstream) = (NameServer::start(), Upstream::echo());
    server.offers("_web._tcp.test", &[(0, 0, upstream.port(), "One.test")], 60);
    server.at("one.test", &[[127, 0, 0, 1]], 60);
    let gateway = pool(&server, "use_srv_name: true,");
    eventually("it resolves", || gateway.get("/").status == 200);
    let host = format!("one.test:{}", upstream.port());
    assert_eq!(upstream.last().header("Host"), Some(host.as_str()));
}

#[test]
fn the_order_of_records_can_be_chosen() {
    let server = NameServer::start();
    let (offered, own) = (Upstream::echo(), Upstream::saying("own"));
    let here = Record::At([127, 0, 0, 1].into());
    let offer = Record::Service(0, 1, offered.port(), "one.test");
    server.set("a.test", Says::Records(vec![here, offer], 60));
    server.at("one.test", &[[127, 0, 0, 1]], 60);
    let config = config(&own, &["a.test"]);
    for (order, expected) in [("LAST,SRV,A,CNAME", &offered), ("A,SRV", &own)] {
        let setup = gateway(&config).flag("--dns-resolver", &server);
        let gateway = setup.env("KONG_DNS_ORDER", order).start();
        eventually("it resolves", || gateway.get("/a.test").status == 200);
        assert!(!expected.requests().is_empty(), "{order}");
    }
}

#[test]
fn both_families_are_used_where_there_is_a_way_to_them() {
    let nobody = Nobody::new();
    let at = format!("[::1]:{}", nobody.to_string().rsplit_once(':').unwrap().1);
    let Ok(six) = TcpListener::bind(at) else {
        eprintln!("a machine without IPv6 has nothing to show here");
        return;
    };
    let four = Upstream::answering_at(nobody, |_| reply(200, &[], b"four"));
    std::thread::spawn(move || {
        for conn in six.incoming() {
            let mut conn = conn.unwrap();
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                while conn.read(&mut buf).is_ok_and(|size| size > 0) {
                    conn.write_all(&reply(200, &[], b"six")).unwrap();
                }
            });
        }
    });
    let server = NameServer::start();
    server.at_both("a.test", [127, 0, 0, 1], Ipv6Addr::LOCALHOST);
    // Reserved for documents: nobody has a way there.
    server.at_both("b.test", [127, 0, 0, 1], "2001:db8::1".parse().unwrap());
    let gateway = start(&server, &four, &["a.test", "b.test"]);
    let said = |host: &str| {
        eventually("it resolves", || {
            gateway.get(&format!("/{host}")).status == 200
        });
        let said = (0..4).map(|_| says(&gateway, host));
        said.collect::<BTreeSet<_>>()
    };
    assert_eq!(
        said("a.test").into_iter().collect::<Vec<_>>(),
        ["four", "six"]
    );
    if UdpSocket::bind("[::]:0")
        .unwrap()
        .connect("[2001:db8::1]:9")
        .is_err()
    {
        assert_eq!(said("b.test").into_iter().collect::<Vec<_>>(), ["four"]);
    }
}

#[test]
fn kongs_variable_names_the_server_too() {
    let (server, upstream) = (NameServer::start(), upstream());
    server.at("a.test", &[[127, 0, 0, 1]], 60);
    let config = format!(
        "services: [{{url: 'http://a.test:{}', routes: [{{paths: ['/']}}]}}]",
        upstream.port()
    );
    let setup = gateway(&config).env("KONG_DNS_RESOLVER", &server.to_string());
    let gateway = setup.start();
    eventually("it resolves", || gateway.get("/").text() == "127.0.0.1");
    gateway.err.wait("KONG_DNS_RESOLVER is used");
}
