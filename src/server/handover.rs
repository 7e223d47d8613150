//! Handing listening sockets and the live configuration to a fresh copy of the program.
//!
//! Both ends hold a socket pair, which is the new process's standard input. The old one sends what
//! it has; the new one says that it is prepared, is told to go, and says that it serves.
//!
//! Invariant: the sockets themselves are handed over, not their addresses, so nothing that waits in
//! an accept queue is lost; whoever of the two ends first leaves them open for the other.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::sockopt::ipv6_v6only;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// The variable by which a process knows that it takes over.
pub const VARIABLE: &str = "SLUICEGATE_HANDOVER";

/// The new process could serve now.
pub const PREPARED: u8 = b'P';
/// It shall.
pub const GO: u8 = b'G';
/// It does.
pub const SERVES: u8 = b'S';

/// Largest message, in bytes: a configuration and a little more.
const LARGEST: u64 = 512 << 20;

/// The sockets of one address.
#[derive(Debug)]
pub struct Spare {
    /// The address as the settings have it; port 0 too.
    pub asked: SocketAddr,
    /// All sockets that listen there.
    pub sockets: Vec<TcpListener>,
}

/// What stands before the sockets.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    text: String,
    posted: bool,
    sockets: Vec<(SocketAddr, usize)>,
}

/// What a new process is given.
#[derive(Debug)]
pub struct Handed {
    /// The live configuration.
    pub text: String,
    /// It was posted: the source given at start says something else.
    pub posted: bool,
    /// Listening sockets.
    pub sockets: Inherited,
    channel: UnixStream,
}

/// Sockets that may be taken over. To be dropped then: a socket is open until the last of its
/// duplicates is closed.
#[derive(Debug, Default)]
pub struct Inherited {
    spares: Vec<Spare>,
    /// Places of those that were taken, and whether for their own address.
    used: Vec<(usize, bool)>,
}

impl Inherited {
    /// Sockets that somebody else has opened; there may be several of one address.
    pub fn passed(sockets: Vec<TcpListener>) -> Self {
        let mut spares: Vec<Spare> = Vec::new();
        for socket in sockets {
            let asked = socket.local_addr().unwrap_or(NOWHERE);
            match spares.iter_mut().find(|spare| spare.asked == asked) {
                Some(spare) => spare.sockets.push(socket),
                None => spares.push(Spare {
                    asked,
                    sockets: vec![socket],
                }),
            }
        }
        Self::of(spares)
    }

    fn of(spares: Vec<Spare>) -> Self {
        let used = Vec::new();
        Self { spares, used }
    }

    /// The sockets that listen on this address, once. `0.0.0.0` is also where a socket of `::`
    /// listens that takes IPv4 too, as systemd opens for a port alone; that one may be taken for
    /// `::` as well.
    pub fn take(&mut self, asked: SocketAddr) -> Option<Vec<TcpListener>> {
        let exact = |spare: &Spare| spare.asked == asked || spare.real() == Some(asked);
        let both = |spare: &Spare| {
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, asked.port()));
            asked.ip() == Ipv4Addr::UNSPECIFIED && spare.real() == Some(any) && spare.takes_ipv4()
        };
        let all = || self.spares.iter().enumerate();
        let fresh =
            |(at, spare): &(usize, &Spare)| exact(spare) && !self.used.contains(&(*at, true));
        let found = all().find(fresh);
        let is_exact = found.is_some();
        let (at, spare) = found.or_else(|| all().find(|(_, spare)| both(spare)))?;
        let sockets = spare.sockets.iter().map(TcpListener::try_clone);
        let sockets = sockets.collect::<io::Result<_>>().ok()?;
        self.used.push((at, is_exact));
        Some(sockets)
    }

    /// Where one listens that was not taken.
    pub fn left(&self) -> Option<SocketAddr> {
        let mut left = self.spares.iter().enumerate();
        let is_used = |at| self.used.iter().any(|(used, _)| *used == at);
        let found = left.find(|(at, _)| !is_used(*at));
        found.map(|(_, spare)| spare.asked)
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Spare {
    fn real(&self) -> Option<SocketAddr> {
        self.sockets.first()?.local_addr().ok()
    }

    fn takes_ipv4(&self) -> bool {
        let socket = self.sockets.first();
        socket.is_some_and(|socket| ipv6_v6only(socket).is_ok_and(|only| !only))
    }
}

/// Sends everything; blocks as long as the other end does not read.
pub fn send(
    channel: &mut UnixStream,
    text: &str,
    posted: bool,
    spares: &[Spare],
) -> io::Result<()> {
    let message = Message {
        text: text.to_owned(),
        posted,
        sockets: spares
            .iter()
            .map(|spare| (spare.asked, spare.sockets.len()))
            .collect(),
    };
    let bytes = serde_json::to_vec(&message)?;
    channel.write_all(&(bytes.len() as u64).to_be_bytes())?;
    channel.write_all(&bytes)?;
    let sockets = spares.iter().flat_map(|spare| &spare.sockets);
    sockets
        .into_iter()
        .try_for_each(|socket| send_socket(channel, socket))
}

fn send_socket(channel: &UnixStream, socket: &TcpListener) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [socket.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("no room for a socket"));
    }
    let sent = sendmsg(
        channel,
        &[IoSlice::new(&[0])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    match sent {
        1 => Ok(()),
        _ => Err(io::Error::other("a socket was not sent")),
    }
}

/// Takes what the old process sends. To be called where [`VARIABLE`] is set.
pub fn receive() -> io::Result<Handed> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    receive_from(UnixStream::from(stdin))
}

