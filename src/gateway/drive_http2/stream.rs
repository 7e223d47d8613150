//! What a stream holds from its head to its end.

use std::cell::Cell;
use std::rc::Rc;

use crate::gateway::exchange::Exchange;
use crate::gateway::live::Worker;
use crate::gateway::upload::Upload;
use crate::http2::server::Token;
use crate::message::ConnInfo;
use crate::util::sweep::Slot;

/// One request of an HTTP/2 client. However it goes, dropping it ends the exchange: well if its
/// answer was taken whole, else as one whose client left.
pub struct Stream {
    /// The exchange.
    pub ex: Box<Exchange>,
    /// The request body.
    pub upload: Upload,
    /// The exchange's deadline.
    pub slot: Slot,
    /// Counts the stream on its connection.
    pub token: Rc<Token>,
    /// What is known of the connection.
    pub conn: Rc<ConnInfo>,
    /// Where it runs.
    pub worker: Rc<Worker>,
    /// The client's side has taken the whole answer.
    pub taken: Rc<Cell<bool>>,
}

impl Stream {
    /// A stream whose exchange has begun.
    pub fn new(
        ex: Box<Exchange>,
        upload: Upload,
        token: Rc<Token>,
        conn: Rc<ConnInfo>,
        worker: Rc<Worker>,
    ) -> Box<Stream> {
        Box::new(Stream {
            ex,
            upload,
            slot: worker.sweep.slot(),
            token,
            conn,
            worker,
            taken: Rc::default(),
        })
    }

    /// The exchange is over, as it stands.
    pub fn end(&mut self) {
        self.ex.bytes_in += self.upload.seen();
        self.ex.end(&self.worker, &self.conn);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.upload.cancel();
        if !self.taken.get() {
            self.ex.client_gone();
        }
        self.end();
        self.worker.recycle_exchange(std::mem::take(&mut self.ex));
    }
}
