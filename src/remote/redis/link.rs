//! The connections of one worker: one to each server, used by all of its requests at once.
//!
//! Invariant: at most one connection to a server is being opened on a thread; whoever needs it
//! meanwhile waits for that one. Connections are driven by tasks of the thread, which end with the
//! node.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::node::Node;
use super::open::open;
use super::{Address, Away, Shared};
use crate::util::local;

thread_local! {
    static LINKS: RefCell<HashMap<u64, Rc<Link>>> = RefCell::default();
}

/// The way from this thread to one server.
#[derive(Default)]
struct Link {
    state: RefCell<State>,
    /// The task that opens the connection, then drives it.
    task: RefCell<Option<local::Owned<()>>>,
    changed: Notify,
}

#[derive(Default)]
enum State {
    #[default]
    Down,
    Opening,
    Up {
        connection: MultiplexedConnection,
        /// The node's, when it was opened.
        generation: u64,
    },
    /// It could not be opened.
    Failed(Away),
}

/// A connection of this thread to a node. Unbounded in time: the caller bounds it.
pub(super) async fn get(node: &Node) -> Result<MultiplexedConnection, Away> {
    let link = LINKS.with_borrow_mut(|links| links.entry(node.id).or_default().clone());
    if let Some(connection) = link.usable(node) {
        return Ok(connection);
    }
    let opening = matches!(*link.state.borrow(), State::Opening);
    if !opening {
        link.start(node);
    }
    loop {
        let changed = link.changed.notified();
        match &*link.state.borrow() {
            State::Up { connection, .. } => return Ok(connection.clone()),
            State::Failed(away) => return Err(away.clone()),
            // It was up and lost again before this task had its turn.
            State::Down => return Err(Away::Closed("at once".to_owned())),
            State::Opening => {}
        }
        changed.await;
    }
}

impl Link {
    fn usable(&self, node: &Node) -> Option<MultiplexedConnection> {
        match &*self.state.borrow() {
            State::Up {
                connection,
                generation,
            } if *generation == node.generation() => Some(connection.clone()),
            _ => None,
        }
    }

    fn start(self: &Rc<Self>, node: &Node) {
        self.state.replace(State::Opening);
        let (link, shared, address) = (self.clone(), node.shared.clone(), node.address.clone());
        let (id, generation) = (node.id, node.generation());
        let gone = node.gone();
        let task = local::spawn_owned(async move {
            tokio::select! {
                () = link.live(shared, address, generation) => {}
                () = gone.cancelled() => {
                    LINKS.with_borrow_mut(|links| links.remove(&id));
                }
            }
        });
        // An earlier task, if there is one, ends here.
        self.task.replace(Some(task));
    }

    async fn live(&self, shared: Arc<Shared>, address: Address, generation: u64) {
        let bound = shared.target.timeout;
        let opened = timeout(bound, open(&shared, &address)).await;
        match opened.unwrap_or(Err(Away::Timeout(bound))) {
            Ok((connection, driver)) => {
                self.change(State::Up {
                    connection,
                    generation,
                });
                driver.await;
                self.change(State::Down);
            }
            Err(away) => self.change(State::Failed(away)),
        }
    }

    fn change(&self, state: State) {
        self.state.replace(state);
        self.changed.notify_waiters();
    }
}
