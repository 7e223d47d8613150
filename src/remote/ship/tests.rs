use std::fs;

use tokio::time::sleep;

use super::lines::BATCH;
use super::*;

fn shippers() -> (Arc<Shippers>, Arc<Metrics>) {
    let metrics = Metrics::new(1);
    let tls = TlsClients::new().unwrap();
    (
        Shippers::new(Handle::current(), metrics.clone(), tls),
        metrics,
    )
}

fn file(dir: &tempfile::TempDir, name: &str) -> (PathBuf, Target) {
    let path = dir.path().join(name);
    (path.clone(), Target::of(&path))
}

const LONG: Duration = Duration::from_secs(30);

fn count(metrics: &Metrics, series: &str) -> u64 {
    let text = metrics.render();
    let lines = text.lines().filter(|line| line.starts_with(series));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[tokio::test]
async fn lines_arrive_in_order_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = file(&dir, "log");
    let (shippers, metrics) = shippers();
    let shipper = shippers.open(target);
    for n in 0..1000 {
        assert!(shipper.try_send(format!("line {n}\n").into_bytes()));
    }
    assert!(shippers.flush(LONG).await);
    let text = fs::read_to_string(path).unwrap();
    let want: String = (0..1000).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text, want);
    assert_eq!(count(&metrics, "sluicegate_log_lines_total"), 1000);
    assert_eq!(count(&metrics, "sluicegate_log_lines_dropped_total"), 0);
    assert_eq!(shipper.queued.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn two_users_of_a_file_share_its_writer() {
    let dir = tempfile::tempdir().unwrap();
    let (_, target) = file(&dir, "log");
    let (shippers, _) = shippers();
    let one = shippers.open(target.clone());
    assert!(Arc::ptr_eq(&one, &shippers.open(target)));
}

#[tokio::test]
async fn what_was_handed_over_is_written_though_the_last_holder_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = file(&dir, "log");
    let (shippers, _) = shippers();
    shippers.open(target).try_send(b"last words\n".to_vec());
    assert!(shippers.flush(LONG).await);
    assert_eq!(fs::read(path).unwrap(), b"last words\n");
}

#[tokio::test]
async fn reopening_follows_a_renamed_file() {
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = file(&dir, "log");
    let (rotated, _) = file(&dir, "log.1");
    let (shippers, _) = shippers();
    let shipper = shippers.open(target);
    shipper.try_send(b"one\n".to_vec());
    assert!(shippers.flush(LONG).await);
    fs::rename(&path, &rotated).unwrap();
    shipper.try_send(b"two\n".to_vec());
    shippers.reopen();
    shipper.try_send(b"three\n".to_vec());
    assert!(shippers.flush(LONG).await);
    assert_eq!(fs::read(rotated).unwrap(), b"one\ntwo\n");
    assert_eq!(fs::read(path).unwrap(), b"three\n");
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let metrics = Metrics::new(1);
    let (shipper, writer) = Shipper::new(Target::Stdout, &metrics, 200, false);
    assert!(shipper.try_send(b"one\n".to_vec()));
    assert!(shipper.try_send(b"two\n".to_vec()));
    assert!(!shipper.try_send(b"three\nfour\n".to_vec()));
    drop(writer);
    let series = r#"sluicegate_log_lines_dropped_total{target="stdout",reason="queue_full"}"#;
    assert_eq!(count(&metrics, series), 2);
}

#[tokio::test]
async fn a_line_longer_than_the_room_passes_an_empty_queue() {
    let metrics = Metrics::new(1);
    let (shipper, _writer) = Shipper::new(Target::Stdout, &metrics, 200, false);
    assert!(shipper.try_send(vec![b'x'; 1000]));
    assert!(!shipper.try_send(b"x\n".to_vec()));
}

#[tokio::test]
async fn a_target_that_cannot_be_opened_costs_its_lines_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = file(&dir, "missing/log");
    assert!(target.probe().is_err());
    let (shippers, metrics) = shippers();
    let shipper = shippers.open(target.clone());
    shipper.try_send(b"one\ntwo\n".to_vec());
    assert!(shippers.flush(LONG).await);
    assert_eq!(count(&metrics, "sluicegate_log_lines_dropped_total"), 2);
    fs::create_dir(dir.path().join("missing")).unwrap();
    shipper.try_send(b"three\n".to_vec());
    assert!(shippers.flush(LONG).await);
    assert_eq!(fs::read(path).unwrap(), b"three\n");
    assert!(target.probe().is_ok());
}

#[tokio::test]
async fn a_check_opens_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, target) = file(&dir, "log");
    let shippers = Shippers::detached();
    shippers.open(target).try_send(b"one\n".to_vec());
    assert!(shippers.flush(LONG).await);
    assert!(!path.exists());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_worker_hands_over_after_a_tenth_of_a_second() {
    let metrics = Metrics::new(1);
    let (shipper, _writer) = Shipper::new(Target::Stdout, &metrics, ROOM, false);
    let lines = Lines::new(shipper.clone());
    let queued = || shipper.queued.load(Ordering::Relaxed);
    for _ in 0..2 {
        lines.write(|out| out.extend_from_slice(b"one\n"));
        lines.write(|out| out.extend_from_slice(b"two\n"));
        let before = queued();
        sleep(Duration::from_millis(99)).await;
        assert_eq!(queued(), before);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(queued() - before, 8 + OVERHEAD);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_busy_worker_hands_over_by_size_and_a_leaving_one_at_once() {
    let metrics = Metrics::new(1);
    let (shipper, _writer) = Shipper::new(Target::Stdout, &metrics, ROOM, false);
    let lines = Lines::new(shipper.clone());
    let queued = || shipper.queued.load(Ordering::Relaxed);
    let line = [b'x'; 1023];
    for _ in 0..BATCH / 1023 {
        lines.write(|out| out.extend_from_slice(&line));
    }
    assert_eq!(queued(), 0);
    lines.write(|out| out.extend_from_slice(&line));
    let batch = queued();
    assert!(batch > BATCH);
    lines.write(|out| out.extend_from_slice(b"bye\n"));
    drop(lines);
    assert_eq!(queued() - batch, 4 + OVERHEAD);
}

#[test]
fn the_names_of_the_standard_streams_mean_them() {
    assert_eq!(Target::of(Path::new("/dev/stdout")), Target::Stdout);
    assert_eq!(Target::of(Path::new("/dev/stderr")), Target::Stderr);
    assert_eq!(Target::of(Path::new("/a")).label(), "/a");
}
