//! HAProxy: one thread, connections shared between clients.

use std::path::PathBuf;
use std::process::Command;

use super::{Places, Setup, file};
use crate::machine;
use crate::stage::{Stage, Surroundings};
use crate::tokens::{Algorithm, Keys};

pub fn set_up(program: PathBuf, stage: Stage, around: &Surroundings, at: Places) -> Option<Setup> {
    let chain = match stage {
        Stage::Plain | Stage::Uploads => String::new(),
        Stage::Chain(algorithm) => chain(around.keys(algorithm), at),
        _ => return None,
    };
    let http = around.http(stage);
    let Surroundings {
        grpc, websocket, ..
    } = around;
    let Places {
        http: plain, tls, ..
    } = at;
    let pem = around.both.display();
    // Two descriptors a connection, and it refuses to start with more than it may have.
    let most = (machine::descriptors() / 2 - 100).min(45_000);
    let text = format!(
        "
global
  nbthread 1
  maxconn {most}
  tune.ssl.cachesize 0
  tune.ssl.lifetime 1
  tune.h2.max-concurrent-streams 256
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
  ssl-default-bind-curves X25519
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
  http-reuse always
  option forwardfor
frontend f
  bind {plain} backlog 4096
  bind {tls} ssl crt {pem} alpn h2,http/1.1 backlog 4096
  http-request set-header X-Forwarded-Proto http
{chain}
  use_backend calls if {{ path_beg /bench. }}
  use_backend sockets if {{ path_beg /ws }}
  default_backend b
backend b
  server s {http} pool-max-conn 512 maxconn {most}
backend calls
  server s {grpc} proto h2 pool-max-conn 512 maxconn {most}
backend sockets
  server s {websocket} maxconn {most}
"
    );
    let mut command = Command::new(program);
    command
        .arg("-db")
        .arg("-f")
        .arg(file(at, "haproxy.cfg", &text));
    Some(Setup {
        command,
        listens: vec![at.http, at.tls],
        admin: None,
        texts: None,
    })
}

/// A token with a claim of expiry checked, requests counted by its issuer, an origin allowed.
fn chain(keys: &Keys, at: Places) -> String {
    let key = match keys.algorithm {
        Algorithm::Hs256 => keys.public.clone(),
        _ => file(at, "haproxy-jwt.pem", &keys.public)
            .display()
            .to_string(),
    };
    let name = keys.name();
    format!(
        "
  stick-table type string len 64 size 100k expire 60s store http_req_rate(60s)
  http-request set-var(txn.origin) req.hdr(Origin)
  http-request deny deny_status 401 unless {{ http_auth_bearer -m found }}
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request set-var(txn.iss) http_auth_bearer,jwt_payload_query('$.iss')
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str {name} }}
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 401 unless {{ http_auth_bearer,jwt_verify(txn.alg,\"{key}\") 1 }}
  http-request track-sc0 var(txn.iss)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000000 }}
  http-request set-header X-Consumer-Username %[var(txn.iss)]
  http-response set-header Access-Control-Allow-Origin * if {{ var(txn.origin) -m found }}
  http-response set-header RateLimit-Limit 1000000000
  http-response set-var(txn.used) sc_http_req_rate(0)
  http-response set-header RateLimit-Remaining %[int(1000000000),sub(txn.used)]"
    )
}
