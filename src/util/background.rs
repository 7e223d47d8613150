//! One thread for work that takes its time, such as compiling a configuration.
//!
//! It gives way to the data plane: the kernel lets a worker run first that has something to do. And
//! what was made on it is freed on it, so that memory is used again instead of being scattered over
//! threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use tokio::sync::oneshot;
use tracing::debug;

type Job = Box<dyn FnOnce() + Send>;

/// How much it gives way, in steps of `nice`. A tenth of what a busy worker gets is left to it.
const NICE: i32 = 10;

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
    // On Linux, of the calling thread alone.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        debug!("background work runs at full priority: {error}");
    }
    for job in jobs {
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
        let first = background.run(|| rustix::process::getpriority_process(None).unwrap());
        let second = background.run(|| -> u8 { panic!("on purpose") });
        let third = background.run(|| 3);
        assert_eq!(third.await, Some(3));
        assert_eq!(second.await, None);
        assert!(first.await.unwrap() >= NICE);
        assert!(rustix::process::getpriority_process(None).unwrap() < NICE);
    }
}
