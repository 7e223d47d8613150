//! Connections that have had an answer and wait.

use std::io::Read;

use super::{Dial, Spec, http1, http2};
use crate::cases::Idle;

/// Opens them, says how many are open, and holds them until its input ends.
pub async fn hold(spec: &Spec, kind: Idle, dial: &Dial) {
    if kind == Idle::Http2 {
        let mut open = Vec::new();
        for _ in 0..spec.connections {
            if let Some(mut sender) = http2::connect(dial).await
                && http2::ask(&mut sender, spec, false).await.is_some()
            {
                open.push(sender);
            }
        }
        return wait(open.len()).await;
    }
    let open = http1::open_many(spec, dial).await;
    wait(open.len()).await;
    drop(open);
}

async fn wait(open: usize) {
    println!("{{\"open\":{open}}}");
    let read = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = read.await;
}