fn receive_from(mut channel: UnixStream) -> io::Result<Handed> {
    let mut length = [0; 8];
    channel.read_exact(&mut length)?;
    let length = u64::from_be_bytes(length);
    if length > LARGEST {
        return Err(io::Error::other("what is handed over is too large"));
    }
    let mut bytes = Vec::new();
    (&mut channel).take(length).read_to_end(&mut bytes)?;
    let message: Message = serde_json::from_slice(&bytes)?;
    let spares = message.sockets.iter().map(|(asked, count)| {
        let sockets = (0..*count).map(|_| receive_socket(&channel));
        Ok(Spare {
            asked: *asked,
            sockets: sockets.collect::<io::Result<Vec<_>>>()?,
        })
    });
    let sockets = Inherited::of(spares.collect::<io::Result<Vec<_>>>()?);
    Ok(Handed {
        text: message.text,
        posted: message.posted,
        sockets,
        channel,
    })
}

fn receive_socket(channel: &UnixStream) -> io::Result<TcpListener> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    recvmsg(
        channel,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        flags,
    )?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let descriptor: OwnedFd = descriptor.ok_or_else(|| io::Error::other("a socket is missing"))?;
    Ok(TcpListener::from(descriptor))
}

/// The new process's side of the conversation.
#[derive(Debug)]
pub struct Successor(UnixStream);

impl Handed {
    /// Parts with everything but the conversation.
    pub fn into_parts(self) -> (String, bool, Inherited, Successor) {
        (
            self.text,
            self.posted,
            self.sockets,
            Successor(self.channel),
        )
    }
}

impl Successor {
    /// Says that it could serve, and waits for the word; an error when the old process wants to
    /// go on by itself, or is gone.
    pub fn prepared(&mut self) -> io::Result<()> {
        self.0.write_all(&[PREPARED])?;
        let mut word = [0];
        self.0.read_exact(&mut word)?;
        match word[0] {
            GO => Ok(()),
            _ => Err(io::Error::other("the old process says something else")),
        }
    }

    /// Says that it serves. Who does not hear it is gone, which is all right by now.
    pub fn serves(&mut self) {
        let _ = self.0.write_all(&[SERVES]);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn spare(asked: &str, count: usize) -> Spare {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = (0..count).map(|_| first.try_clone().unwrap());
        Spare {
            asked: asked.parse().unwrap(),
            sockets: sockets.collect(),
        }
    }

    #[test]
    fn what_is_sent_arrives_and_connections_that_wait_with_it() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let spares = [spare("127.0.0.1:0", 2), spare("127.0.0.1:1", 1)];
        let addresses: Vec<_> = spares
            .iter()
            .map(|spare| spare.sockets[0].local_addr().unwrap())
            .collect();
        let _waiting = TcpStream::connect(addresses[0]).unwrap();
        let reader = std::thread::spawn(move || receive_from(theirs).unwrap());
        let text = "x: y\n".repeat(100_000);
        send(&mut ours, &text, true, &spares).unwrap();
        drop(spares);
        let (handed, posted, mut sockets, mut successor) = reader.join().unwrap().into_parts();
        assert!(posted && handed == text);
        // By the address that was asked for, and by the real one.
        let first = sockets.take("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(first.len(), 2);
        assert!(first[1].accept().is_ok());
        assert_eq!(sockets.take(addresses[1]).unwrap().len(), 1);
        assert!(sockets.take(addresses[1]).is_none());
        ours.write_all(&[GO]).unwrap();
        successor.prepared().unwrap();
        successor.serves();
        let mut words = [0; 2];
        ours.read_exact(&mut words).unwrap();
        assert_eq!(words, [PREPARED, SERVES]);
        drop(ours);
        assert!(successor.prepared().is_err());
    }
}
