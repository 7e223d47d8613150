//! `POST /config`: another configuration without a file, in the forms that tools send.

use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::upstream::reply;
use crate::support::{Conn, Gateway, Request, Response, Upstream, eventually, gateway};

const FORM: &str = "application/x-www-form-urlencoded";

/// A gateway that says `old` at `/`, and a configuration with which it says this word.
struct House {
    gateway: Gateway,
    upstream: Upstream,
}

impl House {
    fn new() -> Self {
        let upstream = Upstream::answering(|request| {
            let target = request.target();
            reply(200, &[], &target.as_bytes()[1..])
        });
        let config = yaml("old", &upstream);
        Self {
            gateway: gateway(&config).start(),
            upstream,
        }
    }

    fn yaml(&self, word: &str) -> String {
        yaml(word, &self.upstream)
    }

    fn json(&self, word: &str) -> String {
        let route = json!({"paths": ["/"]});
        let service = json!({"url": format!("http://{}/{word}", self.upstream), "routes": [route]});
        json!({"_format_version": "3.0", "services": [service]}).to_string()
    }

    #[track_caller]
    fn says(&self, word: &str) {
        assert_eq!(self.gateway.get("/").text(), word);
    }

    fn post(&self, target: &str, kind: &str, body: impl Into<Vec<u8>>) -> Response {
        let admin = self.gateway.admin();
        let request = Request::post(target, body).header("Host", &admin.to_string());
        let request = match kind {
            "" => request,
            kind => request.header("Content-Type", kind),
        };
        request.send(admin)
    }
}

fn yaml(word: &str, upstream: &Upstream) -> String {
    format!(
        "_format_version: '3.0'\nservices:\n- url: http://{upstream}/{word}\n  routes: [{{paths: \
         ['/']}}]\n"
    )
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn multipart(text: &str) -> String {
    format!(
        "--xx\r\nContent-Disposition: form-data; name=\"config\"; filename=\"kong.yml\"\r\n\r\n\
         {text}\r\n--xx--\r\n"
    )
}

#[test]
fn in_every_form_that_tools_send() {
    let house = House::new();
    house.says("old");
    let object = json!({"config": serde_json::from_str::<Value>(&house.json("g")).unwrap()});
    for (word, kind, body) in [
        ("a", "", house.yaml("a")),
        ("b", "application/yaml", house.yaml("b")),
        ("c", "application/json", house.json("c")),
        // curl --data-binary @file names this type, whatever the file is.
        ("d", FORM, house.yaml("d")),
        ("e", FORM, format!("config={}", percent(&house.yaml("e")))),
        (
            "f",
            "application/json",
            json!({"config": house.yaml("f")}).to_string(),
        ),
        ("g", "application/json; charset=utf-8", object.to_string()),
        (
            "h",
            "multipart/form-data; boundary=xx",
            multipart(&house.yaml("h")),
        ),
        ("i", "text/plain", house.json("i")),
    ] {
        let response = house.post("/config", kind, body);
        assert_eq!(response.status, 201, "{kind}: {}", response.text());
        let answer = response.json();
        assert_eq!(answer["configuration_hash"].as_str().unwrap().len(), 32);
        house.says(word);
    }
}

#[test]
fn a_refusal_is_in_kongs_form_and_names_every_place() {
    let house = House::new();
    let bad = "services:\n- name: x\n  url: http://x\n  retries: never\n  routes:\n  - paths: [v1]\n\
               plugins: [{name: no-such}]\n";
    let response = house.post("/config", "", bad);
    assert_eq!(response.status, 400);
    let kind = response.header("content-type").unwrap();
    assert!(kind.starts_with("application/json"), "{kind}");
    let answer = response.json();
    assert_eq!(answer["code"], 14);
    assert_eq!(answer["name"], "invalid declarative configuration");
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.starts_with("declarative config is invalid: {"),
        "{message}"
    );
    assert!(answer["fields"]["services"].is_array(), "{answer}");
    let errors = answer["errors"].as_array().unwrap();
    for (path, line) in [
        ("services[0].retries", 4),
        ("services[0].routes[0].paths[0]", 6),
        ("plugins[0].name", 7),
    ] {
        let of_path: Vec<&Value> = errors
            .iter()
            .filter(|error| error["path"] == path)
            .collect();
        assert_eq!(of_path.len(), 1, "{path}: {answer:#}");
        assert_eq!(of_path[0]["line"], line, "{path}");
        assert!(of_path[0]["column"].is_u64() && of_path[0]["message"].is_string());
        assert!(of_path[0].get("hint").is_some());
    }
    assert_eq!(errors.len(), 3, "{answer:#}");
    house.says("old");
    // It is told elsewhere too.
    house.gateway.err.wait("services[0].retries");
    let status = house.gateway.ask("/status").text();
    assert!(status.contains("services[0].retries"), "{status}");
    let metrics = house.gateway.ask("/metrics").text();
    assert!(metrics.contains("sluicegate_config_last_reload_successful 0"));
    for body in ["", " ", "{", "services: [", "- a", "\u{0}"] {
        assert_eq!(house.post("/config", "", body).status, 400, "{body:?}");
    }
    house.says("old");
}

