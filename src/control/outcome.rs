//! What a reload did: what changed, what state was found again, how long it took.
//!
//! Invariant: names of entities, numbers and times; nothing of what entities say.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::snapshot::{Changes, Took};
use crate::util::keep::Kept;

/// What making a configuration live did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Against the configuration before it; everything is new in the first.
    pub changes: Changes,
    /// State of the process that it found again, and that it had to make.
    pub kept: Vec<Kept>,
    /// Reading and checking.
    pub took: Took,
    /// Compiling.
    pub compile: Duration,
}

/// Types of state, and what they are to an operator.
const WORDS: &[(&str, &str)] = &[
    ("Cluster", "upstreams"),
    ("Counters", "rate_limit_counters"),
    ("Synced", "rate_limit_counters_on_redis"),
    ("Guard", "circuit_breakers"),
    ("Cache", "verified_tokens"),
    ("Resumption", "tls_sessions"),
];

impl Outcome {
    /// For people and tools; at most so many names of each sort of change.
    pub fn json(&self, most: usize) -> Value {
        json!({
            "changes": self.changes.json(most),
            "state": self.state(),
            "durations_ms": {
                "parse": millis(self.took.parse),
                "check": millis(self.took.check),
                "compile": millis(self.compile),
                "total": millis(self.total()),
            },
        })
    }

    /// State that was kept and made, by kind.
    fn state(&self) -> Value {
        let pair = |kept: &Kept| {
            let json = json!({"kept": kept.kept, "new": kept.made});
            (word(kept.name), json)
        };
        Value::Object(self.kept.iter().map(pair).collect::<Map<_, _>>())
    }

    /// How long all of it took.
    pub fn total(&self) -> Duration {
        self.took.parse + self.took.check + self.compile
    }

    /// The steps and their times.
    pub fn steps(&self) -> [(&'static str, Duration); 3] {
        [
            ("parse", self.took.parse),
            ("check", self.took.check),
            ("compile", self.compile),
        ]
    }
}

fn word(name: &str) -> String {
    let found = WORDS.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| name.to_lowercase(), |(_, word)| (*word).to_owned())
}

/// With a tenth of a millisecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_numbers() {
        let outcome = Outcome {
            kept: vec![
                Kept {
                    name: "Cluster",
                    kept: 3,
                    made: 1,
                },
                Kept {
                    name: "Unheard",
                    kept: 0,
                    made: 2,
                },
            ],
            took: Took {
                parse: Duration::from_micros(1240),
                check: Duration::from_millis(2),
            },
            compile: Duration::from_micros(50),
            ..Outcome::default()
        };
        assert_eq!(
            outcome.json(9),
            json!({
                "changes": {},
                "state": {
                    "upstreams": {"kept": 3, "new": 1},
                    "unheard": {"kept": 0, "new": 2},
                },
                "durations_ms": {"parse": 1.2, "check": 2.0, "compile": 0.1, "total": 3.3},
            })
        );
    }
}
