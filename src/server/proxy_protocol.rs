//! The PROXY protocol, versions 1 and 2: who the client of a load balancer in front really is.
//!
//! Follows HAProxy's `proxy-protocol.txt` strictly: a header that is not exactly right ends the
//! connection, since behind it everything could be misread. Whose headers are believed is the
//! caller's decision.
//!
//! Invariant: not a byte behind the header is read, so TLS or HTTP can begin there; a header has
//! a bounded length and [`read`] a bounded time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection is the balancer's own (a health check), or it does not know the client: the
    /// socket's addresses hold.
    Unknown,
    /// The client has come over a unix socket of the balancer's machine: it has no address.
    Unix,
    /// A client with an address.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// Where the client has connected to.
        destination: SocketAddr,
    },
}

/// How far the bytes so far go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A right beginning.
    Incomplete {
        /// How many bytes more the header has at least, 1 or more.
        needs: usize,
    },
    /// A whole header.
    Complete {
        /// What it says.
        header: ProxyHeader,
        /// How many bytes of the input it takes.
        length: usize,
    },
}

/// Why a connection did not begin with a header.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The bytes are not a header.
    #[error("invalid PROXY protocol header: {0}")]
    Invalid(#[from] Invalid),
    /// The peer closed the connection first.
    #[error("the connection ended within the PROXY protocol header")]
    Closed,
    /// It took too long.
    #[error("no PROXY protocol header came in time")]
    TimedOut,
    /// The connection failed.
    #[error("reading the PROXY protocol header: {0}")]
    Io(io::Error),
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Invalid {
    /// Neither version begins so.
    #[error("neither version 1 nor 2")]
    Signature,
    /// Version 1: no line end within 107 bytes; version 2: extensions beyond 4 KiB.
    #[error("too long")]
    TooLong,
    /// Version 1: a line ends with CR LF, and has neither elsewhere.
    #[error("wrong line end")]
    LineEnd,
    /// A family or transport that is not a stream over IPv4, IPv6 or unix sockets.
    #[error("unsupported protocol family")]
    Family,
    /// A part is missing, too much or not an address.
    #[error("wrong address")]
    Address,
    /// Not a port number.
    #[error("wrong port")]
    Port,
    /// Version 2: a version or command that does not exist.
    #[error("unknown version or command")]
    Command,
}

/// The longest line of version 1, its end included.
const V1_MOST: usize = 107;
/// `PROXY UNKNOWN` and the line end: no header of either version is shorter.
const LEAST: usize = 15;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_HEAD: usize = 16;
/// Addresses and extensions of version 2. Extensions are skipped; known balancers send a few
/// hundred bytes.
const V2_MOST: usize = 4096;

/// Reads the header at the start of a connection, in at most `within`, and no byte more. After an
/// error, or when the future was dropped, the connection is of no use.
pub async fn read<S>(stream: &mut S, within: Duration) -> Result<ProxyHeader, ProxyError>
where
    S: AsyncRead + Unpin,
{
    timeout(within, read_header(stream))
        .await
        .unwrap_or(Err(ProxyError::TimedOut))
}

async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<ProxyHeader, ProxyError> {
    let mut read = Vec::with_capacity(V1_MOST);
    loop {
        match parse(&read)? {
            Parsed::Complete { header, .. } => return Ok(header),
            Parsed::Incomplete { needs } => {
                let start = read.len();
                read.resize(start + needs, 0);
                stream.read_exact(&mut read[start..]).await.map_err(ended)?;
            }
        }
    }
}

fn ended(error: io::Error) -> ProxyError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ProxyError::Closed,
        _ => ProxyError::Io(error),
    }
}

/// Reads a header from the start of `input`.
pub fn parse(input: &[u8]) -> Result<Parsed, Invalid> {
    const V1_START: &[u8] = b"PROXY ";
    if begins(input, V2_SIGNATURE) && !input.is_empty() {
        parse_v2(input)
    } else if begins(input, V1_START) {
        parse_v1(input)
    } else {
        Err(Invalid::Signature)
    }
}

/// Whether `input` begins with `start`, or is a beginning of it.
fn begins(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(one, two)| one == two)
}

fn parse_v1(input: &[u8]) -> Result<Parsed, Invalid> {
    let line = &input[..input.len().min(V1_MOST)];
    match line.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let text = line[..end].strip_suffix(b"\r").ok_or(Invalid::LineEnd)?;
            let header = v1_line(text)?;
            Ok(Parsed::Complete {
                header,
                length: end + 1,
            })
        }
        None if line.len() == V1_MOST => Err(Invalid::TooLong),
        None => Ok(Parsed::Incomplete {
            needs: v1_needs(line)?,
        }),
    }
}

