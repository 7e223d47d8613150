//! Routes that can never match, because one that goes first accepts everything that they accept.
//!
//! Invariant: no false alarm; a route is reported only when each of its paths is covered by a
//! single earlier entry. Routes that only several others cover together are not found. The index
//! leads from an entry to the few that can cover it, so thousands of routes take milliseconds.

use super::compile::{Draft, RouteTable, rank};
use super::criteria::{Criteria, PathTest, Reader};
use super::find::{HeaderValues, Lookup};
use super::guard::{Guard, HeaderTest, ValueTest};
use super::host::{HostName, HostPattern, Shape};
use super::order::Traits;
use super::pattern::PathRegex;
use super::spec::RouteSpec;
use crate::util::ids::RouteIx;

/// A route that can never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// The route.
    pub route: RouteIx,
    /// The routes that take its requests, in file order.
    pub by: Vec<RouteIx>,
}

/// At most so many earlier entries are compared with one: a bound on the work, not on the truth.
const MAX_COMPARED: usize = 512;

/// The routes of `specs` that can never match. `table` is what they were compiled into.
pub fn shadowed(specs: &[RouteSpec], table: &RouteTable) -> Vec<Shadow> {
    let mut reader = Reader::again(table.flavor);
    let criteria = reader.read_all(specs);
    let drafts = rank(specs, &criteria, table.flavor, |host| {
        table.is_contested(host)
    });
    let view = View {
        table,
        criteria: &criteria,
        drafts: &drafts,
        regexes: &table.regexes,
    };
    view.shadows(specs.len())
}

/// What the comparison of entries needs. `drafts` are aligned with the ranks of the table.
struct View<'v> {
    table: &'v RouteTable,
    criteria: &'v [Criteria<'v>],
    drafts: &'v [Draft<'v>],
    regexes: &'v [PathRegex],
}

impl<'v> View<'v> {
    fn shadows(&self, routes: usize) -> Vec<Shadow> {
        let mut covers: Vec<Option<Vec<RouteIx>>> = vec![Some(Vec::new()); routes];
        let drafts = self.drafts.iter().enumerate();
        for (rank, draft) in drafts.filter(|(_, draft)| speaks_for_route(draft)) {
            let slot = &mut covers[draft.route];
            match (slot.as_mut(), self.cover_of(rank)) {
                (Some(covers), Some(by)) => note(covers, draft.route.into(), by.into()),
                _ => *slot = None,
            }
        }
        let shadow = |(at, by): (usize, Option<Vec<RouteIx>>)| {
            let mut by = by.filter(|by| !by.is_empty())?;
            by.sort_unstable();
            Some(Shadow {
                route: at.into(),
                by,
            })
        };
        covers.into_iter().enumerate().filter_map(shadow).collect()
    }

    /// The route of an earlier entry that accepts all that this one accepts.
    fn cover_of(&self, rank: usize) -> Option<usize> {
        let draft = &self.drafts[rank];
        let mut left = MAX_COMPARED;
        let mut found = None;
        self.each_candidate(rank, |earlier| {
            let other = &self.drafts[earlier];
            if found.is_none() && left > 0 && self.covers(other, draft) {
                found = Some(other.route);
            }
            left = left.saturating_sub(1);
        });
        found
    }

    /// The earlier entries among which one that covers this one must be: those that a request
    /// could lead to that this one accepts.
    fn each_candidate(&self, rank: usize, mut visit: impl FnMut(usize)) {
        let draft = &self.drafts[rank];
        let criteria = &self.criteria[draft.route];
        let lookup = Lookup {
            method: "",
            host: "",
            tls: true,
            sni: criteria.guard.snis.first().map(|sni| &*sni.name),
            path: self.start(draft),
            headers: &Sample(&criteria.guard),
        };
        let mut run = |list: &[u32]| {
            let earlier = list.iter().map(|&other| other as usize);
            earlier
                .take_while(|&other| other < rank)
                .for_each(&mut visit);
        };
        let forest = &self.table.forest;
        self.each_root(criteria.hosts.first(), |root| {
            forest.walk(root, lookup.path.as_bytes(), |node| {
                match self.table.fans.get(node.fan as usize) {
                    None => run(forest.plain(node)),
                    Some(fan) => fan.each(&lookup, &mut run),
                }
                run(forest.regex(node));
                (node.best as usize) < rank
            });
        });
    }

