//! Names of upstreams, by a DNS server that changes its mind or says nothing.

use std::collections::BTreeSet;

use crate::support::dns::{NameServer, Says};
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
    setup.flag("--dns-resolver", server).start()
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
