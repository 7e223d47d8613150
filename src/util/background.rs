//! One thread for work that takes its time, such as compiling a configuration.
//!
//! It gives way to the data plane: the work calls [`give_way`] at every step, and so other threads
//! need not wait for the end of a time slice, which is milliseconds. Its priority is the ordinary
//! one, for on a machine without a pause a reload has to come to an end as well.
//!
//! What was made on it is freed on it, so that memory is used again instead of being scattered over
//! threads.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::clock;

type Job = Box<dyn FnOnce() + Send>;

/// How long others may have to wait.
const TURN: Duration = Duration::from_micros(100);
/// The clock is looked at at every so manieth step.
const STEPS: u32 = 8;

thread_local! {
    /// When the turn began; none on other threads.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    static STEP: Cell<u32> = const { Cell::new(0) };
}

/// Lets other threads run that are ready to, if this is background work and its turn is over; else
/// nothing. Cheap: to be called for every entity, or value, that is looked at.
#[inline]
pub fn give_way() {
    let step = STEP.get().wrapping_add(1);
    STEP.set(step);
    if step.is_multiple_of(STEPS) {
        end_turn();
    }
}

/// Frees things one by one: a long list at once would be a long step.
pub fn free<T>(items: impl IntoIterator<Item = T>) {
    for item in items {
        give_way();
        drop(item);
    }
}

#[cold]
fn end_turn() {
    if let Some(began) = BEGAN.get()
        && clock::now() - began >= TURN
    {
        std::thread::yield_now();
        BEGAN.set(Some(clock::now()));
    }
}

/// The way to the thread, which ends with the last clone.
#[derive(Clone, Debug)]
pub struct Background(Sender<Job>);

impl Background {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(name: &str) -> io::Result<Background> {
        let (send, jobs) = channel();
        Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&jobs))?;
        Ok(Background(send))
    }

    /// Does a piece of work behind those that came before. `None` where it panicked. Dropping the
    /// future takes nothing back.
    pub fn run<T, F>(&self, work: F) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (send, done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Who asked may have gone.
            let _ = send.send(work());
        });
        // The thread outlives all who can send.
        let _ = self.0.send(job);
        async move { done.await.ok() }
    }
}

fn work(jobs: &Receiver<Job>) {
    for job in jobs {
        BEGAN.set(Some(clock::now()));
        // Its future finds that nothing was sent.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_in_order_and_survives_a_panic() {
        let background = Background::start("test").unwrap();
        let first = background.run(|| {
            let began = BEGAN.get().unwrap();
            while BEGAN.get() == Some(began) {
                give_way();
            }
            1
        });
        let second = background.run(|| -> u8 { panic!("on purpose") });
        let third = background.run(|| 3);
        assert_eq!(third.await, Some(3));
        assert_eq!(second.await, None);
        assert_eq!(first.await, Some(1), "its turn ended");
        give_way();
        assert_eq!(BEGAN.get(), None, "nothing of the sort on other threads");
    }
}
