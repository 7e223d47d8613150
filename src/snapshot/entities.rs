//! Entities in Kong's JSON shape, as logs and admin views show them.
//!
//! Invariant: no secret is in any of them: keys of certificates are left out, plugins' configs are
//! those that the file reader has masked, credentials are not here at all.

use serde_json::{Map, Value, json};

use crate::config::model::{
    Algorithm, Certificate, CheckType, Consumer, HashInput, Meta, Model, PathHandling, Plugin,
    Protocol, Route, Service, Target, Thresholds, Upstream,
};
use crate::message::Entity;

/// A service.
pub(super) fn service(model: &Model, service: &Service) -> Entity {
    let authorities = service.trusted.as_ref().map(|list| {
        let known = list.iter().filter_map(|ix| model.ca_certificates.get(*ix));
        known
            .map(|ca| ca.meta.id.to_string())
            .collect::<Vec<String>>()
    });
    let own = json!({
        "name": service.name,
        "protocol": service.protocol.word(),
        "host": service.host,
        "port": service.port,
        "path": service.path,
        "retries": service.retries,
        "retry_on": service.retry_on,
        "retry_methods": service.retry_methods,
        "deadline": service.deadline.map(|time| time.as_millis() as u64),
        "connect_timeout": service.connect_timeout.as_millis() as u64,
        "write_timeout": service.write_timeout.as_millis() as u64,
        "read_timeout": service.read_timeout.as_millis() as u64,
        "enabled": service.enabled,
        "client_certificate": certificate_link(model, service.client_certificate),
        "tls_verify": service.tls_verify,
        "tls_verify_depth": service.tls_verify_depth,
        "ca_certificates": authorities,
        "http2": service.http2,
    });
    entity(&service.meta, service.name.as_deref(), own)
}

/// A route.
pub(super) fn route(model: &Model, route: &Route) -> Entity {
    let service = route.service.and_then(|ix| model.services.get(ix));
    let headers: Map<String, Value> = route
        .headers
        .iter()
        .map(|(name, values)| (name.clone(), json!(values)))
        .collect();
    let own = json!({
        "name": route.name,
        "service": service.map(|service| link(&service.meta)),
        "protocols": protocols(&route.protocols),
        "methods": listed(&route.methods),
        "hosts": listed(&route.hosts),
        "paths": listed(&route.paths),
        "headers": (!headers.is_empty()).then_some(headers),
        "snis": listed(&route.snis),
        "sources": null,
        "destinations": null,
        "https_redirect_status_code": route.https_redirect_status_code,
        "regex_priority": route.regex_priority,
        "strip_path": route.strip_path,
        "path_handling": match route.path_handling {
            PathHandling::V0 => "v0",
            PathHandling::V1 => "v1",
        },
        "preserve_host": route.preserve_host,
        "request_buffering": route.request_buffering,
        "response_buffering": route.response_buffering,
    });
    entity(&route.meta, route.name.as_deref(), own)
}

/// A consumer.
pub(super) fn consumer(consumer: &Consumer) -> Entity {
    let own = json!({ "username": consumer.username, "custom_id": consumer.custom_id });
    entity(&consumer.meta, consumer.username.as_deref(), own)
}

/// A plugin instance.
pub(super) fn plugin(model: &Model, plugin: &Plugin) -> Entity {
    let route = plugin.route.and_then(|ix| model.routes.get(ix));
    let service = plugin.service.and_then(|ix| model.services.get(ix));
    let consumer = plugin.consumer.and_then(|ix| model.consumers.get(ix));
    let own = json!({
        "name": plugin.name,
        "instance_name": plugin.instance_name,
        "route": route.map(|route| link(&route.meta)),
        "service": service.map(|service| link(&service.meta)),
        "consumer": consumer.map(|consumer| link(&consumer.meta)),
        "config": plugin.shown,
        "protocols": protocols(&plugin.protocols),
        "enabled": plugin.enabled,
    });
    entity(&plugin.meta, Some(&plugin.name), own)
}

/// An upstream.
pub(super) fn upstream(model: &Model, upstream: &Upstream) -> Entity {
    let mut own = json!({
        "name": upstream.name,
        "algorithm": algorithm(upstream.algorithm),
        "slots": upstream.slots,
        "slow_start": upstream.slow_start.as_secs_f64(),
        "host_header": upstream.host_header,
        "use_srv_name": upstream.use_srv_name,
        "client_certificate": certificate_link(model, upstream.client_certificate),
        "healthchecks": healthchecks(upstream),
    });
    hash_input(&mut own, "hash_on", &upstream.hash_on);
    hash_input(&mut own, "hash_fallback", &upstream.hash_fallback);
    if let (Some(discovery), Some(own)) = (&upstream.discovery, own.as_object_mut()) {
        let consul = json!({
            "service": discovery.service,
            "tags": discovery.tags,
            "datacenter": discovery.datacenter,
            "filter": discovery.filter,
            "passing_only": discovery.passing_only,
            "namespace": discovery.namespace,
            "partition": discovery.partition,
        });
        own.insert("discovery".to_owned(), json!({ "consul": consul }));
    }
    entity(&upstream.meta, Some(&upstream.name), own)
}

