//! Routes together: compiled into the index, and those that can never match.
//!
//! Invariant: positions in the list of live routes are the [`RouteIx`](crate::util::ids::RouteIx)
//! of the snapshot.

use std::collections::HashSet;

use super::locate::Places;
use crate::config::Report;
use crate::config::model::{Model, PathHandling, Route};
use crate::router::{self, Flavor, RouteIssue, RouteSpec, RouteTable};
use crate::util::background::give_way;

/// The routes that take part, as indexes of the model's: those of disabled services do not.
pub(super) fn live(model: &Model) -> Vec<usize> {
    let enabled = |route: &Route| match route.service {
        Some(service) => model.services.get(service).is_some_and(|s| s.enabled),
        None => true,
    };
    let routes = model.routes.iter().enumerate();
    routes
        .filter(|(_, route)| enabled(route))
        .map(|(ix, _)| ix)
        .collect()
}

/// What the live routes ask for.
pub(super) fn specs(model: &Model, live: &[usize]) -> Vec<RouteSpec> {
    let routes = live.iter().filter_map(|ix| model.routes.get(*ix));
    routes.map(spec).collect()
}

fn spec(route: &Route) -> RouteSpec {
    give_way();
    RouteSpec {
        hosts: route.hosts.clone(),
        paths: route.paths.clone(),
        methods: route.methods.clone(),
        headers: route.headers.clone(),
        snis: route.snis.clone(),
        regex_priority: route.regex_priority,
        created_at: route.meta.created_at.map(|seconds| seconds as i64),
        ignore_captures: false,
    }
}

/// Compiles the index; what does not compile is reported at its place.
pub(super) fn compile(
    model: &Model,
    live: &[usize],
    specs: &[RouteSpec],
    flavor: Flavor,
    places: &mut Places<'_>,
    report: &mut Report,
) -> Option<RouteTable> {
    let issues = match RouteTable::compile(specs, flavor) {
        Ok(table) => return Some(table),
        Err(issues) => issues,
    };
    // A value that its schema refuses is often one that the router cannot take either: once is
    // enough.
    let known: HashSet<String> = report.errors().map(|issue| issue.path.clone()).collect();
    for issue in issues {
        let route = live
            .get(issue.route.ix())
            .and_then(|ix| model.routes.get(*ix));
        let Some(route) = route else { continue };
        let path = format!("{}.{}", route.meta.path, issue.field);
        if !known.contains(&path) {
            complain(route, path, issue, places, report);
        }
    }
    None
}

fn complain(
    route: &Route,
    path: String,
    issue: RouteIssue,
    places: &mut Places<'_>,
    report: &mut Report,
) {
    let at = places.of(&path, route.meta.at);
    let added = report.error(at, path, issue.message);
    added.hint = issue.hint;
}

/// Warns of routes that never match and of settings that do nothing.
pub(super) fn warn(
    model: &Model,
    live: &[usize],
    specs: &[RouteSpec],
    table: &RouteTable,
    report: &mut Report,
) {
    let route = |ix: usize| live.get(ix).and_then(|ix| model.routes.get(*ix));
    for shadow in router::shadowed(specs, table) {
        let Some(lost) = route(shadow.route.ix()) else {
            continue;
        };
        let winners = shadow.by.iter().filter_map(|by| route(by.ix()));
        let winners: Vec<String> = winners.map(label).collect();
        let message = format!(
            "this route can never match: {} takes all its requests",
            winners.join(" and ")
        );
        report
            .warning(lost.meta.at, &*lost.meta.path, message)
            .hint("`sluicegate explain` shows which route wins, and why");
    }
    let v1 = live.iter().filter_map(|ix| model.routes.get(*ix));
    let v1 = v1.filter(|route| route.path_handling == PathHandling::V1);
    if table.flavor() == Flavor::TraditionalCompatible {
        v1.for_each(|route| path_handling(route, report));
    }
}

fn path_handling(route: &Route, report: &mut Report) {
    give_way();
    let (at, path) = (
        route.meta.at_field("path_handling"),
        route.meta.field_path("path_handling"),
    );
    report
        .warning(
            at,
            path,
            "v1 does nothing here: paths are joined as with v0",
        )
        .hint("it counts only with `router_flavor: traditional`");
}

fn label(route: &Route) -> String {
    match &route.name {
        Some(name) => format!("route '{name}' ({})", route.meta.path),
        None => route.meta.path.clone(),
    }
}
