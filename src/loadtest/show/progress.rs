//! What is shown on standard error while a load test goes on: a line that changes on a terminal, and
//! elsewhere a line for each finished run, since nobody wants to wait a minute without a sign.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use crate::loadtest::measure::record::Recorder;
use crate::loadtest::measure::summary::Summary;
use crate::loadtest::units::{milliseconds, show_milliseconds, show_rate};

const INTERVAL: Duration = Duration::from_millis(500);

/// How far the run was when the line was last written.
struct Before {
    at: Instant,
    done: u64,
}

/// Shown until it is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    pub(crate) fn start(label: String, recorder: Arc<Recorder>) -> Self {
        let bar = ProgressBar::new_spinner();
        let shown = bar.clone();
        let task = tokio::spawn(async move {
            let mut before = Before {
                at: Instant::now(),
                done: 0,
            };
            loop {
                tokio::time::sleep(INTERVAL).await;
                let snapshot = recorder.snapshot();
                let now = Instant::now();
                let seconds = (now - before.at).as_secs_f64();
                let rate = snapshot.done.saturating_sub(before.done) as f64 / seconds;
                before = Before {
                    at: now,
                    done: snapshot.done,
                };
                let errors: Vec<_> = snapshot
                    .failures
                    .iter()
                    .map(|(kind, count)| format!("{kind}: {count}"))
                    .collect();
                shown.set_message(format!(
                    "{label}: {}, p50 {}, p99 {}, errors {}",
                    show_rate(rate),
                    show_milliseconds(milliseconds(snapshot.p50)),
                    show_milliseconds(milliseconds(snapshot.p99)),
                    if errors.is_empty() {
                        "none".to_owned()
                    } else {
                        errors.join(", ")
                    },
                ));
                shown.tick();
            }
        });
        Self { bar, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}

/// A line about a finished run, where there is no terminal.
pub(crate) fn print_finished(run: &Summary) {
    if !std::io::stderr().is_terminal() {
        eprintln!("{}", finished(run));
    }
}

fn finished(run: &Summary) -> String {
    let held = match run.held() {
        None => "",
        Some(true) => ", slo held",
        Some(false) => ", slo missed",
    };
    let requests = &run.requests;
    format!(
        "finished {}: {} ok, {} failed, {} images, p50 {}, p99 {}{held}",
        run.label,
        requests.ok,
        requests.failed,
        show_rate(run.images_per_second),
        show_milliseconds(run.latency.p50_ms),
        show_milliseconds(run.latency.p99_ms),
    )
}
