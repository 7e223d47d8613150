//! The admin and status listeners, joined to what they tell about and to whom reloads belong.

use std::future::Future;
use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listen::Side;
use crate::admin::serve::{Handshake, serve};
use crate::admin::{Admin, Answer, LastReload, Offer, Reloads as Owner, Secure, Stream};
use crate::control::{Loader, Origin, ReloadError, Reloads};
use crate::tls::{self, Io, ServerTls};
use crate::util::drain::Drain;

/// Starts serving on every side, until the process has drained or another one serves there.
pub(super) fn start(
    admin: &Admin,
    sides: Vec<Side>,
    drain: &Drain,
    handed: &CancellationToken,
) -> std::io::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    for side in sides {
        let routes = match side.is_admin {
            true => admin.admin_routes(),
            false => admin.status_routes(),
        };
        let listener = listener(side.socket)?;
        let mut watch = drain.watch();
        let secure = side.tls.map(secure);
        let handed = handed.clone();
        tasks.spawn(serve(listener, secure, routes, async move {
            tokio::select! {
                () = watch.ended() => {}
                () = handed.cancelled() => {}
            }
        }));
    }
    Ok(tasks)
}

fn listener(socket: StdListener) -> std::io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn secure(tls: ServerTls) -> Secure {
    Arc::new(move |socket: TcpStream| -> Handshake {
        let tls = tls.clone();
        Box::pin(async move {
            let io = tls::accept(Io::Plain(socket), &tls).await;
            let io = io.map_err(std::io::Error::other)?;
            Ok(Box::new(io) as Box<dyn Stream>)
        })
    })
}

/// The supervisor, as the admin listener sees it.
pub(super) struct Posted(pub(super) Reloads);

impl Owner for Posted {
    fn offer(&self, offer: Offer) -> Pin<Box<dyn Future<Output = Answer> + Send + '_>> {
        Box::pin(async move {
            match offer.dry_run {
                true => preview(self.0.loader().clone(), offer.text).await,
                false => answer(self.0.load(offer.text, Origin::Post).await),
            }
        })
    }

    fn last(&self) -> Option<LastReload> {
        let loader = self.0.loader();
        let last = loader.last()?;
        let live = loader.live().filter(|_| last.result == "loaded");
        Some(LastReload {
            at_ms: last.at_ms,
            source: last.origin.file().to_owned(),
            result: last.result,
            report: last.report.map_or(Value::Null, |report| report.to_json()),
            outcome: live
                .as_ref()
                .map_or(Value::Null, |live| live.outcome.json(SHORT)),
            restart: live.map(|live| names(&live.restart)).unwrap_or_default(),
        })
    }
}

/// Most names of each sort of change in `/status`, which is asked for often.
const SHORT: usize = 50;
/// And in an answer, which is asked for once.
const LONG: usize = 10_000;

fn names(settings: &[&str]) -> Vec<String> {
    settings.iter().map(|name| (*name).to_owned()).collect()
}

fn answer(loaded: Result<crate::control::Applied, ReloadError>) -> Answer {
    match loaded {
        Ok(applied) => Answer::Loaded {
            restart: names(&applied.live.restart),
            outcome: applied.live.outcome.json(LONG),
            report: applied.report,
        },
        Err(ReloadError::Unchanged(_)) => Answer::Unchanged,
        Err(ReloadError::Invalid(report)) => Answer::Invalid(report),
        Err(ReloadError::Superseded) => Answer::Superseded,
        Err(ReloadError::Stopping) => Answer::Gone,
    }
}

/// What loading a text would change.
async fn preview(loader: Arc<Loader>, text: String) -> Answer {
    let background = loader.loading().background.clone();
    let looked = background.run(move || {
        let (checked, report) = loader.check(&text, Origin::Post.file());
        let Some(checked) = checked else {
            return Answer::Invalid(report);
        };
        let live = loader.snapshot();
        let unchanged = live
            .as_ref()
            .is_some_and(|live| live.hash == checked.hash());
        let settings = &checked.settings().settings;
        Answer::Preview(json!({
            "unchanged": unchanged,
            "changes": loader.changes(&checked).json(LONG),
            "restart_needed_for": loader.restart_for(settings),
            "warnings": report.to_json()["warnings"],
        }))
    });
    looked.await.unwrap_or(Answer::Gone)
}
