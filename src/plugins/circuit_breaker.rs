//! # circuit-breaker
//!
//! Stops asking a service that fails, and answers in its place until it is well again.
//!
//! While **closed**, requests pass. A failure opens the breaker when of the requests of the last
//! `rolling_window` milliseconds more than `error_threshold_percentage` percent failed, and there
//! were at least `volume_threshold` of them. While **open**, requests are refused without a word to
//! the service. After `reset_timeout` milliseconds it is **half-open**: one request is let through.
//! If it succeeds, the breaker closes; if it fails, it is open for another `reset_timeout`; if its
//! client leaves, the next request takes its place.
//!
//! | Failure | No failure |
//! | --- | --- |
//! | no connection, TLS error, no target to ask, connection lost before the response | any other status, 4xx too |
//! | no response headers within `timeout`, or within the service's own time-outs | a response that breaks off later |
//! | a status in `failure_statuses` | |
//! | gRPC: `grpc-status` 4, 13 or 14 | gRPC: any other |
//!
//! A request counts once, however often it is retried; one whose client leaves counts neither way.
//! `timeout` is the time from the last plugin to the response headers, over all attempts; waiting
//! for the client's own request body is not part of it. Bodies, streams and WebSockets may last.
//! Refused requests count as requests, as in opossum.
//!
//! | | without `fallback` | with `fallback` |
//! | --- | --- | --- |
//! | refused | 503 `{"message":"Circuit breaker is open"}` with `Retry-After` and `X-Circuit-Breaker: open` | the fallback |
//! | no response headers within `timeout` | 504 | the fallback |
//! | other failure without a response | 502, 503 or 504 | the fallback |
//! | a status in `failure_statuses` | the service's own response | the fallback |
//!
//! A gRPC client gets a fallback as a `grpc-status` without a message, 14 for a 2xx. A failure that
//! only the trailers tell is counted, and passed on. The fallback's body is sent as JSON if it is
//! JSON, else as plain text, unless its headers say otherwise.
//!
//! There is a breaker for each service that an instance covers: a global one has one a service, one
//! on a route has its own. It outlives reloads unless the service, or a number that it counts by,
//! changes. Its state is in the metrics `sluicegate_breaker_*`, in `/status`, in
//! `/upstreams/{name}/health`, and while it is not closed in `/health`; each transition is a line in
//! the log.

mod config;
mod guard;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use self::config::{CONFIG, Config, parse};
use self::guard::Guard;
use crate::config::Parsed;
use crate::config::known::KnownPlugin;
use crate::limits::breaker::{End, Entry, Ticket};
use crate::message::Reply;
use crate::plugin::{
    Build, Flow, Outcome, OutcomeCx, Phases, Plugin, PluginDef, RequestCx, instance,
};
use crate::util::local;

/// The line of the table.
pub static PLUGIN: PluginDef = PluginDef {
    known: KnownPlugin {
        name: "circuit-breaker",
        config: &CONFIG,
        parse,
        on_consumer: false,
        on_routes: true,
    },
    // The last gate: what it lets through is asked of the upstream next.
    priority: 700,
    phases: Phases::GATE.and(Phases::OUTCOME),
    credentials: None,
    anonymous: None,
    build,
};

/// How the gateway calls a time-out that a plugin has set.
const DEADLINE: &str = "deadline";
/// Failures that say nothing of the service.
const OURS: [&str; 2] = ["internal", "bad_path"];

struct CircuitBreaker {
    config: Config,
    guards: Guards,
}

/// The breakers of an instance.
enum Guards {
    /// Of the one service there is.
    One(Arc<Guard>),
    /// By the service's id: where its guard is in the list.
    Many(HashMap<String, usize, FixedState>, Vec<Arc<Guard>>),
}

impl Guards {
    fn position(&self, service: &str) -> Option<usize> {
        match self {
            Guards::One(_) => Some(0),
            Guards::Many(by_id, _) => by_id.get(service).copied(),
        }
    }

    fn at(&self, position: usize) -> Option<&Guard> {
        match self {
            Guards::One(guard) => Some(guard),
            Guards::Many(_, all) => all.get(position).map(Arc::as_ref),
        }
    }
}

fn build(parsed: &Parsed, build: &Build<'_>) -> Arc<dyn Plugin> {
    instance(parsed, |config: &Config| {
        let services = build.services.iter().filter(|service| service.enabled);
        let mut guards: Vec<Arc<Guard>> = services
            .map(|service| Guard::adopt(config, service, build))
            .collect();
        let is_global = build.scope.service.is_empty() && build.scope.route.is_empty();
        let guards = match guards.pop() {
            Some(only) if guards.is_empty() && !is_global => Guards::One(only),
            last => {
                guards.extend(last);
                let by_id = guards.iter().enumerate();
                let by_id = by_id.map(|(at, guard)| (guard.service_id().to_owned(), at));
                Guards::Many(by_id.collect(), guards)
            }
        };
        Arc::new(CircuitBreaker {
            config: config.clone(),
            guards,
        })
    })
}

impl Plugin for CircuitBreaker {
    fn before_upstream<'a>(&'a self, cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        let service = cx.place.service.map_or("", |service| &service.id);
        let Some(position) = self.guards.position(service) else {
            return Flow::Next;
        };
        let Some(guard) = self.guards.at(position) else {
            return Flow::Next;
        };
        match guard.enter(local::thread()) {
            Entry::Pass(ticket) => {
                cx.note([ticket.to_bits(), position as u64]);
                if let Some(timeout) = self.config.timeout {
                    let set = cx.facts.head_timeout;
                    cx.facts.head_timeout = Some(set.map_or(timeout, |set| set.min(timeout)));
                }
                Flow::Next
            }
            Entry::Refused(wait) => match &self.config.fallback {
                Some(fallback) => {
                    guard.count_fallback();
                    fallback.clone().into()
                }
                None => refusal(wait.as_millis().div_ceil(1000).max(1)).into(),
            },
        }
    }

    fn on_outcome(&self, cx: &mut OutcomeCx<'_>) {
        let Some([ticket, position]) = cx.noted() else {
            return;
        };
        let Some(guard) = self.guards.at(position as usize) else {
            return;
        };
        let end = self.config.judge(cx.outcome);
        if cx.outcome == Outcome::Failed(DEADLINE) {
            guard.count_timeout();
        }
        guard.leave(Ticket::from_bits(ticket), end);
        if let (End::Failure, true, Some(fallback)) = (end, cx.replaceable, &self.config.fallback) {
            guard.count_fallback();
            cx.replace(fallback.clone());
        }
    }
}

fn refusal(seconds: u128) -> Reply {
    Reply::message(503, "Circuit breaker is open")
        .with("Retry-After", seconds.to_string())
        .with("X-Circuit-Breaker", "open")
}

impl Config {
    /// What an outcome says of the service.
    fn judge(&self, outcome: Outcome) -> End {
        let failed = match outcome {
            Outcome::Abandoned => return End::Unknown,
            Outcome::Failed(label) if OURS.contains(&label) => return End::Unknown,
            Outcome::Failed(_) => true,
            Outcome::Status(status) => self.failures.contains(status),
            // Deadline exceeded, internal, unavailable.
            Outcome::Grpc(code) => matches!(code, 4 | 13 | 14),
        };
        match failed {
            true => End::Failure,
            false => End::Success,
        }
    }
}

#[cfg(test)]
mod tests;
