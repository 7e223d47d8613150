//! HTTP/2 by hand: frames as they are, right or wrong.

use std::net::SocketAddr;

use super::Conn;

/// Kinds of frames (RFC 9113 §6).
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;
}

/// Ends the stream; acknowledges SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// Ends the header block.
pub const END_HEADERS: u8 = 4;

/// One frame as received.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// `GET http://a/` in HPACK.
pub const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

/// A whole request on this stream.
pub fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

/// The client takes the stream back.
pub fn cancel(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// Asks for an acknowledgement.
pub fn ping() -> Vec<u8> {
    frame(kind::PING, 0, 0, &[7; 8])
}

/// A client connection.
pub struct Raw(pub Conn);

impl Raw {
    /// Connects, and says hello with these settings.
    pub fn open(to: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut conn = Conn::open(to);
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        conn.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        conn.send(frame(kind::SETTINGS, 0, 0, &payload));
        Self(conn)
    }

    /// Sends bytes; `false` once the peer takes none.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.try_send(bytes).is_ok()
    }

    /// The next frame; `None` when the connection has ended.
    pub fn next(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.0.exactly(9).try_into().ok()?;
        let [a, b, c, kind, ..] = head;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.0.exactly(len);
        (payload.len() == len).then_some(Frame { kind, payload })
    }

    /// The next frame of this kind; `None` when the connection ended without one.
    pub fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Sends a PING and takes everything up to its acknowledgement: then the peer has seen all
    /// that was sent before. The last frame is that, or GOAWAY; `None` when the connection ended.
    pub fn pong(&mut self) -> Option<Frame> {
        let ours = [9; 8];
        self.send(frame(kind::PING, 0, 0, &ours));
        loop {
            let frame = self.next()?;
            let pong = frame.kind == kind::PING && frame.payload == ours;
            if pong || frame.kind == kind::GOAWAY {
                return Some(frame);
            }
        }
    }

    /// Takes everything up to the end of the connection; whether GOAWAY was among it.
    pub fn ends(&mut self) -> bool {
        let mut told = false;
        while let Some(frame) = self.next() {
            told |= frame.kind == kind::GOAWAY;
        }
        told
    }
}
