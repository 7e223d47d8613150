//! A circuit breaker: opossum's machine for many threads, closed where a gateway would fall through.
//!
//! Closed, every call passes. When of the calls in the rolling window more than a percentage failed,
//! and there were enough of them, it opens: calls are refused at once. After a pause one single
//! call is let through as a trial; its success closes the breaker, its failure opens it for another
//! pause. As in opossum a refused call counts as a call, the rate is looked at when a call fails,
//! and closing forgets nothing.
//!
//! Where it differs, on purpose: no timer moves it, so the first call after the pause does; what a
//! call has to say that began under an earlier state is not heard; a call that ends without success
//! or failure takes its count back; a trial that never ends stops counting after some time, and the
//! next call becomes the trial.
//!
//! Invariant: one word holds state, generation and time, and only a compare-and-swap changes it. So
//! every transition has one author, and a half-open breaker has one trial at most. Nothing locks or
//! waits.

mod ring;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use self::ring::{Ring, SLICES};
use crate::telemetry::PerWorker;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// It opens when more than this share of the calls failed.
    pub percentage: f64,
    /// It stays closed while there are fewer calls than this in the window.
    pub volume: u64,
    /// How far back calls count.
    pub window: Duration,
    /// How long it stays open before a trial.
    pub reset: Duration,
    /// After which time a trial that has not ended makes room for another.
    pub trial: Duration,
}

/// What calls meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// One call passes, to see whether it succeeds.
    HalfOpen,
    /// Calls are refused.
    Open,
}

impl State {
    /// As logs and status pages write it.
    pub fn label(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::HalfOpen => "half-open",
            State::Open => "open",
        }
    }
}

/// A transition, told to its author alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Calls in the window.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may be made; how it ends is to be told with this.
    Pass(Ticket),
    /// It must not be made. It would be worth another try after so long.
    Refused(Duration),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Success,
    /// Badly.
    Failure,
    /// Nobody knows: the caller left.
    Unknown,
}

/// The right to one call, and what the breaker must know of it in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    generation: u32,
    slice: u32,
    shard: u8,
    trial: bool,
}

impl Ticket {
    /// Whether the call decides over a half-open breaker.
    pub fn is_trial(self) -> bool {
        self.trial
    }

    /// As one number, to be kept beside the call.
    pub fn to_bits(self) -> u64 {
        u64::from(self.slice) << 32
            | u64::from(self.generation) << 9
            | u64::from(self.shard) << 1
            | u64::from(self.trial)
    }

    /// The ticket that was that number.
    pub fn from_bits(bits: u64) -> Ticket {
        Ticket {
            generation: bits as u32 >> 9,
            slice: (bits >> 32) as u32,
            shard: (bits >> 1) as u8,
            trial: bits & 1 == 1,
        }
    }
}

/// How a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// What the next call would meet.
    pub state: State,
    /// Since when it is so, in the caller's milliseconds; 0 before the first transition.
    pub since: u64,
    /// How long calls will be refused still.
    pub wait: Duration,
    /// Calls in the window.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
}

/// One breaker, shared by all threads. Times are milliseconds since any moment that all calls agree
/// on, and do not run backwards by more than a little.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// Milliseconds a slice of the window.
    slice: u64,
    word: AtomicU64,
    /// Every call, on a cache line of each thread's own: the only thing that a closed breaker
    /// writes to.
    calls: PerWorker<Ring>,
    failures: Ring,
    shards: u8,
}

impl Breaker {
    /// A closed one for so many threads.
    pub fn new(settings: Settings, threads: usize) -> Breaker {
        let shards = threads.clamp(1, usize::from(u8::MAX)) as u8;
        Breaker {
            slice: (millis(settings.window) / SLICES).max(1),
            settings,
            word: AtomicU64::new(Word::new(Kind::Closed, 0, 0).0),
            calls: PerWorker::new(usize::from(shards)),
            failures: Ring::default(),
            shards,
        }
    }

    /// A call wants to be made. `thread` is any number of the calling thread's own. Also the
    /// transition that this was, if it was one.
    pub fn enter(&self, now: u64, thread: usize) -> (Entry, Option<Change>) {
        let slice = self.slice_of(now);
        let shard = (thread % usize::from(self.shards)) as u8;
        if let Some(calls) = self.calls.of(usize::from(shard)) {
            calls.add(slice);
        }
        let ticket = |generation, trial| {
            Entry::Pass(Ticket {
                generation,
                slice,
                shard,
                trial,
            })
        };
        loop {
            let word = self.word();
            if word.kind() == Kind::Closed {
                return (ticket(word.generation(), false), None);
            }
            if let Some(wait) = self.wait(word, now) {
                return (Entry::Refused(wait), None);
            }
            let next = word.next(Kind::Trial, now);
            if self.swap(word, next) {
                let opens = word.kind() == Kind::Open;
                let change = opens.then(|| self.change(State::Open, State::HalfOpen, now));
                return (ticket(next.generation(), true), change);
            }
        }
    }