/// The least that is missing of a line without its end.
fn v1_needs(line: &[u8]) -> Result<usize, Invalid> {
    match line.iter().position(|byte| *byte == b'\r') {
        Some(at) if at + 1 == line.len() => Ok(1),
        Some(_) => Err(Invalid::LineEnd),
        // At least the line end is to come, and it must fit.
        None => match LEAST.saturating_sub(line.len()) {
            0 => Ok(2.min(V1_MOST - line.len())),
            needs => Ok(needs),
        },
    }
}

fn v1_line(line: &[u8]) -> Result<ProxyHeader, Invalid> {
    let text = std::str::from_utf8(line).map_err(|_| Invalid::Address)?;
    if text.contains('\r') {
        return Err(Invalid::LineEnd);
    }
    let mut parts = text.split(' ').skip(1);
    match parts.next() {
        // What follows is to be ignored (specification, section 2.1).
        Some("UNKNOWN") => Ok(ProxyHeader::Unknown),
        Some("TCP4") => v1_addresses::<Ipv4Addr>(parts),
        Some("TCP6") => v1_addresses::<Ipv6Addr>(parts),
        _ => Err(Invalid::Family),
    }
}

fn v1_addresses<'a, A>(mut parts: impl Iterator<Item = &'a str>) -> Result<ProxyHeader, Invalid>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let mut next = || parts.next().ok_or(Invalid::Address);
    let address = |text: &str| text.parse().map(A::into).map_err(|_| Invalid::Address);
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (from, to) = (port(next()?)?, port(next()?)?);
    match next() {
        Ok(_) => Err(Invalid::Port),
        Err(_) => Ok(tcp(source, from, destination, to)),
    }
}

fn tcp(source: IpAddr, from: u16, destination: IpAddr, to: u16) -> ProxyHeader {
    ProxyHeader::Tcp {
        source: SocketAddr::new(source.to_canonical(), from),
        destination: SocketAddr::new(destination.to_canonical(), to),
    }
}

/// Decimal without sign and without zeros in front.
fn port(text: &str) -> Result<u16, Invalid> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let minimal = text == "0" || !text.starts_with('0');
    let port = if plain && minimal {
        text.parse().ok()
    } else {
        None
    };
    port.ok_or(Invalid::Port)
}

fn parse_v2(input: &[u8]) -> Result<Parsed, Invalid> {
    let Some((head, rest)) = input.split_at_checked(V2_HEAD) else {
        return Ok(Parsed::Incomplete {
            needs: V2_HEAD - input.len(),
        });
    };
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let is_local = match head[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(Invalid::Command),
    };
    if length > V2_MOST {
        return Err(Invalid::TooLong);
    }
    let Some(body) = rest.get(..length) else {
        return Ok(Parsed::Incomplete {
            needs: length - rest.len(),
        });
    };
    // The family of a local connection is to be ignored (section 2.2).
    let header = if is_local {
        ProxyHeader::Unknown
    } else {
        v2_addresses(head[13], body)?
    };
    Ok(Parsed::Complete {
        header,
        length: V2_HEAD + length,
    })
}

fn v2_addresses(family: u8, body: &[u8]) -> Result<ProxyHeader, Invalid> {
    match family {
        0x00 => Ok(ProxyHeader::Unknown),
        0x11 => v2_tcp::<4>(body).ok_or(Invalid::Address),
        0x21 => v2_tcp::<16>(body).ok_or(Invalid::Address),
        0x31 if body.len() >= 216 => Ok(ProxyHeader::Unix),
        0x31 => Err(Invalid::Address),
        _ => Err(Invalid::Family),
    }
}

/// Two addresses of `N` bytes, then two ports.
fn v2_tcp<const N: usize>(body: &[u8]) -> Option<ProxyHeader>
where
    [u8; N]: Into<IpAddr>,
{
    let (source, rest) = body.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (from, rest) = rest.split_first_chunk()?;
    let to = rest.first_chunk()?;
    let (from, to) = (u16::from_be_bytes(*from), u16::from_be_bytes(*to));
    Some(tcp((*source).into(), from, (*destination).into(), to))
}

#[cfg(test)]
mod tests;
