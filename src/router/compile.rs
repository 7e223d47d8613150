//! From `RouteSpec`s to the table: entries in Kong's order, planted into one tree per host binding.
//!
//! Invariant: an entry's index in `entries` is its rank, so that comparing ranks is the order.
//! The one question that only the request can answer, whether a host with a port equals the header
//! literally, is settled here too: where it can matter, an entry stands in the order twice.

use std::sync::Arc;

use super::criteria::{Criteria, PathTest, Reader};
use super::fan::{Fan, MIN_LIST};
use super::guard::{Guard, Methods};
use super::host::{HostName, HostPattern, NameMap, Shape};
use super::issue::RouteIssue;
use super::order::Traits;
use super::pattern::PathRegex;
use super::spec::{Flavor, RouteSpec};
use super::tree::{Forest, NONE, Seed};
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

/// The trees of one host name or wildcard.
#[derive(Debug)]
pub(super) struct HostRoots {
    /// Of the name without a port.
    bare: Roots,
    /// Of the name with a port.
    ports: Vec<(u16, Roots)>,
}

/// The trees of one name and port; the two differ only where ranks do.
#[derive(Clone, Copy, Debug)]
struct Roots {
    /// For a request whose Host header is this very text.
    literal: u32,
    /// For other requests that it accepts.
    other: u32,
}

const NO_ROOTS: Roots = Roots {
    literal: NONE,
    other: NONE,
};

impl Default for HostRoots {
    fn default() -> Self {
        Self {
            bare: NO_ROOTS,
            ports: Vec::new(),
        }
    }
}

impl HostRoots {
    /// Two plain hosts can accept the same request.
    fn is_contested(&self, shape: Shape) -> bool {
        shape == Shape::Plain && self.bare.literal != NONE && !self.ports.is_empty()
    }

    /// Gives the trees for other requests: of their own where ranks differ, else the same.
    fn settle(&mut self, shape: Shape, next: &mut impl FnMut(&mut u32)) {
        let contested = self.is_contested(shape);
        let ports = self.ports.iter_mut().map(|(_, roots)| roots);
        for roots in ports.chain([&mut self.bare]) {
            match contested {
                true => next(&mut roots.other),
                false => roots.other = roots.literal,
            }
        }
    }

    fn of(&self, port: Option<u16>) -> Roots {
        match port {
            None => self.bare,
            Some(port) => {
                let found = self.ports.iter().find(|(known, _)| *known == port);
                found.map_or(NO_ROOTS, |(_, roots)| *roots)
            }
        }
    }

    fn roots_mut(&mut self, port: Option<u16>) -> &mut Roots {
        let Some(port) = port else {
            return &mut self.bare;
        };
        let at = self.ports.iter().position(|(known, _)| *known == port);
        let at = at.unwrap_or_else(|| {
            self.ports.push((port, NO_ROOTS));
            self.ports.len() - 1
        });
        &mut self.ports[at].1
    }

    #[inline]
    fn each(&self, host: &HostName<'_>, mut visit: impl FnMut(u32)) {
        visit(if host.port.is_none() {
            self.bare.literal
        } else {
            self.bare.other
        });
        if let Some((_, roots)) = self
            .ports
            .iter()
            .find(|(port, _)| *port == host.effective_port)
        {
            visit(if host.port.is_some() {
                roots.literal
            } else {
                roots.other
            });
        }
    }
}

/// Which tree serves which host.
#[derive(Debug)]
struct Trees {
    hosts: NameMap<HostRoots>,
    /// Of the entries that ask for no host.
    any_host: u32,
}

impl Trees {
    /// Numbers the trees from 0 without a gap: every number is used by some route.
    fn number(criteria: &[Criteria<'_>]) -> Self {
        let mut trees = Self {
            hosts: NameMap::default(),
            any_host: NONE,
        };
        let mut count = 0;
        let mut next = |root: &mut u32| {
            if *root == NONE {
                *root = count;
                count += 1;
            }
        };
        for one in criteria {
            if one.hosts.is_empty() {
                next(&mut trees.any_host);
            }
            for host in &one.hosts {
                next(&mut trees.hosts.entry(host).roots_mut(host.port).literal);
            }
        }
        trees
            .hosts
            .each_mut(|shape, roots| roots.settle(shape, &mut next));
        trees
    }

    fn is_contested(&self, host: &HostPattern) -> bool {
        let roots = self.hosts.get(host.shape, &host.name);
        roots.is_some_and(|roots| roots.is_contested(host.shape))
    }

    fn roots(&self, host: &HostPattern) -> Roots {
        let roots = self.hosts.get(host.shape, &host.name);
        roots.map_or(NO_ROOTS, |roots| roots.of(host.port))
    }
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
            trees,
            header_names: reader.header_names.into_values().collect(),
            routes: specs.len(),
            regexes: reader.regexes,
            methods: reader.methods,
        };
        table.split_long_lists();
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

    /// The header names that some route asks for, lower case, in no order.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.header_names.iter().map(|name| &**name)
    }

    /// Whether another plain host can accept a request that this one accepts.
    pub(super) fn is_contested(&self, host: &HostPattern) -> bool {
        self.trees.is_contested(host)
    }

    /// The trees that a request with this host may match in.
    #[inline]
    pub(super) fn each_root(&self, host: &HostName<'_>, mut visit: impl FnMut(u32)) {
        self.trees
            .hosts
            .each(host.name, |roots| roots.each(host, &mut visit));
        visit(self.trees.any_host);
    }

    fn split_long_lists(&mut self) {
        let Self {
            forest,
            fans,
            entries,
            guards,
            ..
        } = self;
        let guard = |rank: u32| guards.get(entries[rank as usize].guard as usize);
        for (node, list) in forest.nodes_mut() {
            if list.len() >= MIN_LIST
                && let Some(fan) = Fan::split(list, guard)
            {
                node.fan = fans.len() as u32;
                fans.push(fan);
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
        if hosts.is_empty() {
            plant(trees.any_host);
        }
        for host in hosts {
            trees_of(&draft.traits, trees.roots(host), &mut plant);
        }
    }
    seeds
}

/// The trees of a host in which an entry with these traits stands. Of an entry that stands in the
/// order twice each tree takes its own; one that has wildcards beside its plain hosts stands there
/// once and goes into both.
fn trees_of(traits: &Traits, roots: Roots, plant: &mut impl FnMut(u32)) {
    let (literal, other) = match traits.plain_hosts {
        true => (traits.literal_host, !traits.literal_host),
        false => (true, true),
    };
    if literal {
        plant(roots.literal);
    }
    if other && roots.other != roots.literal {
        plant(roots.other);
    }
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
