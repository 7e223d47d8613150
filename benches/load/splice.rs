//! Bytes from one socket to another, and nothing else: what any proxy costs at least.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Copies between clients and an upstream until it is killed.
pub fn run(listen: &str, upstream: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let upstream: &'static str = upstream.to_owned().leak();
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.unwrap();
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, upstream));
        }
    });
}

async fn pass(client: TcpStream, upstream: &str) {
    let Ok(upstream) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let ((from_client, to_client), (from_upstream, to_upstream)) =
        (client.into_split(), upstream.into_split());
    tokio::join!(
        copy(from_client, to_upstream),
        copy(from_upstream, to_client)
    );
}

async fn copy(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
