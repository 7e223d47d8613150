//! What stands behind the proxies: nginx for plain requests where it is installed, a program of our
//! own for the rest.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::machine::{Pins, Running, scratch};

const SMALL: &[u8] = b"{\"ok\":\"true\"}";
const LARGE: usize = 100 * 1024;
const HUGE: usize = 10 * 1024 * 1024;

/// Addresses beside the first, for an upstream of many targets.
pub fn more_addresses() -> impl Iterator<Item = String> {
    (1..1000).map(|nth| format!("127.1.{}.{}", nth / 250, nth % 250 + 1))
}

/// Starts the own one: for plain requests, gRPC and WebSocket.
pub fn spawn(pins: Pins) -> (Running, [SocketAddr; 3]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("upstream");
    let mut command = pins.others(command);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let addresses = [(); 3].map(|()| lines.next().unwrap().unwrap().parse().unwrap());
    (Running(child), addresses)
}

/// nginx as an upstream.
pub fn nginx(program: PathBuf, address: SocketAddr) -> Command {
    let folder = scratch().join("upstream");
    fs::create_dir_all(folder.join("files")).unwrap();
    fs::write(folder.join("files/large"), vec![b'x'; LARGE]).unwrap();
    fs::write(folder.join("files/huge"), vec![b'x'; HUGE]).unwrap();
    let here = folder.display();
    let port = address.port();
    let listens: String = more_addresses()
        .map(|address| format!("    listen {address}:{port};\n"))
        .collect();
    let small = String::from_utf8_lossy(SMALL);
    let text = format!(
        "
daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536;
pid {here}/nginx.pid; error_log {here}/error.log warn;
events {{ worker_connections 45000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; tcp_nodelay on;
  client_max_body_size 0; sendfile on; tcp_nopush on;
  client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi; uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
  server {{
    listen {address} backlog=4096;
{listens}    default_type application/json;
    location / {{ return 200 '{small}'; }}
    location = /large {{ root {here}/files; }}
    location = /huge {{ root {here}/files; }}
  }}
}}
"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    command.arg("-e").arg(folder.join("error.log"));
    command
}

/// Serves until it is killed; says its addresses first.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (http, grpc, sockets) = (
            bind().await.unwrap(),
            bind().await.unwrap(),
            bind().await.unwrap(),
        );
        let port = http.local_addr().unwrap().port();
        for address in more_addresses() {
            if let Ok(listener) = TcpListener::bind((address.as_str(), port)).await {
                tokio::spawn(plain(listener));
            }
        }
        for listener in [&http, &grpc, &sockets] {
            println!("{}", listener.local_addr().unwrap());
        }
        tokio::join!(plain(http), calls(grpc), websockets(sockets));
    });
}

fn answer(body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Server: upstream\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn plain(listener: TcpListener) {
    let small: &'static [u8] = answer(SMALL).leak();
    let large: &'static [u8] = answer(&vec![b'x'; LARGE]).leak();
    let huge: &'static [u8] = match listener.local_addr().unwrap().ip().to_string().as_str() {
        "127.0.0.1" => answer(&vec![b'x'; HUGE]).leak(),
        _ => small,
    };
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(serve(socket, small, large, huge));
    }
}

async fn serve(mut socket: TcpStream, small: &[u8], large: &[u8], huge: &[u8]) {
    let _ = socket.set_nodelay(true);
    let mut buffer = vec![0; 64 * 1024];
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..]).await {
            Ok(count) if count > 0 => filled += count,
            _ => return,
        }
        let Some(end) = buffer[..filled].windows(4).position(|at| at == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|text| text.split("\r\n").next()?.parse::<usize>().ok());
        let mut left = length.unwrap_or(0).saturating_sub(filled - end - 4);
        while left > 0 {
            match socket.read(&mut buffer).await {
                Ok(count) if count > 0 => left -= count.min(left),
                _ => return,
            }
        }
        filled = 0;
        let answer = match head.as_str() {
            head if head.starts_with("get /large") => large,
            head if head.starts_with("get /huge") => huge,
            _ => small,
        };
        if socket.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// Unary calls: whatever is sent comes back.
async fn calls(listener: TcpListener) {
    let serve = |request: hyper::Request<Incoming>| async move {
        let sent = request.into_body().collect().await?.to_bytes();
        let mut trailers = hyper::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [
            Ok::<_, hyper::Error>(Frame::data(sent)),
            Ok(Frame::trailers(trailers)),
        ];
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let answer = hyper::Response::builder().header("content-type", "application/grpc");
        Ok::<_, hyper::Error>(answer.body(body).unwrap())
    };
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(1024);
        tokio::spawn(server.serve_connection(TokioIo::new(socket), service_fn(serve)));
    }
}

/// Messages go back as they came.
async fn websockets(listener: TcpListener) {
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        tokio::spawn(async move {
            let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else {
                return;
            };
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// A body for hyper's client.
pub fn whole(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}
