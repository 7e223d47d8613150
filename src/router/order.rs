//! Who goes first: Kong's precedence, both flavours, as a list of questions.
//!
//! Invariant: for any two entries the first question that they answer differently decides, the
//! higher answer goes first; the last question (file order) always decides. This file knows no
//! index and no request.

use super::spec::Flavor;

/// A question of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// How many of hosts, headers, paths, methods, snis are asked for.
    Criteria,
    /// Which ones: hosts 16, headers 8, paths 4, methods 2, snis 1.
    Kind,
    /// Some host is a wildcard with a port.
    WildcardPort,
    /// There are hosts, and none is a wildcard.
    PlainHosts,
    /// The host that matched equals the Host header, port included.
    LiteralHost,
    /// The path is a regular expression.
    Regex,
    /// How many header names.
    HeaderNames,
    /// `regex_priority`, of regex entries only.
    RegexPriority,
    /// Bytes of a prefix path; 0 for a regular expression.
    PrefixLength,
    /// The older `created_at`.
    Age,
    /// The earlier place in the file.
    Place,
}

/// The number of questions.
pub(super) const STEPS: usize = 11;

/// Kong's older order. The literal host is ours: its place is that of the other host questions.
#[rustfmt::skip]
const TRADITIONAL: [Step; STEPS] = [
    Step::Criteria, Step::Kind,
    Step::WildcardPort, Step::PlainHosts, Step::LiteralHost, Step::Regex,
    Step::HeaderNames, Step::RegexPriority, Step::PrefixLength,
    Step::Age, Step::Place,
];

/// Kong's default: its 64-bit key, then, where that leaves a tie, what the older order looks at.
#[rustfmt::skip]
const COMPATIBLE: [Step; STEPS] = [
    Step::Criteria,
    Step::PlainHosts, Step::LiteralHost,
    Step::HeaderNames, Step::Regex, Step::RegexPriority, Step::PrefixLength,
    Step::Kind, Step::WildcardPort,
    Step::Age, Step::Place,
];

impl Flavor {
    /// The questions in their order.
    pub(super) const fn steps(self) -> [Step; STEPS] {
        match self {
            Flavor::Traditional => TRADITIONAL,
            Flavor::TraditionalCompatible => COMPATIBLE,
        }
    }
}

/// What the order looks at, for one entry: a route with one of its paths, or with none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    /// Bits of the criteria in use: hosts 16, headers 8, paths 4, methods 2, snis 1.
    pub(super) kinds: u8,
    pub(super) wildcard_port: bool,
    pub(super) plain_hosts: bool,
    /// Plain hosts only: false where a host matches a Host header that it does not equal.
    pub(super) literal_host: bool,
    pub(super) regex: bool,
    pub(super) header_names: usize,
    pub(super) regex_priority: i64,
    pub(super) prefix_len: usize,
    pub(super) created_at: Option<i64>,
    /// Position of the route in the file, and of the path in the route.
    pub(super) place: (usize, usize),
}

impl Traits {
    /// The answer to one question; higher goes first.
    pub(super) fn answer(&self, step: Step) -> i64 {
        match step {
            Step::Criteria => i64::from(self.kinds.count_ones()),
            Step::Kind => i64::from(self.kinds),
            Step::WildcardPort => i64::from(self.wildcard_port),
            Step::PlainHosts => i64::from(self.plain_hosts),
            Step::LiteralHost => i64::from(self.literal_host),
            Step::Regex => i64::from(self.regex),
            Step::HeaderNames => self.header_names as i64,
            Step::RegexPriority if self.regex => self.regex_priority,
            Step::RegexPriority => 0,
            Step::PrefixLength => self.prefix_len as i64,
            Step::Age => !self.created_at.unwrap_or(i64::MAX),
            Step::Place => !(((self.place.0 as i64) << 24) + self.place.1 as i64),
        }
    }

    /// A key that sorts the entry that goes first to the front.
    pub(super) fn key(&self, flavor: Flavor) -> [i64; STEPS] {
        // `!` turns the order round without the overflow of a minus sign.
        flavor.steps().map(|step| !self.answer(step))
    }

    /// The question that puts `self` before `other`; `None` when it does not go first.
    pub(super) fn beats(&self, other: &Traits, flavor: Flavor) -> Option<Step> {
        let decides = |step: &Step| self.answer(*step) != other.answer(*step);
        let step = flavor.steps().into_iter().find(decides)?;
        (self.answer(step) > other.answer(step)).then_some(step)
    }
}
