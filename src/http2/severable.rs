//! A socket that can be taken away from hyper.
//!
//! hyper's client keeps a connection for as long as one of its tasks holds a stream, and there is
//! no handle to end it. Invariant: once severed, the next thing that hyper sees is an error, and
//! it is woken to see it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, Default)]
struct Shared {
    severed: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

/// Takes the socket away.
#[derive(Debug)]
pub struct Cut(Rc<Shared>);

impl Cut {
    /// Whoever reads or writes fails from now on.
    pub fn sever(&self) {
        self.0.severed.set(true);
        if let Some(reader) = self.0.reader.take() {
            reader.wake();
        }
    }
}

/// The socket.
pub struct Severable<I> {
    io: I,
    shared: Rc<Shared>,
}

impl<I> Severable<I> {
    /// Wraps a socket.
    pub fn new(io: I) -> (Severable<I>, Cut) {
        let shared = Rc::<Shared>::default();
        let cut = Cut(Rc::clone(&shared));
        (Severable { io, shared }, cut)
    }

    fn io(self: Pin<&mut Self>) -> io::Result<Pin<&mut I>>
    where
        I: Unpin,
    {
        if self.shared.severed.get() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(Pin::new(&mut self.get_mut().io))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Severable<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let read = Pin::new(&mut *me).io()?.poll_read(cx, buf);
        if read.is_pending() {
            let mut reader = me.shared.reader.borrow_mut();
            match &*reader {
                Some(known) if known.will_wake(cx.waker()) => {}
                _ => *reader = Some(cx.waker().clone()),
            }
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Severable<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(cx)
    }
}
