//! # prometheus
//!
//! Counts requests under Kong's metric names, so that dashboards and alerts made for Kong go on
//! working. They stand on `/metrics` of the admin and status listeners, beside the gateway's own
//! `sluicegate_*` families, which need no plugin.
//!
//! Where the plugin is attached decides which requests are counted; requests that match no route
//! never are. While some instance is configured, these are exposed too: connections, requests and
//! `kong_node_info`. **All switches are off by default**: without one of them, that is all.
//!
//! | Family | Type | Labels | Switch |
//! | --- | --- | --- | --- |
//! | `kong_http_requests_total` | counter | service, route, code, source (`service`, `kong`), workspace, consumer | `status_code_metrics` |
//! | `kong_bandwidth_bytes` | counter | service, route, direction (`ingress`, `egress`), workspace, consumer | `bandwidth_metrics` |
//! | `kong_kong_latency_ms` | histogram | service, route, workspace | `latency_metrics` |
//! | `kong_upstream_latency_ms`, `kong_request_latency_ms` | histogram | service, route, workspace | `latency_metrics` |
//! | `kong_upstream_target_health` | gauge 0/1 | upstream, target, address, state, subsystem | `upstream_health_metrics`, on one instance |
//! | `kong_nginx_connections_total` | gauge | node_id, subsystem, state | |
//! | `kong_nginx_requests_total` | gauge | node_id, subsystem | |
//! | `kong_datastore_reachable` | gauge, always 1 | | |
//! | `kong_node_info` | gauge, always 1 | node_id, version | |
//! | `kong_nginx_metric_errors_total` | counter | | |
//!
//! `service` is the service's name, else its host; `route` the route's name, else its id;
//! `workspace` is `default`. `consumer` is empty without `per_consumer`. Kong's timers, Lua memory
//! and shared dictionaries have no counterpart here and are left out.
//!
//! Labels are bounded: at most 65536 combinations are kept in a process, each worker thread having
//! its own. Requests that find no room are counted in `kong_nginx_metric_errors_total` alone. Of
//! more than sixteen different statuses of one combination, the later ones are counted by class
//! (`4xx`).

use std::sync::Arc;

use crate::config::known::KnownPlugin;
use crate::config::schema::{Field, Literal, Record, Rule, boolean, field};
use crate::config::{Fields, Parsed, Report};
use crate::message::{Entity, Origin, Record as Log};
use crate::plugin::{Build, Phases, Plugin, PluginDef, instance};
use crate::telemetry::{KongLatencies, KongMetrics, KongSample, KongUse, Metrics};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "prometheus",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 13,
    phases: Phases::LOG,
    credentials: None,
    anonymous: None,
    build,
};

const fn switch(name: &'static str, doc: &'static str) -> Field {
    let field = field(name, boolean()).default(Literal::Bool(false));
    field.doc(doc)
}

static CONFIG: Record = Record::new(&[
    switch("per_consumer", "Fill in the label `consumer`."),
    switch("status_code_metrics", "Count requests by status."),
    switch("latency_metrics", "Measure times."),
    switch("bandwidth_metrics", "Count bytes."),
    switch("upstream_health_metrics", "Tell the health of targets."),
    switch("ai_metrics", "").unsupported("there are no plugins for language models"),
    switch("wasm_metrics", "").unsupported("there are no WebAssembly filters"),
])
.rules(&[Rule::Check(something)]);

const SWITCHES: [&str; 4] = [
    "status_code_metrics",
    "latency_metrics",
    "bandwidth_metrics",
    "upstream_health_metrics",
];

fn something(fields: &Fields<'_>, report: &mut Report) {
    if !SWITCHES.iter().any(|name| fields.bool(name)) {
        let message = "no metrics are switched on: only those of the node are exposed";
        let issue = fields.warning(report, "", message);
        issue.hint = Some(format!("set one of {}", SWITCHES.join(", ")));
    }
}

#[derive(Clone, Copy, Debug)]
struct Switches {
    consumer: bool,
    status: bool,
    latency: bool,
    bandwidth: bool,
    health: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(Switches {
        consumer: fields.bool("per_consumer"),
        status: fields.bool("status_code_metrics"),
        latency: fields.bool("latency_metrics"),
        bandwidth: fields.bool("bandwidth_metrics"),
        health: fields.bool("upstream_health_metrics"),
    }))
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    let metrics = build.handles.get::<Metrics>();
    let kong = metrics.map_or_else(Arc::<KongMetrics>::default, |all| all.kong().clone());
    instance(parsed, |switches: &Switches| {
        Arc::new(Prometheus {
            switches: *switches,
            counted: kong.begin(switches.health),
        })
    })
}

struct Prometheus {
    switches: Switches,
    counted: KongUse,
}

impl Plugin for Prometheus {
    fn on_log(&self, record: &Log<'_>) {
        let Some(route) = record.route else { return };
        let Switches {
            consumer,
            status,
            latency,
            bandwidth,
            ..
        } = self.switches;
        let consumer = record.consumer.filter(|_| consumer);
        let spent = record.latencies;
        self.counted.observe(&KongSample {
            service: record.service.map_or("", name_or_host),
            route: route.label(),
            consumer: consumer.and_then(|of| of.name.as_deref()).unwrap_or(""),
            status: status.then_some(record.status),
            from_service: record.origin == Origin::Upstream,
            bytes: bandwidth.then_some((record.request_size, record.response_size)),
            latencies: latency.then_some(KongLatencies {
                kong: spent.gateway,
                upstream: spent.upstream,
                request: spent.request,
            }),
        });
    }
}

fn name_or_host(service: &Entity) -> &str {
    let host = || service.json["host"].as_str();
    service.name.as_deref().or_else(host).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::config_issues;

    #[test]
    fn switches_that_are_not_ours_are_refused() {
        const ALL_OFF: &str = "warning: plugins[0].config: no metrics are switched on: only those of the node are exposed";
        for (config, want) in [
            (
                "{latency_metrics: 1}",
                "f:3:29: error: plugins[0].config.latency_metrics: expected a boolean, got 1",
            ),
            (
                "{bandwidth_metrics: true, status: true}",
                "f:3:37: error: plugins[0].config.status: unknown field",
            ),
            ("{}", &format!("f:3:11: {ALL_OFF}")),
            ("{per_consumer: true}", &format!("f:3:11: {ALL_OFF}")),
        ] {
            assert_eq!(config_issues(&PLUGIN, config)[0], want);
        }
        for (config, path, why) in [
            (
                "{ai_metrics: true, latency_metrics: true}",
                "ai_metrics",
                "there are no plugins for language models",
            ),
            (
                "{wasm_metrics: true, latency_metrics: true}",
                "wasm_metrics",
                "there are no WebAssembly filters",
            ),
        ] {
            let found = config_issues(&PLUGIN, config);
            assert!(
                found[0].contains("error") && found[0].contains(path),
                "{found:?}"
            );
            assert!(found.join("\n").contains(why), "{found:?}");
        }
        let fine = "{status_code_metrics: true, ai_metrics: false}";
        assert_eq!(config_issues(&PLUGIN, fine), Vec::<String>::new());
    }
}
