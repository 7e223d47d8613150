//! One direction of a message body: from a socket through the framing into another socket.
//!
//! The same engine serves uploads, downloads and tunnels. It never holds more than one buffer of
//! body: it reads only when everything before was taken. Data that needs no framing of ours is
//! written from where it was read.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::live::BUFFER;
use crate::http1::framing::{Decoder, FramingError};
use crate::http1::write::Encoder;
use crate::message::{Framing, Headers};
use crate::tls::io::Io;

/// Largest buffer while a body streams.
const STREAM_BUFFER: usize = 64 * 1024;
/// Data up to so many bytes is copied behind the head, so that both leave in one segment.
const JOIN: usize = 8 * 1024;
/// Framed bytes gathered before they are written.
const GATHER: usize = 16 * 1024;

/// What a pump met.
#[derive(Debug)]
pub enum PumpError {
    /// The source broke its framing.
    Malformed,
    /// The source ended before the body did.
    SourceClosed,
    /// The sink takes nothing more.
    SinkClosed,
    /// The body grew over the limit.
    TooLarge,
}

impl From<FramingError> for PumpError {
    fn from(_: FramingError) -> PumpError {
        PumpError::Malformed
    }
}

/// Whom a stalled pump waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// More data from the source.
    Source,
    /// The sink to take data.
    Sink,
}

/// One direction of a body.
pub struct Pump {
    /// Bytes read from the source and not yet consumed: `at..`.
    buf: Vec<u8>,
    at: usize,
    /// Data in `buf` that goes out as it is.
    direct: Range<usize>,
    /// Bytes to be written before `direct`: the head, and framing.
    pub out: Vec<u8>,
    out_at: usize,
    decoder: Decoder,
    encoder: Encoder,
    finished: bool,
    flushed: bool,
    /// The sink may hold back some of what it took.
    dirty: bool,
    trailers: bool,
    /// Copies of the data are kept up to so many bytes; `None` once it was more.
    keep: Option<Vec<u8>>,
    keep_max: usize,
    limit: u64,
    /// Body bytes that came through, without framing.
    pub seen: u64,
    /// Bytes given to the sink, framing and head included.
    pub written: u64,
    /// Whom it waits for, after a pending poll.
    pub waits: Waits,
    /// Something moved since the flag was last cleared.
    pub moved: bool,
}

impl Default for Pump {
    fn default() -> Pump {
        Pump {
            buf: Vec::new(),
            at: 0,
            direct: 0..0,
            out: Vec::new(),
            out_at: 0,
            decoder: Decoder::new(Framing::None),
            encoder: Encoder::None,
            finished: true,
            flushed: true,
            dirty: false,
            trailers: false,
            keep: None,
            keep_max: 0,
            limit: u64::MAX,
            seen: 0,
            written: 0,
            waits: Waits::Source,
            moved: false,
        }
    }
}

impl Pump {
    /// Readies it for a body that comes framed one way and leaves framed another. Keeps memory.
    pub fn start(&mut self, framing: Framing, encoder: Encoder) {
        self.resume(Decoder::new(framing), encoder);
        self.finished = framing.is_none();
    }

    /// [`Pump::start`] in the middle of a body.
    pub fn resume(&mut self, decoder: Decoder, encoder: Encoder) {
        // Field by field: this is done twice a request, and the whole is large.
        self.buf.clear();
        self.at = 0;
        self.direct = 0..0;
        self.out.clear();
        self.out_at = 0;
        self.decoder = decoder;
        self.encoder = encoder;
        self.finished = false;
        self.flushed = false;
        self.dirty = false;
        self.trailers = false;
        self.keep = None;
        self.keep_max = 0;
        self.limit = u64::MAX;
        self.seen = 0;
        self.written = 0;
        self.waits = Waits::Source;
        self.moved = false;
    }

    /// Bytes of the source that were read before.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Data that was decoded before; goes out behind the head.
    pub fn prefix(&mut self, data: &[u8]) -> Result<(), PumpError> {
        self.seen += data.len() as u64;
        Ok(self.encoder.encode(data, &mut self.out)?)
    }

    /// Forgets what is left of the body, and gives back memory that only a large one needed.
    pub fn settle(&mut self) {
        self.buf.clear();
        (self.at, self.direct) = (0, 0..0);
        if self.buf.capacity() > 2 * BUFFER {
            large::give(std::mem::take(&mut self.buf));
        }
        if self.out.capacity() > 4 * BUFFER {
            self.out = Vec::new();
        }
        self.keep = None;
    }

