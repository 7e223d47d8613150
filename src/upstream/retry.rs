//! Which attempts may be followed by another.
//!
//! Invariant: a request that may have been done is done again only where that is safe: its method
//! may be sent twice, or the file says so.

use std::time::Duration;

use super::error::{UpstreamError, UpstreamErrorKind};
use crate::util::codes::{Codes, range};

/// What a service allows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retry {
    /// Attempts beyond the first.
    pub count: u32,
    /// Bound for all attempts together, until the response head.
    pub deadline: Option<Duration>,
    on: Option<Conditions>,
    methods: Option<Vec<String>>,
}

/// What an attempt must have come to, where the file says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Conditions {
    connect: bool,
    reset: bool,
    timeout: bool,
    malformed: bool,
    statuses: Codes,
    /// By gRPC code.
    grpc: u32,
}

/// gRPC's codes under Envoy's names.
const GRPC: &[(&str, u32)] = &[
    ("cancelled", 1),
    ("deadline-exceeded", 4),
    ("resource-exhausted", 8),
    ("internal", 13),
    ("unavailable", 14),
];

impl Retry {
    /// What the file says: conditions as `retry_on` writes them, methods in upper case.
    pub fn new(count: u32, on: Option<&[String]>, methods: Option<Vec<String>>) -> Retry {
        Retry {
            count,
            deadline: None,
            on: on.map(Conditions::new),
            methods,
        }
    }

    /// Whether another attempt may follow one that brought no head.
    pub fn after_failure(&self, error: UpstreamError, method: &str) -> bool {
        use UpstreamErrorKind as Kind;
        let wanted = match (error.kind, &self.on) {
            // Time is up for all attempts.
            (Kind::Deadline, _) => return false,
            (_, None) => true,
            (Kind::Connect | Kind::ConnectTimeout | Kind::Tls, Some(on)) => on.connect,
            (Kind::WriteTimeout | Kind::ReadTimeout, Some(on)) => on.timeout,
            (Kind::Closed, Some(on)) => on.reset,
            (Kind::Malformed, Some(on)) => on.malformed,
        };
        wanted && (self.is_repeatable(method) || !error.sent)
    }

    /// Whether an answer is one to try again for.
    pub fn after_answer(&self, status: u16, grpc: Option<u32>, method: &str) -> bool {
        let Some(on) = &self.on else { return false };
        // Every gRPC call is a POST: who names its codes knows which calls those are.
        grpc.is_some_and(|code| code < 32 && on.grpc >> code & 1 == 1)
            || on.statuses.contains(status) && self.is_repeatable(method)
    }

    fn is_repeatable(&self, method: &str) -> bool {
        match &self.methods {
            Some(methods) => methods.iter().any(|own| own == method),
            None => is_idempotent(method),
        }
    }
}

impl Conditions {
    fn new(words: &[String]) -> Conditions {
        let mut all = Conditions::default();
        for word in words {
            match word.as_str() {
                "connect-failure" => all.connect = true,
                "reset" => all.reset = true,
                "timeout" => all.timeout = true,
                "malformed" => all.malformed = true,
                word => {
                    if let Some(codes) = range(word) {
                        all.statuses.insert(codes);
                    }
                    for (_, code) in GRPC.iter().filter(|(name, _)| *name == word) {
                        all.grpc |= 1 << code;
                    }
                }
            }
        }
        all
    }
}

/// Methods that may be sent twice (RFC 9110 §9.2.2), as the contract lists them.
pub fn is_idempotent(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: UpstreamErrorKind, sent: bool) -> UpstreamError {
        UpstreamError {
            kind,
            reused: false,
            sent,
        }
    }

    fn retry(on: &[&str], methods: Option<&[&str]>) -> Retry {
        let owned = |list: &[&str]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        Retry::new(5, Some(&owned(on)), methods.map(owned))
    }

    #[test]
    fn without_a_word_whatever_is_safe_is_tried_again() {
        let rule = Retry::new(5, None, None);
        for kind in [
            UpstreamErrorKind::Connect,
            UpstreamErrorKind::Closed,
            UpstreamErrorKind::ReadTimeout,
            UpstreamErrorKind::Malformed,
        ] {
            assert!(rule.after_failure(failed(kind, true), "GET"), "{kind}");
            assert!(rule.after_failure(failed(kind, false), "POST"), "{kind}");
            assert!(!rule.after_failure(failed(kind, true), "POST"), "{kind}");
        }
        let late = failed(UpstreamErrorKind::Deadline, false);
        assert!(!rule.after_failure(late, "GET"));
        assert!(!rule.after_answer(503, None, "GET"));
    }

    #[test]
    fn each_condition_stands_for_itself() {
        for (word, kind) in [
            ("connect-failure", UpstreamErrorKind::ConnectTimeout),
            ("connect-failure", UpstreamErrorKind::Tls),
            ("reset", UpstreamErrorKind::Closed),
            ("timeout", UpstreamErrorKind::ReadTimeout),
            ("malformed", UpstreamErrorKind::Malformed),
        ] {
            let error = failed(kind, true);
            assert!(retry(&[word], None).after_failure(error, "GET"), "{word}");
            assert!(!retry(&[word], None).after_failure(error, "POST"), "{word}");
            assert!(!retry(&["503"], None).after_failure(error, "GET"), "{word}");
        }
    }

    #[test]
    fn answers_count_by_status_and_by_grpc_code() {
        let rule = retry(&["502-504", "unavailable"], None);
        assert!(rule.after_answer(503, None, "GET"));
        assert!(!rule.after_answer(500, None, "GET"));
        assert!(!rule.after_answer(503, None, "POST"));
        assert!(rule.after_answer(200, Some(14), "POST"));
        assert!(!rule.after_answer(200, Some(13), "POST"));
        assert!(!rule.after_answer(200, Some(4_000_000_000), "POST"));
    }

    #[test]
    fn methods_are_the_files_to_name() {
        let rule = retry(&["503"], Some(&["POST"]));
        assert!(rule.after_answer(503, None, "POST"));
        assert!(!rule.after_answer(503, None, "GET"));
    }
}
