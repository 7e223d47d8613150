//! Plans and reloads, against targets on loopback.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::control::testkit::{Names, load, loader};

/// A target that answers with the status that is in the cell, and counts.
async fn target(status: Arc<AtomicU64>) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let probed = Arc::new(AtomicU64::new(0));
    let count = probed.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = socket.read(&mut [0; 1024]).await;
            let answer = format!("HTTP/1.1 {} X\r\n\r\n", status.load(Ordering::SeqCst));
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (address, probed)
}

fn config(targets: &[SocketAddr], more: &str) -> String {
    let targets: Vec<String> = targets
        .iter()
        .map(|address| format!("{{target: '{address}'}}"))
        .collect();
    format!(
        "upstreams: [{{name: u, targets: [{}], healthchecks: {{active: {{{more}
          healthy: {{interval: 0.02, successes: 2}},
          unhealthy: {{interval: 0.02, http_failures: 2, tcp_failures: 1}}}}}}}}]",
        targets.join(", ")
    )
}

/// Waits until an endpoint is so.
async fn turns(cluster: &Arc<Cluster>, healthy: bool) {
    let mut changed = cluster.watch();
    let waiting = async {
        while cluster.endpoints().endpoints[0].health().is_healthy() != healthy {
            changed.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap();
}

#[tokio::test]
async fn probes_mark_down_and_up_and_go_on_over_a_reload() {
    let status = Arc::new(AtomicU64::new(200));
    let (address, probed) = target(status.clone()).await;
    let loader = loader(Arc::<Names>::default());
    let snapshot = load(&loader, &config(&[address], ""));
    let cluster = &snapshot.clusters[0];
    status.store(500, Ordering::SeqCst);
    turns(cluster, false).await;
    let snapshot = load(&loader, &config(&[address], "http_path: /other, "));
    assert!(
        !snapshot.clusters[0].endpoints().endpoints[0]
            .health()
            .is_healthy()
    );
    status.store(200, Ordering::SeqCst);
    turns(cluster, true).await;
    assert_eq!(cluster.turned(), [1, 1]);
    assert_eq!(
        snapshot.policies[0].probing.as_ref().unwrap().path,
        "/other"
    );
    // Switched off: what runs ends, and nothing new begins.
    load(
        &loader,
        &format!("upstreams: [{{name: u, targets: [{{target: '{address}'}}]}}]"),
    );
    let mut before = u64::MAX;
    while before != probed.load(Ordering::SeqCst) {
        before = probed.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn no_more_than_so_many_at_once() {
    // Nobody answers: each probe lasts until it times out.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let others: Vec<SocketAddr> = (2..8)
        .map(|last| SocketAddr::from(([127, 0, 0, last], address.port())))
        .collect();
    let all: Vec<TcpListener> = futures(&others).await;
    let loader = loader(Arc::<Names>::default());
    load(&loader, &config(&others, "concurrency: 2, timeout: 5, "));
    let mut held = Vec::new();
    for listener in &all {
        if let Ok(Ok(accepted)) = timeout(Duration::from_millis(200), listener.accept()).await {
            held.push(accepted);
        }
    }
    assert_eq!(held.len(), 2);
}

async fn futures(addresses: &[SocketAddr]) -> Vec<TcpListener> {
    let mut all = Vec::new();
    for address in addresses {
        all.push(TcpListener::bind(address).await.unwrap());
    }
    all
}

#[test]
fn jitter_stays_in_its_range() {
    for _ in 0..1000 {
        assert!((900..1100).contains(&jitter(LATER)));
    }
}
