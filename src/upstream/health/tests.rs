//! Health by passed-in times, and against a slow reading of the rules.

use proptest::prelude::*;

use super::*;

const PROBATION: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Moment {
    Moment::after(Duration::from_secs(seconds))
}

fn counts(successes: u32, tcp_failures: u32, timeouts: u32, http_failures: u32) -> Counts {
    Counts {
        healthy_statuses: vec![200, 302],
        successes,
        unhealthy_statuses: vec![429, 500],
        tcp_failures,
        timeouts,
        http_failures,
    }
}

fn after(events: &[Event], counts: &Counts) -> Health {
    events.iter().fold(Health::default(), |health, event| {
        health.report(*event, counts, PROBATION, at(100))
    })
}

use Event::{HttpFailure, Success, TcpFailure, Timeout};

#[test]
fn each_kind_of_failure_counts_by_itself() {
    let counts = counts(2, 2, 3, 1);
    assert!(after(&[TcpFailure, Timeout, Timeout], &counts).is_healthy());
    assert!(!after(&[TcpFailure, Timeout, TcpFailure], &counts).is_healthy());
    assert!(!after(&[HttpFailure], &counts).is_healthy());
}

#[test]
fn a_success_forgets_failures_even_where_successes_count_for_nothing() {
    for successes in [0, 3] {
        let counts = counts(successes, 2, 2, 2);
        let up_and_down = [TcpFailure, Success, TcpFailure, Success, TcpFailure];
        assert!(after(&up_and_down, &counts).is_healthy());
        assert_eq!(
            after(&[Timeout, HttpFailure, Success], &counts),
            Health::default()
        );
    }
}

#[test]
fn so_many_successes_in_a_row_heal() {
    let counts = counts(2, 1, 0, 0);
    assert!(!after(&[TcpFailure, Success, TcpFailure, Success], &counts).is_healthy());
    let healed = after(&[TcpFailure, Success, Success], &counts);
    assert_eq!(healed.since(), Some(at(100)));
    // What is switched off is not even a break in the row.
    assert!(after(&[TcpFailure, Success, Timeout, Success], &counts).is_healthy());
}

#[test]
fn a_limit_of_zero_never_trips() {
    let off = counts(0, 0, 0, 0);
    let all = [TcpFailure, Timeout, HttpFailure].repeat(300);
    assert_eq!(after(&all, &off), Health::default());
}

#[test]
fn a_trial_is_due_after_the_probation_and_then_decides() {
    let counts = counts(0, 1, 0, 0);
    let out = Health::default().report(TcpFailure, &counts, PROBATION, at(10));
    assert!(!out.is_due(at(39)));
    assert!(out.is_due(at(41)));
    let tried = out.begin_trial(PROBATION, at(50));
    assert!(!tried.is_due(at(79)));
    assert!(
        tried.is_due(at(81)),
        "a trial that was lost does not lock it out"
    );
    assert!(tried.end_trial(true, PROBATION, at(51)).is_healthy());
    let failed = tried.end_trial(false, PROBATION, at(60));
    assert!(!failed.is_due(at(89)));
    assert!(failed.is_due(at(91)));
    assert!(tried.undo_trial(at(51)).is_due(at(51)));
}

#[test]
fn an_operator_has_the_last_word_but_for_probes() {
    let out = Health::default().set(false, at(5));
    assert!(!out.is_healthy() && out.is_held());
    assert!(!out.is_due(at(5000)));
    assert_eq!(out.end_trial(true, PROBATION, at(6)), out);
    assert_eq!(out.set(true, at(9)).since(), Some(at(9)));
    let probed = out.report(Success, &counts(1, 1, 1, 1), PROBATION, at(7));
    assert!(probed.is_healthy());
}

#[test]
fn statuses_in_neither_list_say_nothing() {
    let counts = counts(1, 1, 1, 1);
    assert_eq!(counts.judge(302), Some(Success));
    assert_eq!(counts.judge(500), Some(HttpFailure));
    assert_eq!(counts.judge(404), None);
}

#[test]
fn a_clock_that_wraps_goes_on() {
    let late = Moment(MASK - 1);
    assert_eq!(late.plus(Duration::from_millis(256)), Moment(2));
    assert!(late.has_come(Moment(2)));
    assert!(!Moment(2).has_come(late));
    assert_eq!(late.ago(Moment(2)), Duration::from_millis(256));
}

#[test]
fn a_change_is_seen_once() {
    let cell = HealthCell::default();
    let counts = counts(0, 1, 0, 0);
    let down = |health: Health| Some(health.report(TcpFailure, &counts, PROBATION, at(1)));
    let (before, now) = cell.change(down).unwrap();
    assert!(before.is_healthy() && !now.is_healthy());
    assert_eq!(cell.change(down), None);
    assert_eq!(cell.get(), now);
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Success),
        2 => Just(TcpFailure),
        2 => Just(Timeout),
        2 => Just(HttpFailure),
    ]
}

fn some_counts() -> impl Strategy<Value = Counts> {
    (0u32..4, 0u32..4, 0u32..4, 0u32..4).prop_map(|(s, t, o, h)| counts(s, t, o, h))
}

/// The rules read back over the whole history, each time anew: who is healthy after `history`?
fn oracle(history: &[(Event, &Counts)]) -> bool {
    let mut healthy = true;
    let mut since = 0;
    for end in 1..=history.len() {
        let (last, counts) = history[end - 1];
        let span = &history[since..end];
        if healthy && last != Success {
            let from = span
                .iter()
                .rposition(|(event, _)| *event == Success)
                .map_or(0, |at| at + 1);
            let counted = |(event, by): &&(Event, &Counts)| *event == last && by.limit(last) > 0;
            let failures = span[from..].iter().filter(counted).count();
            if counts.limit(last) > 0 && failures >= counts.limit(last) as usize {
                (healthy, since) = (false, end);
            }
        } else if !healthy && last == Success && counts.successes > 0 {
            let counts_at_all = |(event, by): &&(Event, &Counts)| by.limit(*event) > 0;
            let row = span.iter().rev().filter(counts_at_all);
            let row = row.take_while(|(event, _)| *event == Success).count();
            if row >= counts.successes as usize {
                (healthy, since) = (true, end);
            }
        }
    }
    healthy
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_state_is_what_the_history_says(
        active in some_counts(),
        passive in some_counts(),
        events in proptest::collection::vec((event(), any::<bool>()), 0..60),
    ) {
        let mut health = Health::default();
        let mut history = Vec::new();
        for (event, by_probe) in events {
            let counts = if by_probe { &active } else { &passive };
            health = health.report(event, counts, PROBATION, at(1));
            history.push((event, counts));
            prop_assert_eq!(health.is_healthy(), oracle(&history), "{:?}", history);
            prop_assert_eq!(Health::unpack(health.pack()), health);
        }
    }

    #[test]
    fn whatever_happened_it_can_come_back(
        active in some_counts(),
        passive in some_counts(),
        events in proptest::collection::vec((event(), any::<bool>()), 0..60),
    ) {
        let mut health = Health::default();
        for (event, by_probe) in events {
            let counts = if by_probe { &active } else { &passive };
            health = health.report(event, counts, PROBATION, at(1));
        }
        if active.successes > 0 {
            for _ in 0..active.successes {
                health = health.report(Success, &active, PROBATION, at(2));
            }
        } else if !health.is_healthy() {
            prop_assert!(health.is_due(at(32)));
            health = health.begin_trial(PROBATION, at(32)).end_trial(true, PROBATION, at(33));
        }
        prop_assert!(health.is_healthy());
    }
}
