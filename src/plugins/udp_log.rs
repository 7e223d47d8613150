//! # udp-log
//!
//! Sends a log record to a UDP server for each request: the same record as
//! [file-log](file-log.md), a datagram of JSON each.
//!
//! Whether a datagram arrives, nobody knows. A record that fits none (65507 bytes), or whose host's
//! name cannot be resolved for a minute, is dropped and counted in
//! `sluicegate_log_lines_dropped_total`. Requests never wait.

use std::sync::Arc;

use super::logs;
use crate::config::known::KnownPlugin;
use crate::config::schema::{Literal, Record as Fieldset, Rule, field, host, integer, port};
use crate::config::{Fields, Parsed, Report};
use crate::plugin::{Build, Phases, Plugin, PluginDef, instance};
use crate::remote::ship::{Destination, Queueing, UdpDestination};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "udp-log",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 8,
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
        .doc("Milliseconds for one attempt, the host's resolution included."),
    logs::LUA,
])
.rules(&[Rule::Check(logs::no_lua)]);

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    Some(Parsed::new(Destination::Udp(UdpDestination {
        host: logs::bare_host(fields),
        port: fields.int("port"),
        timeout: fields.millis("timeout"),
    })))
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |to: &Destination| {
        logs::shipping(build, to, &Queueing::default())
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
                "{host: 'a b', port: 1}",
                "f:3:18: error: plugins[0].config.host: invalid value: a b",
            ),
            (
                "{host: a, port: -1}",
                "f:3:27: error: plugins[0].config.port: value should be between 0 and 65535",
            ),
            (
                "{host: a, port: 1, timeout: soon}",
                "f:3:39: error: plugins[0].config.timeout: expected an integer, got \"soon\"",
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
