//! Everything that is wrong with a file, in one report; only a file without errors becomes a
//! [`Checked`].
//!
//! Invariant: [`check`] alone makes a `Checked`, and whatever compiling could stumble over is
//! reported here: a file that checks loads.

mod certs;
mod locate;
mod plugins;
mod routes;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::certs::Authorities;
use self::locate::Places;
use crate::config::model::Model;
use crate::config::settings::{self, Layer, Merged, Variables};
use crate::config::{self, Report};
use crate::plugin::PluginDef;
use crate::router::{Flavor, RouteSpec, RouteTable};
use crate::tls::{CertTable, Certificate};
use crate::util::clock;
use crate::util::ids::RouteIx;

/// What the process says besides the file. Both win over the file's `gateway:` section, and the
/// file may refer to the variables.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The command line.
    pub flags: Layer,
    /// The environment.
    pub variables: Variables,
}

/// A file without errors, with what was already made of it. Made by [`check`] alone.
pub struct Checked {
    pub(super) model: Model,
    pub(super) settings: Merged,
    pub(super) hash: String,
    pub(super) text: Arc<str>,
    pub(super) plugins: &'static [&'static PluginDef],
    pub(super) took: Took,
    /// The routes of enabled services, as indexes of the model's.
    pub(super) routes: Vec<usize>,
    pub(super) table: RouteTable,
    pub(super) certificates: Vec<Certificate>,
    pub(super) authorities: Authorities,
    pub(super) server_names: Arc<CertTable>,
}

/// How long the steps towards a [`Checked`] took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// From the text to a tree.
    pub parse: Duration,
    /// From the tree to what is checked.
    pub check: Duration,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl Checked {
    /// How long it took.
    pub fn took(&self) -> Took {
        self.took
    }

    /// Takes settings from beneath where the file has none.
    pub fn settle(&mut self, around: &Surroundings, beneath: &Layer) {
        let file = self.model.settings.over(beneath);
        self.settings = settings::merge(&around.flags, &around.variables, &file);
    }

    /// The settings in force with this file.
    pub fn settings(&self) -> &Merged {
        &self.settings
    }

    /// What the file says.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Hash of the text, 32 hex digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// What the routes of enabled services ask for, in the order of [`RouteIx`].
    pub fn route_specs(&self) -> Vec<RouteSpec> {
        routes::specs(&self.model, &self.routes)
    }

    /// A route's index in the model.
    pub fn route(&self, ix: RouteIx) -> Option<usize> {
        self.routes.get(ix.ix()).copied()
    }

    /// The index over the routes.
    pub fn table(&self) -> &RouteTable {
        &self.table
    }
}

/// Hash of a configuration's text, 32 hex digits.
pub fn hash(text: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes())
        .simple()
        .to_string()
}

/// Reads and checks a file. The report begins its lines with `file`; it may hold warnings where
/// there is no error.
pub fn check(
    text: &str,
    file: &str,
    around: &Surroundings,
    table: &'static [&'static PluginDef],
) -> (Option<Checked>, Report) {
    let env = |name: &str| around.variables.get(name).cloned();
    let known = crate::plugin::known(table);
    let begin = clock::now();
    let tree = config::yaml::parse(text);
    let parsed = clock::now();
    let (model, mut report) = config::read_tree(tree, Report::new(file, text), &env, &known);
    let settings = settings::merge(&around.flags, &around.variables, &model.settings);
    let flavor = flavor(&settings);
    let mut places = Places::new(text);
    let tls = certs::check(&model, &mut report);
    let live = routes::live(&model);
    let specs = routes::specs(&model, &live);
    let compiled = routes::compile(&model, &live, &specs, flavor, &mut places, &mut report);
    if report.is_ok() {
        plugins::check(&model, table, &mut places, &mut report);
    }
    let checked = match (report.is_ok(), compiled) {
        (true, Some(compiled)) => {
            routes::warn(&model, &live, &specs, &compiled, &mut report);
            Some(Checked {
                settings,
                hash: hash(text),
                text: report.text(),
                plugins: table,
                took: Took {
                    parse: parsed - begin,
                    check: clock::now() - parsed,
                },
                routes: live,
                table: compiled,
                certificates: tls.certificates,
                authorities: tls.authorities,
                server_names: Arc::new(tls.server_names),
                model,
            })
        }
        _ => None,
    };
    report.sort();
    (checked, report)
}

/// A text that was checked as YAML without its secrets; it was read before, so it can be read.
/// Takes as long as reading it.
pub(super) fn masked(text: &str, table: &'static [&'static PluginDef]) -> String {
    let shown = config::masked(text, &crate::plugin::known(table)).ok();
    let yaml = shown.map(|node| serde_yaml::to_string(&node.to_json()).unwrap_or_default());
    yaml.unwrap_or_default()
}

fn flavor(settings: &Merged) -> Flavor {
    match settings.settings.router_flavor {
        settings::RouterFlavor::Traditional => Flavor::Traditional,
        settings::RouterFlavor::TraditionalCompatible => Flavor::TraditionalCompatible,
    }
}

#[cfg(test)]
mod tests;
