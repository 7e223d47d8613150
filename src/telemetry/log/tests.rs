use serde_json::Value;

use super::*;

fn logged(level: Level, format: Format, work: impl FnOnce()) -> String {
    let (queue, lines) = Queue::new(64);
    let (subscriber, _handle) = subscriber(level, format, false, queue.clone());
    tracing::subscriber::with_default(subscriber, work);
    drop(queue);
    let mut out = Vec::new();
    lines.write_to(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_lines_carry_level_message_and_fields() {
    let text = logged(Level::INFO, Format::Json, || {
        tracing::info!(listener = "0.0.0.0:8000", "listening");
        tracing::debug!("not shown");
    });
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "listening");
    assert_eq!(line["listener"], "0.0.0.0:8000");
}

#[test]
fn text_lines_are_one_each_and_without_colours_off_a_terminal() {
    let text = logged(Level::DEBUG, Format::Text, || {
        tracing::warn!(address = "a\nb", "refused");
        tracing::debug!("shown");
    });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains("WARN") && lines[0].contains("refused"),
        "{text}"
    );
    assert!(lines[1].contains("DEBUG"), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn other_crates_are_heard_from_warnings_on() {
    let text = logged(Level::INFO, Format::Json, || {
        tracing::info!(target: "hyper", "quiet");
        tracing::warn!(target: "hyper", "loud");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("loud"));
}

#[test]
fn the_level_can_be_changed_while_running() {
    let (queue, lines) = Queue::new(64);
    let (subscriber, level) = subscriber(Level::WARN, Format::Text, false, queue.clone());
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("before");
        level.reload(targets(Level::INFO)).unwrap();
        tracing::info!("after");
    });
    drop(queue);
    let mut out = Vec::new();
    lines.write_to(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("after") && !text.contains("before"), "{text}");
}

#[test]
fn a_stuck_writer_costs_lines_and_never_time() {
    let (queue, lines) = Queue::new(2);
    for line in ["a\n", "b\n", "c\n", "d\n"] {
        queue.push(line.into());
    }
    queue.flush(Duration::from_millis(1));
    drop(queue);
    let mut out = Vec::new();
    lines.write_to(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("a\n{"), "{text}");
    assert!(text.contains("2 log lines dropped"), "{text}");
    assert!(text.ends_with("b\n"), "{text}");
}

#[test]
fn a_flush_waits_for_what_was_logged_before() {
    let (queue, lines) = Queue::new(8);
    queue.push(b"a\n".to_vec());
    let writer = std::thread::spawn(move || {
        let mut out = Vec::new();
        lines.write_to(&mut out);
        out
    });
    queue.flush(Duration::from_secs(10));
    drop(queue);
    assert_eq!(writer.join().unwrap(), b"a\n");
}

#[test]
fn repeats_are_held_back_and_counted() {
    let pace = log_once_per(Duration::from_secs(10));
    let at = Duration::from_millis;
    assert_eq!(pace.ready_at(at(0)), Some(0));
    assert_eq!(pace.ready_at(at(1)), None);
    assert_eq!(pace.ready_at(at(9_999)), None);
    assert_eq!(pace.ready_at(at(10_000)), Some(2));
    assert_eq!(pace.ready_at(at(10_001)), None);
    assert_eq!(pace.ready_at(at(90_000)), Some(1));
}
