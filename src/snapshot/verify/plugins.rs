//! Plugins where they are attached: consumers that they name, places where they never run.

use super::locate::Places;
use crate::config::Report;
use crate::config::model::{Model, Plugin};
use crate::config::report::did_you_mean;
use crate::plugin::PluginDef;
use crate::util::background::give_way;

/// Looks at every plugin instance of a model without errors.
pub(super) fn check(
    model: &Model,
    table: &[&'static PluginDef],
    places: &mut Places<'_>,
    report: &mut Report,
) {
    for plugin in &model.plugins {
        give_way();
        let def = table.iter().find(|def| def.known.name == plugin.name);
        let named = def
            .and_then(|def| def.anonymous)
            .and_then(|anonymous| anonymous(&plugin.config));
        if let Some(name) = named.filter(|name| !is_consumer(model, name)) {
            unknown_consumer(model, plugin, name, places, report);
        }
        if never_runs(model, plugin) {
            report
                .warning(
                    plugin.meta.at,
                    &*plugin.meta.path,
                    "this plugin never runs: its route belongs to another service",
                )
                .hint("leave `service` or `route` out");
        }
    }
}

fn is_consumer(model: &Model, name: &str) -> bool {
    model.consumers.iter().any(|consumer| {
        consumer.username.as_deref() == Some(name) || consumer.meta.id.to_string() == name
    })
}

fn unknown_consumer(
    model: &Model,
    plugin: &Plugin,
    name: &str,
    places: &mut Places<'_>,
    report: &mut Report,
) {
    let path = format!("{}.config.anonymous", plugin.meta.path);
    let at = places.of(&path, plugin.meta.at_field("config"));
    let names = model.consumers.iter().filter_map(|c| c.username.as_deref());
    let issue = report.error(at, path, format!("there is no consumer '{name}'"));
    issue.hint = did_you_mean(name, names);
}

fn never_runs(model: &Model, plugin: &Plugin) -> bool {
    let (Some(route), Some(service)) = (plugin.route, plugin.service) else {
        return false;
    };
    let of_route = model.routes.get(route).map(|route| route.service);
    of_route.is_some_and(|of_route| of_route != Some(service))
}
