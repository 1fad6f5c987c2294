//! What is measured around a run: CPU and `/metrics` from the end of the warm-up on, and the line
//! of progress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep_until;

use crate::loadtest::measure::notes::notes;
use crate::loadtest::measure::record::Recorder;
use crate::loadtest::measure::scrape;
use crate::loadtest::measure::summary::{ConnectionUse, RunInfo, Summary};
use crate::loadtest::show::progress::Progress;
use crate::loadtest::target::Target;
use crate::procfs;

/// A run that is being measured.
pub(crate) struct Measurement {
    target: Arc<Target>,
    recorder: Arc<Recorder>,
    baseline: JoinHandle<Baseline>,
    label: String,
    progress: Option<Progress>,
}

/// How the counters stood at the end of the warm-up.
struct Baseline {
    target_cpu: Option<Duration>,
    own_cpu: Option<Duration>,
    metrics: scrape::Metrics,
}

impl Measurement {
    /// Begins; the counters are read at `from`, the end of the warm-up.
    pub(crate) fn begin(
        target: &Arc<Target>,
        recorder: &Arc<Recorder>,
        label: String,
        from: Instant,
        progress: bool,
    ) -> Self {
        let scraped = Arc::clone(target);
        let baseline = tokio::spawn(async move {
            sleep_until(from.into()).await;
            Baseline {
                target_cpu: scraped.endpoint.pid.and_then(procfs::cpu_time),
                own_cpu: procfs::cpu_time(std::process::id()),
                metrics: metrics(&scraped).await,
            }
        });
        Self {
            target: Arc::clone(target),
            recorder: Arc::clone(recorder),
            baseline,
            progress: progress.then(|| Progress::start(label.clone(), Arc::clone(recorder))),
            label,
        }
    }

    /// Ends: all requests are done.
    pub(crate) async fn end(
        self,
        offered: Option<f64>,
        batch: usize,
        connections: ConnectionUse,
    ) -> Summary {
        let pid = self.target.endpoint.pid;
        let target_after = pid.and_then(procfs::cpu_time);
        let own_after = procfs::cpu_time(std::process::id());
        // A run that ended within its warm-up has nothing to compare.
        if !self.baseline.is_finished() {
            self.baseline.abort();
        }
        let baseline = self.baseline.await.ok();
        let spent = |after: Option<Duration>, before: Option<Duration>| after?.checked_sub(before?);
        // It reads the recorder, which is emptied now.
        drop(self.progress);
        let (from, recorded) = self.recorder.finish();
        let mut means = Vec::new();
        if let Some(baseline) = &baseline {
            means = scrape::means(&baseline.metrics, &metrics(&self.target).await);
        }
        let info = RunInfo {
            label: self.label,
            offered,
            batch,
            target_cpu: spent(target_after, baseline.as_ref().and_then(|b| b.target_cpu)),
            own_cpu: spent(own_after, baseline.as_ref().and_then(|b| b.own_cpu)),
            target_bytes: pid.and_then(procfs::resident),
            metrics: means,
        };
        let mut summary = Summary::new(from, &recorded, info);
        summary.notes = notes(&summary, recorded.silence, connections);
        summary
    }
}

/// The durations at `/metrics`; none if the target has no such page.
async fn metrics(target: &Target) -> scrape::Metrics {
    let page = target.page("/metrics").await.unwrap_or_default();
    scrape::durations(&String::from_utf8_lossy(&page))
}
