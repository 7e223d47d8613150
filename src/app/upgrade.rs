//! SIGUSR2: a fresh copy of the program takes over.
//!
//! Invariant: this process goes on as if nothing had happened unless the new one says that it
//! serves; one that fails, or takes too long, is ended.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;

use crate::control::{Loader, Origin};
use crate::server::handover::{self, GO, PREPARED, SERVES, Spare};

/// How often it is begun anew because the configuration changed meanwhile.
const ATTEMPTS: usize = 3;

/// Starts a copy and hands over; the number of the process that serves from now on. Dropping the
/// future ends the copy.
pub(super) async fn hand_over(
    spares: &[Spare],
    loader: &Loader,
    patience: Duration,
) -> Result<u32, String> {
    if std::process::id() == 1 {
        return Err("the end of process 1 would end its container: start a new one instead".into());
    }
    for _ in 0..ATTEMPTS {
        let mut copy = Copy::start().map_err(|error| format!("it cannot be started: {error}"))?;
        let attempt = copy.converse(spares, loader);
        match timeout(patience, attempt).await {
            Ok(Ok(true)) => return Ok(copy.left_alone()),
            Ok(Ok(false)) => info!("the configuration changed meanwhile: once more"),
            Ok(Err(error)) => return Err(copy.ended(&error)),
            Err(_) => return Err(format!("it is not ready within {patience:?}")),
        }
    }
    Err("the configuration changes too often".to_owned())
}

/// A process that was started, ended when dropped.
struct Copy {
    child: Option<Child>,
    channel: Option<StdStream>,
}

impl Copy {
    fn start() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let name = words.next().unwrap_or_default();
        let words: Vec<OsString> = words.collect();
        let (ours, theirs) = StdStream::pair()?;
        let child = spawn(&name, &words, theirs.try_clone()?)
            // Where the name leads nowhere, the file that runs may still be there.
            .or_else(|_| spawn(std::env::current_exe()?.as_os_str(), &words, theirs))?;
        Ok(Self {
            child: Some(child),
            channel: Some(ours),
        })
    }

    /// Whether it serves; `false` when what was handed over is not live any more.
    async fn converse(&mut self, spares: &[Spare], loader: &Loader) -> io::Result<bool> {
        let gone = || io::Error::other("it was begun before");
        let channel = self.channel.take().ok_or_else(gone)?;
        let live = loader.live().ok_or_else(gone)?;
        let (text, posted) = (live.text.clone(), live.origin == Origin::Post);
        let spares = duplicates(spares)?;
        let sending = spawn_blocking(move || {
            let mut channel = channel;
            handover::send(&mut channel, &text, posted, &spares).map(|()| channel)
        });
        let channel = sending.await.map_err(io::Error::other)??;
        channel.set_nonblocking(true)?;
        let mut channel = UnixStream::from_std(channel)?;
        expect(&mut channel, PREPARED).await?;
        if loader
            .live()
            .is_none_or(|now| now.generation != live.generation)
        {
            return Ok(false);
        }
        channel.write_all(&[GO]).await?;
        expect(&mut channel, SERVES).await?;
        Ok(true)
    }

    /// It lives on by itself.
    fn left_alone(mut self) -> u32 {
        self.child.take().map_or(0, |child| child.id())
    }

    /// Why it did not come up.
    fn ended(mut self, error: &io::Error) -> String {
        let status = self.child.as_mut().map(|child| {
            // It is gone, or has no business here any more.
            let _ = child.kill();
            child.wait()
        });
        match status {
            Some(Ok(status)) => format!("it ended ({status}): {error}"),
            _ => error.to_string(),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(name: &std::ffi::OsStr, words: &[OsString], channel: StdStream) -> io::Result<Child> {
    Command::new(name)
        .args(words)
        .env(handover::VARIABLE, "1")
        .stdin(Stdio::from(OwnedFd::from(channel)))
        .spawn()
}

async fn expect(channel: &mut UnixStream, word: u8) -> io::Result<()> {
    match channel.read_u8().await {
        Ok(said) if said == word => Ok(()),
        Ok(_) => Err(io::Error::other("it says something else")),
        Err(_) => Err(io::Error::other("it did not get ready")),
    }
}

fn duplicates(spares: &[Spare]) -> io::Result<Vec<Spare>> {
    let duplicate = |spare: &Spare| {
        let sockets = spare.sockets.iter().map(std::net::TcpListener::try_clone);
        Ok(Spare {
            asked: spare.asked,
            sockets: sockets.collect::<io::Result<Vec<_>>>()?,
        })
    };
    spares.iter().map(duplicate).collect()
}
