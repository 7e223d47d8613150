//! Heads and bodies to bytes. Which fields a head has is decided elsewhere: between
//! [`request_line`] or [`status_line`] and the empty line come `Headers::write` and the caller's
//! own fields.
//!
//! Invariant: a body that was finished without an error is framed as announced.

mod reason;

#[cfg(test)]
mod tests;

pub use reason::reason;

use super::framing::FramingError;
use crate::message::{Framing, Headers};

/// Appends `HTTP/1.1 200 OK` and the line end. An empty reason stands for the registered one.
pub fn status_line(out: &mut Vec<u8>, status: u16, phrase: impl AsRef<[u8]>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.push(b' ');
    match phrase.as_ref() {
        [] => out.extend_from_slice(reason(status).as_bytes()),
        phrase => out.extend_from_slice(phrase),
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends `GET /path?query HTTP/1.1` and the line end.
pub fn request_line(out: &mut Vec<u8>, method: &str, target: impl AsRef<[u8]>) {
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_ref());
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// Appends one field line.
pub fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the field that announces a body framed so: nothing for none and for one that the end
/// of the connection ends.
pub fn framing_field(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked | Framing::Frames => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        Framing::None | Framing::Close => {}
    }
}

/// Appends a number in decimal.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = value;
    loop {
        at -= 1;
        // A remainder of ten is one digit.
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The line before a chunk, kept inline so that it can stand in a vectored write.
#[derive(Clone, Copy, Debug)]
pub struct ChunkHeader {
    text: [u8; 18],
    from: u8,
}

impl ChunkHeader {
    const NONE: ChunkHeader = ChunkHeader {
        text: [0; 18],
        from: 18,
    };

    /// Its bytes, the line end included; none where no chunk begins.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(self.from as usize..).unwrap_or_default()
    }
}

/// The line before a chunk of so many bytes. Nothing for 0: that would be the last chunk.
pub fn chunk_header(len: usize) -> ChunkHeader {
    if len == 0 {
        return ChunkHeader::NONE;
    }
    let mut text = *b"0000000000000000\r\n";
    let mut from = 16;
    let mut left = len;
    while left > 0 {
        from -= 1;
        text[from] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    ChunkHeader {
        text,
        // At most 16.
        from: from as u8,
    }
}

/// What stands around a piece of data that the caller writes himself.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    header: ChunkHeader,
}

impl Frame {
    /// What to write before the data; may be empty.
    pub fn before(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// What to write behind the data; may be empty.
    pub fn behind(&self) -> &'static [u8] {
        if self.header.as_bytes().is_empty() {
            b""
        } else {
            b"\r\n"
        }
    }
}

/// Writes one body, counting what a declared length has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// There is no body: data is an error.
    None,
    /// So many bytes are still to come.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends.
    Close,
}

impl Encoder {
    /// An encoder for a body announced so. A body that came in HTTP/2 frames without a length
    /// goes out in chunks.
    pub fn new(framing: Framing) -> Encoder {
        match framing {
            Framing::None => Encoder::None,
            Framing::Length(length) => Encoder::Length(length),
            Framing::Chunked | Framing::Frames => Encoder::Chunked,
            Framing::Close => Encoder::Close,
        }
    }

    /// Appends a piece of the body.
    pub fn encode(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), FramingError> {
        let frame = self.frame(data.len())?;
        out.extend_from_slice(frame.before());
        out.extend_from_slice(data);
        out.extend_from_slice(frame.behind());
        Ok(())
    }

    /// Counts a piece of the body that the caller writes himself: what stands around it.
    pub fn frame(&mut self, len: usize) -> Result<Frame, FramingError> {
        let mut header = ChunkHeader::NONE;
        match self {
            Encoder::Chunked => header = chunk_header(len),
            Encoder::Close => {}
            Encoder::None if len == 0 => {}
            Encoder::None => return Err(FramingError::Overrun),
            Encoder::Length(left) => {
                *left = left.checked_sub(len as u64).ok_or(FramingError::Overrun)?;
            }
        }
        Ok(Frame { header })
    }

    /// Ends the body. Trailers can be said in chunked coding only; elsewhere they are dropped, as
    /// RFC 9110 §6.5 allows.
    pub fn finish(
        &mut self,
        trailers: Option<&Headers>,
        out: &mut Vec<u8>,
    ) -> Result<(), FramingError> {
        match self {
            Encoder::Length(left) if *left > 0 => Err(FramingError::Truncated),
            Encoder::Chunked => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    trailers.write(out);
                }
                out.extend_from_slice(b"\r\n");
                *self = Encoder::None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
