//! What is counted about configurations: the families `sluicegate_config_*`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::exposition::Exposition;
use super::shard::Count;
use crate::util::clock;

/// Counts of reloads and facts of the live configuration. Written by the one task that owns
/// reloads.
#[derive(Debug, Default)]
pub struct ConfigMetrics {
    loaded: Count,
    rejected: Count,
    unchanged: Count,
    superseded: Count,
    live: Mutex<Option<Live>>,
    last_failed: Count,
    /// Milliseconds since 1970; 0 before the first.
    failed_at: Count,
    steps: Mutex<Vec<(&'static str, Duration)>>,
}

#[derive(Debug)]
struct Live {
    generation: u64,
    hash: String,
    since: f64,
    entities: Vec<(&'static str, usize)>,
}

impl ConfigMetrics {
    /// A configuration went live; `entities` counts it: `("routes", 61)`.
    pub fn loaded(&self, generation: u64, hash: &str, entities: &[(&'static str, usize)]) {
        self.loaded.inc();
        self.last_failed.set(0);
        *self.live() = Some(Live {
            generation,
            hash: hash.into(),
            since: clock::unix().as_secs_f64(),
            entities: entities.to_vec(),
        });
    }

    /// How long the steps towards the live configuration took: `("parse", ..)`.
    pub fn took(&self, steps: &[(&'static str, Duration)]) {
        *lock(&self.steps) = steps.to_vec();
    }

    /// A configuration was refused; the old one stays.
    pub fn rejected(&self) {
        self.rejected.inc();
        self.failed_at.set(clock::unix_ms());
        self.last_failed.set(1);
    }

    /// A reload brought the configuration that is live already.
    pub fn unchanged(&self) {
        self.unchanged.inc();
        self.last_failed.set(0);
    }

    /// A newer configuration overtook one that was being compiled.
    pub fn superseded(&self) {
        self.superseded.inc();
    }

    fn live(&self) -> MutexGuard<'_, Option<Live>> {
        lock(&self.live)
    }

    /// Adds the families.
    pub fn expose(&self, out: &mut Exposition) {
        let results = [
            ("loaded", &self.loaded),
            ("rejected", &self.rejected),
            ("unchanged", &self.unchanged),
            ("superseded", &self.superseded),
        ];
        for (result, count) in results {
            out.counter(
                "sluicegate_config_reloads_total",
                "Configurations that were offered, by what became of them.",
                &[("result", result)],
                count.get() as f64,
            );
        }
        out.gauge(
            "sluicegate_config_last_reload_successful",
            "Whether the configuration that was offered last is fine: 1 or 0.",
            &[],
            1.0 - self.last_failed.get() as f64,
        );
        if let Some(live) = self.live().as_ref() {
            live.expose(out);
        }
        self.expose_times(out);
    }

    fn expose_times(&self, out: &mut Exposition) {
        out.gauge(
            "sluicegate_config_last_failure_timestamp_seconds",
            "When a configuration was refused last, in seconds since 1970; 0 is never.",
            &[],
            self.failed_at.get() as f64 / 1000.0,
        );
        let steps = lock(&self.steps);
        for (step, took) in steps.iter() {
            out.gauge(
                "sluicegate_config_load_duration_seconds",
                "How long each step towards the live configuration took.",
                &[("step", step)],
                took.as_secs_f64(),
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    fn expose(&self, out: &mut Exposition) {
        out.gauge(
            "sluicegate_config_info",
            "The hash of the live configuration; always 1.",
            &[("hash", &self.hash)],
            1.0,
        );
        out.gauge(
            "sluicegate_config_generation",
            "The number of the live configuration, counted from the start of the process.",
            &[],
            self.generation as f64,
        );
        out.gauge(
            "sluicegate_config_last_load_timestamp_seconds",
            "When the live configuration went live, in seconds since 1970.",
            &[],
            self.since,
        );
        for (kind, count) in &self.entities {
            out.gauge(
                "sluicegate_config_entities",
                "Entities of the live configuration, by kind.",
                &[("kind", kind)],
                *count as f64,
            );
        }
    }
}
