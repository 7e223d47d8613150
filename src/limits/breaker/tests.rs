//! The machine against a naive one that remembers every call, and under threads.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    Settings {
        percentage: 50.0,
        volume: 4,
        window: Duration::from_secs(10),
        reset: Duration::from_secs(30),
        trial: Duration::from_secs(5),
    }
}

fn breaker() -> Breaker {
    Breaker::new(settings(), 2)
}

#[track_caller]
fn pass(breaker: &Breaker, now: u64) -> Ticket {
    match breaker.enter(now, 0).0 {
        Entry::Pass(ticket) => ticket,
        Entry::Refused(wait) => panic!("refused for {wait:?}"),
    }
}

#[track_caller]
fn refused(breaker: &Breaker, now: u64) -> u64 {
    match breaker.enter(now, 0).0 {
        Entry::Refused(wait) => millis(wait),
        Entry::Pass(_) => panic!("passed"),
    }
}

/// A call that ends at once.
#[track_caller]
fn call(breaker: &Breaker, end: End, now: u64) -> Option<Change> {
    breaker.leave(pass(breaker, now), end, now)
}

fn opened(now: u64) -> Breaker {
    let breaker = breaker();
    for _ in 0..3 {
        assert_eq!(call(&breaker, End::Failure, now), None);
    }
    let change = call(&breaker, End::Failure, now).expect("a transition");
    assert_eq!((change.from, change.to), (State::Closed, State::Open));
    assert_eq!((change.calls, change.failures), (4, 4));
    breaker
}

#[test]
fn the_share_must_be_exceeded_not_reached() {
    let breaker = breaker();
    for end in [End::Success, End::Success, End::Failure, End::Failure] {
        assert_eq!(call(&breaker, end, 0), None);
    }
    assert!(call(&breaker, End::Failure, 0).is_some(), "3 of 5");
}

#[test]
fn it_is_not_looked_at_when_a_call_succeeds() {
    let breaker = breaker();
    for _ in 0..3 {
        call(&breaker, End::Failure, 0);
    }
    assert_eq!(call(&breaker, End::Success, 0), None);
    assert_eq!(breaker.glance(0).state, State::Closed);
    assert!(call(&breaker, End::Failure, 0).is_some());
}

#[test]
fn calls_under_way_count_for_the_volume() {
    let breaker = breaker();
    let tickets: Vec<_> = (0..4).map(|_| pass(&breaker, 0)).collect();
    assert_eq!(breaker.leave(tickets[0], End::Failure, 0), None);
    assert_eq!(breaker.leave(tickets[1], End::Failure, 0), None);
    assert!(breaker.leave(tickets[2], End::Failure, 0).is_some());
}

#[test]
fn failures_older_than_the_window_are_forgotten() {
    let breaker = breaker();
    for _ in 0..3 {
        call(&breaker, End::Failure, 999);
    }
    assert_eq!(breaker.glance(9_999).failures, 3);
    assert_eq!(breaker.glance(10_000).failures, 0);
    assert_eq!(call(&breaker, End::Failure, 10_000), None);
}

#[test]
fn an_open_one_refuses_until_its_pause_is_over() {
    let breaker = opened(1_000);
    assert_eq!(refused(&breaker, 1_000), 30_000);
    assert_eq!(refused(&breaker, 30_999), 1);
    assert_eq!(breaker.glance(30_999).state, State::Open);
    assert_eq!(breaker.glance(31_000).state, State::HalfOpen);
    let (entry, change) = breaker.enter(31_000, 1);
    assert!(matches!(entry, Entry::Pass(_)));
    let change = change.expect("a transition");
    assert_eq!((change.from, change.to), (State::Open, State::HalfOpen));
}

#[test]
fn half_open_lets_one_call_through() {
    let breaker = opened(0);
    let trial = pass(&breaker, 30_000);
    assert_eq!(refused(&breaker, 30_000), 5_000);
    assert_eq!(refused(&breaker, 34_999), 1);
    let change = breaker.leave(trial, End::Success, 34_999).unwrap();
    assert_eq!((change.from, change.to), (State::HalfOpen, State::Closed));
    pass(&breaker, 34_999);
}

#[test]
fn a_failed_trial_opens_it_for_another_pause() {
    let breaker = opened(0);
    let trial = pass(&breaker, 30_000);
    let change = breaker.leave(trial, End::Failure, 31_000).unwrap();
    assert_eq!((change.from, change.to), (State::HalfOpen, State::Open));
    assert_eq!(refused(&breaker, 31_000), 30_000);
    pass(&breaker, 61_000);
}

