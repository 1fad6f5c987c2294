//! One run against one target: the closed loop, the open loop, and what is measured around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::loadtest::Error;
use crate::loadtest::check::Check;
use crate::loadtest::failure::{Failure, Fault};
use crate::loadtest::measure::procfs;
use crate::loadtest::measure::record::{Recorder, Sample};
use crate::loadtest::measure::scrape;
use crate::loadtest::measure::summary::{Circumstances, Summary};
use crate::loadtest::schedule::{Arrival, Schedule};
use crate::loadtest::show::progress::Progress;
use crate::loadtest::target::{Lane, Target};
use crate::loadtest::workload::Plan;

/// Moments waiting for a lane. Beyond, the schedule itself waits; its moments stay what they were.
const WAITING: usize = 1 << 16;

/// Lanes that an open loop begins with.
const FIRST_LANES: usize = 4;

/// When a closed loop ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After so many requests, those of the warm-up not counted.
    Requests(u64),
    /// After this time, the warm-up not counted.
    Elapsed(Duration),
}

/// A target with what is sent to it and what is expected of it.
#[derive(Debug)]
pub(super) struct Runner {
    pub(super) target: Arc<Target>,
    pub(super) plan: Arc<Plan>,
    pub(super) check: Arc<Check>,
    pub(super) batch: usize,
    pub(super) warmup: Duration,
    pub(super) timeout: Duration,
    pub(super) max_lanes: usize,
    pub(super) progress: bool,
}

/// What all lanes of a run share.
#[derive(Debug)]
struct Shared {
    target: Arc<Target>,
    plan: Arc<Plan>,
    check: Arc<Check>,
    recorder: Arc<Recorder>,
    timeout: Duration,
    /// The number of the next request of the plan.
    next: AtomicUsize,
}

impl Runner {
    /// One request, so that a target that is not there is told at once.
    pub(super) async fn knock(&self) -> Result<(), Error> {
        let mut lane = self.target.lane(0);
        lane.connect().await.map_err(|failure| Error::Unreachable {
            url: self.target.endpoint.url.clone(),
            why: failure.text,
        })
    }

    /// `concurrency` lanes, each sending as soon as its last answer is there.
    pub(super) async fn closed(&self, concurrency: usize, until: Until) -> Summary {
        let mut lanes: Vec<_> = (0..concurrency).map(|i| self.target.lane(i)).collect();
        // A lane that cannot connect tries again with its first request, and that is counted.
        futures_util::future::join_all(lanes.iter_mut().map(Lane::connect)).await;
        let from = Instant::now() + self.warmup;
        let shared = self.shared(from);
        let label = format!("{concurrency} in flight");
        let around = Around::begin(self, &shared, &label, from);
        let sent = Arc::new(AtomicU64::new(0));
        let tasks = lanes.into_iter().map(|mut lane| {
            let shared = Arc::clone(&shared);
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
                    if over {
                        return;
                    }
                    shared.send(&mut lane, now, now).await;
                }
            })
        });
        futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
        around
            .end(self, &shared, label, None, (concurrency, concurrency))
            .await
    }

    /// Requests at their intended moments, whatever the answers do. Lanes are added as they are
    /// needed.
    pub(super) async fn open(&self, rate: f64, arrival: Arrival, length: Duration) -> Summary {
        let (moments, queue) = async_channel::bounded(WAITING);
        let (alive, mut all_gone) = mpsc::channel(1);
        let start = Instant::now() + Duration::from_millis(20);
        let from = start + self.warmup;
        let shared = self.shared(from);
        let label = format!("{rate:.1}/s");
        let around = Around::begin(self, &shared, &label, from);
        let crew = Arc::new(Crew {
            shared: Arc::clone(&shared),
            queue,
            idle: AtomicUsize::new(0),
            lanes: AtomicUsize::new(0),
            max_lanes: self.max_lanes,
        });
        for _ in 0..FIRST_LANES.min(self.max_lanes) {
            Arc::clone(&crew).hire(alive.clone());
        }
        // The runtime's timer counts in milliseconds; a thread that sleeps is exact to about 0.1.
        let schedule = Schedule::new(arrival, rate, self.warmup + length, 1);
        let stop = Arc::new(AtomicBool::new(false));
        let _stop_when_dropped = SetOnDrop(Arc::clone(&stop));
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
        // No lane is left when the schedule has ended and all requests are answered.
        let _: Option<()> = all_gone.recv().await;
        let lanes = (crew.lanes.load(Ordering::Relaxed), self.max_lanes);
        around.end(self, &shared, label, Some(rate), lanes).await
    }

    fn shared(&self, from: Instant) -> Arc<Shared> {
        Arc::new(Shared {
            target: Arc::clone(&self.target),
            plan: Arc::clone(&self.plan),
            check: Arc::clone(&self.check),
            recorder: Arc::new(Recorder::new(from)),
            timeout: self.timeout,
            next: AtomicUsize::new(0),
        })
    }
}

