//! Queues in front of receivers that do what a test says, in paused time.

use std::sync::Mutex;

use tokio::task::JoinHandle;

use super::*;

/// What a receiver has been given: when, in milliseconds, and what.
type Log = Arc<Mutex<Vec<(u64, Vec<String>)>>>;

struct Kit {
    queue: Arc<Queue>,
    log: Log,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
    start: Instant,
}

/// A queue whose receiver fails while `fails` says so of the number of the attempt, from 0.
fn kit(
    settings: Queueing,
    fails: impl Fn(usize) -> Option<Failure> + Send + Sync + 'static,
) -> Kit {
    let metrics = Metrics::new(1);
    let log = Log::default();
    let start = clock::now();
    let seen = log.clone();
    let receiver = Receiver::scripted(Box::new(move |records| {
        let texts = records.iter();
        let texts = texts.map(|record| String::from_utf8(record.clone()).unwrap());
        let mut seen = seen.lock().unwrap();
        seen.push((start.elapsed().as_millis() as u64, texts.collect()));
        fails(seen.len() - 1).map_or(Ok(()), Err)
    }));
    let (queue, batcher) = Queue::new(receiver, settings, &metrics);
    Kit {
        queue,
        log,
        metrics,
        task: tokio::spawn(batcher.run()),
        start,
    }
}

impl Kit {
    fn push(&self, text: &str) {
        self.queue.push(text.as_bytes().to_vec());
    }

    fn log(&self) -> Vec<(u64, Vec<String>)> {
        self.log.lock().unwrap().clone()
    }

    fn texts(&self) -> Vec<String> {
        self.log()
            .into_iter()
            .flat_map(|(_, texts)| texts)
            .collect()
    }

    fn times(&self) -> Vec<u64> {
        self.log().into_iter().map(|(at, _)| at).collect()
    }

    fn counted(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_default()
    }

