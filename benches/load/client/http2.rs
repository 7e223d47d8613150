//! HTTP/2: so many streams on each connection.

use std::rc::Rc;
use std::time::Instant;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::spawn_local;

use super::{Dial, HOST, Spec, Tally};
use crate::upstream::whole;

/// Connects; the connection is driven by a task of its own.
pub async fn connect(dial: &Dial) -> Option<SendRequest<Full<Bytes>>> {
    let socket = TokioIo::new(dial.connect().await?);
    let made = hyper::client::conn::http2::handshake(LocalExecutor, socket).await;
    let (sender, connection) = made.ok()?;
    spawn_local(connection);
    Some(sender)
}

/// The streams of a connection stay on this thread.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

pub async fn load(spec: &Spec, streams: usize, grpc: bool, dial: &Dial, tally: &Rc<Tally>) {
    let _ = TokioExecutor::new();
    let mut tasks = Vec::new();
    for _ in 0..spec.connections {
        let Some(sender) = connect(dial).await else {
            tally.failed();
            continue;
        };
        for _ in 0..streams {
            let (mut sender, spec, tally) = (sender.clone(), spec.clone(), tally.clone());
            tasks.push(spawn_local(async move {
                while tally.goes_on() {
                    let began = Instant::now();
                    match ask(&mut sender, &spec, grpc).await {
                        Some(()) => tally.done(began),
                        None => return tally.failed(),
                    }
                }
            }));
        }
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// One request and its whole answer.
pub async fn ask(sender: &mut SendRequest<Full<Bytes>>, spec: &Spec, grpc: bool) -> Option<()> {
    let uri = format!("https://{HOST}{}", spec.path);
    let request = match grpc {
        true => hyper::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(whole(&b"\0\0\0\0\x05hello"[..])),
        false => hyper::Request::get(uri).body(whole(Bytes::new())),
    };
    sender.ready().await.ok()?;
    let answer = sender.send_request(request.ok()?).await.ok()?;
    let good = answer.status() == 200;
    let read = answer.into_body().collect().await.ok()?;
    let called = !grpc || read.trailers()?.get("grpc-status")? == "0";
    (good && called).then_some(())
}
