//! What `/health`, `/status` and a scrape tell of Consul.
//!
//! Invariant: no token, and asking waits for nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Discovery, Service};
use crate::remote::consul::{KINDS, State};
use crate::snapshot::ConsulDiscovery;
use crate::telemetry::{Check, Checks, Detail, Exposition, Health, Metrics, Weight};
use crate::util::clock;

/// Lets health, status and metrics tell of what is discovered.
pub fn register(discovery: &Arc<Discovery>, checks: &Checks, metrics: &Metrics) {
    let ours = discovery.clone();
    checks.register(move |out| out.extend(check(&ours.running())));
    checks.register_details(Arc::downgrade(discovery), |discovery, out| {
        out.extend(discovery.running().iter().map(|service| Detail {
            kind: "consul",
            service: None,
            json: detail(service),
        }));
    });
    let ours = discovery.clone();
    metrics.register(Box::new(move |out| ours.expose(out)));
}

/// Nothing while nobody is watched.
fn check(services: &[Arc<Service>]) -> Option<Check> {
    let troubled = |service: &&Arc<Service>| service.seen(|seen| seen.trouble.is_some());
    let first = services.iter().find(troubled);
    let (status, message) = match first {
        None => (
            Health::Healthy,
            format!("{} watched", counted(services.len(), "service")),
        ),
        Some(service) => {
            let (trouble, kept) = service.seen(|seen| (seen.trouble.clone(), seen.good.is_some()));
            let trouble = trouble.map(|trouble| trouble.to_string());
            let name = &service.query.service;
            let kept = if kept { "; what was known is kept" } else { "" };
            let more = match services.iter().filter(troubled).count() {
                0 | 1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let trouble = trouble.unwrap_or_default();
            (Health::Degraded, format!("{name}: {trouble}{kept}{more}"))
        }
    };
    (!services.is_empty()).then(|| Check {
        name: "consul".into(),
        status,
        message,
        weight: Weight::Part,
    })
}

fn counted(n: usize, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

fn age(at: Option<Instant>) -> Option<f64> {
    at.map(|at| clock::now().saturating_duration_since(at).as_millis() as f64 / 1000.0)
}

fn detail(service: &Service) -> Value {
    let query = &service.query;
    service.seen(|seen| {
        json!({
            "service": query.service,
            "datacenter": query.datacenter,
            "filter": query.filter,
            "namespace": query.namespace,
            "partition": query.partition,
            "instances": seen.good.as_ref().map(|list| list.len()),
            "malformed": seen.malformed,
            "without_port": seen.without_port(),
            "index": seen.index,
            "answered_seconds_ago": age(seen.answered),
            "changed_seconds_ago": age(seen.changed),
            "error": seen.trouble.as_ref().map(ToString::to_string),
        })
    })
}

const STATES: [(&str, State); 4] = [
    ("passing", State::Passing),
    ("warning", State::Warning),
    ("critical", State::Critical),
    ("maintenance", State::Maintenance),
];

impl Discovery {
    /// How old the list of this description is, and what is wrong with it; `None` while nobody
    /// asks for it.
    pub fn tell(&self, of: &ConsulDiscovery) -> Option<Value> {
        let query = self.query(of);
        let all = self.running();
        let mut detail = detail(all.iter().find(|service| service.query == query)?);
        detail["source"] = "consul".into();
        Some(detail)
    }

    fn expose(&self, out: &mut Exposition) {
        let counts = &self.counts;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let services = self.running();
        out.gauge(
            "sluicegate_consul_watched_services",
            "Questions to Consul that are asked again and again, each over a connection.",
            &[],
            services.len() as f64,
        );
        out.counter(
            "sluicegate_consul_answers_total",
            "Answers of Consul about instances.",
            &[],
            count(&counts.answers),
        );
        out.counter(
            "sluicegate_consul_changes_total",
            "Answers of Consul that changed a list of instances.",
            &[],
            count(&counts.changes),
        );
        out.counter(
            "sluicegate_consul_malformed_instances_total",
            "Instances that were left out of an answer because they make no sense.",
            &[],
            count(&counts.malformed),
        );
        for (kind, errors) in KINDS.iter().zip(&counts.errors) {
            out.counter(
                "sluicegate_consul_errors_total",
                "Questions to Consul without a good answer, by what went wrong.",
                &[("kind", kind)],
                count(errors),
            );
        }
        for service in &services {
            expose(service, out);
        }
    }
}

fn expose(service: &Service, out: &mut Exposition) {
    let query = &service.query;
    let or = |text: &Option<String>| text.clone().unwrap_or_default();
    let (datacenter, filter) = (or(&query.datacenter), or(&query.filter));
    let labels = [
        ("service", query.service.as_str()),
        ("datacenter", &datacenter),
        ("filter", &filter),
    ];
    service.seen(|seen| {
        if let Some(age) = age(seen.answered) {
            out.gauge(
                "sluicegate_consul_index_age_seconds",
                "Time since Consul last answered about the service; a quiet one is asked for 60 s.",
                &labels,
                age,
            );
        }
        out.gauge(
            "sluicegate_consul_up",
            "Whether the last question about the service had a good answer.",
            &labels,
            f64::from(seen.good.is_some() && seen.trouble.is_none()),
        );
        let list = seen.good.as_deref().map(Vec::as_slice).unwrap_or_default();
        for (word, state) in STATES {
            let many = list.iter().filter(|of| of.state == state).count();
            let [service, datacenter, filter] = labels;
            out.gauge(
                "sluicegate_consul_instances",
                "Instances of the service in Consul, by how their checks are.",
                &[service, datacenter, filter, ("state", word)],
                many as f64,
            );
        }
    });
}
