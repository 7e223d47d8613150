//! Which path tree serves which host: names and wildcards, with and without ports.
//!
//! Invariant: where a name stands both with and without a port, two plain hosts can accept one
//! request, and whichever equals the Host header goes first. There every tree exists twice, for
//! requests that name it literally and for others, each with the ranks that then hold.

use super::criteria::Criteria;
use super::host::{HostName, HostPattern, NameMap, Shape};
use super::order::Traits;
use super::tree::NONE;

/// Which tree serves which host.
#[derive(Debug)]
pub(super) struct Trees {
    hosts: NameMap<HostRoots>,
    /// Of the entries that ask for no host.
    any_host: u32,
    /// Some route asks for hosts.
    pub(super) ask: bool,
}

impl Trees {
    /// Numbers the trees from 0 without a gap: every number is used by some route.
    pub(super) fn number(criteria: &[Criteria<'_>]) -> Self {
        let mut trees = Self {
            hosts: NameMap::default(),
            any_host: NONE,
            ask: criteria.iter().any(|one| !one.hosts.is_empty()),
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

    /// Whether another plain host can accept a request that this one accepts.
    pub(super) fn is_contested(&self, host: &HostPattern) -> bool {
        let roots = self.hosts.get(host.shape, &host.name);
        roots.is_some_and(|roots| roots.is_contested(host.shape))
    }

    /// The trees that a request with this host may match in.
    #[inline]
    pub(super) fn each(&self, host: &HostName<'_>, mut visit: impl FnMut(u32)) {
        self.hosts
            .each(host.name, |roots| roots.each(host, &mut visit));
        visit(self.any_host);
    }

    /// The trees in which an entry with these hosts and traits stands. Of an entry that stands in
    /// the order twice each tree takes its own; one that has wildcards beside its plain hosts
    /// stands there once and goes into both.
    pub(super) fn each_of_entry(
        &self,
        hosts: &[HostPattern],
        traits: &Traits,
        mut visit: impl FnMut(u32),
    ) {
        if hosts.is_empty() {
            visit(self.any_host);
        }
        for host in hosts {
            let roots = self.roots(host);
            if !traits.plain_hosts || traits.literal_host {
                visit(roots.literal);
            }
            if roots.other != roots.literal && !(traits.plain_hosts && traits.literal_host) {
                visit(roots.other);
            }
        }
    }

    fn roots(&self, host: &HostPattern) -> Roots {
        let roots = self.hosts.get(host.shape, &host.name);
        roots.map_or(NO_ROOTS, |roots| roots.of(host.port))
    }
}

/// The trees of one host name or wildcard.
#[derive(Debug)]
struct HostRoots {
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
