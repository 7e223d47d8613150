//! Caddy: one thread of Go code at a time, enough idle connections.

use std::path::PathBuf;
use std::process::Command;

use super::{Places, Setup, file};
use crate::machine::scratch;
use crate::stage::{Stage, Surroundings};

pub fn set_up(program: PathBuf, stage: Stage, around: &Surroundings, at: Places) -> Option<Setup> {
    if !matches!(stage, Stage::Plain | Stage::Uploads) {
        return None;
    }
    let http = around.http(stage);
    let Surroundings {
        grpc, websocket, ..
    } = around;
    let (certificate, key) = (around.certificate.display(), around.key.display());
    let pool = "keepalive_idle_conns_per_host 1024";
    let text = format!(
        "
{{
  admin off
  auto_https off
  default_sni bench.test
  log {{
    level ERROR
  }}
  servers {{
    protocols h1 h2
  }}
}}
(all) {{
  handle /bench.* {{
    reverse_proxy h2c://{grpc}
  }}
  handle /ws {{
    reverse_proxy {websocket}
  }}
  handle {{
    reverse_proxy {http} {{
      transport http {{
        {pool}
      }}
    }}
  }}
}}
http://:{} {{
  bind {}
  import all
}}
https://:{} {{
  bind {}
  tls {certificate} {key} {{
    protocols tls1.3
    curves x25519
  }}
  import all
}}
",
        at.http.port(),
        at.http.ip(),
        at.tls.port(),
        at.tls.ip(),
    );
    let mut command = Command::new(program);
    command
        .arg("run")
        .arg("--adapter")
        .arg("caddyfile")
        .arg("--config");
    command.arg(file(at, "Caddyfile", &text));
    command.env("GOMAXPROCS", "1").env("HOME", scratch());
    Some(Setup {
        command,
        listens: vec![at.http, at.tls],
        admin: None,
        texts: None,
    })
}
