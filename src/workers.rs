//! A fixed set of threads for arithmetic, behind a bounded queue: what lasts longer than half a
//! millisecond runs here and not on the threads that move bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::oneshot;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// The work panicked; the thread lives on.
#[derive(Debug, thiserror::Error)]
#[error("internal error: a worker thread panicked; the log has the place")]
pub struct Panicked;

/// Threads that each own a state `S`, such as buffers that are worth keeping.
#[derive(Debug)]
pub struct Workers<S> {
    queue: async_channel::Sender<Job<S>>,
}

impl<S: 'static> Workers<S> {
    /// Starts `threads` threads called `name`, with at most `capacity` jobs waiting. They end when
    /// the `Workers` is dropped and the queue is empty.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        threads: usize,
        capacity: usize,
        state: impl Fn() -> S + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = async_channel::bounded::<Job<S>>(capacity);
        for _ in 0..threads {
            let (jobs, state) = (jobs.clone(), state.clone());
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    let mut own = state();
                    while let Ok(job) = jobs.recv_blocking() {
                        if catch_unwind(AssertUnwindSafe(|| job(&mut own))).is_err() {
                            // What the job left behind cannot be trusted.
                            own = state();
                        }
                    }
                })?;
        }
        Ok(Self { queue })
    }

    /// Runs `work` on one of the threads. Waits for a place in the queue; work whose caller has
    /// gone by the time its turn comes is skipped.
    ///
    /// # Errors
    ///
    /// [`Panicked`].
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            if !answer.is_closed() {
                let _ = answer.send(work(state));
            }
        });
        self.queue.send(job).await.map_err(|_| Panicked)?;
        answered.await.map_err(|_| Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_the_state() {
        let workers = Workers::start("test", 1, 4, || 0).unwrap();
        assert_eq!(workers.run(|n| std::mem::replace(n, 7)).await.unwrap(), 0);
        assert_eq!(workers.run(|n| *n).await.unwrap(), 7);
        assert!(workers.run(|_| panic!("on purpose")).await.is_err());
        assert_eq!(workers.run(|n| *n).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn work_of_a_caller_who_left_is_skipped() {
        let workers = Arc::new(Workers::start("test", 1, 4, || ()).unwrap());
        let (begun, wait_begun) = oneshot::channel();
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let blocker = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move {
                workers
                    .run(move |()| {
                        let _ = begun.send(());
                        let _ = gate.recv();
                    })
                    .await
            }
        });
        wait_begun.await.unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let mine = Arc::clone(&ran);
        // Polled once, so that it stands in the queue, then dropped.
        let mut left = Box::pin(workers.run(move |()| mine.fetch_add(1, Ordering::Relaxed)));
        assert!(left.as_mut().now_or_never().is_none());
        drop(left);
        release.send(()).unwrap();
        blocker.await.unwrap().unwrap();
        workers.run(|()| ()).await.unwrap();
        assert_eq!(ran.load(Ordering::Relaxed), 0);
    }
}
