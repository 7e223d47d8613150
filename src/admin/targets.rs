//! The targets of an upstream and how they are, in Kong's forms.
//!
//! Invariant: what is shown is what requests would find now: addresses come from the live
//! cluster, not from the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::views::{not_found, page};
use super::{Admin, answer};
use crate::message::Entity;
use crate::snapshot::{Snapshot, Upstream};
use crate::telemetry::Exposition;
use crate::upstream::{Endpoint, EndpointSet};

/// `GET /upstreams/{name or id}/targets`.
pub(super) async fn list(State(admin): State<Admin>, Path(key): Path<String>) -> Response {
    with_upstream(&admin, &key, |_, upstream, set| {
        page(
            targets(upstream, set)
                .into_iter()
                .map(|of| of.entity)
                .collect(),
        )
    })
}

/// `GET /upstreams/{name or id}/health`.
pub(super) async fn health(State(admin): State<Admin>, Path(key): Path<String>) -> Response {
    with_upstream(&admin, &key, |snapshot, upstream, set| {
        let all = targets(upstream, set).into_iter();
        let mut page = page(all.map(Target::health).collect());
        let breakers = breakers(&admin, snapshot, upstream);
        if !breakers.is_empty() {
            page["breakers"] = breakers.into();
        }
        page
    })
}

/// The circuit breakers in front of the services behind which this upstream is.
fn breakers(admin: &Admin, snapshot: &Snapshot, upstream: &Upstream) -> Vec<Value> {
    let services = snapshot.services.iter();
    let ours: Vec<&str> = services
        .filter(|service| service.cluster == upstream.cluster)
        .map(|service| service.entity.id.as_str())
        .collect();
    let all = admin.parts().checks.details().into_iter();
    all.filter(|detail| detail.kind == "breakers")
        .filter(|detail| {
            detail
                .service
                .as_deref()
                .is_some_and(|id| ours.contains(&id))
        })
        .map(|detail| detail.json)
        .collect()
}

fn with_upstream(
    admin: &Admin,
    key: &str,
    show: impl FnOnce(&Snapshot, &Upstream, &EndpointSet) -> Value,
) -> Response {
    let snapshot = admin.parts().cell.load();
    let found = snapshot.as_ref().and_then(|snapshot| {
        let upstream = find(snapshot, key)?;
        let cluster = snapshot.clusters.get(upstream.cluster)?;
        Some(show(snapshot, upstream, &cluster.endpoints()))
    });
    match found {
        Some(body) => answer(StatusCode::OK, &body),
        None => not_found(),
    }
}

fn find<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a Upstream> {
    snapshot
        .upstreams
        .iter()
        .find(|upstream| upstream.entity.id == key || upstream.entity.name.as_deref() == Some(key))
}

/// Adds Kong's family of targets and how they are: what [`health`] shows, as numbers.
pub(super) fn expose(snapshot: &Snapshot, out: &mut Exposition) {
    for upstream in &snapshot.upstreams {
        let Some(cluster) = snapshot.clusters.get(upstream.cluster) else {
            continue;
        };
        let name = upstream.entity.label();
        for target in targets(upstream, &cluster.endpoints()) {
            let shown = target.health();
            let named = shown["target"].as_str().unwrap_or_default();
            let addresses = shown["data"]["addresses"].as_array();
            let addresses = addresses.map(Vec::as_slice).unwrap_or_default();
            for address in addresses {
                let (ip, port) = (&address["ip"], &address["port"]);
                let place = format!("{}:{port}", ip.as_str().unwrap_or_default());
                let health = address["health"].as_str();
                expose_one([name, named, &place], health.unwrap_or_default(), out);
            }
            if addresses.is_empty() {
                expose_one([name, named, ""], "DNS_ERROR", out);
            }
        }
    }
}

/// One address under each of Kong's states, of which one is 1.
fn expose_one([upstream, target, address]: [&str; 3], health: &str, out: &mut Exposition) {
    for state in ["healthchecks_off", "healthy", "unhealthy", "dns_error"] {
        out.gauge(
            "kong_upstream_target_health",
            "Health of the targets of upstreams: 1 for the state that each is in.",
            &[
                ("upstream", upstream),
                ("target", target),
                ("address", address),
                ("state", state),
                ("subsystem", "http"),
            ],
            f64::from(u8::from(state.eq_ignore_ascii_case(health))),
        );
    }
}

/// A target of the file or of discovery, with its addresses.
struct Target {
    entity: Value,
    name: String,
    addresses: Vec<Arc<Endpoint>>,
}

/// The targets of the file; of an upstream without any, those that discovery found.
fn targets(upstream: &Upstream, set: &EndpointSet) -> Vec<Target> {
    let mut by_target: BTreeMap<&str, Vec<Arc<Endpoint>>> = BTreeMap::new();
    for endpoint in &set.endpoints {
        by_target
            .entry(&endpoint.target)
            .or_default()
            .push(endpoint.clone());
    }
    if upstream.targets.is_empty() {
        let found = by_target.into_iter();
        return found
            .map(|(name, addresses)| discovered(upstream, name, addresses))
            .collect();
    }
    let configured = |entity: &Entity| Target {
        entity: entity.json.clone(),
        name: entity.label().into(),
        addresses: by_target.get(entity.label()).cloned().unwrap_or_default(),
    };
    upstream.targets.iter().map(configured).collect()
}

fn discovered(upstream: &Upstream, name: &str, addresses: Vec<Arc<Endpoint>>) -> Target {
    let weight: u64 = addresses.iter().map(|of| u64::from(of.weight())).sum();
    Target {
        entity: json!({
            "target": name,
            "weight": weight,
            "upstream": {"id": upstream.entity.id},
            "tags": null,
        }),
        name: name.into(),
        addresses,
    }
}

impl Target {
    fn health(self) -> Value {
        let (host, port) = self.name.rsplit_once(':').unwrap_or((&self.name, ""));
        let total: u64 = self.addresses.iter().map(|of| u64::from(of.weight())).sum();
        let addresses: Vec<Value> = self.addresses.iter().map(|of| address(of)).collect();
        let mut out = self.entity;
        out["health"] = match addresses.is_empty() {
            true => "DNS_ERROR".into(),
            false => "HEALTHCHECKS_OFF".into(),
        };
        out["data"] = json!({
            "host": host.trim_matches(['[', ']']),
            "port": port.parse::<u16>().ok(),
            "dns": "A",
            "nodeWeight": out["weight"],
            "weight": {"total": total, "available": total, "unavailable": 0},
            "addresses": addresses,
        });
        out
    }
}

fn address(endpoint: &Endpoint) -> Value {
    json!({
        "ip": endpoint.address.ip().to_string(),
        "port": endpoint.address.port(),
        "weight": endpoint.weight(),
        "health": "HEALTHCHECKS_OFF",
        "requests": endpoint.requests(),
        "failures": endpoint.failures(),
        "in_flight": endpoint.in_flight(),
    })
}
