//! The look-up: from a request to the route that comes first in the order.
//!
//! Invariant: of all entries that match, the one with the lowest rank wins, whatever the shape of
//! the index. Expressions run last, in rank order, and only those that would win.

use super::captures::Captures;
use super::compile::{Entry, RouteTable};
use super::host::{HostName, NameBuf, lowered};
use super::sieve::Sieve;
use super::tree::{NONE, Node};
use crate::message::Headers;
use crate::util::ids::RouteIx;

/// What routes look at in a request.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The Host header (or `:authority`) as sent; empty without one.
    pub host: &'a str,
    /// The client's connection is TLS: SNI counts, and the implied port is 443 instead of 80.
    pub tls: bool,
    /// The server name of the TLS handshake.
    pub sni: Option<&'a str>,
    /// The path, normalised by [`crate::message::uri::normalise`].
    pub path: &'a str,
    /// The header fields.
    pub headers: &'a dyn HeaderValues,
}

impl<'a> Lookup<'a> {
    /// With the SNI in lower case: TLS libraries hand it on as sent.
    pub(super) fn lowered(&self, buf: &'a mut Option<NameBuf>) -> Lookup<'a> {
        Lookup {
            sni: self.sni.map(|sni| lowered(sni, buf)),
            ..*self
        }
    }
}

/// Access to header values by name.
pub trait HeaderValues {
    /// Whether `test` accepts one of the values of the field `name` (given in lower case, to be
    /// compared without case). Values are tested in their order until one is accepted.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

impl HeaderValues for Headers {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.all(name).any(test)
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> HeaderValues for Vec<(N, V)> {
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let named = self
            .iter()
            .filter(|(known, _)| known.as_ref().eq_ignore_ascii_case(name));
        named.into_iter().any(|(_, value)| test(value.as_ref()))
    }
}

/// The route that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The route, by its position in the list that was compiled.
    pub route: RouteIx,
    /// How many bytes of the normalised path the path criterion matched; 0 without one.
    pub prefix_len: usize,
    /// The groups of the path expression.
    pub captures: Captures,
}

impl RouteTable {
    /// The route that comes first in the order among those whose criteria are all satisfied.
    pub fn find(&self, lookup: &Lookup<'_>) -> Option<Match> {
        let (mut host_buf, mut sni_buf) = (None, None);
        let lookup = &lookup.lowered(&mut sni_buf);
        let host = match self.asks_for_hosts() {
            true => HostName::read(lookup.host, lookup.tls, &mut host_buf),
            false => HostName::default(),
        };
        let mut search = Search::new(self, lookup);
        self.each_root(&host, |root| search.tree(root));
        search.finish()
    }
}

/// How many lists of expressions can wait; more are run at once, which only costs time.
const WAITING: usize = 8;

struct Search<'t, 'l> {
    table: &'t RouteTable,
    lookup: &'l Lookup<'l>,
    method: u64,
    /// The lowest rank that matched so far, and where its match ends.
    best: u32,
    end: usize,
    /// Lists of expressions whose literal start fits, and the sieves of the long ones.
    waiting: [(&'t [u32], Option<&'t Sieve>); WAITING],
    waiting_len: usize,
}

impl<'t, 'l> Search<'t, 'l> {
    fn new(table: &'t RouteTable, lookup: &'l Lookup<'l>) -> Self {
        Self {
            table,
            lookup,
            method: table.methods.bit(lookup.method),
            best: NONE,
            end: 0,
            waiting: [(&[], None); WAITING],
            waiting_len: 0,
        }
    }

    fn tree(&mut self, root: u32) {
        let (forest, path) = (&self.table.forest, self.lookup.path.as_bytes());
        forest.walk(root, path, |node| {
            let worth = node.best < self.best;
            if worth && !node.is_fork() {
                self.node(node);
            }
            worth
        });
    }

    fn node(&mut self, node: &'t Node) {
        match self.table.fans.get(node.fan as usize) {
            None => self.plain(self.table.forest.plain(node)),
            Some(fan) => fan.each(self.lookup, |run| self.plain(run)),
        }
        let regex = self.table.forest.regex(node);
        if regex.first().is_some_and(|&first| first < self.best) {
            self.wait(regex, self.table.sieves.get(node.sieve as usize));
        }
    }

    fn plain(&mut self, list: &[u32]) {
        for &rank in list.iter().take_while(|&&rank| rank < self.best) {
            let entry = &self.table.entries[rank as usize];
            if self.admits(entry) {
                self.best = rank;
                self.end = entry.path as usize;
                return;
            }
        }
    }

    fn wait(&mut self, list: &'t [u32], sieve: Option<&'t Sieve>) {
        if let Some(slot) = self.waiting.get_mut(self.waiting_len) {
            *slot = (list, sieve);
            self.waiting_len += 1;
        } else {
            list.iter().any(|&rank| self.regex(rank));
        }
    }

    /// Whether the search of an ascending list may end: this entry matched, or cannot win.
    fn regex(&mut self, rank: u32) -> bool {
        if rank >= self.best {
            return true;
        }
        let entry = &self.table.entries[rank as usize];
        if !self.admits(entry) {
            return false;
        }
        let end = self.table.regexes[entry.path as usize].end_of_match(self.lookup.path);
        if let Some(end) = end {
            self.best = rank;
            self.end = end;
        }
        end.is_some()
    }

    #[inline]
    fn admits(&self, entry: &Entry) -> bool {
        entry.methods & self.method != 0
            && (entry.guard == NONE || self.table.guards[entry.guard as usize].admits(self.lookup))
    }

    fn finish(mut self) -> Option<Match> {
        if self.waiting_len > 0 {
            self.run_waiting();
        }
        let entry = self.table.entries.get(self.best as usize)?;
        let captures = match self.table.regexes.get(entry.captures as usize) {
            Some(regex) => Captures::read(regex, self.lookup.path),
            None => Captures::default(),
        };
        Some(Match {
            route: entry.route,
            prefix_len: self.end,
            captures,
        })
    }

    /// Runs expressions in rank order until one matches or none is left that could win.
    fn run_waiting(&mut self) {
        let mut sifted = Vec::new();
        let mut lists: [&[u32]; WAITING + 1] = [&[]; WAITING + 1];
        for (at, (list, sieve)) in self.waiting[..self.waiting_len].iter().enumerate() {
            match sieve {
                Some(sieve) => sieve.sift(self.lookup.path, &mut sifted),
                None => lists[at + 1] = list,
            }
        }
        sifted.sort_unstable();
        lists[0] = &sifted;
        while let Some(rank) = next_of(&mut lists[..=self.waiting_len]) {
            if self.regex(rank) {
                break;
            }
        }
    }
}

/// Takes the lowest rank off the lists.
fn next_of(lists: &mut [&[u32]]) -> Option<u32> {
    let filled = lists.iter_mut().filter(|list| !list.is_empty());
    let list = filled.min_by_key(|list| list[0])?;
    let (first, rest) = list.split_first()?;
    *list = rest;
    Some(*first)
}
