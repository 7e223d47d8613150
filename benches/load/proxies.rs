//! The proxies, each with one thread and the settings that make it fast.
//!
//! Left at their defaults, peers are slow for no fault of theirs: nginx opens a connection per
//! request, HAProxy reuses none of another client's. All of them add the client's address, for a
//! gateway has to.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

use crate::Case;
use crate::gateway;
use crate::measure::{Pins, Running, on_path, scratch};

/// Something to send load to.
pub struct Proxy {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Whose cost is measured; none for the upstream itself.
    pub pid: Option<u32>,
    _running: Option<Running>,
}

impl Proxy {
    /// Plugins are the gateway's alone.
    pub fn plays(&self, case: &Case) -> bool {
        !case.plugins || self.name == "sluicegate"
    }
}

/// Everything that is there, the upstream by itself first.
pub fn start_all(upstream: SocketAddr, pins: Pins) -> Vec<Proxy> {
    let mut proxies = vec![Proxy {
        name: "no proxy",
        address: upstream,
        pid: None,
        _running: None,
    }];
    proxies.push(sluicegate(upstream, pins));
    if on_path("nginx") {
        proxies.push(nginx(upstream, pins));
    }
    if on_path("haproxy") {
        proxies.push(haproxy(upstream, pins));
    }
    proxies
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// Starts a program and waits until it accepts.
fn start(name: &'static str, address: SocketAddr, command: Command, pins: Pins) -> Proxy {
    let mut command = pins.proxy(command);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    let running = Running(command.spawn().unwrap());
    let patience = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(
            Instant::now() < patience,
            "{name} does not accept at {address}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Proxy {
        name,
        address,
        pid: Some(running.0.id()),
        _running: Some(running),
    }
}

fn sluicegate(upstream: SocketAddr, pins: Pins) -> Proxy {
    let address = free_address();
    let file = scratch().join("load.yaml");
    fs::write(
        &file,
        format!(
            "
services:
- name: plain
  url: http://{upstream}
  routes:
  - {{name: small, paths: [/small], strip_path: false}}
  - {{name: large, paths: [/large], strip_path: false}}
  - name: guarded
    paths: [/guarded]
    strip_path: false
    plugins:
    - name: correlation-id
    - name: cors
      config: {{origins: [https://app.example.com, https://admin.example.com]}}
    - name: jwt
      config: {{claims_to_verify: [exp]}}
    - name: key-auth
    - name: rate-limiting
      config: {{minute: 1000000000, policy: local}}
    - name: request-termination
      config: {{trigger: X-Maintenance}}
consumers:
- username: c
  keyauth_credentials: [{{key: k}}]
  jwt_secrets: [{{key: issuer, secret: {SECRET}}}]
"
        ),
    )
    .unwrap();
    let mut command = Command::new(gateway::program());
    command.arg("run").arg("-c").arg(file);
    command.args([
        "--proxy-listen",
        &address.to_string(),
        "--admin-listen",
        "off",
    ]);
    command.args(["--workers", "1", "--log-level", "warn"]);
    start("sluicegate", address, command, pins)
}

const SECRET: &str = "secret-of-the-issuer";

/// What a request needs to pass the chain of `/guarded`.
pub fn plugin_headers() -> Vec<String> {
    let claims = json!({"iss": "issuer", "exp": 4_000_000_000_u64});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = encode(&Header::default(), &claims, &key).unwrap();
    vec![
        "Origin: https://app.example.com".into(),
        "apikey: k".into(),
        format!("Authorization: Bearer {token}"),
    ]
}

fn nginx(upstream: SocketAddr, pins: Pins) -> Proxy {
    let address = free_address();
    let folder = scratch().join("nginx");
    fs::create_dir_all(&folder).unwrap();
    let at = folder.display();
    let file = folder.join("nginx.conf");
    fs::write(
        &file,
        format!(
            "
daemon off; master_process off; worker_processes 1;
pid {at}/nginx.pid; error_log {at}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; tcp_nodelay on;
  client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
  upstream up {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen {address} backlog=4096;
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection \"\";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
    }}
  }}
}}
"
        ),
    )
    .unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    command.arg("-e").arg(folder.join("error.log"));
    start("nginx", address, command, pins)
}

fn haproxy(upstream: SocketAddr, pins: Pins) -> Proxy {
    let address = free_address();
    let file = scratch().join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  option forwardfor
frontend f
  bind {address}
  default_backend b
backend b
  server s {upstream} pool-max-conn 512 maxconn 2000
"
        ),
    )
    .unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    start("haproxy", address, command, pins)
}
