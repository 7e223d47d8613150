//! A client's socket as hyper reads it: bytes that were read before come first, and frames that
//! cost us work but bring nothing are counted (RFC 9113 §10.5).
//!
//! Invariant: every frame head that hyper sees has been looked at here.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::budget::Budget;
use super::server::Watch;

/// What every connection begins with (RFC 9113 §3.4), in bytes.
const PREFACE: usize = 24;
/// One idle frame, in bytes that we must have sent for it: data that leaves earns the frames that
/// answer it.
const FRAME: u64 = 1024;
/// Idle frames at once, and per second.
const BURST: u64 = 1000;
const PER_SECOND: u64 = 100;

/// A socket with its begin put back and its frames counted.
pub struct Guarded<I> {
    io: I,
    pre: Vec<u8>,
    at: usize,
    scan: Scan,
    budget: Budget,
    watch: Rc<Watch>,
}

impl<I> Guarded<I> {
    /// Puts `pre` before what the socket brings.
    pub fn new(io: I, pre: Vec<u8>, watch: Rc<Watch>) -> Guarded<I> {
        Guarded {
            io,
            pre,
            at: 0,
            scan: Scan::default(),
            budget: Budget::new(BURST * FRAME, PER_SECOND * FRAME),
            watch,
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        let Guarded {
            scan,
            budget,
            watch,
            ..
        } = self;
        scan.feed(bytes, |head| match worth(head) {
            Worth::Idle if !budget.spend(FRAME) => watch.give_up(),
            Worth::Work => budget.earn(FRAME),
            Worth::Idle | Worth::Nothing => {}
        });
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.watch.gave_up() {
            // The connection's task looks at it after each turn.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if me.at < me.pre.len() {
            let count = buf.remaining().min(me.pre.len() - me.at);
            buf.put_slice(&me.pre[me.at..me.at + count]);
            me.at += count;
            if me.at == me.pre.len() {
                (me.pre, me.at) = (Vec::new(), 0);
            }
        } else {
            std::task::ready!(Pin::new(&mut me.io).poll_read(cx, buf))?;
        }
        me.look(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let count = std::task::ready!(Pin::new(&mut me.io).poll_write(cx, buf))?;
        me.budget.earn(count as u64);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let count = std::task::ready!(Pin::new(&mut me.io).poll_write_vectored(cx, bufs))?;
        me.budget.earn(count as u64);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// The head of a frame (RFC 9113 §4.1).
#[derive(Clone, Copy)]
struct FrameHead {
    len: u32,
    kind: u8,
    flags: u8,
}

/// What a frame is worth to us.
enum Worth {
    /// It makes us work or answer and carries nothing.
    Idle,
    /// It begins something.
    Work,
    Nothing,
}

fn worth(head: FrameHead) -> Worth {
    const ACK: u8 = 1;
    const END_STREAM: u8 = 1;
    match head.kind {
        // DATA
        0 if head.len == 0 && head.flags & END_STREAM == 0 => Worth::Idle,
        // HEADERS
        1 => Worth::Work,
        // SETTINGS and PING; their acknowledgements answer ours.
        4 | 6 if head.flags & ACK != 0 => Worth::Nothing,
        // DATA and WINDOW_UPDATE
        0 | 8 => Worth::Nothing,
        _ => Worth::Idle,
    }
}

/// Finds the frame heads in a stream of bytes.
struct Scan {
    /// Bytes to pass over: the preface, then payloads.
    skip: usize,
    head: [u8; 9],
    have: usize,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan {
            skip: PREFACE,
            head: [0; 9],
            have: 0,
        }
    }
}

impl Scan {
    fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(FrameHead)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(self.head.len() - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.head.len() {
                self.have = 0;
                let [a, b, c, kind, flags, ..] = self.head;
                let len = u32::from_be_bytes([0, a, b, c]);
                self.skip = len as usize;
                found(FrameHead { len, kind, flags });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut bytes = vec![b'x'; PREFACE];
        for (len, kind) in [(3u8, 4u8), (0, 6), (200, 0), (0, 4)] {
            bytes.extend_from_slice(&[0, 0, len, kind, 0, 0, 0, 0, 1]);
            bytes.extend(std::iter::repeat_n(0xff, len as usize));
        }
        for size in [1, 2, 7, 9, 10, 64, bytes.len()] {
            let mut scan = Scan::default();
            let mut kinds = Vec::new();
            for piece in bytes.chunks(size) {
                scan.feed(piece, |head| kinds.push((head.len, head.kind)));
            }
            assert_eq!(
                kinds,
                [(3, 4), (0, 6), (200, 0), (0, 4)],
                "pieces of {size}"
            );
        }
    }
}
