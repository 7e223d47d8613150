//! WebSocket: a message on each connection, sent again once it came back.

use std::rc::Rc;
use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use tokio::task::spawn_local;
use tokio_tungstenite::tungstenite::Message;

use super::{Dial, HOST, Spec, Tally};

pub async fn load(spec: &Spec, dial: &Dial, tally: &Rc<Tally>) {
    let connection = |_| {
        let (dial, tally, url) = (
            dial.clone(),
            tally.clone(),
            format!("ws://{HOST}{}", spec.path),
        );
        spawn_local(async move {
            let Some(socket) = dial.connect().await else {
                return tally.failed();
            };
            let Ok((mut socket, _)) = tokio_tungstenite::client_async(url, socket).await else {
                return tally.failed();
            };
            let message = "x".repeat(128);
            while tally.goes_on() {
                let began = Instant::now();
                let sent = socket.send(Message::text(message.clone())).await.is_ok();
                match socket.next().await {
                    Some(Ok(Message::Text(back))) if sent && back.len() == 128 => tally.done(began),
                    _ => return tally.failed(),
                }
            }
            let _ = socket.close(None).await;
        })
    };
    let tasks: Vec<_> = (0..spec.connections).map(connection).collect();
    for task in tasks {
        task.await.unwrap();
    }
}
