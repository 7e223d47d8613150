//! New connections to upstreams. Bounded in time by the caller.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::error::UpstreamErrorKind;
use crate::tls::{self, ClientTls, Io, PeerName};

/// Connects, and shakes hands where TLS is asked for: settings and server name.
///
/// Dropping the future closes what was opened.
pub async fn connect(
    address: SocketAddr,
    tls: Option<(&ClientTls, &str)>,
) -> Result<Io, UpstreamErrorKind> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|_| UpstreamErrorKind::Connect)?;
    // Heads and small bodies leave at once; the socket works without it too.
    let _ = stream.set_nodelay(true);
    match tls {
        None => Ok(Io::Plain(stream)),
        Some((settings, name)) => {
            let name = PeerName::of_host(name).map_err(|_| UpstreamErrorKind::Tls)?;
            let connected = tls::connect(Io::Plain(stream), settings, &name).await;
            connected.map_err(|_| UpstreamErrorKind::Tls)
        }
    }
}
