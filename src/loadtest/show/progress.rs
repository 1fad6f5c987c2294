//! The line on the terminal while a run goes on. Silent where there is no terminal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use crate::loadtest::measure::record::Recorder;
use crate::loadtest::units::{milliseconds, show_milliseconds, show_rate};

const INTERVAL: Duration = Duration::from_millis(500);

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
            let mut before = (Instant::now(), 0);
            loop {
                tokio::time::sleep(INTERVAL).await;
                let snapshot = recorder.snapshot();
                let now = Instant::now();
                let seconds = (now - before.0).as_secs_f64();
                let rate = (snapshot.done - before.1) as f64 / seconds;
                before = (now, snapshot.done);
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