#[test]
fn nothing_new_is_not_modified() {
    let house = House::new();
    let new = house.yaml("new");
    let first = house.post("/config?check_hash=1", "", new.clone());
    assert_eq!(first.status, 201);
    house.says("new");
    let generation = &first.json()["generation"];
    let again = house.post("/config?check_hash=1", "", new.clone());
    assert_eq!((again.status, again.text()), (304, String::new()));
    let unasked = house.post("/config", "", new);
    assert_eq!(unasked.status, 201);
    assert_eq!(&unasked.json()["generation"], generation);
    assert_eq!(
        house
            .post("/config?check_hash=1", "", house.yaml("newer"))
            .status,
        201
    );
    house.says("newer");
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let house = House::new();
    let before = house.gateway.ask("/status").json()["configuration_hash"].clone();
    let answer = house.post("/config?dry_run=1", "", house.yaml("new"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let text = answer.to_string();
    assert!(text.contains("services"), "{text}");
    house.says("old");
    assert_eq!(
        house.gateway.ask("/status").json()["configuration_hash"],
        before
    );
    assert_eq!(
        house.post("/config?dry_run=1", "", "services: 5").status,
        400
    );
    // A trial is no reload that failed.
    let metrics = house.gateway.ask("/metrics").text();
    assert!(metrics.contains("sluicegate_config_last_reload_successful 1"));
    assert_eq!(house.gateway.ask("/health").json()["status"], "healthy");
}

#[test]
fn what_was_posted_stays_until_the_next_reload_of_the_source() {
    let house = House::new();
    house.gateway.load(&house.yaml("posted"));
    house.says("posted");
    house.gateway.signal(rustix::process::Signal::HUP);
    eventually("the file again", || house.gateway.get("/").text() == "old");
}

/// A configuration that takes its time to compile.
fn large(house: &House, word: &str) -> String {
    let mut text = house.yaml(word);
    for n in 0..40 {
        let path = format!("~/{word}{n}/\\d+/(.*)$");
        text += &format!("- {{url: 'http://x/', routes: [{{paths: ['{path}']}}]}}\n");
    }
    text
}

/// Posts two configurations at once: their answers.
fn race(house: &House, round: usize) -> [u16; 2] {
    let admin = house.gateway.admin();
    let mut conns = [Conn::open(admin), Conn::open(admin)];
    let words = ["first", "second"].map(|word| format!("{word}{round}"));
    for (conn, word) in conns.iter_mut().zip(&words) {
        let request = Request::post("/config", large(house, word));
        conn.send(request.header("Host", &admin.to_string()).bytes());
    }
    let answers = conns.map(|mut conn| conn.response("POST").status);
    let live = house.gateway.get("/").text();
    match answers {
        [201, 409] => assert_eq!(live, words[0]),
        [409, 201] => assert_eq!(live, words[1]),
        [201, 201] => assert!(words.contains(&live), "{live}"),
        _ => panic!("{answers:?}"),
    }
    answers
}

#[test]
fn of_several_at_once_the_newest_wins() {
    let house = House::new();
    let mut rounds = 0..;
    eventually("one is overtaken", || {
        race(&house, rounds.next().unwrap()).contains(&409)
    });
}

#[test]
fn strange_pages_may_not_post() {
    let house = House::new();
    let admin = house.gateway.admin();
    let port = admin.port();
    let post = |fields: &[(&str, &str)]| {
        let request = Request::post("/config", house.yaml("evil"));
        let add = |request: Request, field: &(&str, &str)| request.header(field.0, field.1);
        fields.iter().fold(request, add).send(admin).status
    };
    let own = format!("127.0.0.1:{port}");
    for fields in [
        [("Host", own.as_str()), ("Origin", "http://evil.test")],
        [("Host", &own), ("Origin", "null")],
        [("Host", "evil.test"), ("Accept", "*/*")],
        [("Host", "evil.test"), ("Origin", "http://evil.test")],
    ] {
        assert_eq!(post(&fields), 403, "{fields:?}");
    }
    house.says("old");
    let page = format!("http://{own}");
    assert_eq!(post(&[("Host", &own), ("Origin", &page)]), 201);
    let local = format!("localhost:{port}");
    assert_eq!(post(&[("Host", &local)]), 201);
    house.says("evil");
}

#[test]
fn requests_in_flight_end_on_what_they_began_with() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::raw(move |mut serving| {
        while serving.request().is_some() {
            let _ = wait.lock().unwrap().recv();
            serving.reply(200, &[], b"old");
        }
    });
    let gateway = gateway(&format!(
        "{{services: [{{url: 'http://{upstream}', routes: [{{paths: ['/']}}]}}],
          plugins: [{{name: correlation-id, config: {{echo_downstream: true}}}}]}}"
    ))
    .start();
    let mut open = gateway.connect();
    open.send(Request::get("/").bytes());
    upstream.wait("the request", |seen| seen.requests.len() == 1);
    gateway.load("routes: [{paths: ['/']}]");
    assert_eq!(gateway.get("/").status, 503);
    go.send(()).unwrap();
    let response = open.response("GET");
    assert_eq!(response.text(), "old");
    assert!(response.header("kong-request-id").is_some());
    // The next one on the same connection is the new one's.
    assert_eq!(open.ask(&Request::get("/")).status, 503);
}