    /// A call that was let through has ended; also the transition that this was, if it was one.
    pub fn leave(&self, ticket: Ticket, end: End, now: u64) -> Option<Change> {
        if end == End::Unknown
            && let Some(calls) = self.calls.of(usize::from(ticket.shard))
        {
            calls.take_back(ticket.slice);
        }
        let word = self.word();
        if word.generation() != ticket.generation {
            return None;
        }
        match (end, ticket.trial) {
            (End::Success, false) | (End::Unknown, false) => None,
            (End::Failure, _) => self.failed(word, ticket.trial, now),
            (End::Success, true) => {
                let closes = self.swap(word, word.next(Kind::Closed, now));
                closes.then(|| self.change(State::HalfOpen, State::Closed, now))
            }
            (End::Unknown, true) => {
                self.swap(word, word.next(Kind::Free, now));
                None
            }
        }
    }

    fn failed(&self, word: Word, trial: bool, now: u64) -> Option<Change> {
        let slice = self.slice_of(now);
        self.failures.add(slice);
        if !trial && !self.is_too_much(slice) {
            return None;
        }
        let opens = self.swap(word, word.next(Kind::Open, now));
        let from = if trial {
            State::HalfOpen
        } else {
            State::Closed
        };
        opens.then(|| self.change(from, State::Open, now))
    }

    fn is_too_much(&self, slice: u32) -> bool {
        let (calls, failures) = self.sums(slice);
        calls >= self.settings.volume
            && failures as f64 * 100.0 > calls as f64 * self.settings.percentage
    }

    /// How it is.
    pub fn glance(&self, now: u64) -> Glance {
        let word = self.word();
        let wait = self.wait(word, now);
        let (calls, failures) = self.sums(self.slice_of(now));
        Glance {
            state: match word.kind() {
                Kind::Closed => State::Closed,
                Kind::Open if wait.is_some() => State::Open,
                Kind::Open | Kind::Trial | Kind::Free => State::HalfOpen,
            },
            since: word.at(),
            wait: wait.unwrap_or_default(),
            calls,
            failures,
        }
    }

    /// How long calls are refused under that word, if they are.
    fn wait(&self, word: Word, now: u64) -> Option<Duration> {
        let pause = match word.kind() {
            Kind::Closed | Kind::Free => return None,
            Kind::Open => self.settings.reset,
            Kind::Trial => self.settings.trial,
        };
        let until = word.at().saturating_add(millis(pause));
        (now < until).then(|| Duration::from_millis(until - now))
    }

    fn change(&self, from: State, to: State, now: u64) -> Change {
        let (calls, failures) = self.sums(self.slice_of(now));
        Change {
            from,
            to,
            calls,
            failures,
        }
    }

    /// Calls and failures of the window that ends with a slice.
    fn sums(&self, slice: u32) -> (u64, u64) {
        let calls = self.calls.iter().map(|ring| ring.sum(slice)).sum();
        (calls, self.failures.sum(slice))
    }

    /// Slices are numbered until they wrap, after 49 days at the least: longer than a window by far.
    fn slice_of(&self, now: u64) -> u32 {
        (now / self.slice) as u32
    }

    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn swap(&self, old: Word, new: Word) -> bool {
        let swapped = self
            .word
            .compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire);
        swapped.is_ok()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A state with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Closed,
    /// Since a moment.
    Open,
    /// Half-open, its trial under way since a moment.
    Trial,
    /// Half-open, the trial given back undecided.
    Free,
}

/// Kind in 2 bits, generation in 23, milliseconds in 39: good for 17 years. A generation comes back
/// after eight million transitions, long after whoever still holds the first one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word(u64);

const GENERATIONS: u64 = (1 << 23) - 1;

impl Word {
    fn new(kind: Kind, generation: u32, at: u64) -> Word {
        let kind = match kind {
            Kind::Closed => 0,
            Kind::Open => 1,
            Kind::Trial => 2,
            Kind::Free => 3,
        };
        Word(at << 25 | (u64::from(generation) & GENERATIONS) << 2 | kind)
    }

    fn next(self, kind: Kind, at: u64) -> Word {
        Word::new(kind, self.generation().wrapping_add(1), at)
    }

    fn kind(self) -> Kind {
        match self.0 & 3 {
            0 => Kind::Closed,
            1 => Kind::Open,
            2 => Kind::Trial,
            _ => Kind::Free,
        }
    }

    fn generation(self) -> u32 {
        (self.0 >> 2 & GENERATIONS) as u32
    }

    fn at(self) -> u64 {
        self.0 >> 25
    }
}

#[cfg(test)]
mod tests;