impl Shared {
    /// Sends the next request of the plan and records what came of it.
    async fn send(&self, lane: &mut Lane, intended: Instant, sent: Instant) {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % self.plan.requests.len();
        let request = &self.plan.requests[number];
        let late = sent - intended;
        let (outcome, stages) = if late >= self.timeout {
            let text = format!("waited {} s for a lane", late.as_secs_f64());
            (Err(Failure::new(Fault::NeverSent, text)), Vec::new())
        } else {
            match lane.send(request).await {
                Ok(reply) => (
                    self.check.judge(&self.plan, number, &reply),
                    scrape::server_timing(&reply.headers),
                ),
                Err(failure) => (Err(failure), Vec::new()),
            }
        };
        let failed_at_once = matches!(&outcome, Err(failure) if failure.fault == Fault::Connect);
        self.recorder.record(Sample {
            intended,
            sent,
            done: Instant::now(),
            outcome,
            images: request.images.len(),
            stages,
        });
        if failed_at_once {
            // A target that is away would be tried a hundred thousand times a second.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The lanes of an open loop.
#[derive(Debug)]
struct Crew {
    shared: Arc<Shared>,
    queue: async_channel::Receiver<Instant>,
    /// Lanes that wait for a moment.
    idle: AtomicUsize,
    lanes: AtomicUsize,
    max_lanes: usize,
}

impl Crew {
    /// Adds a lane. `alive` goes with it, and away when the schedule has ended.
    fn hire(self: Arc<Self>, alive: mpsc::Sender<()>) {
        let number = self.lanes.fetch_add(1, Ordering::Relaxed);
        if number >= self.max_lanes {
            self.lanes.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        // GaugeGuard as idle while it connects: one is enough to be on its way.
        self.idle.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut lane = self.shared.target.lane(number);
            let _ = lane.connect().await;
            while let Ok(intended) = self.queue.recv().await {
                let was_idle = self.idle.fetch_sub(1, Ordering::Relaxed);
                if was_idle <= 1 {
                    // Nobody is left for the next moment.
                    Arc::clone(&self).hire(alive.clone());
                }
                self.shared.send(&mut lane, intended, Instant::now()).await;
                self.idle.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Stops the thread of the schedule when the run is given up.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is measured around a run: CPU and `/metrics` from the end of the warm-up on, and the
/// progress line.
struct Around {
    before: tokio::task::JoinHandle<Before>,
    _progress: Option<Progress>,
}

struct Before {
    target_cpu: Option<Duration>,
    own_cpu: Option<Duration>,
    metrics: scrape::Metrics,
}

impl Around {
    fn begin(runner: &Runner, shared: &Arc<Shared>, label: &str, from: Instant) -> Self {
        let target = Arc::clone(&runner.target);
        let before = tokio::spawn(async move {
            sleep_until(from.into()).await;
            Before {
                target_cpu: target.endpoint.pid.and_then(procfs::cpu_time),
                own_cpu: procfs::cpu_time(std::process::id()),
                metrics: scrape::metrics(&target).await,
            }
        });
        let progress = runner
            .progress
            .then(|| Progress::start(label.to_owned(), Arc::clone(&shared.recorder)));
        Self {
            before,
            _progress: progress,
        }
    }

    async fn end(
        self,
        runner: &Runner,
        shared: &Shared,
        label: String,
        offered: Option<f64>,
        lanes: (usize, usize),
    ) -> Summary {
        let pid = runner.target.endpoint.pid;
        let target_after = pid.and_then(procfs::cpu_time);
        let own_after = procfs::cpu_time(std::process::id());
        // A run that ended within its warm-up has nothing to compare.
        if !self.before.is_finished() {
            self.before.abort();
        }
        let before = self.before.await.ok();
        let spent = |after: Option<Duration>, before: Option<Duration>| after?.checked_sub(before?);
        let (from, recorded) = shared.recorder.finish();
        let mut metrics = Vec::new();
        if let Some(before) = &before {
            metrics = scrape::means(&before.metrics, &scrape::metrics(&runner.target).await);
        }
        let about = Circumstances {
            label,
            offered,
            batch: runner.batch,
            lanes,
            target_cpu: spent(target_after, before.as_ref().and_then(|b| b.target_cpu)),
            own_cpu: spent(own_after, before.as_ref().and_then(|b| b.own_cpu)),
            target_bytes: pid.and_then(procfs::resident),
            metrics,
        };
        Summary::new(from, &recorded, about)
    }
}