/// `sluicegate diff` against a gateway that runs: its exit code and what it printed.
fn diff(gateway: &Gateway, text: &str) -> (i32, String) {
    let file = gateway.dir().join("other.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = crate::support::command();
    command.arg("diff").arg("-c").arg(&file);
    command.args(["--admin", &format!("http://{}", gateway.admin())]);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn diff_tells_what_a_file_would_change() {
    const LIVE: &str = "
services: [{name: a, url: 'http://a', routes: [{name: r, paths: [/a]}]}]
consumers: [{username: ann, keyauth_credentials: [{key: S3CRET}]}]";
    let gateway = gateway(LIVE).start();
    assert_eq!(
        diff(&gateway, LIVE),
        (0, "nothing would change\n".to_owned())
    );
    let (code, told) = diff(&gateway, &LIVE.replace("paths: [/a]", "paths: [/b]"));
    assert_eq!((code, told.as_str()), (1, "routes:\n  ~ r\n"));
    // A changed secret counts, and is not shown.
    let (code, told) = diff(&gateway, &LIVE.replace("S3CRET", "OTHER"));
    assert_eq!(code, 1);
    assert!(told.contains("keyauth_credentials:\n"), "{told}");
    assert!(
        !told.contains("S3CRET") && !told.contains("OTHER"),
        "{told}"
    );
    let (code, told) = diff(&gateway, &LIVE.replace("name: r,", "name: r, pathz: [],"));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("other.yaml:2:"), "{told}");
    assert!(told.contains("pathz"), "{told}");
    // Nothing of all that was loaded.
    let metrics = gateway.ask("/metrics").text();
    assert!(
        metrics.contains("sluicegate_config_generation 1\n"),
        "{metrics}"
    );
    let mut gone = gateway;
    gone.stop();
    assert_eq!(diff(&gone, LIVE).0, 69);
}
