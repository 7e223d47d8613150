//! The other commands: explain, schema, healthcheck, demo.

use std::process::Output;

use crate::support::{Request, command, gateway};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const FILE: &str = "
services:
  - name: shop
    url: http://shop.internal:3000/v2
    routes:
      - {name: all, paths: [/shop]}
      - {name: carts, paths: [/shop/carts], methods: [GET]}
plugins: [{name: correlation-id, config: {header_name: X-Mine}}]
";

#[test]
fn explain_tells_the_route_the_plugins_and_what_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kong.yaml"), FILE).unwrap();
    let explain = |args: &[&str]| {
        let mut command = command();
        command
            .current_dir(&dir)
            .args(["explain", "-c", "kong.yaml"]);
        command.args(args).output().unwrap()
    };
    let output = explain(&["GET", "http://a.test/shop/carts/7?x=1", "-H", "X-A: b"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    for part in [
        "route     carts  kong.yaml:7:9  services[0].routes[1]",
        "beaten    all",
        "correlation-id (global)",
        "X-Mine",
        "GET /v2/7?x=1",
        "Host: shop.internal:3000",
        "X-Forwarded-Prefix: /shop/carts",
        "http://shop.internal:3000",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let output = explain(&["GET", "/elsewhere"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).contains("no Route matched with those values"));
}

#[test]
fn the_schema_is_json_schema() {
    let output = command().arg("schema").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = serde_json::json!({"services": [{"name": "a", "url": "http://x"}]});
    assert!(validator.is_valid(&good));
    let bad = serde_json::json!({"services": [{"name": "a", "url": "http://x", "retries": "5"}]});
    assert!(!validator.is_valid(&bad));
}

#[test]
fn healthcheck_asks_the_running_gateway() {
    let gateway = gateway("_format_version: '3.0'").start();
    let admin = gateway.admin().to_string();
    let check = |address: &str| {
        let mut command = command();
        command.args(["healthcheck", "--admin-listen", address]);
        command.output().unwrap().status.code()
    };
    assert_eq!(check(&admin), Some(0));
    drop(gateway);
    assert_eq!(check(&admin), Some(1));
}

/// A line of the demonstration as a request.
fn request(line: &str, token: &str, proxy: &str) -> Option<(String, Request)> {
    let line = line.replace("$TOKEN", token);
    let (_, target) = line.split_once(proxy)?;
    let target = target.split(' ').next().unwrap().to_owned();
    let quoted: Vec<&str> = line.split(['"', '\'']).collect();
    let post = line.contains(" -d ");
    let method = match (line.contains("-X OPTIONS"), post) {
        (true, _) => "OPTIONS",
        (_, true) => "POST",
        _ => "GET",
    };
    let mut request = Request::new(method, &target);
    for part in quoted {
        if let Some((name, value)) = part.split_once(": ") {
            request = request.header(name, value);
        }
    }
    Some((
        target,
        if post {
            request.body("{\"items\":[\"tea\"]}")
        } else {
            request
        },
    ))
}

#[test]
fn the_lines_of_the_demonstration_work() {
    let gateway = gateway("").demo().start();
    gateway.out.wait("Ctrl-C");
    let text = gateway.out.all().join("\n").replace("\\\n", "");
    let token = text.split("TOKEN=").nth(1).unwrap();
    let token = token.split_whitespace().next().unwrap().to_owned();
    let proxy = format!("http://{}", gateway.proxy());
    let mut statuses = Vec::new();
    for line in text.lines().filter(|line| line.trim().starts_with("curl")) {
        if let Some((target, request)) = request(line, &token, &proxy) {
            let status = gateway.send(request).status;
            statuses.push((target, status));
        }
    }
    let find = |target: &str| -> Vec<u16> {
        let found = statuses.iter().filter(|(known, _)| known == target);
        found.map(|(_, status)| *status).collect()
    };
    assert_eq!(find("/api/users"), [401, 200, 200], "{statuses:?}");
    assert!(
        find("/api/orders")
            .iter()
            .all(|status| (200..300).contains(status)),
        "{statuses:?}"
    );
    assert_eq!(find("/api/products/42"), [200, 200], "{statuses:?}");
    assert_eq!(find("/api/v0"), [410], "{statuses:?}");
    assert_eq!(gateway.ask("/health").json()["status"], "healthy");
}
