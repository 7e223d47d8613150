//! Who can tell how the gateway is: the checks that `/health` and `/status` walk, and the details
//! that `/status` shows beside them.
//!
//! Invariant: asking does not wait. A source tells what it knows already, and leaves by itself
//! when its owner is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde_json::Value;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// All is well.
    Healthy,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Unhealthy,
}

impl Health {
    /// As `/health` writes it.
    pub fn label(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unhealthy => "unhealthy",
        }
    }
}

/// What a check means for the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The gateway is no better than this.
    Vital,
    /// The gateway is unhealthy when every check of the kind is; else it is degraded.
    Share(&'static str),
    /// The gateway is degraded at worst.
    Part,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was asked: `configuration`, `upstream:orders`.
    pub name: String,
    /// How it is.
    pub status: Health,
    /// Why, for people.
    pub message: String,
    /// What it means for the whole.
    pub weight: Weight,
}

/// One thing among others of its kind, as `/status` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// What it is one of: the key of the list that it stands in, such as `breakers`.
    pub kind: &'static str,
    /// The id of the service that it is about.
    pub service: Option<String>,
    /// What there is to tell.
    pub json: Value,
}

/// Adds checks or details; `false` when its owner is gone.
type Source<T> = Arc<dyn Fn(&mut Vec<T>) -> bool + Send + Sync>;

/// The sources of checks and details. Clones are the same lists.
#[derive(Clone, Default)]
pub struct Checks(Arc<Sources>);

#[derive(Default)]
struct Sources {
    checks: Mutex<Vec<Source<Check>>>,
    details: Mutex<Vec<Source<Detail>>>,
}

impl Checks {
    /// Asks `source` for as long as the process lives.
    pub fn register(&self, source: impl Fn(&mut Vec<Check>) + Send + Sync + 'static) {
        lock(&self.0.checks).push(Arc::new(move |out| {
            source(out);
            true
        }));
    }

    /// Asks `source` for as long as `owner` lives.
    pub fn register_weak<T: Send + Sync + 'static>(
        &self,
        owner: Weak<T>,
        source: impl Fn(&T, &mut Vec<Check>) + Send + Sync + 'static,
    ) {
        lock(&self.0.checks).push(while_living(owner, source));
    }

    /// Asks `source` for details for as long as `owner` lives.
    pub fn register_details<T: Send + Sync + 'static>(
        &self,
        owner: Weak<T>,
        source: impl Fn(&T, &mut Vec<Detail>) + Send + Sync + 'static,
    ) {
        lock(&self.0.details).push(while_living(owner, source));
    }

    /// Asks everybody for checks.
    pub fn ask(&self) -> Verdict {
        Verdict::of(ask_all(&self.0.checks))
    }

    /// Asks everybody for details.
    pub fn details(&self) -> Vec<Detail> {
        ask_all(&self.0.details)
    }
}

fn while_living<T: Send + Sync + 'static, A: 'static>(
    owner: Weak<T>,
    source: impl Fn(&T, &mut Vec<A>) + Send + Sync + 'static,
) -> Source<A> {
    Arc::new(move |out| {
        let owner = owner.upgrade();
        if let Some(owner) = &owner {
            source(owner, out);
        }
        owner.is_some()
    })
}

/// Sources run without the lock: one may well register another.
fn ask_all<A>(list: &Mutex<Vec<Source<A>>>) -> Vec<A> {
    let sources = lock(list).clone();
    let mut answers = Vec::new();
    let gone: Vec<&Source<A>> = sources
        .iter()
        .filter(|source| !source(&mut answers))
        .collect();
    if !gone.is_empty() {
        lock(list).retain(|source| !gone.iter().any(|gone| Arc::ptr_eq(gone, source)));
    }
    answers
}

fn lock<A>(list: &Mutex<A>) -> MutexGuard<'_, A> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All answers, and what they come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The whole.
    pub status: Health,
    /// The answers, in the order of registration.
    pub checks: Vec<Check>,
}

impl Verdict {
    /// What these answers come to.
    pub fn of(checks: Vec<Check>) -> Verdict {
        let status = checks
            .iter()
            .map(|check| weigh(check, &checks))
            .max()
            .unwrap_or(Health::Healthy);
        Verdict { status, checks }
    }

    /// Whether every single check is healthy: what `?strict=1` asks.
    pub fn is_spotless(&self) -> bool {
        self.checks
            .iter()
            .all(|check| check.status == Health::Healthy)
    }
}

/// What one check alone makes of the whole.
fn weigh(check: &Check, all: &[Check]) -> Health {
    match check.weight {
        Weight::Vital => check.status,
        Weight::Share(_) if all_down(check.weight, all) => Health::Unhealthy,
        Weight::Share(_) | Weight::Part => check.status.min(Health::Degraded),
    }
}

fn all_down(weight: Weight, all: &[Check]) -> bool {
    all.iter()
        .filter(|check| check.weight == weight)
        .all(|check| check.status == Health::Unhealthy)
}

#[cfg(test)]
mod tests {
    use super::Health::*;
    use super::*;

    const UPSTREAM: Weight = Weight::Share("upstream");

    fn verdict(checks: &[(Weight, Health)]) -> Health {
        let check = |(weight, status): &(Weight, Health)| Check {
            name: "x".into(),
            status: *status,
            message: String::new(),
            weight: *weight,
        };
        Verdict::of(checks.iter().map(check).collect()).status
    }

    #[test]
    fn one_sick_upstream_degrades_and_only_all_of_them_bring_the_gateway_down() {
        let well = (Weight::Vital, Healthy);
        assert_eq!(verdict(&[]), Healthy);
        assert_eq!(verdict(&[well]), Healthy);
        assert_eq!(
            verdict(&[well, (UPSTREAM, Healthy), (UPSTREAM, Unhealthy)]),
            Degraded
        );
        assert_eq!(
            verdict(&[well, (UPSTREAM, Degraded), (UPSTREAM, Unhealthy)]),
            Degraded
        );
        assert_eq!(
            verdict(&[well, (UPSTREAM, Unhealthy), (UPSTREAM, Unhealthy)]),
            Unhealthy
        );
        assert_eq!(verdict(&[well, (Weight::Part, Unhealthy)]), Degraded);
        assert_eq!(
            verdict(&[(Weight::Vital, Unhealthy), (UPSTREAM, Healthy)]),
            Unhealthy
        );
        assert_eq!(verdict(&[(Weight::Vital, Degraded)]), Degraded);
    }

    #[test]
    fn a_source_leaves_with_its_owner() {
        let checks = Checks::default();
        let owner = Arc::new("redis away");
        checks.register_weak(Arc::downgrade(&owner), |message, out| {
            out.push(Check {
                name: "redis".into(),
                status: Degraded,
                message: message.to_string(),
                weight: Weight::Part,
            });
        });
        checks.register_details(Arc::downgrade(&owner), |message, out| {
            out.push(Detail {
                kind: "stores",
                service: None,
                json: Value::from(*message),
            });
        });
        assert_eq!(checks.details()[0].json, "redis away");
        let verdict = checks.ask();
        assert_eq!((verdict.status, verdict.is_spotless()), (Degraded, false));
        assert_eq!(verdict.checks[0].message, "redis away");
        drop(owner);
        assert_eq!(checks.ask(), Verdict::of(Vec::new()));
        assert_eq!(checks.details(), []);
        assert!(lock(&checks.0.checks).is_empty() && lock(&checks.0.details).is_empty());
    }
}
