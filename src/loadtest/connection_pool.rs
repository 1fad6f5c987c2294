//! The connections of an open loop: as many as requests wait for one, up to a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::loadtest::dispatch::Dispatcher;

/// Connections that an open loop begins with.
const INITIAL: usize = 4;

/// Tasks with a connection each, which take intended moments from a queue and send a request for
/// each of them.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    dispatcher: Arc<Dispatcher>,
    queue: async_channel::Receiver<Instant>,
    /// Tasks that wait for a moment.
    idle: AtomicUsize,
    open: AtomicUsize,
    max: usize,
}

impl ConnectionPool {
    /// Opens the first connections. Each holds a clone of `alive` until the queue has ended and its
    /// last request is done.
    pub(crate) fn start(
        dispatcher: Arc<Dispatcher>,
        queue: async_channel::Receiver<Instant>,
        max: usize,
        alive: &mpsc::Sender<()>,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            dispatcher,
            queue,
            idle: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            max,
        });
        for _ in 0..INITIAL.min(max) {
            Arc::clone(&pool).spawn_connection(alive.clone());
        }
        pool
    }

    /// Connections that were opened so far.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn spawn_connection(self: Arc<Self>, alive: mpsc::Sender<()>) {
        let number = self.open.fetch_add(1, Ordering::Relaxed);
        if number >= self.max {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        // Counted as idle while it connects, lest every request meanwhile opens one more.
        self.idle.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut connection = self.dispatcher.target.connection(number);
            // A failure shows again with the first request, and is counted there.
            let _ = connection.open().await;
            while let Ok(intended) = self.queue.recv().await {
                let was_idle = self.idle.fetch_sub(1, Ordering::Relaxed);
                if was_idle <= 1 {
                    // Without another one the next moment would wait for this response.
                    Arc::clone(&self).spawn_connection(alive.clone());
                }
                let go_on = self
                    .dispatcher
                    .send_next(&mut connection, intended, Instant::now())
                    .await;
                if !go_on {
                    // The moments that wait are given up too, and the schedule with them.
                    self.queue.close();
                    while self.queue.try_recv().is_ok() {}
                }
                self.idle.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}
