//! A client connection over HTTP/2: hyper's, with the limits that hyper lacks.
//!
//! Beside hyper's own bounds: handlers dropped before they answered (a rapid reset that is paced
//! to stay under hyper's bound), frames that carry nothing, idle time, streams that their client
//! stopped reading, and the end of a drain. Invariant: the connection's task looks at all of them
//! after each turn, and whatever ends it drops the socket.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, SizeHint};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::budget::Budget;
use super::guarded::Guarded;
use super::{Frame, Incoming, LocalExec};
use crate::util::clock;
use crate::util::drain::{Drain, Phase};
use crate::util::sweep::Slot;

/// Streams that a client may have open at once.
pub const STREAMS: u32 = 100;
/// What a client may send on one stream before we have read it.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams together: more than one stream's, so that a stream that nobody reads
/// does not stall the others.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What hyper holds per stream of what we send.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams reset by the client before hyper handed them on.
const PENDING_RESETS: usize = 20;
/// Streams reset by hyper for the client's errors.
const ERROR_RESETS: usize = 256;
/// How often a silent client is asked whether it lives, and how long it may take to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Handlers dropped before they answered: at once, and per second.
const ABANDONED: u64 = 200;
const ABANDONED_PER_SECOND: u64 = 20;
/// How long a client that was told to leave, and has nothing open, may take to do so.
const GRACE: Duration = Duration::from_secs(2);

/// What the process's settings say.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest header list that hyper lets through, in bytes as RFC 9113 §6.5.2 counts; over it
    /// hyper answers 431.
    pub header_list: u32,
    /// Longest wait for the first request.
    pub first: Duration,
    /// Longest wait for the next.
    pub idle: Duration,
    /// Longest wait for a client that takes nothing of what waits for it.
    pub patience: Duration,
}

/// What a connection's task looks at after each turn.
#[derive(Debug)]
pub struct Watch {
    live: Cell<usize>,
    /// Of these, streams that only their client can move on.
    parked: Cell<usize>,
    served: Cell<bool>,
    /// When a stream last began, ended, was parked, or moved while parked.
    since: Cell<Instant>,
    gave_up: Cell<bool>,
    /// The task must hear of every change at once.
    eager: Cell<bool>,
    abandoned: RefCell<Budget>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    fn new() -> Watch {
        Watch {
            live: Cell::new(0),
            parked: Cell::new(0),
            served: Cell::new(false),
            since: Cell::new(clock::now()),
            gave_up: Cell::new(false),
            eager: Cell::new(false),
            abandoned: RefCell::new(Budget::new(ABANDONED, ABANDONED_PER_SECOND)),
            waker: RefCell::default(),
        }
    }

    /// This client is not worth the trouble.
    pub fn give_up(&self) {
        self.gave_up.set(true);
        self.wake();
    }

    /// Whether it was given up.
    pub fn gave_up(&self) -> bool {
        self.gave_up.get()
    }

    /// Every open stream waits for its client to read.
    fn is_parked(&self) -> bool {
        self.live.get() > 0 && self.parked.get() == self.live.get()
    }

    /// Something has changed. The task is not woken for it: its deadline may now be too early, but
    /// not too late, and it looks again then.
    fn touch(&self) {
        self.since.set(clock::now());
        if self.eager.get() {
            self.wake();
        }
    }

    fn abandon(&self) {
        if !self.abandoned.borrow_mut().spend(1) {
            self.give_up();
        }
    }

    fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &*waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// One open stream, counted until it is dropped.
#[derive(Debug)]
pub struct Token {
    watch: Rc<Watch>,
    parked: Cell<bool>,
}

impl Token {
    fn new(watch: &Rc<Watch>) -> Rc<Token> {
        watch.live.set(watch.live.get() + 1);
        watch.served.set(true);
        watch.touch();
        Rc::new(Token {
            watch: Rc::clone(watch),
            parked: Cell::new(false),
        })
    }

    /// All that is left of this stream is its client's to take, and nobody here watches it any
    /// more. hyper cannot be told to reset a stream whose client's window is full; when no other
    /// is left and none of them moves, the connection ends.
    pub fn park(&self) {
        if !self.parked.replace(true) {
            self.watch.parked.set(self.watch.parked.get() + 1);
            self.watch.touch();
        }
    }

