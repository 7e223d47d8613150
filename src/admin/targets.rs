//! The targets of an upstream and how they are, in Kong's forms.
//!
//! Invariant: what is shown is what requests would find now: addresses come from the live
//! cluster, not from the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::views::{not_found, page};
use super::{Admin, answer};
use crate::message::Entity;
use crate::snapshot::{Snapshot, Upstream};
use crate::telemetry::Exposition;
use crate::upstream::{Cluster, Endpoint, EndpointSet, Policy};
use crate::util::clock;

/// `GET /upstreams/{name or id}/targets`.
pub(super) async fn list(State(admin): State<Admin>, Path(key): Path<String>) -> Response {
    with_upstream(&admin, &key, |_, upstream, pool| {
        page(
            targets(upstream, &pool.set)
                .into_iter()
                .map(|of| of.entity)
                .collect(),
        )
    })
}

/// `GET /upstreams/{name or id}/health[?balancer_health=1]`.
pub(super) async fn health(
    State(admin): State<Admin>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let whole = super::config::is_set(query.as_deref(), "balancer_health");
    with_upstream(&admin, &key, |snapshot, upstream, pool| {
        let all = targets(upstream, &pool.set).into_iter();
        if whole {
            return json!({"data": balancer_health(upstream, pool, all)});
        }
        let all = all.map(|target| target.health(&pool.policy));
        let mut page = page(all.collect());
        let breakers = breakers(&admin, snapshot, upstream);
        if !breakers.is_empty() {
            page["breakers"] = breakers.into();
        }
        let discovered = lists(&admin, snapshot, upstream);
        if !discovered.is_empty() {
            page["discovered"] = discovered.into();
        }
        page
    })
}

/// The upstream as one.
fn balancer_health(
    upstream: &Upstream,
    pool: &Pool,
    targets: impl Iterator<Item = Target>,
) -> Value {
    let standing = pool.policy.standing(&pool.set);
    let word = match (standing.is_usable, pool.policy.checks.is_on()) {
        (true, true) => "HEALTHY",
        (true, false) => "HEALTHCHECKS_OFF",
        (false, _) => "UNHEALTHY",
    };
    let hosts: Vec<Value> = targets
        .map(|target| target.health(&pool.policy)["data"].take())
        .collect();
    json!({
        "health": word,
        "balancer_health": if standing.is_usable { "HEALTHY" } else { "UNHEALTHY" },
        "id": upstream.entity.id,
        "details": {
            "healthy": standing.is_usable,
            "weight": weights(standing.total, standing.available),
            "hosts": hosts,
        },
    })
}

fn weights(total: u64, available: u64) -> Value {
    json!({"total": total, "available": available, "unavailable": total - available})
}

/// `PUT /upstreams/{name or id}/targets/{target or id}/healthy`, and `unhealthy`.
pub(super) async fn set(
    State(admin): State<Admin>,
    Path((key, target, word)): Path<(String, String, String)>,
) -> Response {
    put(&admin, &key, &target, None, &word)
}

/// The same for one address of a target.
pub(super) async fn set_address(
    State(admin): State<Admin>,
    Path((key, target, address, word)): Path<(String, String, String, String)>,
) -> Response {
    put(&admin, &key, &target, Some(&address), &word)
}

fn put(admin: &Admin, key: &str, target: &str, address: Option<&str>, word: &str) -> Response {
    let healthy = match word {
        "healthy" => true,
        "unhealthy" => false,
        _ => return not_found(),
    };
    let snapshot = admin.parts().cell.load();
    let found = snapshot.as_ref().and_then(|snapshot| {
        let upstream = find(snapshot, key)?;
        Some((upstream, pool(snapshot, upstream)?))
    });
    let Some((upstream, pool)) = found else {
        return not_found();
    };
    let meant = |known: &Target| known.name == target || known.entity["id"] == target;
    let known = targets(upstream, &pool.set).into_iter().find(meant);
    let Some(known) = known else {
        return not_found();
    };
    let meant = |of: &&Arc<Endpoint>| {
        address.is_none_or(|text| {
            of.address.to_string() == text || of.address.ip().to_string() == text
        })
    };
    let addresses: Vec<_> = known.addresses.iter().filter(meant).collect();
    if addresses.is_empty() {
        return match address {
            Some(_) => not_found(),
            None => super::message(StatusCode::BAD_REQUEST, "the target has no address"),
        };
    }
    for endpoint in addresses {
        pool.cluster.set_health(endpoint, healthy, clock::now());
    }
    StatusCode::NO_CONTENT.into_response()
}

