//! The gateway itself.

use std::process::Command;

use super::{Places, Setup, file};
use crate::gateway;
use crate::machine::scratch;
use crate::stage::{Stage, Surroundings};
use crate::tokens::{Algorithm, ISSUER};

pub fn set_up(stage: Stage, around: &Surroundings, at: Places) -> Option<Setup> {
    let text = match stage {
        Stage::Redis => plain(stage, around, &limit(Some(around.redis?))),
        Stage::Limited => plain(stage, around, &limit(None)),
        Stage::Chain(algorithm) => plain(stage, around, &chain(around, algorithm)),
        Stage::Routes(count) => routes(around, count),
        Stage::Targets(count) => targets(around, count),
        _ => plain(stage, around, ""),
    };
    let path = file(at, "sluicegate.yaml", &text);
    let mut command = Command::new(gateway::program());
    command.arg("run").arg("-c").arg(&path);
    let listens = format!("{}, {} tls", at.http, at.tls);
    command.args([
        "--proxy-listen",
        &listens,
        "--workers",
        "1",
        "--log-level",
        "warn",
    ]);
    let admin = matches!(stage, Stage::Admin | Stage::Scraped | Stage::Reloaded);
    let admin = admin.then_some(at.admin);
    let admin_listen = admin.map_or("off".to_owned(), |address| address.to_string());
    command.args(["--admin-listen", &admin_listen]);
    if let Stage::Targets(_) = stage {
        // One connection to each target at least.
        command.args(["--upstream-max-idle", "2048"]);
    }
    if stage == Stage::JsonLog {
        command
            .arg("--access-log")
            .arg(scratch().join("access.log"));
        command.args(["--access-log-format", "json"]);
    }
    let texts = (stage == Stage::Reloaded).then(|| {
        let other = text.replace("name: rest", "name: remainder");
        (path.clone(), text.clone(), other)
    });
    Some(Setup {
        command,
        listens: vec![at.http, at.tls],
        admin,
        texts,
    })
}

/// Every kind of request, and what else the file says.
fn plain(stage: Stage, around: &Surroundings, more: &str) -> String {
    let http = around.http(stage);
    let Surroundings {
        grpc, websocket, ..
    } = around;
    let indented = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file).unwrap();
        text.replace('\n', "\n    ").trim_end().to_owned()
    };
    format!(
        "
_format_version: '3.0'
services:
- name: plain
  url: http://{http}
  routes:
  - {{name: rest, paths: [/], strip_path: false}}
- name: calls
  url: grpc://{grpc}
  routes:
  - {{name: calls, paths: [/bench.], protocols: [grpc, grpcs], strip_path: false}}
- name: sockets
  url: http://{websocket}
  routes:
  - {{name: sockets, paths: [/ws], strip_path: false}}
certificates:
- cert: |
    {}
  key: |
    {}
  snis: [{{name: bench.test}}]
{more}
",
        indented(&around.certificate),
        indented(&around.key)
    )
}

fn limit(redis: Option<std::net::SocketAddr>) -> String {
    let policy = redis.map_or("policy: local".to_owned(), |at| {
        format!(
            "policy: redis, redis: {{host: {}, port: {}}}",
            at.ip(),
            at.port()
        )
    });
    format!("plugins:\n- {{name: rate-limiting, config: {{minute: 1000000000, {policy}}}}}\n")
}

fn chain(around: &Surroundings, algorithm: Algorithm) -> String {
    let keys = around.keys(algorithm);
    let key = match algorithm {
        Algorithm::Hs256 => format!("secret: {}", keys.public),
        _ => {
            let pem = keys.public.trim_end().replace('\n', "\n      ");
            format!("rsa_public_key: |\n      {pem}")
        }
    };
    format!(
        "
plugins:
- name: cors
- name: jwt
  config: {{claims_to_verify: [exp]}}
- name: rate-limiting
  config: {{minute: 1000000000, policy: local, limit_by: consumer}}
consumers:
- username: c
  jwt_secrets:
  - key: {ISSUER}
    algorithm: {}
    {key}
",
        keys.name()
    )
}

fn routes(around: &Surroundings, count: usize) -> String {
    let mut text = format!(
        "services:\n- name: s\n  url: http://{}/small\n  routes:\n",
        around.http(Stage::Plain)
    );
    for nth in 1..count {
        text += &format!(
            "  - {{name: r{nth}, paths: [/shop/{}/item/{nth}]}}\n",
            nth % 100
        );
    }
    text + "  - {name: deepest, paths: [/deepest]}\n"
}

fn targets(around: &Surroundings, count: usize) -> String {
    // All of them are the one upstream, by other addresses of the loopback interface.
    let mut text = String::from(
        "services:\n- name: s\n  host: pool\n  routes: [{name: r, paths: [/], strip_path: false}]\n\
         upstreams:\n- name: pool\n  targets:\n",
    );
    for nth in 0..count {
        let address = match nth {
            0 => around.http(Stage::Plain).ip().to_string(),
            _ => format!("127.1.{}.{}", nth / 250, nth % 250 + 1),
        };
        text += &format!(
            "  - {{target: '{address}:{}'}}\n",
            around.http(Stage::Plain).port()
        );
    }
    text
}