/// A target.
pub(super) fn target(model: &Model, target: &Target) -> Entity {
    let upstream = model.upstreams.get(target.upstream);
    let own = json!({
        "target": target.target,
        "weight": target.weight,
        "upstream": upstream.map(|upstream| link(&upstream.meta)),
    });
    entity(&target.meta, Some(&target.target), own)
}

/// Puts what every entity has around an entity's own fields.
fn entity(meta: &Meta, name: Option<&str>, mut json: Value) -> Entity {
    let id = meta.id.to_string();
    if let Some(map) = json.as_object_mut() {
        map.insert("id".to_owned(), json!(id));
        map.insert("tags".to_owned(), json!(listed(&meta.tags)));
        if let Some(created_at) = meta.created_at {
            map.insert("created_at".to_owned(), json!(created_at as i64));
        }
    }
    Entity {
        id,
        name: name.map(str::to_owned),
        json,
    }
}

fn link(meta: &Meta) -> Value {
    json!({ "id": meta.id.to_string() })
}

fn certificate_link(model: &Model, index: Option<usize>) -> Option<Value> {
    let certificate: &Certificate = model.certificates.get(index?)?;
    Some(link(&certificate.meta))
}

/// Kong shows an empty list as `null`.
fn listed(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}

fn protocols(list: &[Protocol]) -> Vec<&'static str> {
    list.iter().map(|protocol| protocol.word()).collect()
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::RoundRobin => "round-robin",
        Algorithm::ConsistentHashing => "consistent-hashing",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::Latency => "latency",
    }
}

/// `hash_on` with `hash_on_header` and its like; the same for the fallback.
fn hash_input(own: &mut Value, field: &str, input: &HashInput) {
    let mut put = |name: String, value: &str| {
        if let Some(map) = own.as_object_mut() {
            map.insert(name, json!(value));
        }
    };
    let word = match input {
        HashInput::None => "none",
        HashInput::Consumer => "consumer",
        HashInput::Ip => "ip",
        HashInput::Path => "path",
        HashInput::Header(name) => {
            put(format!("{field}_header"), name);
            "header"
        }
        HashInput::Cookie { name, path } => {
            put("hash_on_cookie".to_owned(), name);
            put("hash_on_cookie_path".to_owned(), path);
            "cookie"
        }
        HashInput::QueryArg(name) => {
            put(format!("{field}_query_arg"), name);
            "query_arg"
        }
        HashInput::UriCapture(name) => {
            put(format!("{field}_uri_capture"), name);
            "uri_capture"
        }
    };
    put(field.to_owned(), word);
}

fn healthchecks(upstream: &Upstream) -> Value {
    let (active, passive) = (
        &upstream.healthchecks.active,
        &upstream.healthchecks.passive,
    );
    let headers: Map<String, Value> = active
        .headers
        .iter()
        .map(|(name, values)| (name.clone(), json!(values)))
        .collect();
    let mut probes = json!({
        "type": check_type(active.kind),
        "timeout": active.timeout.as_secs_f64(),
        "concurrency": active.concurrency,
        "http_path": active.http_path,
        "https_sni": active.https_sni,
        "https_verify_certificate": active.https_verify_certificate,
        "headers": (!headers.is_empty()).then_some(headers),
    });
    thresholds(&mut probes, &active.thresholds);
    put_in(
        &mut probes,
        "healthy",
        "interval",
        active.healthy_interval.as_secs_f64(),
    );
    put_in(
        &mut probes,
        "unhealthy",
        "interval",
        active.unhealthy_interval.as_secs_f64(),
    );
    let mut traffic = json!({
        "type": check_type(passive.kind),
        "probation": passive.probation.as_secs_f64(),
    });
    thresholds(&mut traffic, &passive.thresholds);
    json!({
        "threshold": upstream.healthchecks.threshold,
        "active": probes,
        "passive": traffic,
    })
}

fn thresholds(side: &mut Value, counts: &Thresholds) {
    if let Some(side) = side.as_object_mut() {
        let healthy = json!({
            "http_statuses": counts.healthy_statuses,
            "successes": counts.successes,
        });
        let unhealthy = json!({
            "http_statuses": counts.unhealthy_statuses,
            "tcp_failures": counts.tcp_failures,
            "timeouts": counts.timeouts,
            "http_failures": counts.http_failures,
        });
        side.insert("healthy".to_owned(), healthy);
        side.insert("unhealthy".to_owned(), unhealthy);
    }
}

fn put_in(side: &mut Value, part: &str, name: &str, value: f64) {
    let part = side.get_mut(part).and_then(Value::as_object_mut);
    if let Some(part) = part {
        part.insert(name.to_owned(), json!(value));
    }
}

fn check_type(kind: CheckType) -> &'static str {
    match kind {
        CheckType::Http => "http",
        CheckType::Https => "https",
        CheckType::Tcp => "tcp",
        CheckType::Grpc => "grpc",
        CheckType::Grpcs => "grpcs",
    }
}
