//! `/openapi.json` says what the admin API really answers.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Gateway, Request, Response, Upstream, eventually, gateway};

const CONFIG: &str = "
services:
- {name: s, host: u, tags: [a], retry_on: [reset], routes: [{name: r, paths: [/a], hosts: [x.test],
   methods: [GET], headers: {x: [y]}, snis: [x.test], tags: [t]}]}
- {name: s2, url: 'http://<up>', plugins: [{name: circuit-breaker}], routes: [{paths: [/b]}]}
upstreams:
- name: u
  limits: {max_requests: 5}
  healthchecks: {passive: {unhealthy: {http_failures: 2}}}
  targets: [{target: '<up>'}, {target: 'nowhere.test:80'}]
consumers: [{username: c, custom_id: x, keyauth_credentials: [{key: k}], tags: [a]}]
plugins: [{name: cors, instance_name: all}, {name: jwt, consumer: null, enabled: false}]
";

/// A document, and what of it was met.
struct Document {
    json: Value,
    met: BTreeSet<String>,
}

impl Document {
    fn of(gateway: &Gateway) -> Self {
        let response = gateway.ask("/openapi.json");
        assert_eq!(response.status, 200);
        let json = response.json();
        assert_eq!(json["openapi"], "3.1.0");
        Self {
            json,
            met: BTreeSet::new(),
        }
    }

    fn follow<'d>(&'d self, mut node: &'d Value) -> &'d Value {
        while let Some(place) = node["$ref"].as_str() {
            node = self.json.pointer(&place[1..]).expect(place);
        }
        node
    }

    /// Asserts that this answer to a request of that path is one of the document's.
    #[track_caller]
    fn says(&mut self, method: &str, path: &str, response: &Response) {
        let place = format!("{} {path} {}", method.to_uppercase(), response.status);
        let operation = &self.json["paths"][path][method];
        let found = &operation["responses"][response.status.to_string()];
        assert!(
            found.is_object(),
            "{place} is not in the document: {response:?}"
        );
        let content = self.follow(found)["content"].clone();
        self.met.insert(place.clone());
        if response.body.is_empty() {
            assert!(content.is_null(), "{place}: no body");
            return;
        }
        let kind = response.header("content-type").unwrap();
        let kind = kind.split(';').next().unwrap();
        let schema = content[kind]["schema"].clone();
        assert!(schema.is_object(), "{place}: {kind} is not in the document");
        if kind != "application/json" {
            assert_eq!(schema, json!({"type": "string"}));
            return;
        }
        let schema = json!({"allOf": [schema], "components": self.json["components"]});
        let validator = jsonschema::validator_for(&schema).unwrap();
        let body = response.json();
        let errors: Vec<String> = validator
            .iter_errors(&body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:#?}\n{body:#}");
    }

    /// Everything that the document has of answers.
    fn all(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (path, methods) in self.json["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                for status in operation["responses"].as_object().unwrap().keys() {
                    all.insert(format!("{} {path} {status}", method.to_uppercase()));
                }
            }
        }
        all
    }
}

struct House {
    gateway: Gateway,
    document: Document,
}

impl House {
    fn new(gateway: Gateway) -> Self {
        let document = Document::of(&gateway);
        Self { gateway, document }
    }

    /// Sends a request and compares its answer; `path` is the document's.
    #[track_caller]
    fn meets(&mut self, method: &str, path: &str, request: Request, status: u16) -> Response {
        let admin = self.gateway.admin();
        let response = request.header("Host", &admin.to_string()).send(admin);
        assert_eq!(response.status, status, "{method} {path}: {response:?}");
        self.document.says(method, path, &response);
        response
    }

    #[track_caller]
    fn get(&mut self, path: &str, target: &str, status: u16) -> Response {
        self.meets("get", path, Request::get(target), status)
    }

    #[track_caller]
    fn post(&mut self, query: &str, text: &str, status: u16) -> Response {
        let target = format!("/config{query}");
        self.meets("post", "/config", Request::post(&target, text), status)
    }

    #[track_caller]
    fn put(&mut self, path: &str, target: &str, status: u16) {
        self.meets("put", path, Request::new("PUT", target), status);
    }
}

