//! What a scrape is filled with: families of series by name, still without a text form.
//!
//! Invariant: a family has one type, a series (name and labels) stands in it once, and both come
//! out in a stable order, whatever the sources did. Prometheus refuses a whole scrape for less.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::shard::{HistogramSum, REQUEST_BOUNDS};

/// The series of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<String, Family>,
}

/// The series of one name.
#[derive(Debug)]
pub struct Family {
    /// One sentence for people.
    pub help: String,
    /// What its numbers mean.
    pub kind: Kind,
    /// The series by their labels, in the order that was given.
    pub series: BTreeMap<Labels, Value>,
}

/// Names and values of a series' labels.
pub type Labels = Vec<(String, String)>;

/// What the numbers of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Buckets),
}

/// A histogram as it is exposed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Upper bounds, and how many observations are not above each (cumulative).
    pub cumulative: Vec<(f64, u64)>,
    /// Sum of all observations.
    pub sum: f64,
    /// Number of all observations.
    pub count: u64,
}

impl Buckets {
    /// Durations in seconds, out of counts over `bounds` in nanoseconds.
    pub fn of_durations(sum: &HistogramSum, bounds: &[u64; REQUEST_BOUNDS.len()]) -> Buckets {
        let mut below = 0;
        let cumulative = bounds.iter().zip(&sum.counts).map(|(bound, count)| {
            below += count;
            (*bound as f64 / 1e9, below)
        });
        Buckets {
            cumulative: cumulative.collect(),
            sum: sum.nanos as f64 / 1e9,
            count: sum.count(),
        }
    }
}

impl Exposition {
    /// Adds to a counter; what is given for the same labels twice is summed.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        match self.series(name, help, Kind::Counter, labels) {
            Some(Entry::Occupied(mut held)) => {
                if let Value::Number(number) = held.get_mut() {
                    *number += value;
                }
            }
            Some(Entry::Vacant(free)) => {
                free.insert(Value::Number(value));
            }
            None => {}
        }
    }

    /// Sets a gauge; the last value given for the same labels stands.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.set(name, help, Kind::Gauge, labels, Value::Number(value));
    }

    /// Sets a histogram; the last one given for the same labels stands.
    pub fn histogram(&mut self, name: &str, help: &str, labels: &[(&str, &str)], of: Buckets) {
        self.set(name, help, Kind::Histogram, labels, Value::Histogram(of));
    }

    fn set(&mut self, name: &str, help: &str, kind: Kind, labels: &[(&str, &str)], value: Value) {
        match self.series(name, help, kind, labels) {
            Some(Entry::Occupied(mut held)) => *held.get_mut() = value,
            Some(Entry::Vacant(free)) => {
                free.insert(value);
            }
            None => {}
        }
    }

    /// Every family, by name.
    pub fn families(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.families.iter().map(|(name, of)| (name.as_str(), of))
    }

    /// The place of a series; `None` where the family has another type already.
    fn series(
        &mut self,
        name: &str,
        help: &str,
        kind: Kind,
        labels: &[(&str, &str)],
    ) -> Option<Entry<'_, Labels, Value>> {
        // Looked up first: a family has many series and one name to allocate.
        if !self.families.contains_key(name) {
            let family = Family {
                help: help.into(),
                kind,
                series: BTreeMap::new(),
            };
            self.families.insert(name.into(), family);
        }
        let family = self.families.get_mut(name).filter(|of| of.kind == kind)?;
        let pair = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        Some(family.series.entry(labels.iter().map(pair).collect()))
    }
}
