//! A question that is asked again and again: blocking queries by Consul's rules.
//!
//! Invariants: every answer is the whole truth of its moment, so that a lost one costs nothing. An
//! answer from a server that is behind is asked for once more from the leader. No loop spins:
//! [`Pace`] bounds good times, [`Backoff`] the bad ones.

use std::time::Duration;

use tokio::time::sleep;

use super::pace::{Backoff, Pace};
use super::{Answer, Call, Consul, ConsulError, Cursor, Meta, PLAIN};

/// What can be watched.
pub trait Query: Send + Sync + 'static {
    /// What comes back.
    type Answer: Send;

    /// The plain call.
    fn call(&self) -> Call;

    /// Reads a successful answer.
    fn read(&self, answer: Answer) -> Result<Self::Answer, ConsulError>;

    /// Whether nothing was found.
    fn is_empty(answer: &Self::Answer) -> bool;
}

/// How long a query may block.
pub const WAIT: Duration = Duration::from_secs(60);
/// What the answer may take beyond that.
const GRACE: Duration = Duration::from_secs(5);
/// A server that is further behind its leader is not believed.
const BEHIND: Duration = Duration::from_secs(2);

/// An answer, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh<A> {
    /// What was found.
    pub answer: A,
    /// Consul's index fell: its state is an older one, or gone.
    pub fell: bool,
    /// What the headers say.
    pub meta: Meta,
}

/// One question and where it stands.
pub struct Watch<Q> {
    consul: Consul,
    query: Q,
    cursor: Cursor,
    pace: Pace,
    backoff: Backoff,
    /// To be slept before the next call.
    pause: Duration,
}

impl<Q: Query> Watch<Q> {
    /// Nothing was asked yet.
    pub fn new(consul: Consul, query: Q) -> Self {
        Self {
            consul,
            query,
            cursor: Cursor::default(),
            pace: Pace::default(),
            backoff: Backoff::default(),
            pause: Duration::ZERO,
        }
    }

    /// The question.
    pub fn query(&self) -> &Q {
        &self.query
    }

    /// The next answer: at once the first time, later when something may have changed or after
    /// `wait`; after a failure not before a pause. Dropping the future gives the call up.
    pub async fn next(&mut self, wait: Duration) -> Result<Fresh<Q::Answer>, ConsulError> {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
        self.pace.turn().await;
        let answered = self.ask(wait).await;
        match &answered {
            Ok(_) => {
                self.backoff.reset();
                self.pause = Duration::ZERO;
            }
            Err(error) => {
                self.cursor.clear();
                self.pause = self.backoff.pause(error.is_lasting());
            }
        }
        answered
    }

    async fn ask(&mut self, wait: Duration) -> Result<Fresh<Q::Answer>, ConsulError> {
        let found = self.once(Some(wait)).await?;
        if !is_behind(&found.meta) {
            return Ok(found);
        }
        match self.once(None).await {
            Ok(leaders) => Ok(leaders),
            // Old news are better than none.
            Err(_) if !Q::is_empty(&found.answer) => Ok(found),
            Err(error) => Err(error),
        }
    }

    /// One call: any server may answer and wait for changes, else the leader does at once.
    async fn once(&mut self, wait: Option<Duration>) -> Result<Fresh<Q::Answer>, ConsulError> {
        let mut call = self.query.call();
        if wait.is_some() {
            call.query.push(("stale", String::new()));
        }
        if let (Some(wait), Some(index)) = (wait, self.cursor.index()) {
            call.query.push(("index", index.to_string()));
            call.query.push(("wait", format!("{}ms", wait.as_millis())));
            // Consul adds up to a sixteenth.
            call.timeout = wait + wait / 16 + GRACE;
        } else {
            call.timeout = PLAIN;
        }
        let answer = self.consul.call(call).await?;
        let meta = answer.meta.clone();
        let answer = self.query.read(answer)?;
        let fell = self.cursor.advance(meta.index);
        Ok(Fresh { answer, fell, meta })
    }
}

fn is_behind(meta: &Meta) -> bool {
    meta.leaderless || meta.last_contact > BEHIND
}
