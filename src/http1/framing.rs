//! Bodies from bytes: one state machine for requests and responses (RFC 9112 §6, §7).
//!
//! The decoder never copies data: it says which part of the input is data. Invariant: it consumes
//! nothing behind the end of the body, and after an error nothing at all.

mod chunk;
mod trailers;

#[cfg(test)]
mod tests;

use std::ops::Range;

use thiserror::Error;

use self::chunk::ChunkLine;
use self::trailers::Trailers;
use super::parse::ParseError;
use crate::message::{Framing, Headers};

pub use trailers::is_forbidden as is_forbidden_trailer;

/// Why a body could not be read or written on. The connection cannot be used any further.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FramingError {
    /// A chunk size that is not 1 to 16 hexadecimal digits.
    #[error("malformed chunk size")]
    ChunkSize,
    /// A malformed chunk extension, or a chunk's line without CR LF.
    #[error("malformed chunk line")]
    ChunkLine,
    /// More bytes of chunk extensions than anybody needs.
    #[error("chunk extensions are too large")]
    ExtensionTooLarge,
    /// No CR LF behind a chunk's data.
    #[error("chunk data does not end where it should")]
    ChunkEnd,
    /// A malformed or too large trailer section.
    #[error("malformed trailer section: {0}")]
    Trailer(ParseError),
    /// A trailer field that may only stand in the head.
    #[error("forbidden trailer field")]
    ForbiddenTrailer,
    /// The connection ended, or the sender stopped, before the end of the body.
    #[error("body ended early")]
    Truncated,
    /// More data than the declared length.
    #[error("body is longer than declared")]
    Overrun,
}

impl FramingError {
    /// A stable word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            FramingError::ChunkSize => "chunk_size",
            FramingError::ChunkLine => "chunk_line",
            FramingError::ExtensionTooLarge => "chunk_extension_too_large",
            FramingError::ChunkEnd => "chunk_end",
            FramingError::Trailer(_) => "trailer",
            FramingError::ForbiddenTrailer => "trailer_forbidden",
            FramingError::Truncated => "truncated",
            FramingError::Overrun => "overrun",
        }
    }
}

/// What one call of [`Decoder::decode`] found in its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// How many bytes of the input were used up; nothing before it is needed again.
    pub consumed: usize,
    /// Where in the input body data stands; may be empty.
    pub data: Range<usize>,
    /// The body is complete.
    pub done: bool,
}

/// Reads one body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far.
    extensions: u32,
    trailers: Option<Box<Trailers>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Done,
    /// So many bytes are left.
    Length(u64),
    Close,
    /// In the line before a chunk.
    Line(ChunkLine),
    /// In a chunk of which so many bytes are left.
    Chunk(u64),
    /// Behind a chunk's data.
    ChunkCr,
    ChunkLf,
    /// Behind the last chunk's line.
    End,
    /// Behind a CR there.
    EndLf,
    Trailers,
    Failed(FramingError),
}

impl Decoder {
    /// A decoder for a body that is framed so. [`Framing::Frames`] has no bytes on an HTTP/1
    /// connection; it reads like [`Framing::Close`].
    pub fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Line(ChunkLine::default()),
            Framing::Close | Framing::Frames => State::Close,
        };
        Decoder {
            state,
            extensions: 0,
            trailers: None,
        }
    }

    /// Reads on in `input`, which begins where the last call stopped consuming. At most one run
    /// of data is handed out per call; call again while something is consumed and it is not done.
    ///
    /// Nothing consumed and not done: more input is needed.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, FramingError> {
        let mut decoded = Decoded::default();
        loop {
            let rest = &input[decoded.consumed..];
            match self.state {
                State::Done => {
                    decoded.done = true;
                    return Ok(decoded);
                }
                State::Failed(error) => return Err(error),
                _ if rest.is_empty() => return Ok(decoded),
                State::Length(_) | State::Chunk(_) | State::Close => {
                    if !decoded.data.is_empty() {
                        return Ok(decoded);
                    }
                    let from = decoded.consumed;
                    decoded.consumed += self.data(rest.len());
                    decoded.data = from..decoded.consumed;
                }
                _ => decoded.consumed += self.frame(rest)?,
            }
        }
    }

    /// Takes up to `available` bytes of data: how many.
    fn data(&mut self, available: usize) -> usize {
        let (left, end) = match self.state {
            State::Length(left) => (left, State::Done),
            State::Chunk(left) => (left, State::ChunkCr),
            _ => return available,
        };
        let taken = left.min(available as u64);
        self.state = match self.state {
            _ if taken == left => end,
            State::Length(_) => State::Length(left - taken),
            _ => State::Chunk(left - taken),
        };
        // No more than `available`.
        taken as usize
    }

    /// Reads bytes between chunks from a non-empty input: how many. Remembers a failure.
    fn frame(&mut self, input: &[u8]) -> Result<usize, FramingError> {
        let read = match self.state {
            State::Trailers => self.feed_trailers(input),
            State::Line(line) => self.feed_line(line, input),
            _ => self.feed_byte(input[0]),
        };
        if let Err(error) = read {
            self.state = State::Failed(error);
        }
        read
    }

    fn feed_line(&mut self, mut line: ChunkLine, input: &[u8]) -> Result<usize, FramingError> {
        for (at, &byte) in input.iter().enumerate() {
            if let Some(size) = line.push(byte, &mut self.extensions)? {
                self.state = match size {
                    0 => State::End,
                    _ => State::Chunk(size),
                };
                return Ok(at + 1);
            }
        }
        self.state = State::Line(line);
        Ok(input.len())
    }

    /// Reads a byte of the line ends behind data and behind the last chunk.
    fn feed_byte(&mut self, byte: u8) -> Result<usize, FramingError> {
        self.state = match (self.state, byte) {
            (State::ChunkCr, b'\r') => State::ChunkLf,
            (State::ChunkLf, b'\n') => State::Line(ChunkLine::default()),
            (State::ChunkCr | State::ChunkLf, _) => return Err(FramingError::ChunkEnd),
            (State::End, b'\r') => State::EndLf,
            (State::EndLf, b'\n') => State::Done,
            (State::EndLf, _) => return Err(FramingError::Trailer(ParseError::BareCr)),
            _ => {
                self.state = State::Trailers;
                return Ok(0);
            }
        };
        Ok(1)
    }

    fn feed_trailers(&mut self, input: &[u8]) -> Result<usize, FramingError> {
        let (taken, done) = self.trailers.get_or_insert_default().feed(input)?;
        if done {
            self.state = State::Done;
        }
        Ok(taken)
    }

    /// Bytes that are surely still to come, as far as the source has said.
    pub fn announced(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The connection ended here: fine when the body is complete, or when nothing but this ends
    /// it.
    pub fn eof(&mut self) -> Result<(), FramingError> {
        self.state = match self.state {
            State::Done | State::Close => State::Done,
            State::Failed(error) => return Err(error),
            _ => State::Failed(FramingError::Truncated),
        };
        match self.state {
            State::Failed(error) => Err(error),
            _ => Ok(()),
        }
    }

    /// The trailer fields, once the body is complete and if it has any.
    pub fn trailers(&self) -> Option<&Headers> {
        let trailers = self.trailers.as_ref().filter(|_| self.is_done())?;
        Some(trailers.fields())
    }

    /// [`Decoder::trailers`], for keeps.
    pub fn take_trailers(&mut self) -> Option<Headers> {
        let trailers = self
            .trailers
            .take_if(|_| matches!(self.state, State::Done))?;
        Some(trailers.into_fields())
    }
}
