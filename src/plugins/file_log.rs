//! # file-log
//!
//! Appends a line of JSON to a file for each request.
//!
//! The line is Kong's log record: `request` (with `id`, `method`, `uri`, `url`, `querystring`,
//! `headers`, `size`, and `tls`), `response` (`status`, `headers`, `size`), `latencies` (`kong`,
//! `proxy`, `receive`, `request`), `tries`, `upstream_uri`, `upstream_status`, `client_ip`,
//! `started_at`, `source`, `route`, `service`, `workspace`, `workspace_name`, and where there is one
//! `consumer`, `authenticated_entity`, `correlation_id`. The values of `authorization` and
//! `proxy-authorization` are `REDACTED`.
//!
//! The file is made (mode 0644) when it is missing. `/dev/stdout` and `/dev/stderr` are the
//! process's own. After a rotation, send SIGUSR1, or set `reopen`: then the file is opened anew for
//! whatever is written.
//!
//! Requests never wait for the disk. What a stuck or full disk does not take is dropped and counted
//! in `sluicegate_log_lines_dropped_total`.

use std::path::PathBuf;
use std::sync::Arc;

use super::logs;
use crate::config::known::KnownPlugin;
use crate::config::schema::{Literal, Record as Fieldset, Rule, boolean, checked, field};
use crate::config::{Fields, Parsed, Report};
use crate::message::Record;
use crate::plugin::{Build, Phases, Plugin, PluginDef, instance};
use crate::remote::ship::{Shipper, Shippers, Target};

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "file-log",
        config: &CONFIG,
        parse,
        on_consumer: true,
        on_routes: true,
    },
    priority: 9,
    phases: Phases::LOG,
    credentials: None,
    anonymous: None,
    build,
};

static CONFIG: Fieldset = Fieldset::new(&[
    field("path", checked("path of a file", path))
        .required()
        .doc("The file."),
    field("reopen", boolean())
        .required()
        .default(Literal::Bool(false))
        .doc("Open the file anew for whatever is written, so that it can be moved away."),
    logs::LUA,
])
.rules(&[Rule::Check(logs::no_lua)]);

/// Kong's idea of a file name.
fn path(text: &str) -> Result<(), String> {
    let odd = text.contains(['*', '&', '%', '\\', '`', '\0']);
    match odd || text.ends_with('/') {
        true => Err("not a valid filename".to_owned()),
        false => Ok(()),
    }
}

#[derive(Clone, Debug)]
struct Config {
    target: Target,
    reopen: bool,
}

fn parse(fields: &Fields<'_>, _: &mut Report) -> Option<Parsed> {
    let path = PathBuf::from(fields.str("path"));
    Some(Parsed::new(Config {
        target: Target::of(&path),
        reopen: fields.bool("reopen"),
    }))
}

struct FileLog(Option<Arc<Shipper>>);

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        let shippers = build.handles.get::<Shippers>();
        let target = config.target.clone();
        Arc::new(FileLog(shippers.map(|shippers| match config.reopen {
            true => shippers.open_anew(target),
            false => shippers.open(target),
        })))
    })
}

impl Plugin for FileLog {
    fn on_log(&self, record: &Record<'_>) {
        if let Some(file) = &self.0 {
            let mut line = logs::line(record);
            line.push(b'\n');
            file.try_send(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::testkit::config_issues;

    #[test]
    fn wrong_values_are_refused() {
        for (config, want) in [
            (
                "{}",
                "f:3:11: error: plugins[0].config.path: required field missing",
            ),
            (
                "{path: '/tmp/a*'}",
                "f:3:18: error: plugins[0].config.path: not a valid filename",
            ),
            (
                "{path: /tmp/}",
                "f:3:18: error: plugins[0].config.path: not a valid filename",
            ),
            (
                "{path: /tmp/a, reopen: 1}",
                "f:3:34: error: plugins[0].config.reopen: expected a boolean, got 1",
            ),
            (
                "{path: /tmp/a, custom_fields_by_lua: {a: return 1}}",
                "f:3:48: error: plugins[0].config.custom_fields_by_lua: not supported: there is no Lua here",
            ),
        ] {
            let issues = config_issues(&PLUGIN, config);
            assert_eq!(issues.first().map(String::as_str), Some(want), "{config}");
        }
        let lua = "{path: /tmp/a, custom_fields_by_lua: {a: return 1}}";
        let issues = config_issues(&PLUGIN, lua);
        assert!(issues[1].contains("leave it out"), "{issues:?}");
        for fine in ["{path: a}", "{path: a, custom_fields_by_lua: {}}"] {
            assert_eq!(config_issues(&PLUGIN, fine), [""; 0], "{fine}");
        }
    }
}
