//! One breaker with its clock, its counts and its place among metrics, checks and status pages.
//!
//! Invariant: whoever brings a transition about logs it, so each is one line. What is counted here
//! is rare: a closed breaker writes to its own counts of calls alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::config::Config;
use crate::config::model::Service;
use crate::limits::Breaker;
use crate::limits::breaker::{Change, End, Entry, Glance, State, Ticket};
use crate::plugin::Build;
use crate::telemetry::{Check, Checks, Detail, Exposition, Health, Metrics, Weight};
use crate::util::clock;
use crate::util::codes::Codes;

/// What a breaker is kept under over a reload: instance, service and where it is, what is counted
/// and how.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Identity {
    instance: String,
    service: String,
    address: String,
    timeout: Option<Duration>,
    percentage: u64,
    volume: u64,
    window: Duration,
    reset: Duration,
    failures: Codes,
}

impl Identity {
    fn of(config: &Config, service: &Service, instance: &str) -> Identity {
        let path = service.path.as_deref().unwrap_or_default();
        let (host, port) = (&service.host, service.port);
        Identity {
            instance: instance.to_owned(),
            service: service.meta.id.to_string(),
            address: format!("{}://{host}:{port}{path}", service.protocol.word()),
            timeout: config.timeout,
            percentage: config.breaker.percentage.to_bits(),
            volume: config.breaker.volume,
            window: config.breaker.window,
            reset: config.breaker.reset,
            failures: config.failures.clone(),
        }
    }
}

/// What people call a breaker.
struct Names {
    instance: String,
    service_id: String,
    service: String,
    /// Empty, unless the instance is on a route.
    route: String,
    scope: &'static str,
}

/// What happened so far.
#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    half_opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    fallbacks: AtomicU64,
}