    /// hyper has taken a frame.
    fn took(&self, is_end: bool) {
        if is_end {
            self.park();
        } else if self.parked.get() {
            self.watch.touch();
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let watch = &self.watch;
        watch.live.set(watch.live.get() - 1);
        if self.parked.get() {
            watch.parked.set(watch.parked.get() - 1);
        }
        watch.touch();
    }
}

/// Counts a handler that is dropped before it answered.
struct Unanswered(Option<Rc<Watch>>);

impl Unanswered {
    fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(watch) = self.0.take() {
            watch.abandon();
        }
    }
}

/// A response body that keeps its stream counted.
struct Counted<B> {
    body: B,
    token: Rc<Token>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame, B::Error>>> {
        let me = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut me.body).poll_frame(cx));
        me.token.took(frame.is_none() || me.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves a connection until it ends; `pre` was read of it already. Each stream is a task of its
/// own: `handle`, and then its body. Dropping the future drops the socket, and with it every
/// stream.
pub async fn serve<I, H, F, B>(
    io: I,
    pre: Vec<u8>,
    settings: Settings,
    slot: &Slot,
    drain: &Drain,
    handle: H,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Request<Incoming>, Rc<Token>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let watch = Rc::new(Watch::new());
    let io = TokioIo::new(Guarded::new(io, pre, Rc::clone(&watch)));
    let seen = Rc::clone(&watch);
    let service = service_fn(move |request| {
        let token = Token::new(&seen);
        let unanswered = Unanswered(Some(Rc::clone(&seen)));
        let future = handle(request, Rc::clone(&token));
        async move {
            let response = future.await;
            unanswered.answered();
            Ok::<_, Infallible>(response.map(|body| Counted { body, token }))
        }
    });
    let mut connection = pin!(builder(settings).serve_connection(io, service));
    let mut keeper = Keeper::new(settings, slot, drain, &watch);
    poll_fn(|cx| {
        loop {
            // Its error says how the client broke off or broke the protocol: nobody is left to
            // tell.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match keeper.look(cx) {
                Verdict::Stay => return Poll::Pending,
                Verdict::Leave => connection.as_mut().graceful_shutdown(),
                Verdict::Drop => return Poll::Ready(()),
            }
        }
    })
    .await;
}

fn builder(settings: Settings) -> Builder<LocalExec> {
    let mut builder = Builder::new(LocalExec);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(settings.header_list)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .auto_date_header(false);
    builder
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Stay,
    /// Say GOAWAY and let open streams finish.
    Leave,
    Drop,
}

/// Decides when a connection is over.
struct Keeper<'a> {
    settings: Settings,
    slot: &'a Slot,
    drain: &'a Drain,
    watch: &'a Watch,
    /// When it was told to leave.
    leaving: Option<Instant>,
    /// The deadline of the drain, once there is one.
    deadline: Option<Instant>,
    armed: Option<Instant>,
}

impl<'a> Keeper<'a> {
    fn new(settings: Settings, slot: &'a Slot, drain: &'a Drain, watch: &'a Watch) -> Keeper<'a> {
        slot.clear();
        Keeper {
            settings,
            slot,
            drain,
            watch,
            leaving: None,
            deadline: None,
            armed: None,
        }
    }

    fn look(&mut self, cx: &Context<'_>) -> Verdict {
        self.watch.register(cx);
        if self.drain.has_ended() {
            return Verdict::Drop;
        }
        let over = self.watch.gave_up();
        if over && self.leaving.is_some() {
            return Verdict::Drop;
        }
        // Whoever was accepted is answered once.
        let drained = !self.drain.keeps_connections() && self.watch.served.get();
        if self.leaving.is_none() && (over || drained) {
            return self.leave();
        }
        if self.deadline.is_none() && !self.drain.accepts() {
            self.deadline = match self.drain.phase() {
                Phase::Draining { deadline } => Some(deadline),
                _ => None,
            };
        }
        self.arm();
        while self.slot.poll_expired(cx).is_ready() {
            let due = self.until().is_some_and(|at| at <= clock::now());
            if !due {
                // It was armed for something that has changed since.
                self.armed = None;
                self.arm();
                continue;
            }
            let drops = self.leaving.is_some() || self.is_past_deadline();
            return match drops || self.watch.is_parked() {
                true => Verdict::Drop,
                false => self.leave(),
            };
        }
        Verdict::Stay
    }

    fn leave(&mut self) -> Verdict {
        self.leaving = Some(clock::now());
        self.watch.eager.set(true);
        Verdict::Leave
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= clock::now())
    }

    /// Sees to it that the task is woken at its next deadline, or before.
    fn arm(&mut self) {
        let Settings {
            first,
            idle,
            patience,
            ..
        } = self.settings;
        // A deadline that does not exist yet is no closer than this.
        let soon = || clock::now() + first.min(idle).min(patience);
        let at = match (self.until(), self.armed) {
            (None, Some(_)) => return,
            (None, None) => soon(),
            (Some(until), Some(armed)) if armed <= until => return,
            (Some(until), _) => until.min(soon()),
        };
        self.armed = Some(at);
        self.slot.set_at(at);
    }

    /// The moment at which something has to happen.
    fn until(&self) -> Option<Instant> {
        let since = self.watch.since.get();
        let idle = match self.leaving {
            _ if self.watch.is_parked() => Some(since + self.settings.patience),
            _ if self.watch.live.get() > 0 => None,
            Some(told) => Some(told.max(since) + GRACE),
            None if self.watch.served.get() => Some(since + self.settings.idle),
            None => Some(since + self.settings.first),
        };
        match (idle, self.deadline) {
            (Some(idle), Some(deadline)) => Some(idle.min(deadline)),
            (idle, deadline) => idle.or(deadline),
        }
    }
}
