//! Fixed sets of threads for arithmetic, each behind a bounded queue: what lasts longer than half a
//! millisecond runs here and not on the threads that move bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use tokio::sync::oneshot;

/// Work on fewer bytes is done where it is: handing it over would cost more than it holds up.
const OFFLOAD_BYTES: usize = 256 * 1024;

/// Jobs that may wait for the threads of a [`CpuPool`]; more wait outside the queue.
const POOL_QUEUE: usize = 64;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// The work panicked; the thread lives on.
#[derive(Debug, thiserror::Error)]
#[error("internal error: a worker thread panicked; the log has the place")]
pub(crate) struct Panicked;

/// Threads that each own a state `S`, such as buffers that are worth keeping.
#[derive(Debug)]
pub(crate) struct Workers<S> {
    queue: async_channel::Sender<Job<S>>,
    threads: usize,
    busy: Arc<AtomicUsize>,
}

impl<S: 'static> Workers<S> {
    /// Starts `threads` threads called `name`, with at most `capacity` jobs waiting. They end when
    /// the `Workers` is dropped and the queue is empty.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(
        name: &str,
        threads: usize,
        capacity: usize,
        state: impl Fn() -> S + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = async_channel::bounded::<Job<S>>(capacity);
        let busy = Arc::new(AtomicUsize::new(0));
        for _ in 0..threads {
            let (jobs, state, busy) = (jobs.clone(), state.clone(), Arc::clone(&busy));
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    let mut own = state();
                    while let Ok(job) = jobs.recv_blocking() {
                        busy.fetch_add(1, Relaxed);
                        if catch_unwind(AssertUnwindSafe(|| job(&mut own))).is_err() {
                            // What the job left behind cannot be trusted.
                            own = state();
                        }
                        busy.fetch_sub(1, Relaxed);
                    }
                })?;
        }
        Ok(Self {
            queue,
            threads,
            busy,
        })
    }

    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Jobs that wait in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Threads that have a job.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Relaxed)
    }

    /// Runs `work` on one of the threads. Waits for a place in the queue; work whose caller has
    /// left by the time it reaches a thread is skipped.
    ///
    /// # Errors
    ///
    /// [`Panicked`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let (sender, result) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            if !sender.is_closed() {
                let _ = sender.send(work(state));
            }
        });
        self.queue.send(job).await.map_err(|_| Panicked)?;
        result.await.map_err(|_| Panicked)
    }
}

/// Threads for the bytes of requests: parsing, inflating, converting. They are apart from the
/// threads that decode images, so that a short request does not stand behind the images of a long
/// one before it is even read.
#[derive(Clone, Debug)]
pub(crate) struct CpuPool(Arc<Workers<()>>);

impl CpuPool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let workers = Workers::start("bytes", threads, POOL_QUEUE, || ())?;
        Ok(Self(Arc::new(workers)))
    }

    /// Runs work on `bytes` bytes: here if they are few, else on one of the threads.
    ///
    /// # Errors
    ///
    /// [`Panicked`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        if bytes < OFFLOAD_BYTES {
            return catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked);
        }
        self.offload(work).await
    }

    /// Runs work on one of the threads even if its input is small: its output may not be.
    ///
    /// # Errors
    ///
    /// [`Panicked`].
    pub(crate) async fn offload<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        self.0.run(|()| work()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_result_and_the_state() {
        let workers = Workers::start("test", 1, 4, || 0).unwrap();
        assert_eq!(workers.run(|n| std::mem::replace(n, 7)).await.unwrap(), 0);
        assert_eq!(workers.run(|n| *n).await.unwrap(), 7);
        assert!(workers.run(|_| panic!("on purpose")).await.is_err());
        assert_eq!(workers.run(|n| *n).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn work_whose_caller_left_is_skipped() {
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

    #[tokio::test]
    async fn only_large_work_leaves_its_thread() {
        let pool = CpuPool::start(1).unwrap();
        let here = thread::current().id();
        let ran_on = |bytes| pool.run(bytes, || thread::current().id());
        assert_eq!(ran_on(OFFLOAD_BYTES - 1).await.unwrap(), here);
        assert_ne!(ran_on(OFFLOAD_BYTES).await.unwrap(), here);
        for bytes in [0, OFFLOAD_BYTES] {
            assert!(pool.run(bytes, || panic!("on purpose")).await.is_err());
        }
    }
}
