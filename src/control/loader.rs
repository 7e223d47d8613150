//! From a text to the live snapshot, step by step; what the first load and every reload share.
//!
//! Invariant: a text that is refused, or overtaken by a newer one, changes nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::dns::Dns;
use super::outcome::Outcome;
use super::probes::Probes;
use crate::config::Report;
use crate::config::settings::Settings;
use crate::plugin::PluginDef;
use crate::snapshot::cell::SnapshotCell;
use crate::snapshot::{
    self, Changes, Checked, Inventory, Parts, Snapshot, Surroundings, UpstreamTls,
};
use crate::telemetry::Metrics;
use crate::util::background::Background;
use crate::util::clock;
use crate::util::handles::Handles;
use crate::util::keep::Keeps;

/// What configurations are loaded with: things of the process.
pub struct Loading {
    /// The plugins.
    pub table: &'static [&'static PluginDef],
    /// Flags and environment.
    pub around: Surroundings,
    /// State that outlives configurations.
    pub keeps: Arc<Keeps>,
    /// What plugins may ask for.
    pub handles: Handles,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// TLS towards upstreams.
    pub tls: UpstreamTls,
    /// Number of data-plane workers.
    pub workers: usize,
    /// Where the live snapshot stands.
    pub cell: SnapshotCell,
    /// Who feeds its clusters.
    pub dns: Arc<Dns>,
    /// Who probes what is in them.
    pub probes: Arc<Probes>,
    /// Where the work is done.
    pub background: Background,
}

/// Where a configuration is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This file.
    File(String),
    /// `POST /config`.
    Post,
}

impl Origin {
    /// What lines of reports begin with.
    pub fn file(&self) -> &str {
        match self {
            Self::File(file) => file,
            Self::Post => "POST /config",
        }
    }
}

/// What is live.
#[derive(Clone, Debug)]
pub struct Live {
    /// Number of the snapshot.
    pub generation: u64,
    /// Hash of the text.
    pub hash: String,
    /// The text: what a new process is to begin with.
    pub text: Arc<str>,
    /// Where it is from.
    pub origin: Origin,
    /// When it went live, milliseconds since 1970.
    pub since_ms: u64,
    /// Settings that it asks for and that only a restart brings.
    pub restart: Vec<&'static str>,
    /// What making it live did.
    pub outcome: Arc<Outcome>,
}

/// How a reload went.
#[derive(Clone, Debug)]
pub struct Last {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Where the configuration was from.
    pub origin: Origin,
    /// `loaded`, `unchanged`, `rejected` or `superseded`.
    pub result: &'static str,
    /// What was said about it, if it was looked at.
    pub report: Option<Report>,
}

#[derive(Default)]
struct State {
    live: Option<Live>,
    last: Option<Last>,
    /// Those that the process was started with.
    settings: Option<Settings>,
}

/// Loads configurations. Only the supervisor, and before it the start of the process, publish.
pub struct Loader {
    loading: Loading,
    state: Mutex<State>,
}

impl Loader {
    /// Nothing is live yet.
    pub fn new(loading: Loading) -> Self {
        Self {
            loading,
            state: Mutex::default(),
        }
    }

    /// Checks a text. Takes its time: not for asynchronous tasks.
    pub fn check(&self, text: &str, file: &str) -> (Option<Checked>, Report) {
        snapshot::check(text, file, &self.loading.around, self.loading.table)
    }

    /// Compiles a checked text. Takes its time, and changes nothing that is in use.
    pub fn compile(&self, checked: Checked) -> Compiled {
        let settings = checked.settings().settings.clone();
        let took = checked.took();
        let begin = clock::now();
        self.loading.keeps.begin();
        let snapshot = snapshot::compile(
            checked,
            &Parts {
                table: self.loading.table,
                keeps: &self.loading.keeps,
                handles: &self.loading.handles,
                metrics: &self.loading.metrics,
                tls: &self.loading.tls,
                workers: self.loading.workers,
                generation: 0,
            },
        );
        let compile = clock::now() - begin;
        let live = self.snapshot();
        let changes = live.map(|live| live.inventory.changes(&snapshot.inventory));
        Compiled {
            settings,
            outcome: Outcome {
                changes: changes.unwrap_or_default(),
                kept: self.loading.keeps.kept(),
                took,
                compile,
            },
            snapshot,
        }
    }

