//! Envoy: one worker, circuit breakers out of the way.

use std::path::PathBuf;
use std::process::Command;

use super::{Places, Setup, file};
use crate::stage::{Stage, Surroundings};

pub fn set_up(program: PathBuf, stage: Stage, around: &Surroundings, at: Places) -> Option<Setup> {
    if !matches!(stage, Stage::Plain | Stage::Uploads) {
        return None;
    }
    let tls = format!(
        "
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
        disable_stateless_session_resumption: true
        disable_stateful_session_resumption: true
        common_tls_context:
          alpn_protocols: [h2, http/1.1]
          tls_params: {{tls_minimum_protocol_version: TLSv1_3, ecdh_curves: [X25519]}}
          tls_certificates:
          - certificate_chain: {{filename: {}}}
            private_key: {{filename: {}}}",
        around.certificate.display(),
        around.key.display()
    );
    let text = format!(
        "
static_resources:
  listeners:
{}{}
  clusters:
{}{}{}
",
        listener("plain", at.http, ""),
        listener("tls", at.tls, &tls),
        cluster("up", around.http(stage), false),
        cluster("calls", around.grpc, true),
        cluster("sockets", around.websocket, false),
    );
    let mut command = Command::new(program);
    command.arg("-c").arg(file(at, "envoy.yaml", &text));
    command.args([
        "--concurrency",
        "1",
        "--log-level",
        "error",
        "--disable-hot-restart",
    ]);
    Some(Setup {
        command,
        listens: vec![at.http, at.tls],
        admin: None,
        texts: None,
    })
}

fn listener(name: &str, address: std::net::SocketAddr, tls: &str) -> String {
    format!(
        "  - name: {name}
    address: {{socket_address: {{address: {}, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          use_remote_address: true
          http2_protocol_options: {{max_concurrent_streams: 256}}
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{prefix: /bench.}}
                route: {{cluster: calls}}
              - match: {{prefix: /ws}}
                route: {{cluster: sockets}}
              - match: {{prefix: /}}
                route: {{cluster: up}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
{}
",
        address.ip(),
        address.port(),
        // The transport socket stands beside the filters.
        tls.replacen("\n    ", "\n      ", 100)
    )
}

fn cluster(name: &str, address: std::net::SocketAddr, http2: bool) -> String {
    let protocol = match http2 {
        true => "http2_protocol_options: {}",
        false => "http_protocol_options: {}",
    };
    format!(
        "  - name: {name}
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config:
          {protocol}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}
",
        address.ip(),
        address.port()
    )
}