/// A breaker and what is around it.
pub(super) struct Guard {
    breaker: Breaker,
    /// Zero of its milliseconds.
    began: Instant,
    names: Names,
    counts: Counts,
    /// It has met a request, or its instance is for this service alone: it is to be seen.
    shown: AtomicBool,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Guard {
    /// The living one of the same identity, else a new one.
    pub(super) fn adopt(config: &Config, service: &Service, build: &Build<'_>) -> Arc<Guard> {
        let identity = Identity::of(config, service, &build.scope.id);
        let mut is_new = false;
        let guard = build.keeps.of::<Identity, Guard>().adopt(identity, || {
            is_new = true;
            Guard::new(config, service, build)
        });
        if is_new {
            guard.register(build);
        }
        guard
    }

    fn new(config: &Config, service: &Service, build: &Build<'_>) -> Guard {
        let route = build.route.map(|route| match &route.name {
            Some(name) => name.clone(),
            None => route.meta.id.to_string(),
        });
        let scope = match (&route, build.scope.service.is_empty()) {
            (Some(_), _) => "route",
            (None, false) => "service",
            (None, true) => "global",
        };
        Guard {
            breaker: Breaker::new(config.breaker, build.workers),
            began: clock::now(),
            names: Names {
                instance: build.scope.id.clone(),
                service_id: service.meta.id.to_string(),
                service: service.name.clone().unwrap_or_else(|| service.host.clone()),
                route: route.unwrap_or_default(),
                scope,
            },
            counts: Counts::default(),
            shown: AtomicBool::new(scope != "global"),
        }
    }

    fn register(self: &Arc<Self>, build: &Build<'_>) {
        let weak = || Arc::downgrade(self);
        if let Some(metrics) = build.handles.get::<Metrics>() {
            metrics.register_weak(weak(), Guard::expose);
        }
        if let Some(checks) = build.handles.get::<Checks>() {
            checks.register_weak(weak(), |guard, out| out.extend(guard.check()));
            checks.register_details(weak(), |guard, out| out.extend(guard.detail()));
        }
    }

    /// The id of its service.
    pub(super) fn service_id(&self) -> &str {
        &self.names.service_id
    }

    /// A request wants to pass.
    pub(super) fn enter(&self, thread: usize) -> Entry {
        if !self.shown.load(Ordering::Relaxed) {
            self.shown.store(true, Ordering::Relaxed);
        }
        let (entry, change) = self.breaker.enter(self.now(), thread);
        if let Entry::Refused(_) = entry {
            add(&self.counts.refused);
        }
        self.tell(change);
        entry
    }

    /// A request that passed has ended.
    pub(super) fn leave(&self, ticket: Ticket, end: End) {
        if end == End::Failure {
            add(&self.counts.failures);
        }
        // Success in a closed breaker, the usual end, needs no clock.
        if end == End::Success && !ticket.is_trial() {
            return;
        }
        let change = self.breaker.leave(ticket, end, self.now());
        self.tell(change);
    }

    /// A request got the fallback.
    pub(super) fn count_fallback(&self) {
        add(&self.counts.fallbacks);
    }

    /// A request had no response headers in time.
    pub(super) fn count_timeout(&self) {
        add(&self.counts.timeouts);
    }

    fn now(&self) -> u64 {
        clock::now()
            .saturating_duration_since(self.began)
            .as_millis() as u64
    }

    fn glance(&self) -> Glance {
        self.breaker.glance(self.now())
    }

    /// The one line of a transition.
    fn tell(&self, change: Option<Change>) {
        let Some(change) = change else { return };
        let (count, words) = match (change.from, change.to) {
            (_, State::Closed) => (
                &self.counts.closed,
                "circuit breaker closes: the trial succeeded",
            ),
            (_, State::HalfOpen) => (
                &self.counts.half_opened,
                "circuit breaker is half-open: one request is let through",
            ),
            (State::HalfOpen, State::Open) => (
                &self.counts.opened,
                "circuit breaker opens again: the trial failed",
            ),
            (_, State::Open) => (&self.counts.opened, "circuit breaker opens"),
        };
        add(count);
        let Names {
            service,
            route,
            scope,
            ..
        } = &self.names;
        let Change {
            calls, failures, ..
        } = change;
        match change.to {
            State::Open => tracing::warn!(%service, %route, %scope, calls, failures, "{words}"),
            _ => tracing::info!(%service, %route, %scope, calls, failures, "{words}"),
        }
    }

    fn is_shown(&self) -> bool {
        self.shown.load(Ordering::Relaxed)
    }

    fn expose(&self, out: &mut Exposition) {
        if !self.is_shown() {
            return;
        }
        let Names {
            service,
            route,
            scope,
            ..
        } = &self.names;
        let labels = [("service", &**service), ("route", route), ("scope", scope)];
        let level = match self.glance().state {
            State::Closed => 0.0,
            State::HalfOpen => 1.0,
            State::Open => 2.0,
        };
        out.gauge(
            "sluicegate_breaker_state",
            "0 closed, 1 half-open, 2 open.",
            &labels,
            level,
        );
        let counts = &self.counts;
        for (to, count) in [
            ("open", &counts.opened),
            ("half-open", &counts.half_opened),
            ("closed", &counts.closed),
        ] {
            let [service, route, scope] = labels;
            out.counter(
                "sluicegate_breaker_transitions_total",
                "Transitions, by the state that they led to.",
                &[service, route, scope, ("to", to)],
                get(count) as f64,
            );
        }
        for (name, help, count) in [
            (
                "sluicegate_breaker_rejected_total",
                "Requests that were refused.",
                &counts.refused,
            ),
            (
                "sluicegate_breaker_failures_total",
                "Requests that were let through and failed.",
                &counts.failures,
            ),
            (
                "sluicegate_breaker_timeouts_total",
                "Requests whose response headers did not come within the breaker's time.",
                &counts.timeouts,
            ),
            (
                "sluicegate_breaker_fallbacks_total",
                "Requests that were answered with the fallback.",
                &counts.fallbacks,
            ),
        ] {
            out.counter(name, help, &labels, get(count) as f64);
        }
    }

    /// For `/health`: nothing while it is closed.
    fn check(&self) -> Option<Check> {
        let Glance { state, wait, .. } = self.glance();
        let message = match state {
            State::Closed => return None,
            State::Open => format!("open, a trial in {} s", wait.as_millis().div_ceil(1000)),
            State::HalfOpen => "half-open, a trial decides".to_owned(),
        };
        let Names { service, route, .. } = &self.names;
        let slash = if route.is_empty() { "" } else { "/" };
        Some(Check {
            name: format!("breaker:{service}{slash}{route}"),
            status: Health::Degraded,
            message,
            weight: Weight::Part,
        })
    }

    fn detail(&self) -> Option<Detail> {
        if !self.is_shown() {
            return None;
        }
        let names = &self.names;
        let glance = self.glance();
        let counts = &self.counts;
        let since = (glance.since > 0).then(|| {
            let ago = self.now().saturating_sub(glance.since);
            clock::rfc3339(clock::unix_ms().saturating_sub(ago))
        });
        let route = Some(&names.route).filter(|route| !route.is_empty());
        Some(Detail {
            kind: "breakers",
            service: Some(names.service_id.clone()),
            json: json!({
                "service": names.service,
                "route": route,
                "scope": names.scope,
                "plugin": names.instance,
                "state": glance.state.label(),
                "since": since,
                "retry_after_ms": glance.wait.as_millis() as u64,
                "window": {"requests": glance.calls, "failures": glance.failures},
                "opened": get(&counts.opened),
                "rejected": get(&counts.refused),
                "failures": get(&counts.failures),
                "timeouts": get(&counts.timeouts),
                "fallbacks": get(&counts.fallbacks),
            }),
        })
    }
}
