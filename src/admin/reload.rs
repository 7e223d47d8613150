//! How the admin listener hands a configuration to whoever owns reloads.

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

use crate::config::report::Report;

/// Owner of reloads, as the admin listener sees it.
pub trait Reloads: Send + Sync + 'static {
    /// Loads a configuration, or tells what loading it would do. Dropping the future forgets the
    /// answer; a load that began goes on.
    fn offer(&self, offer: Offer) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>>;

    /// How the last reload went, from whatever source; `None` before the first.
    fn last(&self) -> Option<LastReload>;
}

/// A configuration to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// YAML or JSON.
    pub text: String,
    /// Change nothing, tell what would change.
    pub dry_run: bool,
}

/// What became of an [`Offer`].
#[derive(Debug)]
pub enum Answer {
    /// It is live.
    Loaded {
        /// The warnings about it.
        report: Report,
        /// Settings that it changes and that need a restart.
        restart: Vec<String>,
        /// What changed, what state was kept, how long it took: an object.
        outcome: Value,
    },
    /// It is what was live already.
    Unchanged,
    /// A newer one overtook it.
    Superseded,
    /// It is refused; what was live stays.
    Invalid(Report),
    /// What loading it would change.
    Preview(Value),
    /// Nobody loads configurations any more: the process ends.
    Gone,
}

/// How a reload went.
#[derive(Clone, Debug, PartialEq)]
pub struct LastReload {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Where the configuration came from: a path, `POST /config`, a Consul key.
    pub source: String,
    /// `loaded`, `unchanged`, `rejected`, `superseded`.
    pub result: &'static str,
    /// Errors and warnings, as [`Report::to_json`] has them; `null` without a report.
    pub report: Value,
    /// Settings that it changed and that need a restart.
    pub restart: Vec<String>,
    /// What changed, what state was kept, how long it took: an object, else `null`.
    pub outcome: Value,
}

impl LastReload {
    /// Whether it was refused.
    pub fn is_rejected(&self) -> bool {
        self.result == "rejected"
    }
}