    /// What making a checked text live would change; nothing is live before the first.
    pub fn changes(&self, checked: &Checked) -> Changes {
        let live = self.snapshot().map(|live| live.inventory.clone());
        let new = Inventory::of(checked.model());
        live.unwrap_or_default().changes(&new)
    }

    /// Makes a compiled text live.
    pub fn publish(&self, compiled: Compiled, origin: Origin) -> Live {
        let Compiled {
            mut snapshot,
            settings,
            outcome,
        } = compiled;
        let mut state = self.state();
        snapshot.generation = state.live.as_ref().map_or(0, |live| live.generation) + 1;
        let restart = match &state.settings {
            Some(old) => old.changed(&settings),
            None => Vec::new(),
        };
        state.settings.get_or_insert(settings);
        let live = Live {
            generation: snapshot.generation,
            hash: snapshot.hash.clone(),
            text: snapshot.text.clone(),
            origin,
            since_ms: clock::unix_ms(),
            restart,
            outcome: Arc::new(outcome),
        };
        self.announce(&snapshot, &live);
        let snapshot = Arc::new(snapshot);
        self.loading.cell.publish(snapshot.clone());
        self.loading.dns.follow(&snapshot);
        self.loading.probes.follow(&snapshot);
        state.live = Some(live.clone());
        live
    }

    fn announce(&self, snapshot: &Snapshot, live: &Live) {
        let entities = [
            ("services", snapshot.services.len()),
            ("routes", snapshot.routes.len()),
            ("upstreams", snapshot.upstreams.len()),
            ("consumers", snapshot.identity.all().len()),
            ("plugins", snapshot.plugins.len()),
        ];
        let metrics = self.loading.metrics.config();
        metrics.loaded(live.generation, &live.hash, &entities);
        metrics.took(&live.outcome.steps());
        let millis = live.outcome.total().as_millis() as u64;
        info!(
            generation = live.generation,
            hash = live.hash,
            services = snapshot.services.len(),
            routes = snapshot.routes.len(),
            plugins = snapshot.plugins.len(),
            millis,
            "configuration is live: {}{}",
            live.origin.file(),
            match live.generation {
                1 => String::new(),
                _ => format!(": {}", live.outcome.changes.summary()),
            },
        );
        if !live.restart.is_empty() {
            let names = live.restart.join(", ");
            warn!("changed settings that only a restart brings, or SIGUSR2: {names}");
        }
    }

    /// Notes how a reload went.
    pub fn note(&self, origin: Origin, result: &'static str, report: Option<&Report>) {
        let metrics = self.loading.metrics.config();
        match result {
            "rejected" => metrics.rejected(),
            "unchanged" => metrics.unchanged(),
            "superseded" => metrics.superseded(),
            // Counted when it went live.
            _ => {}
        }
        self.state().last = Some(Last {
            at_ms: clock::unix_ms(),
            origin,
            result,
            report: report.cloned(),
        });
    }

    /// What is live; `None` before the first.
    pub fn live(&self) -> Option<Live> {
        self.state().live.clone()
    }

    /// How the last reload went; `None` before the first.
    pub fn last(&self) -> Option<Last> {
        self.state().last.clone()
    }

    /// Settings of this configuration that only a restart would bring.
    pub fn restart_for(&self, settings: &Settings) -> Vec<&'static str> {
        let state = self.state();
        let old = state.settings.as_ref();
        old.map(|old| old.changed(settings)).unwrap_or_default()
    }

    /// The live snapshot.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.loading.cell.load()
    }

    /// Things of the process that configurations are loaded with.
    pub fn loading(&self) -> &Loading {
        &self.loading
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot that is not live yet.
pub struct Compiled {
    snapshot: Snapshot,
    settings: Settings,
    outcome: Outcome,
}
