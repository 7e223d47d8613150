//! A checked file becomes a snapshot: names become indices, live state is adopted, plugins are
//! built.
//!
//! Invariant: this cannot fail; what could go wrong, [`super::verify::check`] has refused.

use super::plans::{self, Plans};
use super::services::{self, UpstreamTls, Wiring};
use super::verify::Checked;
use super::{Inventory, Protocols, Route, Snapshot, entities};
use crate::config::model::{self, Model, PathHandling, Protocol};
use crate::identity::{Consumer, Identity};
use crate::plugin::{Credentials, Instance, PluginDef, join_groups};
use crate::router::{self, Flavor};
use crate::telemetry::Metrics;
use crate::util::background::{self, give_way};
use crate::util::handles::Handles;
use crate::util::ids::ServiceIx;
use crate::util::keep::Keeps;

/// What a snapshot is made of besides the file: things of the process.
pub struct Parts<'a> {
    /// The plugins.
    pub table: &'static [&'static PluginDef],
    /// State that outlives configurations.
    pub keeps: &'a Keeps,
    /// What plugins may ask for by type.
    pub handles: &'a Handles,
    /// Where counters come from.
    pub metrics: &'a Metrics,
    /// TLS towards upstreams.
    pub tls: &'a UpstreamTls,
    /// Number of data-plane workers.
    pub workers: usize,
    /// Number of the new snapshot.
    pub generation: u64,
}

/// Compiles a checked file. May take long: not to be called on a data-plane thread.
pub fn compile(checked: Checked, parts: &Parts<'_>) -> Snapshot {
    let mut checked = checked;
    let inventory = Inventory::of(&checked.model);
    let identity = identity(&checked.model);
    let credentials = Credentials::take(&mut checked.model, parts.table);
    let model = &checked.model;
    let wiring = Wiring::new(&services::Sources {
        model,
        certificates: &checked.certificates,
        authorities: &checked.authorities,
        tls: parts.tls,
        keeps: parts.keeps,
    });
    let plans = Plans::build(
        model,
        parts.table,
        &plans::Sources {
            identity: &identity,
            credentials: &credentials,
            keeps: parts.keeps,
            handles: parts.handles,
            metrics: parts.metrics,
            workers: parts.workers,
        },
    );
    let routes = checked.routes.iter().filter_map(|ix| {
        let entity = model.routes.get(*ix)?;
        Some(route(
            model,
            *ix,
            entity,
            &plans,
            checked.table.flavor(),
            parts.metrics,
        ))
    });
    let routes = routes.collect();
    let instances = model
        .plugins
        .iter()
        .map(|plugin| entities::plugin(model, plugin));
    let snapshot = Snapshot {
        generation: parts.generation,
        routes,
        services: wiring.services,
        upstreams: wiring.upstreams,
        plugins: instances.collect(),
        global: plans.global(),
        unrouted: parts.metrics.route("", ""),
        clusters: wiring.clusters,
        policies: wiring.policies,
        targets: wiring.targets,
        identity,
        hash: checked.hash,
        table: checked.table,
        certs: checked.server_names,
        text: checked.text,
        plugin_table: checked.plugins,
        inventory,
    };
    let model = checked.model;
    background::free(model.routes);
    background::free(model.services);
    background::free(model.plugins);
    background::free(model.consumers);
    snapshot
}

/// The consumers with their groups.
fn identity(model: &Model) -> Identity {
    let mut consumers: Vec<Consumer> = model.consumers.iter().map(consumer).collect();
    join_groups(&mut consumers, &model.credentials);
    Identity::new(consumers)
}

fn consumer(consumer: &model::Consumer) -> Consumer {
    give_way();
    Consumer {
        id: consumer.meta.id.to_string(),
        username: consumer.username.clone(),
        custom_id: consumer.custom_id.clone(),
        entity: entities::consumer(consumer),
        ..Consumer::default()
    }
}

fn route(
    model: &Model,
    ix: usize,
    route: &model::Route,
    plans: &Plans<Instance>,
    flavor: Flavor,
    metrics: &Metrics,
) -> Route {
    give_way();
    let entity = entities::route(model, route);
    let service = route.service.and_then(|ix| model.services.get(ix));
    let service_label = service.map(|service| service.name.as_ref().unwrap_or(&service.host));
    let handling = match route.path_handling {
        PathHandling::V0 => router::PathHandling::V0,
        PathHandling::V1 => router::PathHandling::V1,
    };
    Route {
        service: route.service.map(ServiceIx::from),
        protocols: protocols(&route.protocols),
        https_redirect: route.https_redirect_status_code,
        strip_path: route.strip_path,
        preserve_host: route.preserve_host,
        path_handling: handling.under(flavor),
        plan: plans.of_route(ix, route.service),
        metrics: metrics.route(service_label.map_or("", |label| label), entity.label()),
        entity,
    }
}

fn protocols(list: &[Protocol]) -> Protocols {
    Protocols {
        http: list.contains(&Protocol::Http),
        https: list.contains(&Protocol::Https),
        grpc: list.contains(&Protocol::Grpc),
        grpcs: list.contains(&Protocol::Grpcs),
    }
}

#[cfg(test)]
mod tests;
