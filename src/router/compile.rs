//! From `RouteSpec`s to the table: entries in Kong's order, planted into one tree per host binding.
//!
//! Invariant: an entry's index in `entries` is its rank, so that comparing ranks is the order.
//! The one question that only the request can answer, whether a host with a port equals the header
//! literally, is settled here too: where it can matter, an entry stands in the order twice.

use std::sync::Arc;

use super::criteria::{Criteria, PathTest, Reader};
use super::fan::{self, Fan};
use super::guard::{Guard, Methods};
use super::host::{HostName, HostPattern};
use super::issue::RouteIssue;
use super::order::Traits;
use super::pattern::PathRegex;
use super::roots::Trees;
use super::sieve::{self, Sieve};
use super::spec::{Flavor, RouteSpec};
use super::tree::{Forest, NONE, Seed};
use crate::util::background::give_way;
use crate::util::ids::RouteIx;

/// Routes, compiled. Immutable, shared by all workers.
#[derive(Debug)]
pub struct RouteTable {
    pub(super) flavor: Flavor,
    /// By rank.
    pub(super) entries: Vec<Entry>,
    pub(super) guards: Vec<Guard>,
    pub(super) regexes: Vec<PathRegex>,
    pub(super) methods: Methods,
    pub(super) forest: Forest,
    pub(super) fans: Vec<Fan>,
    pub(super) sieves: Vec<Sieve>,
    trees: Trees,
    header_names: Vec<Arc<str>>,
    routes: usize,
}

/// A route with one of its paths, or with none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) methods: u64,
    pub(super) route: RouteIx,
    /// Index of its header and SNI tests, or `NONE`.
    pub(super) guard: u32,
    /// Length of the prefix, or index of the expression.
    pub(super) path: u32,
    /// Index of the expression whose groups are wanted, or `NONE`.
    pub(super) captures: u32,
}

/// An entry before its rank is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'c> {
    pub(super) route: usize,
    /// Position in the file and test.
    pub(super) path: Option<(usize, PathTest<'c>)>,
    pub(super) traits: Traits,
}

impl RouteTable {
    /// Compiles routes, or says everything that is wrong with them.
    pub fn compile(specs: &[RouteSpec], flavor: Flavor) -> Result<Self, Vec<RouteIssue>> {
        let mut reader = Reader::new(flavor);
        let criteria = reader.read_all(specs);
        if !reader.issues.is_empty() {
            return Err(reader.issues);
        }
        let trees = Trees::number(&criteria);
        let contested = |host: &HostPattern| trees.is_contested(host);
        let drafts = rank(specs, &criteria, flavor, contested);
        let forest = Forest::plant(seeds(&drafts, &criteria, &reader.regexes, &trees));
        let entries = entries(&drafts, &criteria, specs, &reader.regexes);
        let guards = criteria
            .into_iter()
            .map(|one| one.guard)
            .filter(|guard| !guard.is_empty());
        let mut table = Self {
            flavor,
            entries,
            forest,
            guards: guards.collect(),
            fans: Vec::new(),
            sieves: Vec::new(),
            trees,
            header_names: sorted(reader.header_names.into_values()),
            routes: specs.len(),
            regexes: reader.regexes,
            methods: reader.methods,
        };
        table.index_long_lists();
        Ok(table)
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.routes
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.routes == 0
    }

