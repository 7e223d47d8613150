use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::util::local;

const MS: Duration = Duration::from_millis(1);

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sleeps until `deadline` of a fresh slot and says how long that took.
async fn expires_after(sweep: &Sweep, after: Duration) -> Duration {
    let slot = sweep.slot();
    let start = clock::now();
    slot.set(after);
    poll_fn(|cx| slot.poll_expired(cx)).await;
    clock::now() - start
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_deadline_is_never_early_and_at_most_a_period_late() {
    let sweep = Sweep::new();
    local::spawn(sweep.clone().run());
    tokio::time::sleep(37 * MS).await;
    for wanted in [0, 1, 40, 99, 100, 101, 250, 1_000, 75_000] {
        let took = expires_after(&sweep, wanted * MS).await;
        assert!(took >= wanted * MS, "{wanted} ms came after {took:?}");
        assert!(
            took <= wanted * MS + PERIOD,
            "{wanted} ms came after {took:?}"
        );
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn setting_again_moves_the_deadline_and_clearing_takes_it_away() {
    let sweep = Sweep::new();
    local::spawn(sweep.clone().run());
    let slot = sweep.slot();
    slot.set(500 * MS);
    tokio::time::sleep(400 * MS).await;
    slot.set(500 * MS);
    tokio::time::sleep(450 * MS).await;
    assert!(!slot.expired());
    tokio::time::sleep(200 * MS).await;
    assert!(slot.expired());
    slot.set(500 * MS);
    assert!(!slot.expired());
    slot.clear();
    tokio::time::sleep(10_000 * MS).await;
    assert!(!slot.expired());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_bounded_future_ends_by_itself_or_by_the_bound() {
    let sweep = Sweep::new();
    local::spawn(sweep.clone().run());
    let slot = sweep.slot();
    assert_eq!(
        slot.within(300 * MS, tokio::time::sleep(200 * MS)).await,
        Some(())
    );
    assert_eq!(
        slot.within(300 * MS, std::future::pending::<()>()).await,
        None
    );
    assert!(!slot.expired());
}

#[tokio::test(start_paused = true)]
async fn a_task_is_woken_once_and_by_its_newest_waker() {
    let sweep = Sweep::new();
    let slot = sweep.slot();
    let (first, second) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    slot.register(&Context::from_waker(&Waker::from(Arc::clone(&first))));
    slot.register(&Context::from_waker(&Waker::from(Arc::clone(&second))));
    slot.set(50 * MS);
    sweep.pass(clock::now() + 49 * MS);
    assert_eq!((first.rung(), second.rung()), (0, 0));
    for _ in 0..3 {
        sweep.pass(clock::now() + 50 * MS);
    }
    assert_eq!((first.rung(), second.rung()), (0, 1));
    sweep.wake_all();
    assert_eq!((first.rung(), second.rung()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_slot_is_used_again_and_clean() {
    let sweep = Sweep::new();
    let bell = Arc::new(Bell::default());
    let slot = sweep.slot();
    slot.register(&Context::from_waker(&Waker::from(Arc::clone(&bell))));
    slot.set(Duration::ZERO);
    drop(slot);
    assert!(sweep.is_empty());
    let next = sweep.slot();
    sweep.pass(clock::now() + 100 * MS);
    assert!(!next.expired());
    assert_eq!(bell.rung(), 0);
    assert_eq!(sweep.0.table.borrow().deadlines.len(), 1);
}

/// A waker whose drop drops a slot of the same table.
struct Keeps(Cell<Option<Slot>>);

thread_local! {
    static KEPT: Keeps = const { Keeps(Cell::new(None)) };
}

struct Releases;

impl Wake for Releases {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Releases {
    fn drop(&mut self) {
        KEPT.with(|kept| drop(kept.0.take()));
    }
}

#[tokio::test(start_paused = true)]
async fn wakers_may_use_the_table_while_they_are_dropped() {
    let sweep = Sweep::new();
    KEPT.with(|kept| kept.0.set(Some(sweep.slot())));
    let slot = sweep.slot();
    slot.register(&Context::from_waker(&Waker::from(Arc::new(Releases))));
    drop(slot);
    assert!(sweep.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_span_beyond_the_clock_is_no_deadline() {
    let sweep = Sweep::new();
    let slot = sweep.slot();
    slot.set(Duration::MAX);
    sweep.pass(clock::now() + Duration::from_secs(1 << 30));
    assert!(!slot.expired());
}

#[derive(Clone, Debug)]
enum Step {
    Add,
    Remove(usize),
    Set(usize, u64),
    Clear(usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Add),
        any::<usize>().prop_map(Step::Remove),
        (any::<usize>(), 0u64..500).prop_map(|(who, after)| Step::Set(who, after)),
        any::<usize>().prop_map(Step::Clear),
        (0u64..200).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_table_agrees_with_a_list(steps in steps()) {
        let sweep = Sweep::new();
        let start = sweep.0.epoch;
        let mut now = 0;
        // Slot, its deadline if any, whether it was seen expired.
        let mut list: Vec<(Slot, Option<u64>, bool)> = Vec::new();
        for step in steps {
            let length = list.len();
            match step {
                Step::Add => list.push((sweep.slot(), None, false)),
                Step::Remove(who) if length > 0 => drop(list.swap_remove(who % length)),
                Step::Set(who, after) if length > 0 => {
                    let entry = &mut list[who % length];
                    entry.0.set_from(start + now as u32 * MS, after as u32 * MS);
                    (entry.1, entry.2) = (Some(now + after), false);
                }
                Step::Clear(who) if length > 0 => {
                    let entry = &mut list[who % length];
                    entry.0.clear();
                    (entry.1, entry.2) = (None, false);
                }
                Step::Pass(later) => {
                    now += later;
                    sweep.pass(start + now as u32 * MS);
                    for entry in &mut list {
                        entry.2 |= entry.1.is_some_and(|deadline| deadline <= now);
                    }
                }
                _ => {}
            }
            prop_assert_eq!(sweep.len(), list.len());
            for (slot, _, expired) in &list {
                prop_assert_eq!(slot.expired(), *expired);
            }
        }
    }
}
