//! Services found in a real Consul.

use std::time::{Duration, Instant};

use crate::support::consul::{Consul, consul};
use crate::support::{Gateway, Upstream, eventually, gateway};

const HOST: &str =
    "services: [{url: 'http://web.service.consul', retries: 0, connect_timeout: 2000,
  routes: [{paths: ['/']}]}]";

fn start(consul: &Consul, config: &str) -> Gateway {
    let setup = gateway(config).flag("--consul-http-addr", consul.address());
    setup.flag("--workers", 1).start()
}

/// How many of so many requests each body got.
fn shares(gateway: &Gateway, requests: usize, bodies: &[&str]) -> Vec<usize> {
    let answers: Vec<String> = (0..requests).map(|_| gateway.get("/").text()).collect();
    let count = |body: &&str| answers.iter().filter(|answer| answer == body).count();
    bodies.iter().map(count).collect()
}

#[test]
fn instances_come_and_go_with_their_own_ports_and_weights() {
    let Some(consul) = consul() else { return };
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let gateway = start(&consul, HOST);
    // A service that nobody has registered: the truth is that there is none.
    gateway
        .get("/")
        .is_error(503, "failure to get a peer from the ring-balancer");
    consul.register("web", "web-1", one.port(), "");
    eventually("the first instance", || gateway.get("/").status == 200);
    assert_eq!(gateway.get("/").text(), "one");
    let weights = r#","Weights":{"Passing":3,"Warning":1}"#;
    consul.register("web", "web-2", two.port(), weights);
    eventually("the second instance", || gateway.get("/").text() == "two");
    assert_eq!(shares(&gateway, 40, &["one", "two"]), [10, 30]);
    consul.deregister("web-1");
    eventually("the first is gone", || {
        shares(&gateway, 8, &["one", "two"]) == [0, 8]
    });
    consul.deregister("web-2");
    eventually("nobody is left", || gateway.get("/").status == 503);
}

#[test]
fn a_change_reaches_the_traffic_at_once() {
    let Some(consul) = consul() else { return };
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    consul.register("web", "a", one.port(), "");
    let gateway = start(&consul, HOST);
    eventually("the instance", || gateway.get("/").status == 200);
    let mut times = Vec::new();
    for round in 0..6 {
        // The same instance moves from one port to the other, and no request fails.
        let (port, body) = match round % 2 {
            0 => (two.port(), "two"),
            _ => (one.port(), "one"),
        };
        let begin = Instant::now();
        consul.register("web", "a", port, "");
        loop {
            let answer = gateway.get("/");
            assert_eq!(answer.status, 200);
            if answer.text() == body {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(10));
        }
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    eprintln!("from a change in Consul to the first request: {times:?}");
    assert!(
        times[times.len() / 2] < Duration::from_millis(200),
        "{times:?}"
    );
}

#[test]
fn health_and_maintenance_decide_who_gets_requests() {
    let Some(consul) = consul() else { return };
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let check = |id: &str| {
        format!(
            r#","Weights":{{"Passing":4,"Warning":1}},"Check":{{"CheckID":"c-{id}","TTL":"600s","Status":"passing"}}"#
        )
    };
    consul.register("web", "a", one.port(), &check("a"));
    consul.register("web", "b", two.port(), &check("b"));
    let strict = "services: [{host: pool, retries: 0, routes: [{paths: ['/']}]}]
upstreams: [{name: pool, discovery: {consul: {service: web, passing_only: true}}}]";
    let (gateway, strict) = (start(&consul, HOST), start(&consul, strict));
    let both = |gateway: &Gateway| shares(gateway, 20, &["one", "two"]);
    for gateway in [&gateway, &strict] {
        eventually("both serve", || both(gateway) == [10, 10]);
    }
    // A warning leaves the weight that the instance says, or nothing.
    consul.put("/v1/agent/check/warn/c-b", "");
    eventually("less for b", || both(&gateway) == [16, 4]);
    eventually("nothing for b", || both(&strict) == [20, 0]);
    consul.put("/v1/agent/check/fail/c-b", "");
    eventually("b is out", || both(&gateway) == [20, 0]);
    consul.put("/v1/agent/check/pass/c-b", "");
    eventually("b is back", || both(&gateway) == [10, 10]);
    consul.put("/v1/agent/service/maintenance/a?enable=true", "");
    eventually("a is in maintenance", || both(&gateway) == [0, 20]);
    consul.put("/v1/agent/service/maintenance/a?enable=false", "");
    eventually("a is out of it", || both(&gateway) == [10, 10]);
}

#[test]
fn tags_choose_among_instances() {
    let Some(consul) = consul() else { return };
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    consul.register("web", "a", one.port(), r#","Tags":["v1","eu"]"#);
    consul.register("web", "b", two.port(), r#","Tags":["v2","eu"]"#);
    let config = "
services:
- {url: 'http://V2.web.service.dc1.consul', path: /, retries: 0, routes: [{paths: [/host]}]}
- {host: pool, retries: 0, routes: [{paths: [/tags]}]}
- {host: filtered, retries: 0, routes: [{paths: [/filter]}]}
upstreams:
- {name: pool, discovery: {consul: {service: web, tags: [eu, v1]}}}
- {name: filtered, discovery: {consul: {service: web, datacenter: dc1, filter: '\"v2\" in Service.Tags'}}}";
    let gateway = start(&consul, config);
    for (path, want) in [("/host", "two"), ("/tags", "one"), ("/filter", "two")] {
        eventually(path, || gateway.get(path).status == 200);
        for _ in 0..6 {
            assert_eq!(gateway.get(path).text(), want, "{path}");
        }
    }
    // Views name the instances.
    let health = gateway.ask("/upstreams/pool/health").json();
    let found = health["data"][0]["target"].as_str().unwrap();
    assert_eq!(found, format!("127.0.0.1:{}", one.port()), "{health}");
}

#[test]
fn an_outage_of_consul_empties_nothing() {
    let Some(mut consul) = consul() else { return };
    let upstream = Upstream::saying("one");
    consul.register("web", "a", upstream.port(), "");
    let gateway = start(&consul, HOST);
    eventually("the instance", || gateway.get("/").status == 200);
    let state = || gateway.ask("/health").json()["checks"]["consul"]["status"].clone();
    assert_eq!(state(), "healthy");
    consul.kill();
    eventually("the outage is told", || state() == "degraded");
    assert_eq!(gateway.ask("/health").status, 200);
    for _ in 0..10 {
        assert_eq!(gateway.get("/").text(), "one");
    }
    // It comes back with nothing in it: not the truth yet.
    consul.start_again();
    gateway.err.wait("doubted");
    for _ in 0..10 {
        assert_eq!(gateway.get("/").text(), "one");
    }
    let other = Upstream::saying("two");
    consul.register("web", "a", other.port(), "");
    eventually("the new truth", || gateway.get("/").text() == "two");
    assert_eq!(state(), "healthy");
}

#[test]
fn a_gateway_may_start_before_consul() {
    let Some(mut consul) = consul() else { return };
    consul.kill();
    let upstream = Upstream::saying("late");
    let gateway = start(&consul, HOST);
    assert_eq!(gateway.ask("/ready").status, 503);
    assert_ne!(gateway.get("/").status, 200);
    consul.start_again();
    consul.register("web", "a", upstream.port(), "");
    eventually("it is found", || gateway.get("/").text() == "late");
    assert_eq!(gateway.ask("/ready").status, 200);
    let metrics = gateway.ask("/metrics").text();
    assert!(metrics.contains("sluicegate_consul_"), "{metrics}");
}

#[test]
fn a_gateway_does_not_wait_for_consul_for_ever() {
    let Some(mut consul) = consul() else { return };
    consul.kill();
    let gateway = start(&consul, HOST);
    let begin = Instant::now();
    eventually("it is ready all the same", || {
        gateway.ask("/ready").status == 200
    });
    assert!(begin.elapsed() > Duration::from_secs(8));
}

#[test]
fn a_reload_keeps_what_is_known() {
    let Some(mut consul) = consul() else { return };
    let upstream = Upstream::saying("one");
    consul.register("web", "a", upstream.port(), "");
    let gateway = start(&consul, HOST);
    eventually("the instance", || gateway.get("/").status == 200);
    consul.kill();
    gateway.load(&HOST.replace("retries: 0", "retries: 1"));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").text(), "one");
    }
}

fn answering(status: u16) -> String {
    format!(
        "services: [{{url: 'http://127.0.0.1:1', routes: [{{paths: ['/'], plugins: [
  {{name: request-termination, config: {{status_code: {status}}}}}]}}]}}]"
    )
}