    /// The trees in which an entry that accepts all hosts of this one must stand.
    fn each_root(&self, host: Option<&HostPattern>, visit: impl FnMut(u32)) {
        // A star in place of the wildcard leads to this wildcard and to wider ones.
        let name = match host {
            None => String::new(),
            Some(host) => match host.shape {
                Shape::Plain => host.name.to_string(),
                Shape::Suffix => format!("*{}", host.name),
                Shape::Prefix => format!("{}*", host.name),
            },
        };
        let port = host.and_then(|host| host.port);
        let host = HostName {
            name: &name,
            port,
            effective_port: port.unwrap_or(0),
        };
        self.table.each_root(&host, visit);
    }

    /// The text that every path of the entry starts with.
    fn start(&self, draft: &Draft<'v>) -> &'v str {
        match draft.path {
            Some((_, PathTest::Prefix(prefix))) => prefix,
            Some((_, PathTest::Regex(at))) if !self.regexes[at as usize].literal.is_empty() => {
                &self.regexes[at as usize].literal
            }
            _ => "/",
        }
    }

    /// Whether `a` goes before `b` in every request that `b` accepts, and accepts it.
    fn covers(&self, a: &Draft<'v>, b: &Draft<'v>) -> bool {
        let (one, other) = (&self.criteria[a.route], &self.criteria[b.route]);
        other.methods & !one.methods == 0
            && self.path_covers(a, b)
            && guard_covers(&one.guard, &other.guard)
            && hosts_cover(&one.hosts, &other.hosts)
            && self.goes_first(a, b)
    }

    /// A request can make `b` literal and `a` not, unless all hosts of `b` stand in `a` too.
    fn goes_first(&self, a: &Draft<'v>, b: &Draft<'v>) -> bool {
        let (hosts, others) = (&self.criteria[a.route].hosts, &self.criteria[b.route].hosts);
        let literal = a.traits.plain_hosts && others.iter().all(|host| hosts.contains(host));
        let traits = Traits {
            literal_host: literal,
            ..a.traits
        };
        traits.beats(&b.traits, self.table.flavor).is_some()
    }

    fn path_covers(&self, a: &Draft<'v>, b: &Draft<'v>) -> bool {
        let start = match a.path.map(|(_, test)| test) {
            None => return true,
            Some(PathTest::Prefix(prefix)) => prefix,
            Some(test) if Some(test) == b.path.map(|(_, test)| test) => return true,
            Some(PathTest::Regex(at)) if self.regexes[at as usize].is_prefix => {
                &self.regexes[at as usize].literal
            }
            Some(PathTest::Regex(_)) => return false,
        };
        self.start(b).starts_with(start)
    }
}

/// Of an entry that stands in the order twice the first one is looked at.
fn speaks_for_route(draft: &Draft<'_>) -> bool {
    draft.traits.literal_host || !draft.traits.plain_hosts
}

/// A route that covers one path by another of its own is not news.
fn note(covers: &mut Vec<RouteIx>, route: RouteIx, by: RouteIx) {
    if by != route && !covers.contains(&by) {
        covers.push(by);
    }
}

fn hosts_cover(a: &[HostPattern], b: &[HostPattern]) -> bool {
    let covered = |host: &HostPattern| {
        a.iter()
            .any(|wide| wide.covers_name(host) && (wide.port.is_none() || wide.port == host.port))
    };
    a.is_empty() || (!b.is_empty() && b.iter().all(covered))
}

fn guard_covers(a: &Guard, b: &Guard) -> bool {
    let narrower = |wide: &HeaderTest, test: &HeaderTest| {
        wide.name == test.name && test.values.iter().all(|value| wide.values.contains(value))
    };
    let asked = |wide: &HeaderTest| b.headers.iter().any(|test| narrower(wide, test));
    let named = |sni: &HostPattern| a.snis.iter().any(|wide| wide.covers_name(sni));
    let snis = a.snis.is_empty() || (!b.snis.is_empty() && b.snis.iter().all(named));
    snis && a.headers.iter().all(asked)
}

/// The headers of a request that the guard admits, as far as they can be told.
struct Sample<'g>(&'g Guard);

impl HeaderValues for Sample<'_> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let named = self.0.headers.iter().filter(|known| &*known.name == name);
        named
            .flat_map(|known| &known.values)
            .any(|value| match value {
                ValueTest::Text(text) => test(text.as_bytes()),
                ValueTest::Pattern(_) => false,
            })
    }
}

#[cfg(test)]
mod tests;
