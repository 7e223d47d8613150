//! The end: still accept for a while, finish what is open, and go.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::config::settings::Settings;
use crate::control::watch::{Signal, Signals};
use crate::remote::ship::Shippers;
use crate::util::clock;
use crate::util::drain::{Drain, Phase};

/// How long log lines and shared counts may take to be written at the end.
pub(super) const FLUSH: Duration = Duration::from_secs(2);
/// How long idle connections may stay after another process has taken over.
const IDLE_GRACE: Duration = Duration::from_secs(5);
/// How long a thread may take to notice the end.
const JOIN: Duration = Duration::from_secs(2);

/// Drains, bounded by the settings. Another signal to stop ends it at once.
pub(super) async fn drain(drain: &Drain, settings: &Settings, signals: &mut Signals) {
    info!("stopping: open requests are finished, a second signal ends them");
    drain.advance(Phase::Closing);
    let again = async { while signals.next().await != Signal::Stop {} };
    tokio::select! {
        () = again => warn!("stopping at once"),
        () = in_order(drain, settings) => {}
    }
    drain.advance(Phase::Ended);
}

/// Drains after another process has taken over; another signal to stop ends it at once.
pub(super) async fn leave(drain: &Drain, settings: &Settings, signals: &mut Signals) {
    drain.advance(Phase::Handed);
    let again = async { while signals.next().await != Signal::Stop {} };
    tokio::select! {
        () = again => warn!("stopping at once"),
        () = quietly(drain, settings) => {}
    }
    drain.advance(Phase::Ended);
}

async fn quietly(drain: &Drain, settings: &Settings) {
    // Busy connections leave with their next answer.
    let deadline = clock::now() + settings.drain_timeout;
    let idle = settings.drain_timeout.min(IDLE_GRACE);
    if drain.emptied(clock::now() + idle).await > 0 {
        drain.advance(Phase::Draining { deadline });
        return emptied(drain, deadline).await;
    }
    info!("drained");
}

async fn in_order(drain: &Drain, settings: &Settings) {
    sleep(settings.drain_delay).await;
    let deadline = clock::now() + settings.drain_timeout;
    drain.advance(Phase::Draining { deadline });
    emptied(drain, deadline).await;
}

/// Waits for the last connection, those included that wait in an accept queue: each listener counts
/// until it has emptied its own.
async fn emptied(drain: &Drain, deadline: Instant) {
    let left = drain.emptied(deadline).await;
    match left {
        0 => info!("drained"),
        left => warn!(left, "drain_timeout is over: connections are cut"),
    }
}

/// Lets log lines and records that wait be written, but not for ever.
pub(super) async fn flush(shippers: &Shippers) {
    if !shippers.flush(FLUSH).await {
        warn!("log lines are lost: whoever takes them is too slow");
    }
}

/// Waits for the workers, but not for one that hangs.
pub(super) fn join(workers: Vec<JoinHandle<()>>) {
    let deadline = clock::now() + JOIN;
    for worker in workers {
        while !worker.is_finished() && clock::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !worker.is_finished() {
            warn!("a worker does not end; leaving it behind");
        } else if worker.join().is_err() {
            warn!("a worker had failed");
        }
    }
}