    /// Ends with an error behind so many bytes of data.
    pub fn limit(&mut self, bytes: u64) {
        self.limit = self.limit.min(bytes);
    }

    /// Keeps a copy of up to so many bytes of data.
    pub fn keep(&mut self, bytes: usize) {
        self.keep = Some(Vec::new());
        self.keep_max = bytes;
    }

    /// Data that was decoded before and goes out with every attempt: it counts as kept.
    pub fn keep_before(&mut self, data: &[u8]) {
        self.seen += data.len() as u64;
        self.keep = Some(data.to_vec());
    }

    /// The copy, if all data so far fitted.
    pub fn kept(&self) -> Option<&[u8]> {
        self.keep.as_deref()
    }

    /// Passes trailers on.
    pub fn pass_trailers(&mut self) {
        self.trailers = true;
    }

    /// Begins another attempt with a new head: kept data goes again.
    pub fn restart(&mut self, encoder: Encoder) {
        self.encoder = encoder;
        self.out.clear();
        self.out_at = 0;
        self.written = 0;
        self.flushed = false;
        self.direct = 0..0;
    }

    /// Encodes kept data behind the head, for another attempt.
    pub fn replay(&mut self) -> Result<(), PumpError> {
        if let Some(kept) = self.keep.as_deref().filter(|kept| !kept.is_empty()) {
            self.encoder.encode(kept, &mut self.out)?;
        }
        if self.finished { self.finish() } else { Ok(()) }
    }

    /// All data was read and all bytes written.
    pub fn is_done(&self) -> bool {
        self.finished && self.flushed
    }

    /// All data was read from the source.
    pub fn is_read(&self) -> bool {
        self.finished
    }

    /// What the source sent behind the body: the begin of its next message.
    pub fn rest(&self) -> &[u8] {
        &self.buf[self.at..]
    }