#[test]
fn every_answer_is_in_the_document() {
    let upstream = Upstream::saying("hello");
    let gateway = gateway(CONFIG).fill("up", &upstream);
    let gateway = gateway.flag("--drain-delay", "10s").start();
    let mut house = House::new(gateway);
    let config = CONFIG.replace("<up>", &upstream.to_string());

    house.get("/", "/", 200);
    let page = Request::get("/").header("Accept", "text/html");
    house.meets("get", "/", page, 200);
    house.get("/openapi.json", "/openapi.json", 200);
    house.get("/health", "/health", 200);
    eventually("it is ready", || house.gateway.ask("/ready").status == 200);
    house.get("/ready", "/ready", 200);
    house.get("/metrics", "/metrics", 200);
    house.get("/status", "/status", 200);

    for (kind, key) in [
        ("services", "s"),
        ("routes", "r"),
        ("upstreams", "u"),
        ("plugins", "all"),
        ("consumers", "c"),
    ] {
        let (all, one) = (format!("/{kind}"), format!("/{kind}/{{key}}"));
        let list = house.get(&all, &all, 200).json();
        assert_ne!(list["data"], json!([]), "{kind}");
        house.get(&one, &format!("/{kind}/{key}"), 200);
        house.get(&one, &format!("/{kind}/nobody"), 404);
    }
    for what in ["health", "targets"] {
        let path = format!("/upstreams/{{upstream}}/{what}");
        house.get(&path, &format!("/upstreams/u/{what}"), 200);
        house.get(&path, &format!("/upstreams/nobody/{what}"), 404);
    }
    let path = "/upstreams/{upstream}/health";
    house.get(path, "/upstreams/u/health?balancer_health=1", 200);
    let path = "/upstreams/{upstream}/targets/{target}/{word}";
    let of = |target: &dyn std::fmt::Display, rest: &str| {
        format!("/upstreams/u/targets/{target}/{rest}")
    };
    house.put(path, &of(&upstream, "unhealthy"), 204);
    house.get("/health", "/health?strict=1", 503);
    house.put(path, &of(&upstream, "well"), 404);
    house.put(path, &of(&"nowhere.test:80", "healthy"), 400);
    let path = "/upstreams/{upstream}/targets/{target}/{address}/{word}";
    house.put(path, &of(&upstream, &format!("{upstream}/healthy")), 204);
    house.put(path, &of(&upstream, "10.9.9.9/healthy"), 404);

    house.get("/config", "/config", 200);
    let as_json = Request::get("/config").header("Accept", "application/json");
    house.meets("get", "/config", as_json, 200);
    house.post("?check_hash=1", &config, 304);
    house.post("", &config, 201);
    house.post("?dry_run=1", &config.replace("/b", "/c"), 200);
    house.post("", &config.replace("/b", "/c"), 201);
    house.get("/status", "/status", 200);
    house.post("", "services: [{name: x, retries: many}]", 400);
    house.post("?dry_run=1", "services: [{name: x, retries: many}]", 400);
    house.get("/status", "/status", 200);
    let nothing =
        Request::post("/config", "x=y").header("Content-Type", "application/x-www-form-urlencoded");
    house.meets("post", "/config", nothing, 400);
    let long = Request::new("POST", "/config").header("Content-Length", "99999999999");
    house.meets("post", "/config", long, 413);

    // A page of another site, everywhere.
    let all = house.document.all();
    for place in &all {
        let words: Vec<&str> = place.split(' ').collect();
        let [method, path, "403"] = words[..] else {
            continue;
        };
        let target = path.replace(['{', '}'], "");
        let request = Request::new(method, &target).header("Origin", "http://evil.test");
        house.meets(&method.to_lowercase(), path, request, 403);
    }
    house.gateway.signal(Signal::TERM);
    eventually("it drains", || house.gateway.ask("/ready").status == 503);
    house.get("/ready", "/ready", 503);
    let missing: Vec<&String> = all.difference(&house.document.met).collect();
    let known = [
        // Another test has them all.
        " 401",
        // Nothing is live; it takes a minute; another one is newer; two are under way; it drains.
        "GET /config 404",
        "POST /config 408",
        "POST /config 409",
        "POST /config 429",
        "POST /config 503",
        // What is asked for is in the way of these.
        "PUT /upstreams/{upstream}/targets/{target}/{address}/{word} 400",
    ];
    let missing: Vec<&&String> = missing
        .iter()
        .filter(|place| !known.iter().any(|known| place.ends_with(known)))
        .collect();
    assert!(
        missing.is_empty(),
        "in the document, but never met: {missing:#?}"
    );
}

#[test]
fn without_the_token_every_path_but_the_open_ones_answers_401() {
    let config = "gateway: {admin_token: t}\n".to_owned() + CONFIG;
    let upstream = Upstream::saying("hello");
    let gateway = gateway(&config).fill("up", &upstream).start();
    let admin = gateway.admin();
    let document = Request::get("/openapi.json")
        .header("Host", &admin.to_string())
        .header("Authorization", "Bearer t");
    let mut document = Document {
        json: document.send(admin).json(),
        met: BTreeSet::new(),
    };
    for (path, methods) in document.json["paths"].as_object().unwrap().clone() {
        for (method, operation) in methods.as_object().unwrap() {
            let target = path.replace(['{', '}'], "");
            let request = Request::new(&method.to_uppercase(), &target);
            let response = request.header("Host", &admin.to_string()).send(admin);
            let is_open = operation["security"] == json!([]);
            assert_eq!(response.status == 401, !is_open, "{method} {path}");
            if !is_open {
                document.says(method, &path, &response);
            }
        }
    }
}

#[test]
fn methods_that_are_not_in_the_document_are_refused() {
    let gateway = gateway("_format_version: '3.0'").start();
    let document = Document::of(&gateway);
    let admin = gateway.admin();
    for (path, methods) in document.json["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if methods[method.to_lowercase()].is_object() {
                continue;
            }
            let target = path.replace(['{', '}'], "");
            let request = Request::new(method, &target).header("Host", &admin.to_string());
            let response = request.send(admin);
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.message(), "Method not allowed");
        }
    }
}
