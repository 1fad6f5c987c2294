//! One run against one target: the closed loop and the open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::loadtest::connection_pool::ConnectionPool;
use crate::loadtest::dispatch::Dispatcher;
use crate::loadtest::error::Error;
use crate::loadtest::give_up::GiveUp;
use crate::loadtest::measure::record::Recorder;
use crate::loadtest::measure::summary::{ConnectionUse, Summary};
use crate::loadtest::measurement::Measurement;
use crate::loadtest::schedule::{Arrival, Schedule};
use crate::loadtest::settings::Until;
use crate::loadtest::target::{Connection, Target};
use crate::loadtest::verify::Verifier;
use crate::loadtest::workload::Workload;

/// Moments waiting for a connection. Beyond, the schedule itself waits; its moments stay what they
/// were.
const QUEUED_MOMENTS: usize = 1 << 16;

/// From the start of an open loop to its first moment, so that the first connections are open.
const LEAD_TIME: Duration = Duration::from_millis(20);

/// A target with what is sent to it and what is expected of it.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) target: Arc<Target>,
    pub(crate) workload: Arc<Workload>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) give_up: Arc<GiveUp>,
    pub(crate) batch: usize,
    pub(crate) warmup: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) progress: bool,
}

impl Runner {
    /// Connects once, so that a target that is away is an error and not ten seconds of failures.
    pub(crate) async fn check_reachable(&self) -> Result<(), Error> {
        let mut connection = self.target.connection(0);
        connection
            .open()
            .await
            .map_err(|failure| Error::Unreachable {
                url: self.target.endpoint.url.clone(),
                reason: failure.text,
            })
    }

    /// `concurrency` connections, each sending as soon as its last response is there.
    pub(crate) async fn closed(&self, concurrency: usize, until: Until) -> Summary {
        let mut connections: Vec<_> = (0..concurrency)
            .map(|number| self.target.connection(number))
            .collect();
        // One that cannot connect tries again with its first request, and that is counted.
        futures_util::future::join_all(connections.iter_mut().map(Connection::open)).await;
        let from = Instant::now() + self.warmup;
        let dispatcher = self.dispatcher(from);
        let measurement = self.measure(&dispatcher, format!("{concurrency} in flight"), from);
        let sent = Arc::new(AtomicU64::new(0));
        let tasks = connections.into_iter().map(|mut connection| {
            let dispatcher = Arc::clone(&dispatcher);
            let sent = Arc::clone(&sent);
            tokio::spawn(async move {
                loop {
                    let now = Instant::now();
                    let over = match until {
                        Until::Elapsed(time) => now >= from + time,
                        Until::Requests(count) => {
                            now >= from && sent.fetch_add(1, Ordering::Relaxed) >= count
                        }
                    };
                    if over || !dispatcher.send_next(&mut connection, now, now).await {
                        return;
                    }
                }
            })
        });
        futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
        let connections = ConnectionUse {
            open: concurrency,
            max: concurrency,
        };
        measurement.end(None, self.batch, connections).await
    }

    /// Requests at their intended moments, whatever the responses do. Connections are added as they
    /// are needed.
    pub(crate) async fn open(&self, rate: f64, arrival: Arrival, length: Duration) -> Summary {
        let (moments, queue) = async_channel::bounded(QUEUED_MOMENTS);
        let (alive, mut all_done) = mpsc::channel(1);
        let start = Instant::now() + LEAD_TIME;
        let from = start + self.warmup;
        let dispatcher = self.dispatcher(from);
        let measurement = self.measure(&dispatcher, format!("{rate:.1}/s"), from);
        let pool = ConnectionPool::start(dispatcher, queue, self.max_connections, &alive);
        let schedule = Schedule::new(arrival, rate, self.warmup + length, 1);
        let stop = Arc::new(AtomicBool::new(false));
        let _stop_when_dropped = SetOnDrop(Arc::clone(&stop));
        // The runtime's timer counts in milliseconds; a thread that sleeps is exact to about 0.1.
        std::thread::spawn(move || {
            for moment in schedule {
                let intended = start + moment;
                std::thread::sleep(intended.saturating_duration_since(Instant::now()));
                if stop.load(Ordering::Relaxed) || moments.send_blocking(intended).is_err() {
                    return;
                }
            }
        });
        drop(alive);
        // Ends when the schedule has ended and every request is done.
        let _: Option<()> = all_done.recv().await;
        let connections = ConnectionUse {
            open: pool.open(),
            max: self.max_connections,
        };
        measurement.end(Some(rate), self.batch, connections).await
    }

    fn measure(&self, dispatcher: &Dispatcher, label: String, from: Instant) -> Measurement {
        Measurement::begin(
            &self.target,
            &dispatcher.recorder,
            label,
            from,
            self.progress,
        )
    }

    fn dispatcher(&self, from: Instant) -> Arc<Dispatcher> {
        Arc::new(Dispatcher {
            target: Arc::clone(&self.target),
            workload: Arc::clone(&self.workload),
            verifier: Arc::clone(&self.verifier),
            recorder: Arc::new(Recorder::new(from)),
            give_up: Arc::clone(&self.give_up),
            timeout: self.timeout,
            next: AtomicUsize::new(0),
        })
    }
}

/// Stops the thread of the schedule when the run is given up.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
