//! Connections to upstreams over HTTP/2, shared by the streams of one worker.
//!
//! Invariant: two requests share a connection only where their keys are equal; a connection is
//! opened by one request at a time per key, and the others wait for it, or for the end of a stream:
//! they take what comes first.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::future::{Future, pending, poll_fn};
use std::hash::Hash;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response};
use http_body::Body;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::severable::{Cut, Severable};
use super::{Incoming, LocalExec};
use crate::util::clock;
use crate::util::closed::{self, By};
use crate::util::drain::Drain;
use crate::util::local;
use crate::util::sweep::Slot;

/// Streams on one connection; upstreams may allow fewer.
const STREAMS: usize = 100;
/// What an upstream may send on one stream before the client has taken it.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Largest header list of an answer.
const HEADER_LIST: u32 = 64 * 1024;
/// How often a connection with open streams is asked whether it lives.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(10);
/// How long a connection that is over may take to say so.
const GRACE: Duration = Duration::from_secs(1);

/// Why a request brought no response head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It never left: the connection was dead or closing.
    Unsent,
    /// The upstream says that it did nothing with it (RFC 9113 §8.7).
    Refused,
    /// The stream or the connection ended.
    Closed,
    /// What came is no HTTP/2.
    Malformed,
}

impl Failure {
    /// What an error means, and whether it is the whole connection's.
    fn of(error: &hyper::Error) -> (Failure, bool) {
        let cause = error.source().and_then(|cause| cause.downcast_ref());
        let Some(cause): Option<&h2::Error> = cause else {
            return (Failure::Closed, true);
        };
        let refused = cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM);
        // A GOAWAY fails those streams only that it says were not looked at.
        let failure = if cause.is_remote() && (refused || cause.is_go_away()) {
            Failure::Refused
        } else if cause.is_library() {
            Failure::Malformed
        } else {
            Failure::Closed
        };
        (failure, !cause.is_reset())
    }
}

/// How much others want a connection's place, where the number of connections is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Demand {
    /// Not at all.
    None,
    /// They wait for it, and have others.
    Waiting,
    /// They wait for it, and have none.
    Starving,
}

/// Says how much a connection's place is wanted.
pub type Ask = Box<dyn Fn() -> Demand>;

/// Those of one key that wait for a stream.
#[derive(Default)]
struct Queue {
    waiting: Cell<usize>,
    freed: Notify,
    /// Who opens the next connection may not yet.
    stuck: Cell<bool>,
}

impl Queue {
    fn call_one(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_one();
        }
    }

    fn call_all(&self) {
        self.freed.notify_waiters();
    }

    /// Waits for a call; meanwhile `stuck` tells whether that is because no connection may be
    /// opened. What is freed between the look before and this call is not missed: no other task
    /// of the thread runs.
    async fn wait(&self, stuck: &Cell<bool>) {
        let _one_more = Counted::new(&self.waiting);
        let mut freed = pin!(self.freed.notified());
        poll_fn(|cx| {
            stuck.set(self.stuck.get());
            freed.as_mut().poll(cx)
        })
        .await;
    }
}