/// The addresses behind an upstream, and how they are used.
struct Pool {
    cluster: Arc<Cluster>,
    policy: Arc<Policy>,
    set: Arc<EndpointSet>,
}

fn pool(snapshot: &Snapshot, upstream: &Upstream) -> Option<Pool> {
    let cluster = snapshot.clusters.get(upstream.cluster)?.clone();
    Some(Pool {
        policy: snapshot.policies.get(upstream.cluster)?.clone(),
        set: cluster.endpoints(),
        cluster,
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

/// The lists that the targets of this upstream are from.
fn lists(admin: &Admin, snapshot: &Snapshot, upstream: &Upstream) -> Vec<Value> {
    let specs = snapshot.targets.get(upstream.cluster).into_iter().flatten();
    let asked = specs.filter_map(|spec| spec.consul.as_ref());
    asked
        .filter_map(|of| (admin.parts().discovered)(of))
        .collect()
}

fn with_upstream(
    admin: &Admin,
    key: &str,
    show: impl FnOnce(&Snapshot, &Upstream, &Pool) -> Value,
) -> Response {
    let snapshot = admin.parts().cell.load();
    let found = snapshot.as_ref().and_then(|snapshot| {
        let upstream = find(snapshot, key)?;
        Some(show(snapshot, upstream, &pool(snapshot, upstream)?))
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
        let Some(pool) = pool(snapshot, upstream) else {
            continue;
        };
        let name = upstream.entity.label();
        for target in targets(upstream, &pool.set) {
            let shown = target.health(&pool.policy);
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
    fn health(self, policy: &Policy) -> Value {
        let (host, port) = self.name.rsplit_once(':').unwrap_or((&self.name, ""));
        let (mut total, mut available) = (0, 0);
        for endpoint in &self.addresses {
            let weight = u64::from(endpoint.weight());
            total += weight;
            available += if policy.shuts(endpoint) { 0 } else { weight };
        }
        let words: Vec<&str> = self.addresses.iter().map(|of| word(of, policy)).collect();
        let best = ["HEALTHY", "HEALTHCHECKS_OFF", "UNHEALTHY"];
        let best = best.into_iter().find(|word| words.contains(word));
        let addresses: Vec<Value> = self
            .addresses
            .iter()
            .map(|of| address(of, policy))
            .collect();
        let mut out = self.entity;
        out["health"] = best.unwrap_or("DNS_ERROR").into();
        out["data"] = json!({
            "host": host.trim_matches(['[', ']']),
            "port": port.parse::<u16>().ok(),
            "dns": "A",
            "nodeWeight": out["weight"],
            "weight": weights(total, available),
            "addresses": addresses,
        });
        out
    }
}

/// Kong's word for how an address is.
fn word(endpoint: &Endpoint, policy: &Policy) -> &'static str {
    if endpoint.weight() == 0 {
        "HEALTHCHECKS_OFF"
    } else if policy.shuts(endpoint) {
        "UNHEALTHY"
    } else if policy.checks.is_on() {
        "HEALTHY"
    } else {
        "HEALTHCHECKS_OFF"
    }
}

fn address(endpoint: &Endpoint, policy: &Policy) -> Value {
    json!({
        "ip": endpoint.address.ip().to_string(),
        "port": endpoint.address.port(),
        "weight": endpoint.weight(),
        "health": word(endpoint, policy),
        "requests": endpoint.requests(),
        "failures": endpoint.failures(),
        "in_flight": endpoint.in_flight(),
    })
}