    /// The flavor it was compiled for.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// The header names that some route asks for, lower case, sorted.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.header_names.iter().map(|name| &**name)
    }

    /// Whether another plain host can accept a request that this one accepts.
    pub(super) fn is_contested(&self, host: &HostPattern) -> bool {
        self.trees.is_contested(host)
    }

    /// Whether the Host header matters at all.
    #[inline]
    pub fn asks_for_hosts(&self) -> bool {
        self.trees.ask
    }

    /// The trees that a request with this host may match in.
    #[inline]
    pub(super) fn each_root(&self, host: &HostName<'_>, visit: impl FnMut(u32)) {
        self.trees.each(host, visit);
    }

    /// Gives long lists a second index: look-ups stay short even where paths do not tell.
    fn index_long_lists(&mut self) {
        let Self {
            forest,
            fans,
            sieves,
            entries,
            guards,
            regexes,
            ..
        } = self;
        let guard = |rank: u32| guards.get(entries[rank as usize].guard as usize);
        let regex = |rank: u32| &regexes[entries[rank as usize].path as usize];
        for (node, plain, expressions) in forest.nodes_mut() {
            if plain.len() >= fan::MIN_LIST
                && let Some(fan) = Fan::split(plain, guard)
            {
                node.fan = fans.len() as u32;
                fans.push(fan);
            }
            if expressions.len() >= sieve::MIN_LIST
                && let Some(sieve) = Sieve::join(expressions, regex)
            {
                node.sieve = sieves.len() as u32;
                sieves.push(sieve);
            }
        }
    }
}

/// Entries before they are in order: every route with every path, and once more where the order
/// depends on whether the host is literal.
pub(super) fn rank<'c>(
    specs: &[RouteSpec],
    criteria: &'c [Criteria<'_>],
    flavor: Flavor,
    contested: impl Fn(&HostPattern) -> bool,
) -> Vec<Draft<'c>> {
    let mut drafts = Vec::with_capacity(criteria.len());
    for (route, one) in criteria.iter().enumerate() {
        give_way();
        for path in one.each_path() {
            let traits = one.traits(&specs[route], route, path);
            drafts.push(Draft {
                route,
                path,
                traits,
            });
            if traits.plain_hosts && one.hosts.iter().any(&contested) {
                let traits = Traits {
                    literal_host: false,
                    ..traits
                };
                drafts.push(Draft {
                    route,
                    path,
                    traits,
                });
            }
        }
    }
    drafts.sort_by_cached_key(|draft| draft.traits.key(flavor));
    drafts
}

/// Every entry in every tree in which a request may find it.
fn seeds<'c>(
    drafts: &[Draft<'c>],
    criteria: &[Criteria<'_>],
    regexes: &'c [PathRegex],
    trees: &Trees,
) -> Vec<Seed<'c>> {
    let mut seeds = Vec::with_capacity(drafts.len());
    for (rank, draft) in drafts.iter().enumerate() {
        give_way();
        let (path, regex) = match draft.path {
            None => (&b""[..], false),
            Some((_, PathTest::Prefix(prefix))) => (prefix.as_bytes(), false),
            Some((_, PathTest::Regex(at))) => (regexes[at as usize].literal.as_bytes(), true),
        };
        let mut plant = |tree| {
            seeds.push(Seed {
                tree,
                path,
                regex,
                rank: rank as u32,
            })
        };
        let hosts = &criteria[draft.route].hosts;
        trees.each_of_entry(hosts, &draft.traits, &mut plant);
    }
    seeds
}

fn entries(
    drafts: &[Draft<'_>],
    criteria: &[Criteria<'_>],
    specs: &[RouteSpec],
    regexes: &[PathRegex],
) -> Vec<Entry> {
    let guards = number_guards(criteria);
    let entry = |draft: &Draft<'_>| {
        let wanted =
            |at: u32| regexes[at as usize].groups.is_some() && !specs[draft.route].ignore_captures;
        let (path, captures) = match draft.path {
            None => (0, NONE),
            Some((_, PathTest::Prefix(prefix))) => (prefix.len() as u32, NONE),
            Some((_, PathTest::Regex(at))) => (at, if wanted(at) { at } else { NONE }),
        };
        let methods = criteria[draft.route].methods;
        Entry {
            methods,
            route: draft.route.into(),
            guard: guards[draft.route],
            path,
            captures,
        }
    };
    drafts.iter().map(entry).collect()
}

fn sorted(names: impl Iterator<Item = Arc<str>>) -> Vec<Arc<str>> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Per route the place of its guard among those that are not empty.
fn number_guards(criteria: &[Criteria<'_>]) -> Vec<u32> {
    let mut count = 0;
    let number = |one: &Criteria<'_>| match one.guard.is_empty() {
        true => NONE,
        false => {
            count += 1;
            count - 1
        }
    };
    criteria.iter().map(number).collect()
}