#[test]
fn a_trial_whose_caller_leaves_makes_room_at_once() {
    let breaker = opened(0);
    let trial = pass(&breaker, 30_000);
    assert_eq!(breaker.leave(trial, End::Unknown, 30_001), None);
    assert_eq!(breaker.glance(30_001).state, State::HalfOpen);
    let (entry, change) = breaker.enter(30_001, 0);
    assert!(matches!(entry, Entry::Pass(_)));
    assert_eq!(change, None, "it was half-open already");
}

#[test]
fn a_trial_that_hangs_makes_room_in_time_and_is_not_heard_any_more() {
    let breaker = opened(0);
    let hung = pass(&breaker, 30_000);
    let second = pass(&breaker, 35_000);
    assert_eq!(breaker.leave(hung, End::Failure, 35_001), None);
    assert_eq!(breaker.leave(hung, End::Success, 35_001), None);
    assert_eq!(breaker.leave(hung, End::Unknown, 35_001), None);
    assert_eq!(refused(&breaker, 35_002), 4_998);
    assert!(breaker.leave(second, End::Success, 35_003).is_some());
}

/// opossum would let a call decide that began before the opening.
#[test]
fn what_began_under_an_earlier_state_is_not_heard() {
    let breaker = breaker();
    let early = [pass(&breaker, 0), pass(&breaker, 0)];
    for _ in 0..3 {
        call(&breaker, End::Failure, 0);
    }
    assert_eq!(breaker.glance(0).state, State::Open);
    assert_eq!(breaker.leave(early[0], End::Success, 1), None);
    assert_eq!(breaker.glance(1).state, State::Open);
    let trial = pass(&breaker, 30_000);
    assert_eq!(breaker.leave(early[1], End::Failure, 30_000), None);
    assert_eq!(breaker.glance(30_000).state, State::HalfOpen);
    breaker.leave(trial, End::Success, 30_000);
    assert_eq!(breaker.glance(30_000).state, State::Closed);
}

/// As in opossum: the window is not emptied.
#[test]
fn closing_forgets_nothing() {
    let breaker = Breaker::new(
        Settings {
            reset: Duration::from_secs(1),
            ..settings()
        },
        1,
    );
    for _ in 0..4 {
        call(&breaker, End::Failure, 0);
    }
    assert!(call(&breaker, End::Success, 1_000).is_some());
    let change = call(&breaker, End::Failure, 1_000).expect("5 of 6");
    assert_eq!((change.calls, change.failures), (6, 5));
}

#[test]
fn refused_calls_are_calls() {
    let breaker = opened(0);
    for _ in 0..6 {
        refused(&breaker, 1);
    }
    assert_eq!(breaker.glance(1).calls, 10);
}

#[test]
fn a_call_that_ends_without_a_word_was_none() {
    let breaker = breaker();
    for _ in 0..9 {
        call(&breaker, End::Unknown, 0);
    }
    let glance = breaker.glance(0);
    assert_eq!((glance.calls, glance.failures), (0, 0));
    // Its slice is over: nothing is there to be taken back.
    let late = pass(&breaker, 0);
    let next = pass(&breaker, 10_000);
    breaker.leave(late, End::Unknown, 10_000);
    assert_eq!(breaker.glance(10_000).calls, 1);
    breaker.leave(next, End::Success, 10_000);
}

#[test]
fn the_bounds_of_the_settings_hold() {
    let with = |percentage, volume| {
        Breaker::new(
            Settings {
                percentage,
                volume,
                window: Duration::from_millis(1),
                ..settings()
            },
            0,
        )
    };
    assert!(call(&with(0.0, 0), End::Failure, 0).is_some());
    let never = with(100.0, 0);
    assert!((0..50).all(|now| call(&never, End::Failure, now).is_none()));
}

#[test]
fn tickets_survive_as_numbers() {
    for (generation, slice, shard, trial) in [
        (0, 0, 0, false),
        (8_388_607, u32::MAX, 255, true),
        (5, 9, 3, true),
    ] {
        let ticket = Ticket {
            generation,
            slice,
            shard,
            trial,
        };
        assert_eq!(Ticket::from_bits(ticket.to_bits()), ticket);
    }
}

