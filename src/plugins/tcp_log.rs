//! # tcp-log
//!
//! Sends a log record to a TCP server for each request: the same record as
//! [file-log](file-log.md), a line of JSON each.
//!
//! The connection is kept for `keepalive` milliseconds after its last use. While the server is away,
//! up to 10000 records wait; a batch that cannot be delivered for a minute is dropped. What is
//! dropped is counted in `sluicegate_log_lines_dropped_total`. Requests never wait.
//!
//! With `tls` the server is called by `tls_sni`, else by `host`. As in Kong its certificate is not
//! verified; `ssl_verify` (not in Kong) changes that.

use std::sync::Arc;

use super::logs;
use crate::config::known::KnownPlugin;
use crate::config::schema::{
    Literal, Record as Fieldset, Rule, boolean, field, host, integer, port,
};
use crate::config::{Fields, Parsed, Report};
use crate::plugin::{Build, Phases, Plugin, PluginDef, instance};
use crate::remote::ship::{Destination, Queueing, TcpDestination, TcpTls};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "tcp-log",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 7,
    phases: Phases::LOG,
    credentials: None,
    anonymous: None,
    build,
};

static CONFIG: Fieldset = Fieldset::new(&[
    field("host", host()).required().doc("The server."),
    field("port", port()).required().doc("Its port."),
    field("timeout", integer().between(1, 2_147_483_646))
        .default(Literal::Int(10_000))
        .doc("Milliseconds for one attempt."),
    field("keepalive", integer().between(0, 2_147_483_646))
        .default(Literal::Int(60_000))
        .doc("Milliseconds that an idle connection is kept."),
    field("tls", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Speak TLS."),
    field("tls_sni", host()).doc("The server's name under TLS."),
    field("ssl_verify", boolean())
        .default(Literal::Bool(false))
        .doc("Verify the server's certificate."),
    logs::LUA,
])
.rules(&[Rule::Check(logs::no_lua), Rule::Check(idle)]);

/// What has no effect.
fn idle(fields: &Fields<'_>, report: &mut Report) {
    for name in ["tls_sni", "ssl_verify"] {
        if !fields.bool("tls") && fields.is_written(name) {
            fields.warning(report, name, "has no effect without tls: true");
        }
    }
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let host = logs::bare_host(fields);
    let tls = fields.bool("tls").then(|| TcpTls {
        name: fields.opt_string("tls_sni").unwrap_or_else(|| host.clone()),
        verify: fields.bool("ssl_verify"),
    });
    Some(Parsed::new(Destination::Tcp(TcpDestination {
        host,
        port: fields.int("port"),
        timeout: fields.millis("timeout"),
        keepalive: fields.millis("keepalive"),
        tls,
    })))
}

/// A connection takes many records at once, and none has to wait for others.
fn queueing() -> Queueing {
    Queueing {
        batch: 256,
        coalesce: std::time::Duration::ZERO,
        ..Queueing::default()
    }
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |to: &Destination| {
        logs::shipping(build, to, &queueing())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::config_issues;

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{port: 1}",
                "f:3:11: error: plugins[0].config.host: required field missing",
            ),
            (
                "{host: a}",
                "f:3:11: error: plugins[0].config.port: required field missing",
            ),
            (
                "{host: 'a:1', port: 1}",
                "f:3:18: error: plugins[0].config.host: must not have a port",
            ),
            (
                "{host: a, port: 65536}",
                "f:3:27: error: plugins[0].config.port: value should be between 0 and 65535",
            ),
            (
                "{host: a, port: 1, keepalive: -1}",
                "f:3:41: error: plugins[0].config.keepalive: value should be between 0 and 2147483646",
            ),
            (
                "{host: a, port: 1, tls: 'yes'}",
                "f:3:35: error: plugins[0].config.tls: expected a boolean, got \"yes\"",
            ),
            (
                "{host: a, port: 1, tls_sni: b}",
                "f:3:39: warning: plugins[0].config.tls_sni: has no effect without tls: true",
            ),
            (
                "{host: a, port: 1, custom_fields_by_lua: {a: b}}",
                "f:3:52: error: plugins[0].config.custom_fields_by_lua: not supported: there is no Lua here",
            ),
        ] {
            let issues = config_issues(&PLUGIN, config);
            assert_eq!(issues.first().map(String::as_str), Some(want), "{config}");
        }
    }
}
