//! A second index for long candidate lists: thousands of routes on one path that differ by a
//! header's value (a tenant, a version) or by SNI.
//!
//! Invariant: `each` visits every entry of the list that the request can satisfy, in runs of
//! ascending rank; it may visit others.

use std::sync::Arc;

use super::criteria::Map;
use super::find::{HeaderValues, Lookup};
use super::guard::{Guard, HeaderTest, ValueTest};
use super::host::Shape;

/// Shorter lists are walked.
pub(super) const MIN_LIST: usize = 4;
/// Longer header values are left to the walk.
const MAX_VALUE: usize = 128;

type Runs = Map<Box<str>, Vec<u32>>;

/// The index of one list.
#[derive(Debug, Default)]
pub(super) struct Fan {
    /// Entries by one of their header names, then by value.
    headers: Vec<(Arc<str>, Runs)>,
    /// Entries by SNI.
    snis: Runs,
    /// The same entries as in `snis`: on plain HTTP each of them passes.
    any_sni: Vec<u32>,
    /// Entries that cannot be told apart beforehand.
    rest: Vec<u32>,
}

impl Fan {
    /// Splits a list; `None` when that would not shorten it by much.
    pub(super) fn split<'g>(
        list: &[u32],
        guard: impl Fn(u32) -> Option<&'g Guard>,
    ) -> Option<Self> {
        let mut fan = Self::default();
        let names = count_names(list, &guard);
        for &rank in list {
            match guard(rank) {
                Some(guard) => fan.put(rank, guard, &names),
                None => fan.rest.push(rank),
            }
        }
        (fan.rest.len() * 2 < list.len()).then_some(fan)
    }

    fn put(&mut self, rank: u32, guard: &Guard, names: &Map<&str, usize>) {
        let often = |test: &&HeaderTest| names.get(&*test.name).copied().unwrap_or(0);
        if let Some(test) = guard
            .headers
            .iter()
            .filter(|test| is_literal(test))
            .max_by_key(often)
        {
            let runs = self.runs_of(&test.name);
            for value in test.values.iter().filter_map(literal) {
                push(runs, value, rank);
            }
        } else if !guard.snis.is_empty() && guard.snis.iter().all(|sni| sni.shape == Shape::Plain) {
            self.any_sni.push(rank);
            for sni in &guard.snis {
                push(&mut self.snis, &sni.name, rank);
            }
        } else {
            self.rest.push(rank);
        }
    }

    fn runs_of(&mut self, name: &Arc<str>) -> &mut Runs {
        let at = self.headers.iter().position(|(known, _)| known == name);
        let at = at.unwrap_or_else(|| {
            self.headers.push((name.clone(), Runs::default()));
            self.headers.len() - 1
        });
        &mut self.headers[at].1
    }

    /// Visits the runs that the request leads to.
    pub(super) fn each<'f>(&'f self, lookup: &Lookup<'_>, mut visit: impl FnMut(&'f [u32])) {
        visit(&self.rest);
        match lookup.sni {
            Some(sni) if lookup.tls => self.snis.get(sni).into_iter().for_each(|run| visit(run)),
            _ if lookup.tls => {}
            _ => visit(&self.any_sni),
        }
        for (name, runs) in &self.headers {
            each_value(name, runs, lookup.headers, &mut visit);
        }
    }
}

fn each_value<'f>(
    name: &str,
    runs: &'f Runs,
    headers: &dyn HeaderValues,
    visit: &mut impl FnMut(&'f [u32]),
) {
    headers.any(name, &mut |value| {
        let mut room = [0; MAX_VALUE];
        if let Some(lower) = room.get_mut(..value.len()) {
            lower.copy_from_slice(value);
            lower.make_ascii_lowercase();
            let run = std::str::from_utf8(lower)
                .ok()
                .and_then(|value| runs.get(value));
            run.into_iter().for_each(|run| visit(run));
        }
        false
    });
}

/// How often each header name can serve; the most frequent one splits best.
fn count_names<'g>(list: &[u32], guard: &impl Fn(u32) -> Option<&'g Guard>) -> Map<&'g str, usize> {
    let mut names = Map::default();
    for test in list
        .iter()
        .filter_map(|&rank| guard(rank))
        .flat_map(|guard| &guard.headers)
    {
        if is_literal(test) {
            *names.entry(&*test.name).or_default() += 1;
        }
    }
    names
}

fn is_literal(test: &HeaderTest) -> bool {
    test.values.iter().all(|value| literal(value).is_some())
}

fn literal(value: &ValueTest) -> Option<&str> {
    match value {
        ValueTest::Text(text) if text.len() <= MAX_VALUE => Some(text),
        _ => None,
    }
}

/// Two values of one route may be equal but for their case: each run names an entry once.
fn push(runs: &mut Runs, key: &str, rank: u32) {
    let run = runs.entry(key.into()).or_default();
    if run.last() != Some(&rank) {
        run.push(rank);
    }
}