/// Everything that ever happened, in a list.
struct Oracle {
    settings: Settings,
    calls: Vec<u64>,
    failures: Vec<u64>,
    state: Known,
    /// Counts states, so that late words are told apart.
    nth: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Known {
    Closed,
    Open(u64),
    Trial(u64),
    Waiting,
}

/// A call under way: of which state, whether as a trial, when it began.
#[derive(Clone, Copy)]
struct Call(u64, bool, u64);

impl Oracle {
    fn slice(&self, at: u64) -> u64 {
        at / (millis(self.settings.window) / 10)
    }

    fn recent(&self, of: &[u64], now: u64) -> u64 {
        let last = self.slice(now);
        let recent = of.iter().filter(|at| self.slice(**at) + 10 > last);
        recent.count() as u64
    }

    fn become_(&mut self, state: Known) {
        self.state = state;
        self.nth += 1;
    }

    fn enter(&mut self, now: u64) -> Result<Call, u64> {
        self.calls.push(now);
        let until = match self.state {
            Known::Closed => return Ok(Call(self.nth, false, now)),
            Known::Open(at) => at + millis(self.settings.reset),
            Known::Trial(at) => at + millis(self.settings.trial),
            Known::Waiting => now,
        };
        if now < until {
            return Err(until - now);
        }
        self.become_(Known::Trial(now));
        Ok(Call(self.nth, true, now))
    }

    fn leave(&mut self, Call(nth, trial, began): Call, end: End, now: u64) {
        if end == End::Unknown && self.recent(&[began], now) > 0 {
            let at = self.calls.iter().position(|at| *at == began).unwrap();
            self.calls.remove(at);
        }
        if nth != self.nth {
            return;
        }
        match end {
            End::Success if trial => self.become_(Known::Closed),
            End::Unknown if trial => self.become_(Known::Waiting),
            End::Failure => {
                self.failures.push(now);
                let (calls, failures) = self.sums(now);
                let share = 100.0 * failures as f64 / calls as f64;
                let much = calls >= self.settings.volume && share > self.settings.percentage;
                if trial || much {
                    self.become_(Known::Open(now));
                }
            }
            End::Success | End::Unknown => {}
        }
    }

    fn sums(&self, now: u64) -> (u64, u64) {
        (
            self.recent(&self.calls, now),
            self.recent(&self.failures, now),
        )
    }

