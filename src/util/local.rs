//! Tasks of one worker. Data-plane futures are `!Send`: they start here and never move.
//!
//! Invariant: called on a thread that runs a `tokio::runtime::LocalRuntime` (or a `LocalSet`).

use std::cell::Cell;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinHandle;

/// Starts a task on this worker. Dropping the handle lets the task run on; `abort` ends it.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(future)
}

/// A number of this thread's own: from 0, in the order in which threads first ask. For counters
/// that are split by thread; workers live as long as the process, so theirs stay small.
pub fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        OWN.set(Some(own));
        own
    })
}

/// A task that ends when this value is dropped.
///
/// For pumps whose work means nothing without their owner: the request half of an exchange, a
/// reader on behalf of a response body.
#[derive(Debug)]
pub struct Owned<T>(JoinHandle<T>);

/// Starts a task on this worker that lives no longer than the returned value.
pub fn spawn_owned<F>(future: F) -> Owned<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Owned(spawn(future))
}

impl<T> Owned<T> {
    /// Whether the task has come to its end.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn threads_have_numbers_of_their_own() {
        let own = thread();
        assert_eq!(thread(), own);
        assert_ne!(std::thread::spawn(thread).join().unwrap(), own);
    }

    #[tokio::test(flavor = "local")]
    async fn a_task_may_hold_thread_bound_values() {
        let seen = Rc::new(Cell::new(0));
        let theirs = Rc::clone(&seen);
        spawn(async move { theirs.set(7) }).await.unwrap();
        assert_eq!(seen.get(), 7);
    }

    #[tokio::test(flavor = "local")]
    async fn an_owned_task_ends_with_its_owner() {
        let alive = Rc::new(());
        let theirs = Rc::clone(&alive);
        let task = spawn_owned(async move {
            std::future::pending::<()>().await;
            drop(theirs);
        });
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        assert_eq!(Rc::strong_count(&alive), 2);
        drop(task);
        tokio::task::yield_now().await;
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}
