//! The little services behind the demonstration: each answers with what it was asked.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::control::dns::Elsewhere;

/// What the services of `gateway.yaml` are called there.
const TARGETS: [&str; 4] = [
    "user-service:3000",
    "order-service:8000",
    "product-service-a:8000",
    "product-service-b:8000",
];

/// Starts the services on ports of their own; where each target is. They run until the process
/// ends. To be called inside a runtime.
pub async fn start() -> io::Result<Elsewhere> {
    let mut elsewhere = Elsewhere::new();
    for target in TARGETS {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        elsewhere.insert(target.to_owned(), listener.local_addr()?);
        tokio::spawn(accept(listener, target));
    }
    Ok(elsewhere)
}

async fn accept(listener: TcpListener, target: &'static str) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => drop(tokio::spawn(serve(socket, target))),
            // Out of descriptors: others will be given back.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

async fn serve(socket: TcpStream, target: &'static str) {
    let service = service_fn(move |request| answer(request, target));
    // A connection that breaks is the gateway's business.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

/// Largest body that is said back.
const BODY: usize = 64 * 1024;

async fn answer(
    request: Request<Incoming>,
    target: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = http_body_util::Limited::new(body, BODY).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let name = target.split(':').next().unwrap_or(target);
    let said = json!({
        "service": name,
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "data": data(name),
        "body": String::from_utf8_lossy(&body),
        "headers": head.headers.iter().map(|(name, value)| {
            (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes())))
        }).collect::<serde_json::Map<_, _>>(),
    });
    let text = serde_json::to_vec_pretty(&said).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let json = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}

fn data(name: &str) -> Value {
    match name {
        "user-service" => json!([{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}]),
        "order-service" => json!([{"id": 17, "user": 1, "items": ["tea"]}]),
        _ => {
            json!([{"id": 42, "name": "tea", "price": 3.5}, {"id": 43, "name": "cup", "price": 9}])
        }
    }
}