    fn state(&self, now: u64) -> State {
        match self.state {
            Known::Closed => State::Closed,
            Known::Open(at) if now < at + millis(self.settings.reset) => State::Open,
            _ => State::HalfOpen,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Enter(usize),
    Leave(usize, End),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let end = prop_oneof![
        2 => Just(End::Success), 4 => Just(End::Failure), 1 => Just(End::Unknown)
    ];
    let step = prop_oneof![
        1 => 0u64..3,
        2 => 0u64..200,
        1 => 0u64..4_000,
    ];
    let step = prop_oneof![
        2 => step.prop_map(Step::Wait),
        5 => (0usize..5).prop_map(Step::Enter),
        5 => (0usize..8, end).prop_map(|(which, end)| Step::Leave(which, end)),
    ];
    proptest::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn it_does_what_the_oracle_does(
        percentage in prop_oneof![Just(0.0), Just(33.0), Just(50.0), Just(100.0)],
        volume in 0u64..6,
        window in 1u64..40,
        reset in 1u64..2_000,
        trial in 1u64..500,
        start in 0u64..10_000_000_000,
        steps in steps(),
    ) {
        let settings = Settings {
            percentage,
            volume,
            window: Duration::from_millis(window * 50),
            reset: Duration::from_millis(reset),
            trial: Duration::from_millis(trial),
        };
        let breaker = Breaker::new(settings, 3);
        let mut oracle = Oracle {
            settings,
            calls: Vec::new(),
            failures: Vec::new(),
            state: Known::Closed,
            nth: 0,
        };
        let mut now = start;
        let mut open: Vec<(Ticket, Call)> = Vec::new();
        let mut shown = State::Closed;
        for step in steps {
            let before = oracle.state(now);
            let change = match step {
                Step::Wait(time) => {
                    now += time;
                    None
                }
                Step::Enter(thread) => {
                    let (entry, change) = breaker.enter(now, thread);
                    match (entry, oracle.enter(now)) {
                        (Entry::Pass(ticket), Ok(call)) => open.push((ticket, call)),
                        (Entry::Refused(wait), Err(left)) => prop_assert_eq!(millis(wait), left),
                        (entry, _) => prop_assert!(false, "{:?} from {:?}", entry, before),
                    }
                    change
                }
                Step::Leave(which, end) if !open.is_empty() => {
                    let (ticket, call) = open.remove(which % open.len());
                    oracle.leave(call, end, now);
                    breaker.leave(ticket, end, now)
                }
                Step::Leave(..) => None,
            };
            // Every transition is told once, from where the last one ended.
            if let Some(change) = change {
                prop_assert_eq!(change.from, shown);
                prop_assert_ne!(change.to, shown);
                shown = change.to;
            }
            let glance = breaker.glance(now);
            prop_assert_eq!(glance.state, oracle.state(now));
            prop_assert_eq!((glance.calls, glance.failures), oracle.sums(now));
            let told = shown == glance.state || shown == State::Open;
            prop_assert!(told, "shown {:?}, is {:?}", shown, glance.state);
        }
    }
}

const THREADS: usize = 8;

/// Runs `work` on every thread at once.
fn together(work: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
}

#[test]
fn threads_lose_no_call_and_one_of_them_opens_it() {
    let breaker = Breaker::new(
        Settings {
            volume: 8_000,
            ..settings()
        },
        THREADS,
    );
    let changes = AtomicUsize::new(0);
    together(|thread| {
        for _ in 0..1_000 {
            let (entry, _) = breaker.enter(0, thread);
            let Entry::Pass(ticket) = entry else { continue };
            if breaker.leave(ticket, End::Failure, 0).is_some() {
                changes.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!(changes.load(Ordering::Relaxed), 1);
    let glance = breaker.glance(0);
    assert_eq!((glance.state, glance.calls), (State::Open, 8_000));
}

#[test]
fn of_many_threads_one_gets_the_trial() {
    for round in 0..200 {
        let breaker = opened(0);
        let (passed, changes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        together(|thread| {
            let (entry, change) = breaker.enter(30_000 + round, thread);
            passed.fetch_add(
                usize::from(matches!(entry, Entry::Pass(_))),
                Ordering::Relaxed,
            );
            changes.fetch_add(usize::from(change.is_some()), Ordering::Relaxed);
        });
        let told = (passed.into_inner(), changes.into_inner());
        assert_eq!(told, (1, 1));
    }
}

/// Whatever threads do, transitions chain up, there is never a second trial, and in the end the
/// breaker can close: it does not wedge.
#[test]
fn storms_do_not_wedge_it() {
    let breaker = Breaker::new(
        Settings {
            percentage: 30.0,
            volume: 3,
            window: Duration::from_millis(100),
            reset: Duration::from_millis(5),
            trial: Duration::from_secs(1_000),
        },
        THREADS,
    );
    let clock = AtomicU64::new(1);
    let trial = AtomicBool::new(false);
    let [to_open, to_half, to_closed] = [const { AtomicU64::new(0) }; 3];
    let tell = |change: Option<Change>| match change.map(|change| change.to) {
        Some(State::Open) => to_open.fetch_add(1, Ordering::Relaxed),
        Some(State::HalfOpen) => to_half.fetch_add(1, Ordering::Relaxed),
        Some(State::Closed) => to_closed.fetch_add(1, Ordering::Relaxed),
        None => 0,
    };
    together(|thread| {
        let mut random = thread as u64 + 1;
        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let now = clock.fetch_add(random >> 63, Ordering::Relaxed);
            let (entry, change) = breaker.enter(now, thread);
            tell(change);
            let Entry::Pass(ticket) = entry else { continue };
            if ticket.trial {
                assert!(!trial.swap(true, Ordering::AcqRel), "a second trial");
            }
            let end = match random >> 40 & 3 {
                0 => End::Success,
                1 => End::Unknown,
                _ => End::Failure,
            };
            if ticket.trial {
                trial.store(false, Ordering::Release);
            }
            tell(breaker.leave(ticket, end, now));
        }
    });
    let [open, half, closed] = [to_open, to_half, to_closed].map(AtomicU64::into_inner);
    assert!(
        open > 10 && half > 10 && closed > 10,
        "{open} {half} {closed}"
    );
    // Closed and open come in turns through half-open.
    assert!(half.abs_diff(open) <= 1, "{open} {half} {closed}");
    let later = clock.into_inner() + 2_000_000;
    let ticket = pass(&breaker, later);
    breaker.leave(ticket, End::Success, later);
    assert_eq!(breaker.glance(later).state, State::Closed);
}
