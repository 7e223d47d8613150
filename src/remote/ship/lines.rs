//! One worker's lines, collected before they are handed over.
//!
//! Invariant: lines leave in the order in which they were written, at most a tenth of a second
//! later, and the last ones when their worker does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::Shipper;
use crate::util::local;

/// How many bytes a worker collects before it hands them over.
pub(super) const BATCH: usize = 32 * 1024;
/// How long a line waits in its worker at most.
const DELAY: Duration = Duration::from_millis(100);

/// One worker's lines on their way to a [`Shipper`]: collected, so that a busy worker touches the
/// shared queue once in some hundred requests. Dropping it hands over what is left.
pub struct Lines {
    buffer: Rc<Buffer>,
    _timer: local::Owned<()>,
}

struct Buffer {
    text: RefCell<Vec<u8>>,
    /// The timer runs, or is about to.
    armed: Cell<bool>,
    filled: Notify,
    shipper: Arc<Shipper>,
}

impl Lines {
    /// To be called on a worker: its timer is a task there.
    pub fn new(shipper: Arc<Shipper>) -> Lines {
        let buffer = Rc::new(Buffer {
            text: RefCell::new(Vec::with_capacity(BATCH)),
            armed: Cell::new(false),
            filled: Notify::new(),
            shipper,
        });
        Lines {
            _timer: local::spawn_owned(Rc::clone(&buffer).hand_over_in_time()),
            buffer,
        }
    }

    /// Lets `render` append one line, its line break included.
    pub fn write(&self, render: impl FnOnce(&mut Vec<u8>)) {
        let len = {
            let mut text = self.buffer.text.borrow_mut();
            render(&mut text);
            text.len()
        };
        if len >= BATCH {
            self.buffer.hand_over();
        } else if !self.buffer.armed.replace(true) {
            self.buffer.filled.notify_one();
        }
    }

    /// Hands over what was collected.
    pub fn hand_over(&self) {
        self.buffer.hand_over();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.buffer.hand_over();
    }
}

impl Buffer {
    async fn hand_over_in_time(self: Rc<Self>) {
        loop {
            self.filled.notified().await;
            sleep(DELAY).await;
            self.armed.set(false);
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let mut text = self.text.borrow_mut();
        if text.is_empty() {
            return;
        }
        // A short text is copied, so that what waits in the queue is not mostly unused memory.
        let lines = if text.len() < BATCH / 8 {
            let lines = text.as_slice().to_vec();
            text.clear();
            lines
        } else {
            std::mem::replace(&mut *text, Vec::with_capacity(BATCH + BATCH / 8))
        };
        self.shipper.try_send(lines);
    }
}