    fn dropped(&self, reason: &str) -> u64 {
        self.counted(&format!(
            "sluicegate_log_lines_dropped_total{{target=\"script\",reason=\"{reason}\"}}"
        ))
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn records_go_one_by_one_and_in_order() {
    let kit = kit(Queueing::default(), |_| None);
    for text in ["a", "b", "c"] {
        kit.push(text);
    }
    kit.queue.written().await.unwrap();
    let one = |text: &str| (0, vec![text.to_owned()]);
    assert_eq!(kit.log(), [one("a"), one("b"), one("c")]);
    assert_eq!(kit.counted("sluicegate_log_lines_total"), 3);
    assert_eq!(kit.queue.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_sent_when_it_is_full_or_has_waited() {
    let settings = Queueing {
        batch: 3,
        ..Queueing::default()
    };
    let kit = kit(settings, |_| None);
    for text in ["a", "b", "c", "d"] {
        kit.push(text);
    }
    sleep(Duration::from_millis(600)).await;
    kit.push("e");
    sleep(secs(5)).await;
    let batch = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let log = kit.log();
    assert_eq!(log[0], (0, batch(&["a", "b", "c"])));
    assert_eq!(log[1].1, batch(&["d", "e"]));
    assert!((1_000..1_010).contains(&log[1].0), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_is_tried_again_after_growing_pauses() {
    let settings = Queueing {
        first_pause: secs(1),
        longest_pause: secs(3),
        ..Queueing::default()
    };
    let kit = kit(settings, |nth| (nth < 4).then_some(Failure::Status(500)));
    kit.push("a");
    kit.push("b");
    sleep(secs(30)).await;
    let times: Vec<u64> = kit.times().iter().map(|at| at / 10 * 10).collect();
    assert_eq!(times, [0, 1_000, 3_000, 6_000, 9_000, 9_000]);
    assert_eq!(kit.texts(), ["a", "a", "a", "a", "a", "b"]);
    assert_eq!(kit.dropped("delivery_failed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_given_up_in_time_and_the_next_begins_anew() {
    let settings = Queueing {
        first_pause: secs(4),
        patience: secs(10),
        ..Queueing::default()
    };
    let kit = kit(settings, |nth| (nth < 2).then_some(Failure::TimedOut));
    kit.push("a");
    kit.push("b");
    sleep(secs(60)).await;
    assert_eq!(kit.texts(), ["a", "a", "b"]);
    assert_eq!(kit.dropped("delivery_failed"), 1);
    assert_eq!(kit.counted("sluicegate_log_lines_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_succeed_is_not_tried_again() {
    let kit = kit(Queueing::default(), |nth| {
        (nth == 0).then_some(Failure::TooLarge(70_000))
    });
    kit.push("a");
    kit.push("b");
    kit.queue.written().await.unwrap();
    assert_eq!(kit.texts(), ["a", "b"]);
    assert_eq!(kit.dropped("delivery_failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_its_room_the_oldest_go() {
    let settings = Queueing {
        entries: 3,
        first_pause: secs(10),
        ..Queueing::default()
    };
    let kit = kit(settings, |nth| (nth == 0).then_some(Failure::Status(503)));
    kit.push("under way");
    sleep(secs(1)).await;
    for nth in 0..5 {
        kit.push(&nth.to_string());
    }
    sleep(secs(60)).await;
    assert_eq!(kit.texts(), ["under way", "under way", "2", "3", "4"]);
    assert_eq!(kit.dropped("queue_full"), 2);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too() {
    let settings = Queueing {
        bytes: Some(10),
        first_pause: secs(10),
        ..Queueing::default()
    };
    let kit = kit(settings, |nth| (nth == 0).then_some(Failure::Status(503)));
    kit.push("first");
    sleep(secs(1)).await;
    for text in ["aaaa", "bbbb", "cccc", "longer than all the room"] {
        kit.push(text);
    }
    kit.push("dddd");
    sleep(secs(60)).await;
    assert_eq!(kit.texts(), ["first", "first", "dddd"]);
    assert_eq!(kit.dropped("queue_full"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_task_does_not_run_takes_no_more() {
    let metrics = Metrics::new(1);
    let receiver = Receiver::scripted(Box::new(|_| Ok(())));
    let (queue, _task) = Queue::new(receiver, Queueing::default(), &metrics);
    let taken = (0..20_000).filter(|_| queue.push(Vec::new())).count();
    assert_eq!(taken, 10_000 + SLACK);
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_no_batch_and_no_pause() {
    let settings = Queueing {
        batch: 100,
        coalesce: secs(3_600),
        first_pause: secs(50),
        ..Queueing::default()
    };
    let kit = kit(settings, |nth| (nth == 1).then_some(Failure::Status(500)));
    kit.push("a");
    kit.queue.written().await.unwrap();
    kit.push("b");
    // The first flush begins the attempt that fails, the second ends the pause after it.
    let first = kit.queue.written();
    sleep(secs(1)).await;
    kit.queue.written().await.unwrap();
    first.await.unwrap();
    assert_eq!(kit.texts(), ["a", "b", "b"]);
    assert!(kit.start.elapsed() < secs(2));
}

#[tokio::test(start_paused = true)]
async fn when_the_last_holder_is_gone_what_waits_is_sent_and_the_task_ends() {
    let settings = Queueing {
        batch: 2,
        coalesce: secs(3_600),
        ..Queueing::default()
    };
    let kit = kit(settings, |_| None);
    for text in ["a", "b", "c"] {
        kit.push(text);
    }
    let Kit {
        queue, log, task, ..
    } = kit;
    drop(queue);
    task.await.unwrap();
    let sent: Vec<_> = log
        .lock()
        .unwrap()
        .iter()
        .map(|(_, texts)| texts.len())
        .collect();
    assert_eq!(sent, [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_batches_overtake_one_that_fails() {
    let settings = Queueing {
        concurrent: 10,
        first_pause: secs(5),
        ..Queueing::default()
    };
    let kit = kit(settings, |nth| (nth == 0).then_some(Failure::Status(500)));
    for text in ["a", "b", "c"] {
        kit.push(text);
    }
    sleep(secs(20)).await;
    assert_eq!(kit.texts(), ["a", "b", "c", "a"]);
}