    /// Hands that over.
    pub fn move_rest(&mut self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.buf[self.at..]);
        self.buf.clear();
        self.at = 0;
    }

    /// The body's trailers, once it is read.
    pub fn trailers(&self) -> Option<&Headers> {
        self.decoder.trailers()
    }

    /// Moves what can be moved. Ready when the whole body has left.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Io,
        sink: &mut Io,
    ) -> Poll<Result<(), PumpError>> {
        // What is in hand is framed before anything is written, so that a head and the begin of
        // its body leave in one call.
        if self.direct.is_empty() {
            self.fill(cx, source)?;
            self.decode()?;
        }
        loop {
            ready!(self.poll_write(cx, sink))?;
            if self.finished {
                self.waits = Waits::Sink;
                let flushed = ready!(Pin::new(&mut *sink).poll_flush(cx));
                flushed.map_err(|_| PumpError::SinkClosed)?;
                self.flushed = true;
                return Poll::Ready(Ok(()));
            }
            if self.decode()? {
                continue;
            }
            self.poll_dirty(cx, sink)?;
            self.waits = Waits::Source;
            ready!(self.poll_read(cx, source))?;
        }
    }

    /// Before the first bytes of a large body leave: takes what has come of it since its head, for one
    /// large piece costs both neighbours less than a small one and a large one.
    fn fill(&mut self, cx: &mut Context<'_>, source: &mut Io) -> Result<(), PumpError> {
        let is_first = self.written == 0 && !self.buf.is_empty() && !self.finished;
        let most = self.buf.len().max(2 * BUFFER) as u64;
        if is_first
            && self.decoder.announced() > most
            && let Poll::Ready(read) = self.poll_read(cx, source)
        {
            read?;
        }
        Ok(())
    }

    /// What a TLS session took but could not send yet must not wait for more data to come.
    fn poll_dirty(&mut self, cx: &mut Context<'_>, sink: &mut Io) -> Result<(), PumpError> {
        if self.dirty
            && let Poll::Ready(flushed) = Pin::new(sink).poll_flush(cx)
        {
            flushed.map_err(|_| PumpError::SinkClosed)?;
            self.dirty = false;
        }
        Ok(())
    }

    /// Decodes what is in the buffer; whether there is something to write, or the body is over.
    fn decode(&mut self) -> Result<bool, PumpError> {
        while self.at < self.buf.len() && !self.finished && self.out.len() < GATHER {
            let decoded = self.decoder.decode(&self.buf[self.at..])?;
            let data = self.at + decoded.data.start..self.at + decoded.data.end;
            let stuck = decoded.consumed == 0 && !decoded.done;
            self.at += decoded.consumed;
            self.take(data)?;
            if decoded.done {
                self.finished = true;
                self.finish()?;
            }
            if !self.direct.is_empty() || stuck {
                break;
            }
        }
        Ok(self.finished || !self.out.is_empty() || !self.direct.is_empty())
    }

    /// Counts, keeps and queues a run of data.
    fn take(&mut self, data: Range<usize>) -> Result<(), PumpError> {
        if data.is_empty() {
            return Ok(());
        }
        self.seen += data.len() as u64;
        if self.seen > self.limit {
            return Err(PumpError::TooLarge);
        }
        let bytes = &self.buf[data.clone()];
        if let Some(kept) = &mut self.keep {
            if kept.len() + bytes.len() > self.keep_max {
                self.keep = None;
            } else {
                kept.extend_from_slice(bytes);
            }
        }
        let plain = matches!(self.encoder, Encoder::Length(_) | Encoder::Close);
        if plain && bytes.len() > JOIN {
            self.encoder.frame(bytes.len())?;
            self.direct = data;
        } else {
            self.encoder.encode(bytes, &mut self.out)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), PumpError> {
        let trailers = self.decoder.trailers().filter(|_| self.trailers);
        Ok(self.encoder.finish(trailers, &mut self.out)?)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, source: &mut Io) -> Poll<Result<(), PumpError>> {
        self.make_room();
        match ready!(poll_read_buf(Pin::new(source), cx, &mut self.buf)) {
            Ok(0) => {
                self.decoder.eof().map_err(|_| PumpError::SourceClosed)?;
                self.finished = true;
                self.finish()?;
            }
            Ok(_) => self.moved = true,
            Err(_) => return Poll::Ready(Err(PumpError::SourceClosed)),
        }
        Poll::Ready(Ok(()))
    }

    /// Room for one read: consumed bytes go; a buffer that was filled to the brim, or will be,
    /// becomes a large one.
    fn make_room(&mut self) {
        let full = self.buf.len() == self.buf.capacity() && !self.buf.is_empty();
        let much = full || self.decoder.announced() > 2 * BUFFER as u64;
        self.buf.drain(..self.at);
        self.at = 0;
        if much && self.buf.capacity() < STREAM_BUFFER {
            let mut large = large::take();
            large.extend_from_slice(&self.buf);
            self.buf = large;
        } else if self.buf.capacity() < BUFFER {
            self.buf.reserve(BUFFER - self.buf.len());
        } else if self.buf.len() == self.buf.capacity() {
            self.buf.reserve(BUFFER);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, sink: &mut Io) -> Poll<Result<(), PumpError>> {
        self.waits = Waits::Sink;
        while self.out_at < self.out.len() || !self.direct.is_empty() {
            let head = &self.out[self.out_at..];
            let data = &self.buf[self.direct.clone()];
            let written = if head.is_empty() {
                Pin::new(&mut *sink).poll_write(cx, data)
            } else if data.is_empty() {
                Pin::new(&mut *sink).poll_write(cx, head)
            } else {
                let both = [std::io::IoSlice::new(head), std::io::IoSlice::new(data)];
                Pin::new(&mut *sink).poll_write_vectored(cx, &both)
            };
            let count = ready!(written).map_err(|_| PumpError::SinkClosed)?;
            if count == 0 {
                return Poll::Ready(Err(PumpError::SinkClosed));
            }
            self.wrote(count);
        }
        self.out.clear();
        self.out_at = 0;
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) {
        self.moved = true;
        self.dirty = true;
        self.written += count as u64;
        let head = count.min(self.out.len() - self.out_at);
        self.out_at += head;
        self.direct.start += count - head;
        if self.direct.is_empty() {
            self.direct = 0..0;
        }
    }
}

/// Buffers for large bodies, lent to one body after the other: fresh memory of that size costs the
/// kernel more than what it is filled with.
mod large {
    use std::cell::RefCell;

    use super::STREAM_BUFFER;

    /// Most that a thread keeps for later.
    const SPARE: usize = 32;

    thread_local! {
        static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    /// An empty one.
    pub(super) fn take() -> Vec<u8> {
        let spare = BUFFERS.with_borrow_mut(Vec::pop);
        spare.unwrap_or_else(|| Vec::with_capacity(STREAM_BUFFER))
    }

    /// One that is not needed any more.
    pub(super) fn give(mut buffer: Vec<u8>) {
        buffer.clear();
        BUFFERS.with_borrow_mut(|buffers| {
            let fits = (STREAM_BUFFER..=2 * STREAM_BUFFER).contains(&buffer.capacity());
            if fits && buffers.len() < SPARE {
                buffers.push(buffer);
            }
        });
    }
}
