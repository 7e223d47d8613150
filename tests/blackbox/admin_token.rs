//! `admin_token`: the admin API answers those who carry it.

use std::fs;

use rustix::process::{Signal, kill_process};

use crate::support::{Gateway, Request, Response, Upstream, command, eventually, gateway};

const CONFIG: &str = "
gateway: {admin_token: open-sesame}
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";

fn ask(gateway: &Gateway, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
    let admin = gateway.admin();
    let request = Request::new(method, target).header("Host", &admin.to_string());
    let add = |request: Request, (name, value): &(&str, &str)| request.header(name, value);
    fields.iter().fold(request, add).send(admin)
}

const BEARER: (&str, &str) = ("Authorization", "Bearer open-sesame");

#[test]
fn without_it_nothing_is_told_and_nothing_is_done() {
    let upstream = Upstream::saying("hello");
    let gateway = gateway(CONFIG).fill("up", &upstream).start();
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/status"),
        ("GET", "/config"),
        ("POST", "/config"),
        ("GET", "/metrics"),
        ("GET", "/routes"),
        ("GET", "/upstreams/x/health"),
        ("PUT", "/upstreams/x/targets/y/unhealthy"),
        ("GET", "/nowhere"),
        ("GET", "/health/"),
    ] {
        for fields in [
            &[][..],
            &[("Authorization", "Bearer open-sesam")],
            &[("Authorization", "Basic open-sesame")],
            &[("Kong-Admin-Token", "wrong")],
            &[BEARER, BEARER],
            &[BEARER, ("Kong-Admin-Token", "open-sesame")],
        ] {
            let response = ask(&gateway, method, target, fields);
            assert_eq!(response.status, 401, "{method} {target} {fields:?}");
            let challenge = response.header("www-authenticate");
            assert_eq!(challenge, Some("Bearer realm=\"sluicegate\""));
            assert!(response.message().contains("asks for its token"));
        }
    }
    let metrics = ask(&gateway, "GET", "/metrics", &[BEARER]).text();
    assert!(metrics.contains("\nsluicegate_admin_denied_total 60\n"));
    gateway.err.wait("without its token");
    let log = gateway.err.all().join("\n");
    assert!(!log.contains("open-sesame"), "{log}");
    assert_eq!(gateway.get("/").text(), "hello");
}

#[test]
fn with_it_everything_works() {
    let upstream = Upstream::saying("hello");
    let gateway = gateway(CONFIG).fill("up", &upstream).start();
    for fields in [
        [BEARER],
        [("authorization", "bearer open-sesame")],
        [("Kong-Admin-Token", "open-sesame")],
    ] {
        assert_eq!(ask(&gateway, "GET", "/status", &fields).status, 200);
    }
    let shown = ask(&gateway, "GET", "/config", &[BEARER]).text();
    assert!(!shown.contains("open-sesame"), "{shown}");
    assert_eq!(ask(&gateway, "GET", "/nowhere", &[BEARER]).status, 404);
}

#[test]
fn probes_and_the_page_need_none() {
    let upstream = Upstream::saying("hello");
    let setup = gateway(CONFIG).fill("up", &upstream);
    let gateway = setup.flag("--status-listen", "127.0.0.1:0").start();
    for target in ["/health", "/ready"] {
        assert_eq!(ask(&gateway, "GET", target, &[]).status, 200);
    }
    let page = ask(&gateway, "GET", "/", &[("Accept", "text/html")]);
    assert_eq!(page.status, 200);
    assert!(page.text().starts_with("<!doctype html>"));
    let line = gateway.out.wait("status http ");
    let status = line.rsplit(' ').next().unwrap().parse().unwrap();
    let host = format!("{status}");
    let scrape = Request::get("/metrics").header("Host", &host).send(status);
    assert_eq!(scrape.status, 200);
}

#[test]
fn the_tools_carry_it() {
    let upstream = Upstream::saying("hello");
    let gateway = gateway(CONFIG).fill("up", &upstream).start();
    let diff = |token: &str| {
        let admin = format!("http://{}", gateway.admin());
        let mut diff = command();
        diff.args(["diff", "--admin", &admin, "-c"])
            .arg(gateway.file());
        if !token.is_empty() {
            diff.env("SLUICEGATE_ADMIN_TOKEN", token);
        }
        let output = diff.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    assert_eq!(diff(""), (Some(0), "nothing would change\n".to_owned()));
    // The text is read once, from wherever it comes.
    let mut piped = command();
    piped.args([
        "diff",
        "--admin",
        &format!("http://{}", gateway.admin()),
        "-c",
        "-",
    ]);
    let output = piped
        .stdin(fs::File::open(gateway.file()).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"nothing would change\n", "{output:?}");
    let (code, text) = diff("wrong");
    assert_eq!(code, Some(69));
    assert!(text.contains("asks for its token: --admin-token"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
}

#[test]
fn what_is_no_token_is_refused_without_being_shown() {
    for (token, line) in [
        ("'two words'", "visible ASCII"),
        ("'a\tb'", "visible ASCII"),
    ] {
        let config = format!("gateway: {{admin_token: {token}}}");
        let output = gateway(&config).output();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains("gateway.admin_token"), "{text}");
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn an_open_admin_listener_is_said() {
    let open = || gateway("_format_version: '3.0'").flag("--admin-listen", "0.0.0.0:0");
    let line = "can be reached from elsewhere, by everybody: set admin_token";
    open().start().err.wait(line);
    let closed = open().env("SLUICEGATE_ADMIN_TOKEN", "t").start();
    closed.err.wait("sluicegate runs");
    assert!(!closed.err.all().iter().any(|said| said.contains(line)));
}

/// The token stands in the file alone, and what was posted does not have it.
#[test]
fn a_fresh_copy_asks_for_it_too() {
    let upstream = Upstream::saying("hello");
    let gateway = gateway(CONFIG).fill("up", &upstream).start();
    let admin = gateway.admin();
    let posted = format!("services: [{{url: 'http://{upstream}', routes: [{{paths: [/new]}}]}}]");
    let post = Request::post("/config", posted)
        .header("Host", &admin.to_string())
        .header("Authorization", "Bearer open-sesame");
    assert_eq!(post.send(admin).status, 201);
    assert_eq!(ask(&gateway, "GET", "/routes", &[]).status, 401);
    gateway.signal(Signal::USR2);
    let copy = gateway.handed_over(1);
    assert_eq!(ask(&gateway, "GET", "/routes", &[]).status, 401);
    let status = ask(&gateway, "GET", "/status", &[BEARER]).json();
    assert_eq!(status["pid"], copy.as_raw_nonzero().get());
    assert_eq!(gateway.get("/new").text(), "hello");
    kill_process(copy, Signal::TERM).unwrap();
    eventually("the copy ends", || {
        std::net::TcpStream::connect(gateway.proxy()).is_err()
    });
}
