use std::future::poll_fn;

use proptest::prelude::*;

use super::*;

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A body of those pieces that is complete.
fn piped(pieces: &[Vec<u8>], limit: u64) -> Upload {
    let (sender, receiver) = pipe::pipe();
    for piece in pieces {
        sender.push(pipe::data(piece.clone()));
    }
    sender.finish();
    Upload::new(Source::Pipe(receiver), limit)
}

/// Reads up to so many frames.
fn read(upload: &Upload, frames: usize) -> Result<Vec<u8>, BodyError> {
    let mut body = Vec::new();
    for _ in 0..frames {
        match upload.poll_next(&mut noop()) {
            Poll::Ready(Some(frame)) => body.extend_from_slice(&frame?.into_data().unwrap()),
            _ => break,
        }
    }
    Ok(body)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However far each attempt came, the next one sends the body from its begin, as long as all
    /// that was handed out was kept.
    #[test]
    fn attempts_send_the_same_body(
        lengths in prop::collection::vec(0usize..40_000, 0..6),
        attempts in prop::collection::vec(0usize..8, 0..5),
    ) {
        let pieces: Vec<_> = lengths.iter().zip(1..).map(|(len, fill)| vec![fill; *len]).collect();
        let whole = pieces.concat();
        let upload = piped(&pieces, u64::MAX);
        for frames in attempts {
            if !upload.is_replayable() {
                break;
            }
            let _handle = upload.restart();
            let begin = read(&upload, frames).unwrap();
            prop_assert!(whole.starts_with(&begin));
        }
        if upload.is_replayable() {
            let _handle = upload.restart();
            prop_assert!(read(&upload, usize::MAX).unwrap() == whole);
            prop_assert!(upload.is_done() && upload.is_read());
            prop_assert_eq!(upload.seen(), whole.len() as u64);
            prop_assert_eq!(upload.is_replayable(), whole.len() <= KEEP);
        } else {
            prop_assert!(whole.len() > KEEP);
        }
    }
}

#[test]
fn the_lowest_limit_holds() {
    let upload = piped(&[vec![0; 60], vec![0; 60]], 1000);
    upload.limit(100);
    upload.limit(200);
    assert_eq!(upload.limited_to(), 100);
    assert_eq!(read(&upload, 9), Err(BodyError::TooLarge));
    assert_eq!(upload.error(), Some(BodyError::TooLarge));
}

#[test]
fn what_plugins_read_is_sent_all_the_same() {
    let pieces = [vec![1; 50_000], vec![2; 50_000]];
    let upload = piped(&pieces, u64::MAX);
    let Poll::Ready(Ok(whole)) = upload.poll_whole(&mut noop(), 200_000) else {
        panic!("all of it is there");
    };
    assert!(whole == pieces.concat());
    for _ in 0..2 {
        let _handle = upload.restart();
        assert!(read(&upload, 9).unwrap() == pieces.concat());
    }
    upload.replace(Bytes::from_static(b"other"));
    let handle = upload.restart();
    assert!(!handle.is_end_stream());
    assert_eq!(read(&upload, 9).unwrap(), b"other");
    assert!(handle.is_end_stream());
}

#[test]
fn what_a_plugin_found_too_long_still_streams() {
    let pieces = [vec![1; 50_000], vec![2; 50_000], vec![3; 50_000]];
    let upload = piped(&pieces, u64::MAX);
    let read_by_plugin = upload.poll_whole(&mut noop(), 60_000);
    assert_eq!(read_by_plugin, Poll::Ready(Err(BodyError::TooLarge)));
    let _handle = upload.restart();
    assert!(read(&upload, 9).unwrap() == pieces.concat());
    assert_eq!(upload.error(), None);
    assert!(!upload.is_replayable());
}

#[tokio::test(flavor = "local")]
async fn a_reader_of_an_earlier_attempt_fails_at_once() {
    let (_sender, receiver) = pipe::pipe();
    let upload = Upload::new(Source::Pipe(receiver), u64::MAX);
    let mut old = upload.restart();
    let waiting =
        crate::util::local::spawn(
            async move { poll_fn(|cx| Pin::new(&mut old).poll_frame(cx)).await },
        );
    tokio::task::yield_now().await;
    let _new = upload.restart();
    let read = waiting.await.unwrap();
    assert_eq!(read.unwrap().unwrap_err(), BodyError::Closed);
}

#[test]
fn a_stuck_reader_is_told_from_a_waiting_one() {
    let (sender, receiver) = pipe::pipe();
    let upload = Upload::new(Source::Pipe(receiver), u64::MAX);
    let mut handle = upload.restart();
    sender.push(pipe::data("x"));
    assert!(Pin::new(&mut handle).poll_frame(&mut noop()).is_ready());
    assert!(upload.is_stuck());
    assert!(Pin::new(&mut handle).poll_frame(&mut noop()).is_pending());
    assert!(!upload.is_stuck());
    sender.push(pipe::data("y"));
    assert!(Pin::new(&mut handle).poll_frame(&mut noop()).is_ready());
    drop(handle);
    assert!(!upload.is_stuck());
}