#[test]
fn the_configuration_may_be_a_key() {
    use std::io::Write;

    let Some(consul) = consul() else { return };
    const KEY: &str = "/v1/kv/edge/gateway.yaml";
    consul.put(KEY, answering(201));
    let setup = gateway("").source("consul://edge/gateway.yaml");
    let mut gateway = setup.env("CONSUL_HTTP_ADDR", &consul.address()).start();
    assert_eq!(gateway.get("/").status, 201);
    let begin = Instant::now();
    consul.put(KEY, answering(202));
    eventually("the change", || gateway.get("/").status == 202);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    // What is wrong, or gone, changes nothing.
    consul.put(KEY, "services: 5");
    gateway.err.wait("consul://edge/gateway.yaml:1:11");
    assert_eq!(gateway.get("/").status, 202);
    consul.delete(KEY);
    gateway.err.wait("no such key");
    assert_eq!(gateway.get("/").status, 202);
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zipped.write_all(answering(203).as_bytes()).unwrap();
    consul.put(KEY, zipped.finish().unwrap());
    eventually("the compressed one", || gateway.get("/").status == 203);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_key_that_is_not_there_is_no_configuration() {
    let Some(consul) = consul() else { return };
    let setup = gateway("").source("consul://nowhere");
    let output = setup.flag("--consul-http-addr", consul.address()).output();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("consul://nowhere: cannot be read: Consul's store has no such key"),
        "{text}"
    );
}

#[test]
fn the_gateway_may_be_a_service_itself() {
    let Some(mut consul) = consul() else { return };
    let setup = gateway("_format_version: '3.0'").flag("--consul-http-addr", consul.address());
    let setup = setup.flag("--consul-register", "edge");
    let mut gateway = setup.flag("--consul-register-tags", "blue, eu").start();
    let instances = |consul: &Consul| {
        let list = consul.get("/v1/health/service/edge?passing");
        list.as_array().unwrap().clone()
    };
    eventually("it is there and passes its check", || {
        instances(&consul).len() == 1
    });
    let found = instances(&consul)[0]["Service"].clone();
    assert_eq!(found["Port"], gateway.proxy().port());
    assert_eq!(found["Tags"], serde_json::json!(["blue", "eu"]));
    // An agent without a memory is told again.
    consul.kill();
    consul.start_again();
    eventually("it is there again", || instances(&consul).len() == 1);
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(
        consul
            .get("/v1/health/service/edge")
            .as_array()
            .unwrap()
            .len(),
        0
    );
}
