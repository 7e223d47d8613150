//! The plugin interface and the compiled chain of a route (floor 3).
//!
//! A plugin is one file: a config table, a parsed config, an instance, a [`PluginDef`]. It sees
//! requests through the contexts of [`context`] and nothing else.
//!
//! Must not know: any concrete plugin, sockets.

pub mod build;
pub mod context;
mod guarded;
pub mod plan;
#[cfg(test)]
pub mod testkit;

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use build::{Build, Credentials, Scope, instance, join_groups};
pub use context::{
    BodyCx, Facts, Instance, Later, Outcome, OutcomeCx, Place, RequestCx, RequestId, ResponseCx,
};
pub use guarded::guarded;
pub use plan::{Choices, Plan, Slot, Wishes};

use crate::config::known::{KnownCredential, KnownPlugin};
use crate::config::{Known, Parsed};
use crate::message::{BodyWish, Record, Reply};
use crate::util::ids::ConsumerIx;

/// One instance of a plugin with its configuration. Every method is one phase; phases that the
/// [`PluginDef`] does not name are never called.
pub trait Plugin: Send + Sync + 'static {
    /// The request phase (Kong's access), in priority order until somebody answers.
    fn on_request<'a>(&'a self, _cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        Flow::Next
    }

    /// The last gate before the upstream is contacted: no plugin has answered.
    fn before_upstream<'a>(&'a self, _cx: &'a mut RequestCx<'_>) -> Flow<'a> {
        Flow::Next
    }

    /// How it ended, once, after all attempts; only for requests that passed the gates.
    fn on_outcome(&self, _cx: &mut OutcomeCx<'_>) {}

    /// The response phase (Kong's header_filter), whoever answered.
    fn on_response(&self, _cx: &mut ResponseCx<'_>) -> BodyWish {
        BodyWish::Pass
    }

    /// The body that [`Plugin::on_response`] asked for.
    fn on_body<'a>(&'a self, _cx: &'a mut BodyCx<'_>) -> Flow<'a> {
        Flow::Next
    }

    /// The exchange is over. Must not wait: it runs while the connection serves on.
    fn on_log(&self, _record: &Record<'_>) {}
}

/// What a phase decided.
pub enum Flow<'a> {
    /// Go on.
    Next,
    /// Answer this.
    Reply(Box<Reply>),
    /// Not decided yet: wait for the verdict.
    Wait(Pin<Box<dyn Future<Output = Verdict> + 'a>>),
}

impl From<Reply> for Flow<'_> {
    fn from(reply: Reply) -> Self {
        Flow::Reply(Box::new(reply))
    }
}

/// What a phase decided that had to wait.
pub enum Verdict {
    /// Go on.
    Next,
    /// Answer this.
    Reply(Box<Reply>),
}

impl From<Verdict> for Flow<'_> {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Next => Flow::Next,
            Verdict::Reply(reply) => Flow::Reply(reply),
        }
    }
}

impl From<Reply> for Verdict {
    fn from(reply: Reply) -> Self {
        Verdict::Reply(Box::new(reply))
    }
}

/// The phases that a plugin takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// [`Plugin::on_request`].
    pub const REQUEST: Phases = Phases(1);
    /// [`Plugin::before_upstream`].
    pub const GATE: Phases = Phases(2);
    /// [`Plugin::on_outcome`].
    pub const OUTCOME: Phases = Phases(4);
    /// [`Plugin::on_response`].
    pub const RESPONSE: Phases = Phases(8);
    /// [`Plugin::on_log`].
    pub const LOG: Phases = Phases(16);

    /// Both.
    pub const fn and(self, other: Phases) -> Phases {
        Phases(self.0 | other.0)
    }

    /// Whether they share a phase.
    pub const fn intersects(self, other: Phases) -> bool {
        self.0 & other.0 != 0
    }
}

/// What the table knows of a plugin: everything that hangs on its file.
pub struct PluginDef {
    /// Its name in the file, its config table, where it may be attached.
    pub known: KnownPlugin,
    /// Kong's priority: higher runs first in every phase.
    pub priority: i32,
    /// The phases it takes part in.
    pub phases: Phases,
    /// Its credentials, if it has any.
    pub credentials: Option<CredentialDef>,
    /// The consumer that a config names as `anonymous`, so that an unknown one is refused.
    pub anonymous: Option<fn(&Parsed) -> Option<&str>>,
    /// Makes an instance; cannot fail, for `parse` has refused what cannot work.
    pub build: fn(&Parsed, &Build<'_>) -> Arc<dyn Plugin>,
}

/// The credentials that a plugin brings.
pub struct CredentialDef {
    /// Their table in the file.
    pub known: KnownCredential,
    /// Makes the index that all instances of a snapshot share.
    pub index: fn(Vec<CredentialRow>) -> Arc<dyn Any + Send + Sync>,
}

/// What the reader of files must know of a table of plugins.
pub fn known(table: &[&PluginDef]) -> Known {
    let credentials = table.iter().filter_map(|def| def.credentials.as_ref());
    Known {
        plugins: table.iter().map(|def| def.known).collect(),
        credentials: credentials.map(|def| def.known).collect(),
    }
}

/// One credential of the file.
#[derive(Debug)]
pub struct CredentialRow {
    /// Its UUID as text.
    pub id: String,
    /// Whose it is.
    pub consumer: ConsumerIx,
    /// The consumer's UUID as text.
    pub consumer_id: String,
    /// The file says `_transform: false`: the row holds values as they are stored.
    pub stored: bool,
    /// What the plugin parsed.
    pub parsed: Arc<Parsed>,
}
