//! Who can tell how the gateway is: the checks that `/health` and `/status` walk.
//!
//! Invariant: asking does not wait. A source tells what it knows already, and leaves by itself
//! when its owner is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

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

/// Adds checks; `false` when its owner is gone.
type Source = Arc<dyn Fn(&mut Vec<Check>) -> bool + Send + Sync>;

/// The sources of checks. Clones are the same list.
#[derive(Clone, Default)]
pub struct Checks(Arc<Mutex<Vec<Source>>>);

impl Checks {
    /// Asks `source` for as long as the process lives.
    pub fn register(&self, source: impl Fn(&mut Vec<Check>) + Send + Sync + 'static) {
        self.sources().push(Arc::new(move |out| {
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
        self.sources().push(Arc::new(move |out| {
            let owner = owner.upgrade();
            if let Some(owner) = &owner {
                source(owner, out);
            }
            owner.is_some()
        }));
    }

    /// Asks everybody. Sources run without the lock: one may well register another.
    pub fn ask(&self) -> Verdict {
        let sources = self.sources().clone();
        let mut checks = Vec::new();
        let gone: Vec<&Source> = sources
            .iter()
            .filter(|source| !source(&mut checks))
            .collect();
        if !gone.is_empty() {
            self.sources()
                .retain(|source| !gone.iter().any(|gone| Arc::ptr_eq(gone, source)));
        }
        Verdict::of(checks)
    }

    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let verdict = checks.ask();
        assert_eq!((verdict.status, verdict.is_spotless()), (Degraded, false));
        assert_eq!(verdict.checks[0].message, "redis away");
        drop(owner);
        assert_eq!(checks.ask(), Verdict::of(Vec::new()));
        assert!(checks.sources().is_empty());
    }
}
