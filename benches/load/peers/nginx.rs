//! nginx: kept connections on both sides, buffers that large bodies fit into.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Places, Setup};
use crate::machine::scratch;
use crate::stage::{Stage, Surroundings};

pub fn set_up(program: PathBuf, stage: Stage, around: &Surroundings, at: Places) -> Option<Setup> {
    if !matches!(stage, Stage::Plain | Stage::Uploads) {
        return None;
    }
    let folder = scratch().join("nginx");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("nginx.conf");
    let (here, certificate, key) = (
        folder.display(),
        around.certificate.display(),
        around.key.display(),
    );
    let http = around.http(stage);
    let Surroundings {
        grpc, websocket, ..
    } = around;
    let Places {
        http: plain, tls, ..
    } = at;
    let text = format!(
        "
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536;
pid {here}/nginx.pid; error_log {here}/error.log warn;
events {{ worker_connections 45000; }}
http {{
  access_log off; keepalive_requests 100000000; tcp_nodelay on; client_max_body_size 0;
  client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
  ssl_certificate {certificate}; ssl_certificate_key {key};
  ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off; ssl_ecdh_curve X25519;
  http2_max_concurrent_streams 256;
  upstream up {{ server {http}; keepalive 512; keepalive_requests 100000000; }}
  upstream calls {{ server {grpc}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen {plain} backlog=4096;
    listen {tls} ssl http2 backlog=4096;
    server_name bench.test;
    proxy_http_version 1.1; proxy_set_header Connection \"\";
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
    proxy_request_buffering off; client_body_buffer_size 64k; proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://up; }}
    location /bench. {{ grpc_pass grpc://calls; }}
    location /ws {{
      proxy_pass http://{websocket};
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
    }}
  }}
}}
"
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    command.arg("-e").arg(folder.join("error.log"));
    Some(Setup {
        command,
        listens: vec![at.http, at.tls],
        admin: None,
        texts: None,
    })
}
