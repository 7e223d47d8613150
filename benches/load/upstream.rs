//! What stands behind the proxies: answers a small and a large `GET`, and nothing else.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::measure::{Pins, Running};

const LARGE: usize = 100 * 1024;

/// Starts it in a process of its own.
pub fn spawn(pins: Pins) -> (Running, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("upstream").stdout(Stdio::piped());
    let mut child = pins.others(command).spawn().unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    (Running(child), line.trim().parse().unwrap())
}

/// Serves until it is killed; says its address first.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let large: &'static [u8] = answer(&[b'x'; LARGE]).leak();
        let small: &'static [u8] = answer(b"{\"ok\":\"true\"}").leak();
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket, small, large));
        }
    });
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\nServer: upstream\r\n\
         Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn serve(mut socket: TcpStream, small: &[u8], large: &[u8]) {
    let _ = socket.set_nodelay(true);
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..]).await {
            Ok(count) if count > 0 => filled += count,
            _ => return,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            let is_large = buffer.starts_with(b"GET /large");
            filled = 0;
            let answer = if is_large { large } else { small };
            if socket.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}
