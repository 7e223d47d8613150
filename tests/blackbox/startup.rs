//! How the program starts, and with what it ends when it does not.

use std::net::TcpListener;

use crate::support::{Conn, Upstream, command, gateway};

const MINIMAL: &str = "_format_version: '3.0'\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn it_says_where_it_listens_and_ends_with_0() {
    let setup = gateway(MINIMAL).listen("127.0.0.1:0, 127.0.0.1:0 tls, [::1]:0");
    let mut gateway = setup.start();
    let lines = gateway.out.all();
    assert!(lines[0].starts_with("proxy http 127.0.0.1:"), "{lines:?}");
    assert!(lines[1].starts_with("proxy tls 127.0.0.1:"), "{lines:?}");
    assert!(lines[2].starts_with("proxy http [::1]:"), "{lines:?}");
    assert_ne!(gateway.nth(0).port(), 0);
    gateway
        .get("/")
        .is_error(404, "no Route matched with those values");
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn the_admin_listener_is_said_too() {
    let gateway = gateway(MINIMAL).start();
    assert_eq!(gateway.ask("/ready").status, 200);
}

#[test]
fn a_port_that_is_taken_is_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = gateway(MINIMAL).listen(&address).output();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&address));
    assert_eq!(text(&output.stdout).trim(), "");
}

#[test]
fn a_taken_admin_port_is_69_too() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = gateway(MINIMAL).flag("--admin-listen", &address).output();
    assert_eq!(output.status.code(), Some(69));
    assert!(text(&output.stderr).contains(&address));
}

#[test]
fn a_missing_file_is_78() {
    let output = command()
        .args(["run", "-c", "/nowhere/gateway.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nowhere/gateway.yaml"));
}

#[test]
fn a_file_with_errors_is_78_and_names_all_of_them() {
    let config = "services: [{name: a, url: 'http://x', retries: many}, {name: b, hots: y}]";
    let output = gateway(config).output();
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(
        said.contains("services[0].retries: expected an integer"),
        "{said}"
    );
    assert!(said.contains("services[1].hots"), "{said}");
}

#[test]
fn wrong_usage_is_64() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        &["walk"][..],
        &[],
        &["run", "--no-such-flag"],
        &["check"],
        &["run", "--workers", "many"],
        &["run", "--proxy-listen", "nowhere"],
        &["run", "--client-header-timeout", "soon"],
        &["explain", "GET"],
    ] {
        std::fs::write(dir.path().join("gateway.yaml"), MINIMAL).unwrap();
        let output = command().current_dir(&dir).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{args:?}: {output:?}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_ne!(text(&output.stderr), "", "{args:?}");
    }
}

#[test]
fn a_wrong_setting_in_the_environment_is_64() {
    let output = gateway(MINIMAL).env("SLUICEGATE_WORKERS", "many").output();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("SLUICEGATE_WORKERS"));
}

#[test]
fn help_and_version_are_no_errors() {
    for args in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let output = command().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_ne!(text(&output.stdout), "");
    }
    let version = command().arg("--version").output().unwrap();
    let expected = format!("sluicegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text(&version.stdout), expected);
    for shell in ["bash", "zsh", "fish"] {
        let output = command().args(["completions", shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("sluicegate"));
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let upstream = Upstream::saying("hello");
    let config = "
gateway: {headers: 'off', client_max_uri_size: 1k, client_max_headers: 90}
services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
    let gateway = gateway(config)
        .fill("up", &upstream)
        .env("SLUICEGATE_CLIENT_MAX_URI_SIZE", "100")
        .env("SLUICEGATE_CLIENT_MAX_HEADERS", "3")
        .flag("--client-max-headers", "5")
        .start();
    assert_eq!(gateway.get("/").header("x-kong-request-id"), None);
    let long = format!("/{}", "x".repeat(200));
    assert_eq!(gateway.get(&long).status, 414);
    let with = |count: usize| {
        let fields: String = (1..count).map(|n| format!("x-{n}: y\r\n")).collect();
        let mut conn = gateway.connect();
        conn.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        conn.response("GET").status
    };
    assert_eq!(with(5), 200);
    assert_eq!(with(6), 431);
}

#[test]
fn kongs_variables_are_read_with_a_notice() {
    let gateway = gateway(MINIMAL)
        .env("KONG_TRUSTED_IPS", "127.0.0.1")
        .env("KONG_NGINX_WORKER_PROCESSES", "3")
        .start();
    gateway.err.wait("KONG_TRUSTED_IPS");
    gateway.err.wait("KONG_NGINX_WORKER_PROCESSES");
}

#[test]
fn the_file_is_found_by_variable_and_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gateway.yaml"), "services: 1").unwrap();
    let run = |variable: Option<&str>| {
        let mut command = command();
        command
            .current_dir(&dir)
            .args(["run", "--proxy-listen", "127.0.0.1:0"]);
        if let Some(file) = variable {
            command.env("SLUICEGATE_CONFIG", file);
        }
        text(&command.output().unwrap().stderr)
    };
    assert!(run(None).contains("gateway.yaml:1"));
    assert!(run(Some("other.yaml")).contains("other.yaml"));
}

#[test]
fn the_configuration_may_be_json() {
    let upstream = Upstream::saying("hello");
    let config = r#"{"services": [{"url": "http://<up>", "routes": [{"paths": ["/"]}]}]}"#;
    let gateway = gateway(config).fill("up", &upstream).start();
    assert_eq!(gateway.get("/").text(), "hello");
}

#[test]
fn with_one_worker_and_with_four_it_answers_alike() {
    for workers in [1, 4] {
        let upstream = Upstream::saying("hello");
        let config = "services: [{url: 'http://<up>', routes: [{paths: ['/']}]}]";
        let gateway = gateway(config)
            .fill("up", &upstream)
            .flag("--workers", workers)
            .start();
        let mut conns: Vec<Conn> = (0..8).map(|_| gateway.connect()).collect();
        for conn in &mut conns {
            let response = conn.ask(&crate::support::Request::get("/"));
            assert_eq!(response.text(), "hello");
        }
    }
}
