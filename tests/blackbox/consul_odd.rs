//! What a real Consul does not do on command: odd answers, odd indexes, odd instances, by a server
//! that plays its part.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::dns::NameServer;
use crate::support::fake_consul::{Does, FakeConsul, instance};
use crate::support::upstream::reply;
use crate::support::x509::Authority;
use crate::support::{Gateway, Setup, Upstream, eventually, gateway};

fn setup(address: &str) -> Setup {
    let config = "
services: [{host: pool, retries: 0, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, discovery: {consul: {service: web}}}]";
    let setup = gateway(config).flag("--consul-http-addr", address);
    setup.flag("--workers", 1)
}

fn at(id: &str, upstream: &Upstream) -> Value {
    instance(id, "127.0.0.1", upstream.port())
}

fn said(gateway: &Gateway) -> String {
    let answer = gateway.get("/");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[test]
fn no_trouble_empties_the_list_and_none_lasts() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let consul = FakeConsul::start(None);
    consul.list(Some(10), &[at("a", &one)]);
    let gateway = setup(&consul.to_string()).start();
    assert_eq!(said(&gateway), "one");
    let mut index = 10;
    for (trouble, kind) in [
        (Does::Status(500), "failed with status 500"),
        (Does::Status(429), "overloaded: status 429"),
        (Does::Close, "cannot be reached"),
        (Does::Cut, "cannot be reached"),
        (Does::Body("{".to_owned()), "not understood"),
        (
            Does::Body(r#"{"not":"a list"}"#.to_owned()),
            "not understood",
        ),
        (Does::Body("x".repeat(40 << 20)), "larger than"),
    ] {
        let shown = format!("{trouble:?}").chars().take(30).collect::<String>();
        consul.does(trouble);
        let check = || gateway.ask("/health").json()["checks"]["consul"].clone();
        eventually(&format!("{shown} is told"), || {
            let check = check();
            let words = check["message"].as_str().unwrap_or_default();
            check["status"] == "degraded" && words.contains(kind)
        });
        assert_eq!(said(&gateway), "one", "{shown}");
        assert_eq!(gateway.ask("/health").status, 200, "{shown}");
        // It is well again, and something has changed meanwhile.
        index += 5;
        consul.list(Some(index), &[at("b", &two)]);
        consul.does(Does::Answer);
        eventually(&format!("the change after {shown}"), || {
            said(&gateway) == "two"
        });
        assert_eq!(check()["status"], "healthy");
        index += 5;
        consul.list(Some(index), &[at("a", &one)]);
        eventually("as before", || said(&gateway) == "one");
    }
}

#[test]
fn a_token_that_is_refused_is_no_empty_list() {
    let one = Upstream::saying("one");
    let consul = FakeConsul::start(None);
    consul.list(Some(10), &[at("a", &one)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first-token\n").unwrap();
    let setup = setup(&consul.to_string()).flag("--consul-token-file", file.path().display());
    let gateway = setup.start();
    assert_eq!(said(&gateway), "one");
    consul.does(Does::Status(403));
    consul.asked_again(1);
    assert_eq!(said(&gateway), "one");
    // The token is turned; the next call has the new one.
    std::fs::write(file.path(), "second-token\n").unwrap();
    consul.does(Does::Answer);
    eventually("it is well again", || {
        gateway.ask("/health").json()["checks"]["consul"]["status"] == "healthy"
    });
    let tokens: Vec<String> = consul
        .server
        .requests()
        .iter()
        .filter_map(|request| request.header("X-Consul-Token").map(str::to_owned))
        .collect();
    assert_eq!(tokens.first().map(String::as_str), Some("first-token"));
    assert_eq!(tokens.last().map(String::as_str), Some("second-token"));
    for line in gateway.err.all() {
        assert!(
            !line.contains("-token\n") && !line.contains("first-token"),
            "{line}"
        );
    }
}

#[test]
fn an_index_need_not_grow() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let consul = FakeConsul::start(None);
    consul.list(Some(100), &[at("a", &one)]);
    let gateway = setup(&consul.to_string()).start();
    assert_eq!(said(&gateway), "one");
    // It falls, is 0, is not there at all, stays as it was: the list is what counts.
    for (round, index) in [Some(3), Some(0), None, None, Some(7), Some(7)]
        .into_iter()
        .enumerate()
    {
        let (body, upstream) = [("two", &two), ("one", &one)][round % 2];
        if round == 5 {
            // Nobody could tell otherwise.
            consul.waited_for();
        }
        consul.list(index, &[at(body, upstream)]);
        eventually(&format!("{round}: {index:?}"), || said(&gateway) == body);
    }
    // Whoever answers at once, with nothing new, is not asked in a circle.
    let before = consul.server.requests().len();
    consul.list(None, &[at("two", &two)]);
    let begin = Instant::now();
    eventually("some questions", || {
        consul.server.requests().len() >= before + 12
    });
    assert!(
        begin.elapsed() > Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn odd_instances_are_left_out_alone() {
    let (names, one) = (
        NameServer::start(),
        Upstream::everywhere(|mut serving| {
            let address = serving.address().ip().to_string();
            while serving.request().is_some() {
                serving.reply(200, &[], address.as_bytes());
            }
        }),
    );
    names.at("named.test", &[[127, 0, 0, 9]], 60);
    let consul = FakeConsul::start(None);
    let mut nodes_own = instance("node", "", one.port());
    nodes_own["Node"]["Address"] = json!("127.0.0.2");
    let mut no_lists = instance("nulls", "127.0.0.3", one.port());
    no_lists["Checks"] = Value::Null;
    no_lists["Service"]["Tags"] = Value::Null;
    let mut warning = instance("warning", "127.0.0.4", one.port());
    warning["Checks"] = json!([{"CheckID": "c", "Status": "warning"}]);
    warning["Service"]["Weights"] = json!({"Passing": 5, "Warning": 0});
    let mut maintained = instance("maintained", "127.0.0.5", one.port());
    maintained["Checks"] = json!([{"CheckID": "_service_maintenance:x", "Status": "critical"}]);
    let mut strange = instance("strange", "127.0.0.6", one.port());
    strange["Service"]["Port"] = json!("eighty");
    let list = [
        nodes_own,
        no_lists,
        warning,
        maintained,
        strange,
        json!(17),
        json!({"Service": {}}),
        instance("no port", "127.0.0.7", 0),
        instance("no address", "bad host name!", one.port()),
        instance("named", "named.test", one.port()),
        // It comes twice.
        instance("node", "127.0.0.2", one.port()),
    ];
    consul.list(Some(10), &list);
    let gateway = setup(&consul.to_string())
        .flag("--dns-resolver", &names)
        .start();
    let expected = ["127.0.0.2", "127.0.0.3", "127.0.0.9"];
    let seen = || {
        let mut seen: Vec<String> = (0..12).map(|_| gateway.get("/").text()).collect();
        seen.sort();
        seen.dedup();
        seen
    };
    eventually("the name is known", || seen() == expected);
    let text = gateway.ask("/metrics").text();
    let series = "sluicegate_consul_malformed_instances_total";
    let line = text.lines().find(|line| line.starts_with(series)).unwrap();
    assert_ne!(line.rsplit(' ').next(), Some("0"), "{line}");
    gateway.err.wait("have no port");
    let health = gateway.ask("/upstreams/pool/health").json();
    let [list] = health["discovered"].as_array().unwrap().as_slice() else {
        panic!("{health}");
    };
    assert_eq!(
        (&list["source"], &list["service"], &list["error"]),
        (&json!("consul"), &json!("web"), &Value::Null)
    );
    assert_eq!(list["without_port"], 1, "{list}");
    assert!(list["answered_seconds_ago"].as_f64().unwrap() < 60.0);
}

#[test]
fn a_thousand_instances_are_no_trouble() {
    let one = Upstream::everywhere(|mut serving| {
        while serving.request().is_some() {
            serving.reply(200, &[], b"one");
        }
    });
    let consul = FakeConsul::start(None);
    let instances = |count: u16| -> Vec<Value> {
        let all = (0..count).map(|nth| {
            let address = format!("127.0.{}.{}", nth / 250 + 1, nth % 250 + 1);
            instance(&format!("i{nth}"), &address, one.port())
        });
        all.collect()
    };
    consul.list(Some(10), &instances(1000));
    let gateway = setup(&consul.to_string()).start();
    assert_eq!(said(&gateway), "one");
    let known = || {
        let health = gateway.ask("/upstreams/pool/health?size=1000").json();
        health["data"].as_array().unwrap().len()
    };
    assert_eq!(known(), 1000);
    consul.list(Some(11), &instances(999));
    eventually("one has left", || known() == 999);
}

#[test]
fn consul_is_found_over_tls_and_by_a_socket() {
    let one = Upstream::saying("one");
    let authority = Authority::new();
    let pair = authority.issue(&["consul.test"]);
    let consul = FakeConsul::start(Some(pair.server(&[])));
    consul.list(Some(10), &[at("a", &one)]);
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), authority.pem()).unwrap();
    let secure = || setup(&format!("https://{consul}"));
    let trusting = || secure().flag("--consul-ca-cert", ca.path().display());
    let gateway = trusting()
        .env("CONSUL_TLS_SERVER_NAME", "consul.test")
        .start();
    assert_eq!(said(&gateway), "one");
    let gateway = secure().env("CONSUL_HTTP_SSL_VERIFY", "false").start();
    assert_eq!(said(&gateway), "one");
    // Another name, or nobody's authority: no list of a stranger's.
    for setup in [
        trusting(),
        secure().env("CONSUL_TLS_SERVER_NAME", "consul.test"),
    ] {
        let gateway = setup.spawn();
        gateway.err.wait("certificate");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("consul.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let list = json!([at("a", &one)]).to_string();
    std::thread::spawn(move || {
        for conn in listener.incoming() {
            let (mut conn, list) = (conn.unwrap(), list.clone());
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                while let Ok(1..) = conn.read(&mut buf) {
                    // The second question waits until the gateway leaves.
                    if !String::from_utf8_lossy(&buf).contains("index=") {
                        let answer = reply(200, &[("X-Consul-Index", "5")], list.as_bytes());
                        conn.write_all(&answer).unwrap();
                    }
                    buf.fill(0);
                }
            });
        }
    });
    let gateway = setup(&format!("unix://{}", path.display())).start();
    assert_eq!(said(&gateway), "one");
}

#[test]
fn a_question_that_waits_does_not_hold_up_the_end() {
    let one = Upstream::saying("one");
    let consul = FakeConsul::start(None);
    consul.list(Some(10), &[at("a", &one)]);
    let mut gateway = setup(&consul.to_string()).start();
    assert_eq!(said(&gateway), "one");
    consul.server.wait("it waits", |seen| {
        seen.requests
            .iter()
            .any(|request| request.target().contains("index=10"))
    });
    let begin = Instant::now();
    gateway.signal(Signal::TERM);
    assert!(gateway.exited().success());
    assert!(
        begin.elapsed() < Duration::from_secs(3),
        "{:?}",
        begin.elapsed()
    );
}