/// Counts until dropped.
struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    fn new(count: &'a Cell<usize>) -> Counted<'a> {
        count.set(count.get() + 1);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// One connection.
struct Shared<B> {
    send: SendRequest<B>,
    streams: Cell<usize>,
    most: Cell<usize>,
    served: Cell<u32>,
    /// When the last stream ended.
    since: Cell<Instant>,
    leaving: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    ask: Option<Ask>,
    queue: Rc<Queue>,
}

impl<B> Shared<B> {
    fn is_over(&self) -> bool {
        self.leaving.get() || self.send.is_closed()
    }

    fn retire(&self) {
        self.leaving.set(true);
        self.wake();
    }

    fn demand(&self) -> Demand {
        self.ask.as_ref().map_or(Demand::None, |ask| ask())
    }

    fn allow(&self, most: usize) {
        let before = self.most.replace(most);
        if before < most {
            self.queue.call_all();
        }
    }

    fn has_room(&self) -> bool {
        self.streams.get() < self.most.get()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// One stream's share of a connection, given back when dropped.
pub struct Lease<B>(Rc<Shared<B>>);

impl<B> Lease<B> {
    fn new(shared: &Rc<Shared<B>>) -> Lease<B> {
        shared.streams.set(shared.streams.get() + 1);
        Lease(Rc::clone(shared))
    }

    /// Requests that the connection has taken before.
    pub fn served(&self) -> u32 {
        self.0.served.get()
    }

    /// No new streams on this connection; it ends with those that it has.
    pub fn retire(&self) {
        self.0.retire();
    }
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes> + 'static,
{
    /// Sends a request and waits for the head of its answer. Dropping the future resets the
    /// stream.
    pub fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, Failure>> + use<B> {
        self.0.served.set(self.0.served.get().saturating_add(1));
        let shared = Rc::clone(&self.0);
        let sending = self.0.send.clone().try_send_request(request);
        async move {
            sending.await.map_err(|mut error| {
                let (failure, over) = match error.take_message() {
                    Some(_) => (Failure::Unsent, true),
                    None => Failure::of(error.error()),
                };
                if over {
                    shared.retire();
                }
                failure
            })
        }
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.queue.call_one();
        if self.0.streams.get() == 0 {
            self.0.since.set(clock::now());
            self.0.wake();
        }
    }
}

/// One worker's connections. Clones are the same pool.
pub struct Pool<K, B> {
    entries: Rc<RefCell<Entries<K, B>>>,
    idle: Duration,
}

type Entries<K, B> = HashMap<K, Entry<B>, foldhash::fast::RandomState>;

struct Entry<B> {
    open: Vec<Rc<Shared<B>>>,
    opening: bool,
    queue: Rc<Queue>,
}

impl<B> Default for Entry<B> {
    fn default() -> Entry<B> {
        Entry {
            open: Vec::new(),
            opening: false,
            queue: Rc::default(),
        }
    }
}

impl<B> Entry<B> {
    fn lease(&self) -> Option<Lease<B>> {
        let usable = |shared: &&Rc<Shared<B>>| !shared.is_over() && shared.has_room();
        self.open.iter().find(usable).map(Lease::new)
    }
}

/// What a request gets.
enum Place<'a, K: Eq + Hash, B> {
    Stream(Lease<B>),
    /// The right to open a connection.
    Opens(Opening<'a, K, B>),
    Waits(Rc<Queue>),
}

/// Makes one task the opener of a key's next connection, until it is dropped.
struct Opening<'a, K: Eq + Hash, B> {
    pool: &'a Pool<K, B>,
    key: &'a K,
    queue: Rc<Queue>,
}

impl<K: Eq + Hash, B> Drop for Opening<'_, K, B> {
    fn drop(&mut self) {
        self.queue.stuck.set(false);
        if let Some(entry) = self.pool.entries.borrow_mut().get_mut(self.key) {
            entry.opening = false;
        }
        // The next one opens.
        self.queue.call_one();
    }
}

impl<K, B> Pool<K, B>
where
    K: Clone + Eq + Hash + 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// An empty pool that keeps idle connections so long.
    pub fn new(idle: Duration) -> Pool<K, B> {
        Pool {
            entries: Rc::default(),
            idle,
        }
    }

    /// Connections that are open.
    pub fn len(&self) -> usize {
        self.entries
            .borrow()
            .values()
            .map(|entry| entry.open.len())
            .sum()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a connection of that key is open, with room or without.
    pub fn has(&self, key: &K) -> bool {
        let is_open = |entry: &Entry<B>| entry.open.iter().any(|shared| !shared.is_over());
        self.entries.borrow().get(key).is_some_and(is_open)
    }

    /// A share of an open connection of that key with room for a stream.
    pub fn lease_open(&self, key: &K) -> Option<Lease<B>> {
        self.entries.borrow().get(key)?.lease()
    }

    /// A share of a connection of that key: of an open one with room for a stream, else of a new
    /// one over what `connect` brings. `slot` becomes the new connection's deadline.
    ///
    /// `connect` sets `stuck` while it may not begin; then a stream that ends does as well. For
    /// those that wait for another's `connect`, `stuck` is set here.
    ///
    /// Dropping the future drops what was opened so far; whoever waits for it opens another.
    pub async fn lease<I, E>(
        &self,
        key: &K,
        slot: impl FnOnce() -> Slot,
        drain: &Drain,
        stuck: &Cell<bool>,
        connect: impl Future<Output = Result<(I, Option<Ask>), E>>,
    ) -> Result<Lease<B>, E>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        E: From<Failure>,
    {
        let opening = loop {
            match self.place(key) {
                Place::Stream(lease) => return Ok(lease),
                Place::Opens(opening) => break opening,
                Place::Waits(queue) => queue.wait(stuck).await,
            }
        };
        let (io, ask) = match self.connected(&opening, stuck, connect).await? {
            Ok(connected) => connected,
            Err(lease) => return Ok(lease),
        };
        let (io, cut) = Severable::new(io);
        let shaken = builder().handshake::<_, B>(TokioIo::new(io)).await;
        let (send, connection) = shaken.map_err(|error| Failure::of(&error).0)?;
        let shared = Rc::new(Shared {
            send,
            streams: Cell::new(0),
            most: Cell::new(STREAMS),
            served: Cell::new(0),
            since: Cell::new(clock::now()),
            leaving: Cell::new(false),
            waker: RefCell::default(),
            ask,
            queue: Rc::clone(&opening.queue),
        });
        let lease = Lease::new(&shared);
        self.add(key, &shared);
        self.tend(
            key.clone(),
            shared,
            (connection, cut),
            slot(),
            drain.clone(),
        );
        opening.queue.call_all();
        drop(opening);
        Ok(lease)
    }

    /// A share of an open connection, or the right to open one, or a place among those that wait.
    fn place<'a>(&'a self, key: &'a K) -> Place<'a, K, B> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.entry(key.clone()).or_default();
        if let Some(lease) = entry.lease() {
            return Place::Stream(lease);
        }
        let queue = Rc::clone(&entry.queue);
        if entry.opening {
            return Place::Waits(queue);
        }
        entry.opening = true;
        Place::Opens(Opening {
            pool: self,
            key,
            queue,
        })
    }

    /// What `connect` brings, or the share of an open connection that came up while it was stuck.
    async fn connected<I, E>(
        &self,
        opening: &Opening<'_, K, B>,
        stuck: &Cell<bool>,
        connect: impl Future<Output = Result<(I, Option<Ask>), E>>,
    ) -> Result<Result<(I, Option<Ask>), Lease<B>>, E> {
        let queue = &*opening.queue;
        let mut connect = pin!(connect);
        // Listens only while stuck: it would take the call from one who can use it.
        let mut freed = pin!(None);
        let mut listens = None;
        poll_fn(|cx| {
            if let Poll::Ready(connected) = connect.as_mut().poll(cx) {
                return Poll::Ready(connected.map(Ok));
            }
            queue.stuck.set(stuck.get());
            if !stuck.get() {
                freed.set(None);
                listens = None;
                return Poll::Pending;
            }
            listens.get_or_insert_with(|| Counted::new(&queue.waiting));
            loop {
                if let Some(lease) = self.lease_open(opening.key) {
                    return Poll::Ready(Ok(Err(lease)));
                }
                if freed.is_none() {
                    freed.set(Some(queue.freed.notified()));
                }
                match freed.as_mut().as_pin_mut().map(|freed| freed.poll(cx)) {
                    Some(Poll::Ready(())) => freed.set(None),
                    _ => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Ends a connection without streams whose place is wanted.
    pub fn make_room(&self) {
        let idle = |shared: &Shared<B>| shared.streams.get() == 0;
        self.retire_one(|shared| idle(shared) && shared.demand() > Demand::None);
    }

    /// Ends a connection, after its streams, whose place is wanted by those that have none: they
    /// would wait for as long as this worker has requests.
    pub fn share(&self) {
        self.retire_one(|shared| shared.demand() == Demand::Starving);
    }

    /// Retires the one with the fewest streams of those.
    fn retire_one(&self, which: impl Fn(&Shared<B>) -> bool) {
        let entries = self.entries.borrow();
        let open = entries.values().flat_map(|entry| &entry.open);
        let candidates = open.filter(|shared| !shared.is_over() && which(shared));
        if let Some(shared) = candidates.min_by_key(|shared| shared.streams.get()) {
            shared.retire();
        }
    }

    fn add(&self, key: &K, shared: &Rc<Shared<B>>) {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.entry(key.clone()).or_default();
        entry.open.push(Rc::clone(shared));
    }

    /// Drives a connection in a task of its own until it is over, idle too long, or the process
    /// ends.
    fn tend<I>(
        &self,
        key: K,
        shared: Rc<Shared<B>>,
        (connection, cut): (Connection<TokioIo<Severable<I>>, B, LocalExec>, Cut),
        slot: Slot,
        drain: Drain,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let idle = self.idle;
        let entries = Rc::clone(&self.entries);
        local::spawn(async move {
            let mut connection = Box::pin(connection);
            let by = poll_fn(|cx| {
                // How it failed is told to each of its streams.
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(By::Upstream);
                }
                let most = connection.current_max_send_streams().min(STREAMS);
                shared.allow(most);
                *shared.waker.borrow_mut() = Some(cx.waker().clone());
                poll_idle(cx, &shared, &slot, &drain, idle)
            })
            .await;
            closed::count(by);
            shared.leaving.set(true);
            forget(&mut entries.borrow_mut(), &key, &shared);
            // Without senders hyper says goodbye and closes; but a request body for which its
            // upstream has no window keeps it, whoever left.
            drop((connection, shared));
            slot.within(GRACE, pending::<()>()).await;
            cut.sever();
        });
    }
}

/// Ready when nobody uses the connection any more.
fn poll_idle<B>(
    cx: &Context<'_>,
    shared: &Shared<B>,
    slot: &Slot,
    drain: &Drain,
    idle: Duration,
) -> Poll<By> {
    if drain.has_ended() {
        return Poll::Ready(By::Gateway);
    }
    if shared.streams.get() > 0 {
        slot.clear();
        slot.register(cx);
        return Poll::Pending;
    }
    let until = shared.since.get() + idle;
    if shared.demand() > Demand::None {
        return Poll::Ready(By::Limit);
    }
    if shared.leaving.get() || !drain.accepts() {
        return Poll::Ready(By::Gateway);
    }
    if clock::now() >= until {
        return Poll::Ready(By::Idle);
    }
    slot.set_at(until);
    slot.register(cx);
    Poll::Pending
}

fn forget<K: Eq + Hash, B>(entries: &mut Entries<K, B>, key: &K, shared: &Rc<Shared<B>>) {
    let Some(entry) = entries.get_mut(key) else {
        return;
    };
    entry.open.retain(|other| !Rc::ptr_eq(other, shared));
    if entry.open.is_empty() && !entry.opening {
        entries.remove(key);
    }
}

fn builder() -> Builder<LocalExec> {
    let mut builder = Builder::new(LocalExec);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADER_LIST)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

#[cfg(test)]
mod tests;
